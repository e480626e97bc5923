"""What is installed: the published entries, their manifests, and the state of each module."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from envmanager import disk, workers
from envmanager.data import access, writers
from envmanager.data.access import Access
from envmanager.data.paths import DataFolder
from envmanager.data.writers import Writer
from envmanager.environments.generations import (
    Pin,
    is_pinned,
    pin_of,
    read_manifest,
    source_sha256,
)
from envmanager.errors import CatalogError, ConfigError, NotInstalled, UnknownModule
from envmanager.modules import catalog
from envmanager.modules.catalog import Module
from envmanager.weights.store import SetState, Store
from ga3_nodes import home, weights


@dataclass(frozen=True)
class ModuleStatus:
    """A module and its environment, as ``list`` and ``status`` show it.

    `root` is the data folder that it is in, or would be installed into; `shared` tells that this is
    the one of all accounts, and `may_change` whether this account may change it.
    """

    name: str
    title: str
    version: str
    installed_version: str | None
    state: str
    generation: int | None
    generations: list[int]
    disk: dict[str, int]
    disk_date: float | None
    backend: str | None
    device: str | None
    in_use_by: list[dict[str, Any]]
    busy: dict[str, Any] | None = None
    problems: list[str] = field(default_factory=list)
    manifest: dict[str, Any] | None = None
    weights: list[SetState] = field(default_factory=list)
    pins: list[Pin] = field(default_factory=list)
    root: str = ""
    shared: bool = False
    may_change: bool = True

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def published(data: DataFolder, name: str) -> home.ModuleEntry | None:
    """Return a module's entry in ``config.json``."""
    found = home.read_config(data.root)["modules"].get(name)
    return home.entry(data.root, name, found) if found else None


def usable(data: DataFolder, name: str) -> home.ModuleEntry | None:
    """Return a module's entry, or None where there is none or it is damaged."""
    entries = home.read_config(data.root)["modules"]
    try:
        return home.entry(data.root, name, entries[name]) if name in entries else None
    except ConfigError:
        return None


def installed(data: DataFolder, name: str) -> tuple[home.ModuleEntry, dict[str, Any]]:
    """Return the published entry and its manifest, which is empty where it is lost.

    Raises
    ------
    NotInstalled, UnknownModule
        There is none.
    """
    entry = published(data, name)
    if entry is None:
        catalog.find(name, data)  # a misspelt name is told as such
        raise NotInstalled(
            f"The module {name!r} is not installed.", f"Install it: ./run install {name}"
        )
    return entry, read_manifest(entry.folder) or {}


def numbers(data: DataFolder, name: str) -> list[int]:
    """Return the numbers of a module's generations, also of incomplete ones."""
    folder = data.module(name)
    if not folder.is_dir():
        return []
    return sorted(int(path.name) for path in folder.iterdir() if path.name.isdecimal())


def pins(data: DataFolder, name: str) -> list[Pin]:
    """Return the pins of a module, by generation."""
    folders = (data.generation(name, number) for number in numbers(data, name))
    return [pin_of(folder) for folder in folders if is_pinned(folder)]


def manifest_of(data: DataFolder, name: str, number: int) -> dict[str, Any]:
    """Return the manifest of a generation.

    Raises
    ------
    NotInstalled
        There is no such generation, or it is not complete; the hint lists the complete ones.
    """
    present = numbers(data, name)
    found = {n: read_manifest(data.generation(name, n)) for n in present}
    if manifest := found.get(number):
        return manifest
    complete = ", ".join(str(n) for n in present if found[n]) or "none"
    raise NotInstalled(
        f"{name} has no generation {number}.", f"There are: {complete}.", code="no_generation"
    )


def is_current(module: Module, entry: home.ModuleEntry) -> bool:
    """Tell whether a complete environment was built from the module's present files."""
    manifest = read_manifest(entry.folder)
    return (
        manifest is not None
        and entry.python.exists()
        and manifest.get("source_sha256") == source_sha256(module)
    )


def statuses(data: DataFolder) -> list[ModuleStatus]:
    """Return the status of every module of the catalog, and of installed ones without."""
    entries = home.read_config(data.root)["modules"]
    known = Known(disk.cached(data), access.access(data))
    return [status(data, name, known) for name in sorted({*catalog.names(data), *entries})]


