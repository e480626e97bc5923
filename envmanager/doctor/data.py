"""The checks of the data folder's content, and what mends it.

What nodes read, each module, and what commands and workers left that were killed.
"""

from __future__ import annotations

import ast
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from envmanager.data import access, files, writers
from envmanager.data import config as config_file
from envmanager.data.paths import DataFolder
from envmanager.data.users import user_text
from envmanager.doctor.line import Check, Examine, Patient
from envmanager.environments import inventory
from envmanager.environments.generations import is_pinned, read_manifest
from envmanager.errors import ConfigError, GA3EnvError
from envmanager.modules import catalog
from envmanager.weights.store import Store
from ga3_nodes import home, locks, records

_SETTLED_S = 3600.0  # what a killed command left may still be written to by its children

# ---- what nodes read ----------------------------------------------------------------------------


def config(patient: Patient) -> Check:
    """Read ``config.json`` exactly as a node does."""
    data = patient.data
    try:
        names = home.read_config(data.root)["modules"]
    except ConfigError as error:
        return Check.error(error.message, *_config_hint(error))
    if not data.config.is_file():
        return Check.ok("Nothing is published for nodes yet.")
    problems = {name: problem for name in names if (problem := _unpublished(data, name))}
    if problems:
        fixable = any(_replacement(data, names, name) for name in problems)
        hint = "./run doctor --fix" if fixable else f"./run install {next(iter(problems))}"
        return Check.error(" ".join(problems.values()), hint, fixable)
    return Check.ok(
        f"A node can read {data.config}; it finds: {', '.join(sorted(names)) or 'nothing'}."
    )


def _config_hint(error: ConfigError) -> tuple[str, bool]:
    if not _is_damaged(error):
        return error.hint, False
    return "./run doctor --fix sets the file aside and writes it anew; environments are kept.", True


def _is_damaged(error: ConfigError) -> bool:
    """Tell damage from a newer schema and from a file that the system does not let us read."""
    return error.code != "config_too_new" and not isinstance(error.__cause__, OSError)


def _unpublished(data: DataFolder, name: str) -> str:
    """Return why a node would not get the module from this data folder; empty where it does."""
    try:
        found = home.published(name)
    except GA3EnvError as error:
        return f"A node does not find {name}: {error.message}"
    if found.root == data.root:
        return ""
    return f"A node takes {name} from {found.root}: its entry in {data.config} is not usable."


def _newest_entry(data: DataFolder, name: str) -> dict[str, Any] | None:
    """Return what the newest complete generation would publish."""
    for number in reversed(inventory.numbers(data, name)):
        folder = data.generation(name, number)
        entry = (read_manifest(folder) or {}).get("entry")
        try:
            if entry and home.entry(data.root, name, entry).python.exists():
                return dict(entry)
        except ConfigError:
            continue
    return None


def _replacement(data: DataFolder, modules: dict[str, Any], name: str) -> dict[str, Any] | None:
    """Return a better entry where the present one is of no use and is not meant to be."""
    present = modules.get(name)
    if present is None:
        return _newest_entry(data, name)
    meant = isinstance(present, dict) and present.get("state", "ready") != "ready"
    return None if meant or not _unpublished(data, name) else _newest_entry(data, name)


def _fix_config(patient: Patient) -> Check:
    data = patient.data
    lost = _set_aside(data)
    envs = data.root / "envs"

    def rebuild(modules: dict[str, Any]) -> None:
        # Where the file can be read, what it does not name was removed on purpose.
        found = [path.name for path in envs.glob("*") if records.valid_name(path.name)]
        for name in found if lost else list(modules):
            if entry := _replacement(data, modules, name):
                modules[name] = entry

    config_file.change(data, rebuild)
    return Check.ok("")


def _set_aside(data: DataFolder) -> bool:
    """Rename a damaged ``config.json``; tell whether it was one."""
    with locks.FileLock(data.root / "config.lock"):
        try:
            home.read_config(data.root)
        except ConfigError as error:
            if not _is_damaged(error):
                raise
            date = time.strftime("%Y%m%d-%H%M%S")
            kept = data.config.with_name(f"config.damaged-{date}-{os.urandom(2).hex()}.json")
            home.patiently(lambda: data.config.rename(kept), seconds=10.0)
            return True
    return False


