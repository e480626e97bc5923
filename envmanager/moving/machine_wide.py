"""Makes the environments of one account those of all accounts of the computer.

They are copied to the machine's place, where only administrators may write, and published there by
its ``config.json``, last of all. Until then the account's own are in force and as they were; then
they are withdrawn and deleted. What is private stays with the account: settings, presets, weights
of its own, logs. The copy shares no bytes with the source, whose owner could still write them. A
note tells the next command what to finish or to undo, see `notes`: the one in the new folder
becomes a receipt as soon as that is in force.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from envmanager.data import access, config, fulldisk
from envmanager.data.paths import MOVE_NOTE, DataFolder, venv_base
from envmanager.errors import ConfigError, GA3EnvError, ModuleInUse, NotWritable
from envmanager.events import CancelToken, Notice, Report, Stage, ignore
from envmanager.machine import permissions
from envmanager.moving import notes, scripts, shared_weights, standstill
from envmanager.moving.notes import Moved, Note
from envmanager.moving.transfer import Transfer, disturbed
from ga3_nodes import home, owners

_MOVED = frozenset({"envs", "python", "modules", "weights", "uv-cache", "trusted.json"})
_STAYS = {"settings.toml": "settings", "presets": "presets", "logs": "logs"}
# What may lie in the machine's place though nothing is installed there.
_OF_THE_TARGET = frozenset(
    {home.LOCATION, standstill.LOCK, "run", "logs", "leases", "trash", "client", "reserve"}
    | {"settings.toml", "disk.json", "config.json", "moved.json"}
)


@dataclass(frozen=True)
class Plan:
    """What would be done, and what is in the way.

    Attributes
    ----------
    size, free : int
        Bytes to copy, and bytes that are free there.
    modules : list of str
        What all accounts will have.
    stays : list of str
        What the account keeps for itself.
    obstacles : list of GA3EnvError
        Why it cannot be done now; empty where it can.
    """

    source: Path
    target: Path
    size: int
    free: int
    modules: list[str]
    stays: list[str]
    obstacles: list[GA3EnvError]

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "source": str(self.source),
            "target": str(self.target),
            "bytes": self.size,
            "free_bytes": self.free,
            "modules": self.modules,
            "stays": self.stays,
            "obstacles": [error.to_dict() for error in self.obstacles],
        }


def elevated() -> bool:
    """Tell whether this process has the rights for it: root, or a started-as-administrator."""
    return owners.is_elevated()


def plan(
    source: Path | None = None, report: Report = ignore, cancel: CancelToken | None = None
) -> Plan:
    """Look what a move would do; nothing is changed.

    Parameters
    ----------
    source : Path, optional
        The data folder of another account; by default this one's own.

    Raises
    ------
    ConfigError
        The data folder is not there, or damaged.
    NotWritable
        It is another account's, and this one is no administrator.
    """
    place, data, target = _folders(source)
    if source and not elevated():
        raise _powerless(place)  # who may not even look into it
    if source and not data.root.is_dir():
        raise _not_there(data)
    report(Stage("plan", f"Listing {data.root}"))
    transfer = Transfer(data.root, target, _left_out, report, cancel or CancelToken(), False)
    size = transfer.plan(MOVE_NOTE) if data.root.is_dir() else 0
    stays = [text for name, text in _STAYS.items() if (data.root / name).exists()]
    stays += ["weights of its own"] if shared_weights.has_own(data) else []
    return Plan(
        source=data.root,
        target=target,
        size=size,
        free=fulldisk.free(target),
        modules=sorted(home.read_config(data.root)["modules"]),
        stays=stays,
        obstacles=list(_obstacles(place, data, target, size, named=source is not None)),
    )


def _folders(source: Path | None) -> tuple[Path, DataFolder, Path]:
    """Return the place, its data folder, and where that goes."""
    place = Path(os.path.abspath(source)) if source else home.places()[0]  # noqa: PTH100
    return place, DataFolder(home.located(place)), home.located(home.machine_root())


# ---- what is in the way --------------------------------------------------------------------------


def _obstacles(
    place: Path, data: DataFolder, target: Path, size: int, *, named: bool
) -> Iterator[GA3EnvError]:
    if not elevated():
        yield _powerless(place)
    if wrong := _wrong(data, target, named=named):
        yield GA3EnvError(*wrong, code="move_refused")
    if (note := notes.read(place)) and not note.shares:
        yield ModuleInUse(
            "The data folder is being moved.", "./run move-root finishes that.", code="moving"
        )
    yield from _private_pythons(data)
    if error := standstill.no_room(target, size):
        yield error
    try:
        if data.root.is_dir():  # else looking for its workers would make it
            standstill.refuse_busy(data)
    except ModuleInUse as busy:
        yield busy


def _not_there(data: DataFolder) -> GA3EnvError:
    return GA3EnvError(f"There is no {data.root}.", "Name a data folder.", code="move_refused")


def _powerless(place: Path) -> NotWritable:
    return NotWritable(
        "Only an administrator can make environments those of all accounts.",
        "Start the app or a command prompt as administrator (Linux: with sudo), and name this "
        f'folder: ./run move-root --machine-wide --from "{place}"',
    )


def _wrong(data: DataFolder, target: Path, *, named: bool) -> tuple[str, str] | None:
    """Return what keeps one folder from becoming the other, and what to do."""
    if os.environ.get("GA3ENV_HOME") and not named:
        return (
            "The variable GA3ENV_HOME names a data folder, so that no other one would be used.",
            "Remove the variable, and name the folder: ./run move-root --machine-wide --from "
            "FOLDER",
        )
    old, new = data.root.resolve(), target.resolve()
    if old == new:
        return f"{target} is the data folder of all accounts already.", "There is nothing to do."
    if old in new.parents or new in old.parents:
        return f"{target} and {data.root} must not lie in one another.", "See ./run move-root."
    if not home.read_config(data.root)["modules"]:
        return (
            f"Nothing is installed in {data.root}.",
            "Install for all accounts: ./run install MODULE --all-accounts",
        )
    if _is_taken(target):
        return (
            f"{target} holds environments or other files already.",
            "Install what it lacks: ./run install MODULE --all-accounts",
        )
    return None


def _is_taken(target: Path) -> bool:
    """Tell whether something is in the way in the machine's place, other than leftovers of ours."""
    if not target.is_dir() or _is_orphan(target):
        return False
    if {path.name for path in target.iterdir()} - _OF_THE_TARGET - _leftovers(target):
        return True
    try:
        return bool(home.read_config(target)["modules"])
    except ConfigError:
        return True


