"""Moves the data folder, safe to interrupt at any moment.

The new folder is made complete beside the old one. Then one small file, ``location.json`` in the
place where everybody looks first, is replaced at once: before that the old folder is in force,
after that the new one. Only then is the old one deleted. A note (``move.json``) in the place and in
both folders tells the next command what to finish or to undo, and that the folders are ours.
Renaming the folder would be quicker, but leave moments without a complete one in force.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from envmanager import workers
from envmanager.data import files, writers
from envmanager.data.paths import MOVE_NOTE, DataFolder
from envmanager.errors import DiskFull, GA3EnvError, ModuleInUse
from envmanager.events import CancelToken, Notice, Report, Stage, ignore
from envmanager.modules import catalog
from envmanager.moving.transfer import Transfer, disturbed
from ga3_nodes import home, leases, locks, records

_LOCK = "move.lock"
_PATIENCE_S = 5.0  # for a worker that began in the old folder at the last moment
# What stays in the place when its data folder moves away; on Windows the workers of all roots have
# their records in the place's `run`.
_OF_THE_PLACE = frozenset({home.LOCATION, MOVE_NOTE, _LOCK, "run"})
_NOT_COPIED = _OF_THE_PLACE | {"trash", "leases", "config.lock"}


@dataclass(frozen=True)
class Moved:
    """The outcome: the folders, the bytes in them, and whether the old one is gone."""

    source: Path
    target: Path
    size: int
    old_deleted: bool


@dataclass(frozen=True)
class _Note:
    """What a move is about to do; `made` tells that the target did not exist before.

    It lies in the place and in both folders, and is settled from that place alone: the folders may
    be places of their own, for who names one in GA3ENV_HOME.
    """

    id: str
    place: str
    source: str
    target: str
    made: bool


def move(folder: Path, report: Report = ignore, cancel: CancelToken | None = None) -> Moved:
    """Move the data folder to another, empty or new folder; finish or undo an earlier move first.

    Raises
    ------
    GA3EnvError
        The folder cannot be used, or has not enough room; nothing was changed.
    ModuleInUse
        A worker is in the middle of a call, or another command is at work.
    Cancelled
        `cancel` was set before the new folder was complete; nothing was changed.
    """
    place, target = home.places()[0], Path(os.path.abspath(folder))  # noqa: PTH100 - "a/../b"
    with _sole(place):
        if not _settle(place, report):
            raise ModuleInUse("The folder of the last move is still in use.", "Try again later.")
        data = DataFolder(home.located(place))
        data.root.mkdir(parents=True, exist_ok=True)
        _refuse(place, data.root, target)
        number, new = os.urandom(8).hex(), not target.exists()
        note = _Note(number, str(place), str(data.root), str(target), made=new)
        with _quiet(data):
            try:
                size = _copy(place, note, report, cancel or CancelToken())
                _switch(place, target)
            except BaseException:  # Ctrl-C too
                _settle(place, report)
                raise
        return Moved(data.root, target, size, _settle(place, report))


def settle(report: Report = ignore) -> None:
    """Finish or undo a move that was interrupted; without one this costs one look at a file.

    Raises
    ------
    ModuleInUse
        The move is going on right now.
    """
    place = home.places()[0]
    if (place / MOVE_NOTE).exists():
        with _sole(place):
            _settle(place, report)


@contextmanager
def _sole(place: Path) -> Iterator[None]:
    place.mkdir(parents=True, exist_ok=True)
    lock = locks.FileLock(place / _LOCK)
    if not lock.acquire():
        raise ModuleInUse(
            "The data folder is being moved right now.", "Wait until that is done.", code="moving"
        )
    try:
        yield
    finally:
        lock.release()


def _refuse(place: Path, source: Path, target: Path) -> None:
    """Raise GA3EnvError where the new folder is none that could become the data folder."""
    wrong = ""
    old, new = source.resolve(), target.resolve()
    if old == new:
        wrong = "is the data folder already"
    elif old in new.parents or new in old.parents or place.resolve() in new.parents:
        wrong = f"and the data folder {source} must not lie in one another"
    elif target.exists() and not target.is_dir():
        wrong = "is no folder"
    elif target.is_dir():
        ours = _OF_THE_PLACE if new == place.resolve() else frozenset()
        if {path.name for path in target.iterdir()} - ours:
            wrong = "is not empty"
    if wrong:
        raise GA3EnvError(
            f"{target} {wrong}.", "Choose an empty or new folder.", code="move_refused"
        )


@contextmanager
def _quiet(data: DataFolder) -> Iterator[None]:
    """Keep all others from changing the data folder; end the workers that nobody uses."""
    with ExitStack() as stack:
        for name in _modules(data):
            stack.enter_context(writers.sole(data, name, "move"))
        lock = locks.FileLock(data.root / "config.lock")
        if not lock.acquire():
            raise ModuleInUse("Another command is at work.", "Wait until it is done.")
        stack.callback(lock.release)
        _end_workers(data)
        yield


def _modules(data: DataFolder) -> list[str]:
    """Return all modules that a command might be changing."""
    names = {*catalog.names(data), *home.read_config(data.root)["modules"]}
    envs = data.root / "envs"
    names |= {path.stem for path in envs.iterdir()} if envs.is_dir() else set()
    return sorted(filter(records.valid_name, names))


def _end_workers(data: DataFolder) -> None:
    busy = [worker for worker in workers.live(data) if worker.busy]
    if not busy:
        workers.stop(data)
    names = [f"{found.module} (PID {found.pid})" for found in busy or leases.held(data.root)]
    if names:
        raise ModuleInUse(
            f"Workers are at work: {', '.join(names)}.",
            "Wait for the end of their calls, or end them: ./run workers stop.",
        )


def _copy(place: Path, note: _Note, report: Report, cancel: CancelToken) -> int:
    """Make the new folder complete; return its size in bytes."""
    source, target = Path(note.source), Path(note.target)
    text = json.dumps({"schema": 1, **asdict(note)})
    files.write_text(place / MOVE_NOTE, text)
    try:
        target.mkdir(parents=True, exist_ok=True)
        for folder in {source, target} - {place}:
            files.write_text(folder / MOVE_NOTE, text)
    except OSError as error:
        raise GA3EnvError(
            f"{target} cannot be written: {error}.",
            "Choose another folder, or correct its permissions.",
            code="move_refused",
        ) from error
    transfer = Transfer(source, target, _left_out, report, cancel)
    try:
        report(Stage("plan", f"Listing {source}"))
        _refuse_without_room(target, transfer.plan(MOVE_NOTE))
        report(Stage("copy", f"Copying to {target}"))
        transfer.copy()
    except FileNotFoundError as error:  # what was listed is gone
        raise disturbed(Path(error.filename)) from error
    report(Stage("verify", "Checking the copy"))
    transfer.verify()
    return transfer.size


def _left_out(name: str) -> bool:
    top, _, below = name.partition("/")
    if not below:
        return top in _NOT_COPIED or top.endswith(".tmp")
    return top == "envs" and "/" not in below and below.endswith(".lock")


def _refuse_without_room(target: Path, needed: int) -> None:
    needed += needed // 50 + (1 << 20)  # folders take room too
    free = shutil.disk_usage(target).free
    if free < needed:
        raise DiskFull(
            f"The volume of {target} has {free / 1e6:,.1f} MB free; {needed / 1e6:,.1f} MB are "
            "needed.",
            "Choose a folder on another volume, or free some room: ./run disk --clean-cache.",
        )


def _switch(place: Path, target: Path) -> None:
    """Put the new folder in force, at once."""
    location = place / home.LOCATION
    if target == place:
        home.patiently(location.unlink, seconds=10.0)
    else:
        files.write_text(location, json.dumps({"schema": 1, "root": str(target)}) + "\n")


# ---- after a move, or an interrupted one --------------------------------------------------------


def _settle(place: Path, report: Report) -> bool:
    """Delete what is not in force, then the notes; tell whether nothing is left to do."""
    note = _read(place)
    if note is None or Path(note.place) != place:
        _refuse_a_foreign(note, place)
        return True
    source, target = Path(note.source), Path(note.target)
    moved = home.located(place) == target
    old = source if moved else target
    if not _is_ours(old, note):
        done = True  # deleted already, or not begun
    else:
        report(Stage("delete", f"Deleting {old}"))
        done = (not moved or _is_unused(source)) and _clear(old, place)
    if not done:
        report(Notice(f"A part of {old} is still in use; a later command deletes it."))
        return False
    _forget(source if not moved else target, place)
    if old != place and (moved or note.made):
        with contextlib.suppress(OSError):
            old.rmdir()
    _forget(place)
    return True


def _refuse_a_foreign(note: _Note | None, place: Path) -> None:
    if note and Path(note.source) == place:
        raise ModuleInUse(
            f"{place} is being moved as the data folder of {note.place}.",
            "Wait until that is done. If it was interrupted, run ./run move-root without "
            "GA3ENV_HOME.",
            code="moving",
        )


def _is_unused(source: Path) -> bool:
    """Let no worker start in the old folder any more, and end those that run."""
    data = DataFolder(source)
    home.patiently(lambda: data.config.unlink(missing_ok=True), seconds=10.0)
    workers.stop(data, patience_s=_PATIENCE_S)
    return not leases.held(source)


def _clear(folder: Path, place: Path) -> bool:
    """Empty one of the folders, its note last; tell whether that worked."""
    kept: Collection[str] = _OF_THE_PLACE if folder == place else {MOVE_NOTE}
    gone = True
    for path in folder.iterdir():
        if path.name not in kept:
            gone = _delete(path) and gone
    if gone and folder != place:
        _forget(folder)
    return gone


def _delete(path: Path) -> bool:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
    return not path.exists()


def _forget(folder: Path, place: Path | None = None) -> None:
    """Remove a folder's note, but not the place's before all is done."""
    if folder != place:
        home.patiently(lambda: (folder / MOVE_NOTE).unlink(missing_ok=True))


def _read(folder: Path) -> _Note | None:
    try:
        found = json.loads((folder / MOVE_NOTE).read_text("utf-8"))
        return _Note(**{name: found[name] for name in _Note.__dataclass_fields__})
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _is_ours(folder: Path, note: _Note) -> bool:
    """Tell whether it is this move that wrote into a folder: else nothing there is deleted."""
    return _read(folder) == note