def client(patient: Patient) -> Check:
    """Read the client that nodes import."""
    folder = _client_folder(patient)
    if folder and not _client_damage(folder):
        return Check.ok(f"The client that nodes import is in {folder}.")
    reason = _client_damage(folder) if folder else "config.json does not name it."
    return Check.error(f"Nodes cannot import the client: {reason}", "./run doctor --fix", True)


def _client_folder(patient: Patient) -> Path | None:
    place = home.read_config(patient.data.root).get("client_dir")
    return patient.data.root / place if isinstance(place, str) and place else None


def _client_damage(folder: Path) -> str:
    package = folder / "ga3_nodes"
    for name in ("__init__.py", "client.py"):
        if not (package / name).is_file():
            return f"{package / name} is missing."
    for path in package.glob("*.py"):
        try:
            text = path.read_text("utf-8")
            if not ast.parse(text).body:
                return f"{path} is empty."
        except (OSError, SyntaxError, ValueError) as error:
            return f"{path} is damaged ({error})."
    return ""


def _fix_client(patient: Patient) -> Check:
    data, folder = patient.data, _client_folder(patient)
    if folder and folder.parent == data.clients and _client_damage(folder):
        files.discard(folder, data.trash)
    config_file.change(data, lambda modules: None)
    return Check.ok("")


# ---- processes and what they left ---------------------------------------------------------------


def workers(patient: Patient) -> Check:
    """Count the workers, live and dead."""
    live, dead = [], 0
    for stem, record in _worker_records(patient):
        if not locks.is_locked(records.lease_path(stem)):
            dead += 1
        elif record:
            live.append(f"{record.module} (PID {record.pid})")
    if dead:
        text = f"{dead} worker(s) ended without clearing up; their records are left."
        return Check.warning(text, "./run doctor --fix", True)
    return Check.ok(f"Workers that run: {', '.join(live) or 'none'}.")


def _worker_records(patient: Patient) -> list[tuple[Path, records.WorkerRecord | None]]:
    paths = sorted(home.run_dir(patient.data.root).glob("*.json"))
    return [(stem, records.read(stem)) for stem in (path.with_suffix("") for path in paths)]


def _fix_workers(patient: Patient) -> Check:
    for stem, _ in _worker_records(patient):
        if not locks.is_locked(records.lease_path(stem)):
            records.sweep(stem)
    return Check.ok("")


def leftovers(patient: Patient) -> Check:
    """Look for what killed commands left."""
    data = patient.data
    found = [*_dead_files(data), *_dead_folders(data)]
    found += data.trash.iterdir() if data.trash.is_dir() else []
    if not found:
        return Check.ok("Nothing is left of commands that were killed.")
    names = ", ".join(str(path.relative_to(data.root)) for path in found[:3])
    more = f" and {len(found) - 3} more" if len(found) > 3 else ""
    text = f"Left of commands that were killed, or could not be deleted yet: {names}{more}."
    return Check.warning(text, "./run doctor --fix", True)


def _dead_files(data: DataFolder) -> Iterator[Path]:
    """Give the temporary files of writers that are dead: their process id is in the name."""
    for pattern in ("*.tmp", "run/*.tmp", "envs/*.tmp"):
        for path in data.root.glob(pattern):
            pid = Path(path.stem).suffix.removeprefix(".")
            if pid.isdecimal() and not psutil.pid_exists(int(pid)):
                yield path


def _dead_folders(data: DataFolder) -> Iterator[Path]:
    """Give half-made folders that nobody has worked on for long, and that nobody may work on."""
    if not _held(data.root / "config.lock"):
        yield from data.clients.glob("*.tmp")
    try:
        published = home.read_config(data.root)["modules"]
    except ConfigError:
        return  # what is published is not known
    for module in sorted((data.root / "envs").glob("*/")):
        if _held(_module_lock(module)):
            continue
        current = inventory.published(data, module.name) if module.name in published else None
        for number in inventory.numbers(data, module.name):
            folder = module / str(number)
            mine = current is not None and current.generation == number
            kept = mine or is_pinned(folder)
            if not kept and read_manifest(folder) is None and _is_settled(folder):
                yield folder
        yield from filter(_is_settled, module.glob("plan-*"))


def _is_settled(folder: Path) -> bool:
    newest = max((p.lstat().st_mtime for p in (folder, *folder.iterdir())), default=0.0)
    return time.time() - newest > _SETTLED_S


def _module_lock(module: Path) -> Path:
    return module.with_name(f"{module.name}.lock")