def _leftovers(target: Path) -> set[str]:
    """Return the names of what installs that failed have left, besides what is `_OF_THE_TARGET`.

    Where there is no generation, uv's cache is of use to nobody.
    """
    empty = {path.name for path in target.iterdir() if path.is_dir() and not any(path.iterdir())}
    built = any(path.is_dir() for path in target.glob("envs/*/*"))
    return empty if built else empty | {"envs", "uv-cache", "downloads"}


def _is_orphan(target: Path) -> bool:
    """Tell whether a move broke off here that was never in force, and could not be undone then."""
    note = notes.read(target)
    return note is not None and note.shares and Path(note.target) == target


def _private_pythons(data: DataFolder) -> Iterator[GA3EnvError]:
    """Look for environments whose Python other accounts cannot run, and which does not move."""
    inside = data.root.resolve()
    for name, told in home.read_config(data.root)["modules"].items():
        venv = home.entry(data.root, name, told).folder / ".venv"
        base = venv_base(venv)
        if base is None or inside in base.resolve().parents:
            continue
        if permissions.is_private(base):
            yield GA3EnvError(
                f"{name} runs with the Python in {base}, which other accounts cannot use.",
                "Have one in the data folder: ./run settings python_source managed, then ./run "
                f"remove {name} and ./run install {name}",
                code="python_private",
            )


# ---- the move ------------------------------------------------------------------------------------


def move(
    source: Path | None = None, report: Report = ignore, cancel: CancelToken | None = None
) -> Moved:
    """Make the environments of an account those of all accounts.

    Parameters
    ----------
    source : Path, optional
        As for `plan`.

    Raises
    ------
    GA3EnvError
        An obstacle of `plan`; nothing was changed.
    Cancelled
        `cancel` was set before the new folder was in force; nothing was changed.
    """
    cancel = cancel or CancelToken()
    place, data, target = _folders(source)
    if not elevated():
        raise _powerless(place)
    if not data.root.is_dir():
        raise _not_there(data)
    with standstill.sole(place):
        if (note := notes.read(place)) and note.shares and not settle(note, report):
            raise ModuleInUse("The folder of the last move is still in use.", "Try again later.")
        planned = plan(source, report, cancel)
        if planned.obstacles:
            raise planned.obstacles[0]
        _make_way(target)
        note = Note.of(place, data.root, target, shares=True)
        with standstill.quiet(data), access.readable_by_all(DataFolder(target)):
            try:
                size = _copy(note, report, cancel)
                report(Stage("publish", "Publishing for all accounts"))
                _publish(note)
            except BaseException:  # Ctrl-C too
                if notes.is_ours(target, note):  # else it is in force, and a later command ends it
                    settle(note, report)
                raise
        return Moved(data.root, target, size, settle(note, report))