@dataclass(frozen=True)
class Known:
    """What is asked once for all modules of a data folder: the disk figures, and its access."""

    counted: disk.Overview | None
    access: Access


def status(data: DataFolder, name: str, known: Known | None = None) -> ModuleStatus:
    """Return the status of one module."""
    known = known or Known(disk.cached(data), access.access(data))
    problems: list[str] = []
    entry, module = _found(data, name, problems)
    manifest = read_manifest(entry.folder) if entry else None
    writer = writers.present(data, name)
    sets, missing = _weights(data, module, problems)
    state = _state(module, entry, manifest, problems, weights_missing=missing)
    state = _passing(data, name, writer, state)
    present = numbers(data, name)
    problems += filter(None, [(manifest or {}).get("device_problem")])
    usage, date = _disk_use(known.counted, name, present, manifest)
    return ModuleStatus(
        name=name,
        title=module.title if module else name,
        version=module.version if module else "",
        installed_version=entry.version if entry else None,
        state=state,
        generation=entry.generation if entry else None,
        generations=present,
        disk={**usage, "weights": weights_bytes(data, name)},
        disk_date=date,
        backend=manifest["backend"] if manifest else None,
        device=entry.device if entry else None,
        in_use_by=workers.users(data, name),
        busy=writer.as_dict() if writer else None,
        problems=problems,
        manifest=manifest,
        weights=sets,
        pins=pins(data, name),
        root=str(data.root),
        shared=known.access.shared,
        may_change=known.access.may_change,
    )


def _found(
    data: DataFolder, name: str, problems: list[str]
) -> tuple[home.ModuleEntry | None, Module | None]:
    """Return what is published of a module, and its files, as far as they can be read."""
    try:
        entry = published(data, name)
    except ConfigError as error:
        entry = usable(data, name)
        problems.append(str(error))
    try:
        return entry, catalog.find(name, data)
    except CatalogError as error:
        problems.append(str(error))
    except UnknownModule:
        if not entry and not problems:
            raise
    return entry, None


def weights_bytes(data: DataFolder, name: str) -> int:
    """Return the bytes of a module's weights; a file that sets share counts once."""
    try:
        entries = weights.listed(home.weights_folder(data.root, name)).values()
    except ConfigError:  # `_weights` tells of it
        return 0
    sizes = {file: found["size"] for entry in entries for file, found in entry["files"].items()}
    return sum(sizes.values())


def _weights(
    data: DataFolder, module: Module | None, problems: list[str]
) -> tuple[list[SetState], bool]:
    """Return the sets of a module, and whether it lacks one that it needs."""
    if not module:
        return [], False
    store = Store(data, module)
    try:
        return store.states(), bool(store.missing())
    except ConfigError as error:
        problems.append(str(error))
        return [], any(found.default for found in module.weights.values())


def _state(
    module: Module | None,
    entry: home.ModuleEntry | None,
    manifest: dict[str, Any] | None,
    problems: list[str],
    *,
    weights_missing: bool,
) -> str:
    if not entry:
        return "broken" if problems else "not_installed"
    if not entry.python.exists() or manifest is None:
        problems.append(f"A part of {entry.folder} is missing. Install the module again.")
        return "broken"
    if weights_missing:
        return "weights_missing"
    if module and not is_current(module, entry):
        return "update_available"
    return "ready"


def _passing(data: DataFolder, name: str, writer: Writer | None, state: str) -> str:
    """Return the state while a writer works: what nodes can use meanwhile keeps its own."""
    what = writer.what if writer else ""
    if what == "remove" or writers.removal_mark(data, name).exists():
        return "removing"
    builds = what in ("install", "update", "repair")
    return "installing" if builds and state in ("not_installed", "broken") else state


def _disk_use(
    counted: disk.Overview | None,
    name: str,
    present: list[int],
    manifest: dict[str, Any] | None,
) -> tuple[dict[str, int], float | None]:
    """Return the figures of the last count with their date, else those of the build."""
    found = counted.module(name, present) if counted else None
    if counted and found:
        return {"own": found.own, "shared": found.shared}, counted.date
    if manifest:
        return manifest["disk"], manifest.get("finished")
    return {"own": 0, "shared": 0}, None