def _fix_leftovers(patient: Patient) -> Check:
    data = patient.data
    files.empty_trash(data.trash)
    for path in _dead_files(data):
        path.unlink(missing_ok=True)
    for folder in list(_dead_folders(data)):
        client = folder.parent == data.clients
        lock = data.root / "config.lock" if client else _module_lock(folder.parent)
        holder = locks.FileLock(lock)
        if holder.acquire():  # else a command has just begun: it sweeps by itself
            try:
                files.discard(folder, data.trash)
            finally:
                holder.release()
    return Check.ok("")


def other_commands(patient: Patient) -> Check:
    """Look for locks that living commands hold."""
    root = patient.data.root
    held = {}
    for path in (root / "config.lock", *sorted(root.glob("envs/*.lock"))):
        if writer := writers.holder(path):
            held[path.stem] = user_text(writer.as_user())
    if not held:
        return Check.ok("No other command is changing anything.")
    told = "; ".join(f"{name}: {who}" for name, who in held.items())
    return Check.warning(f"Something is being changed right now. {told}.", "Wait for its end.")


def _held(lock: Path) -> bool:
    return writers.holder(lock) is not None


def module_names(patient: Patient) -> list[str]:
    """Return the modules to examine: none where ``config.json`` says nothing about them."""
    if patient.config() is None:
        return []
    published = _published(patient)
    try:
        return sorted({*catalog.names(patient.data), *published})
    except OSError:
        return sorted(published)


def _published(patient: Patient) -> set[str]:
    """Return the modules that are installed, for this account or for all of them."""
    found = set((patient.config() or {"modules": {}})["modules"])
    if shared := access.shared_folder():
        found |= set(home.read_config(shared.root)["modules"])
    return found


def module(name: str, patient: Patient) -> Check:
    """Ask for the state of one module."""
    status = inventory.status(_place(patient, name), name)
    problems = " ".join(status.problems)
    if status.state == "broken":
        hint = f"./run repair {name}" if status.generation else "Correct the module's files."
        return Check.error(f"{name} is broken. {problems}".strip(), hint)
    if problems:
        return Check.warning(f"{name}: {problems}", "Its published environment still works.")
    if status.state in ("not_installed", "installing"):
        return Check.ok(f"{name} is {status.state.replace('_', ' ')}.")
    text = f"{name} {status.installed_version} is {status.state.replace('_', ' ')}"
    text += " for all accounts" if status.shared else ""
    users = set(map(user_text, status.in_use_by))
    text += f", in use by {', '.join(sorted(users))}." if users else "."
    newer = status.state == "update_available"
    return Check.ok(text, f"./run update {name}" if newer and status.may_change else "")


def _place(patient: Patient, name: str) -> DataFolder:
    """Return the data folder that a module is in: the one that is examined, or that of all."""
    shared, place = access.shared_folder(), access.of_module(name)
    return place if shared and place.root == shared.root else patient.data


def weights(name: str, patient: Patient) -> Check:
    """Look at the weights of one installed module: their sizes, and whether the usual are there."""
    store = Store(patient.data, catalog.find(name, patient.data))
    damaged = {found.name: found.problem for found in store.states() if found.problem}
    if damaged:
        known = [found for found in damaged if not store.entries()[found]["custom"]]
        mend = f"get {known[0]}" if known else f"add FILE --name {next(iter(damaged))} --replace"
        text = f"Weights of {name} are damaged: {' '.join(damaged.values())}"
        return Check.error(text, f"./run weights {name} {mend}")
    if missing := store.missing():
        text = f"{name} is installed, but its weights are missing: {', '.join(missing)}."
        return Check.warning(text, f"./run weights {name} get --default")
    return Check.ok(f"Weights of {name}: {', '.join(store.entries()) or 'none'}.")


def modules_with_weights(patient: Patient) -> list[str]:
    """Return the installed modules that need weights or have some."""
    published = _published(patient)
    return [name for name in module_names(patient) if name in published and _uses(patient, name)]


def _uses(patient: Patient, name: str) -> bool:
    try:
        module = catalog.find(name, patient.data)
    except GA3EnvError:
        return False
    return bool(module.weights) or Store(patient.data, module).folder.is_dir()


FIXES: dict[str, Examine] = {
    "config": _fix_config,
    "client": _fix_client,
    "workers": _fix_workers,
    "leftovers": _fix_leftovers,
}