def _copy(note: Note, report: Report, cancel: CancelToken) -> int:
    """Make the new folder complete, with its permissions; return its size in bytes."""
    place, source, target = Path(note.place), Path(note.source), Path(note.target)
    try:
        target.mkdir(parents=True, exist_ok=True)
        permissions.hide(target)  # what is copied keeps its old permissions for a while
        for folder in dict.fromkeys((target, place, source)):  # the target's is the first to come
            notes.write(folder, note)
    except OSError as error:
        raise notes.refused(target, error) from error
    transfer = Transfer(source, target, _left_out, report, cancel, False)
    transfer.plan(MOVE_NOTE)
    report(Stage("copy", f"Copying to {target}"))
    try:
        transfer.copy()
        shared_weights.hand_over(DataFolder(source), DataFolder(target))
    except FileNotFoundError as error:  # what was listed is gone
        raise disturbed(Path(error.filename)) from error
    report(Stage("verify", "Checking the copy"))
    transfer.verify()
    scripts.mend(source, target)
    report(Stage("permissions", "Setting the permissions"))
    permissions.mend_below(target, cancel)
    permissions.close(target)
    return transfer.size


def _left_out(name: str) -> bool:
    parts = name.split("/")
    if parts[0] not in _MOVED or parts[-1].endswith(".tmp") or parts[-1].startswith(home.PROBE):
        return True
    if parts[0] == "envs":
        return len(parts) == 2 and parts[1].endswith((".lock", ".remove"))
    return parts[0] == "weights" and shared_weights.stays(parts[2:])


def _publish(note: Note) -> None:
    """Put the new folder in force: what was published in the old one, with the note gone."""
    entries = home.read_config(Path(note.source))["modules"]
    target = DataFolder(Path(note.target))
    config.change(target, lambda modules: modules.update(entries))
    notes.make_receipt(target.root)


# ---- after a move, or an interrupted one --------------------------------------------------------


def settle(note: Note, report: Report = ignore) -> bool:
    """Finish a move whose new folder is in force, or undo it; tell whether nothing is left to do.

    What an account may not delete any more, an administrator's next move does.
    """
    source, target = Path(note.source), Path(note.target)
    if notes.is_ours(target, note):
        report(Stage("delete", f"Deleting {target}"))
        with contextlib.suppress(OSError):
            _clear(target, made=note.made)
    elif notes.has_receipt(target, note) and not _withdraw(DataFolder(source), report):
        report(Notice(f"A part of {source} is still in use; a later command deletes it."))
        return False
    for folder in dict.fromkeys((source, Path(note.place))):
        notes.forget(folder)
    return True


def _make_way(target: Path) -> None:
    """Remove leftovers from the machine's place."""
    if not target.is_dir():
        return
    if _is_orphan(target):
        _clear(target)
    for name in _leftovers(target) & (_MOVED | {"downloads"}):
        standstill.delete(target / name)


def _clear(target: Path, *, made: bool = False) -> None:
    """Remove what a move that was never in force has left in the machine's place."""
    ours = [path for path in target.iterdir() if path.name in _MOVED | {"config.json", "client"}]
    gone = True
    for path in ours:
        gone = standstill.delete(path) and gone
    if gone:
        notes.forget(target)
        if made:
            shutil.rmtree(target, ignore_errors=True)


def _withdraw(source: DataFolder, report: Report) -> bool:
    """Delete what is the computer's now from the account's own folder; its own things stay."""
    report(Stage("delete", f"Deleting the environments in {source.root}"))
    owner = source.root.stat()
    with contextlib.suppress(ConfigError):
        config.change(source, lambda modules: modules.clear())
    gone = standstill.without_workers(source)
    for name in sorted(_MOVED - {"weights"}) if gone else ():
        gone = standstill.delete(source.root / name) and gone
    shared_weights.withdraw(source)
    permissions.give(source.root, owner)
    return gone
