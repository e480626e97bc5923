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
from collections.abc import Collection
from pathlib import Path

from envmanager.data import access, files
from envmanager.data.paths import MOVE_NOTE, DataFolder
from envmanager.errors import GA3EnvError, ModuleInUse
from envmanager.events import CancelToken, Notice, Report, Stage, ignore
from envmanager.machine import permissions
from envmanager.moving import machine_wide, notes, scripts, standstill
from envmanager.moving.notes import Moved, Note
from envmanager.moving.transfer import Transfer, disturbed
from ga3_nodes import home

__all__ = ["Moved", "move", "settle"]

# What stays in the place when its data folder moves away; on Windows the workers of all roots have
# their records in the place's `run`.
_OF_THE_PLACE = frozenset({home.LOCATION, MOVE_NOTE, standstill.LOCK, "run"})
_NOT_COPIED = _OF_THE_PLACE | {"trash", "leases", "config.lock"}


def move(folder: Path, report: Report = ignore, cancel: CancelToken | None = None) -> Moved:
    """Move the data folder to another, empty or new folder; finish or undo an earlier move first.

    Raises
    ------
    NotWritable
        This account may not change the data folder.
    GA3EnvError
        The folder cannot be used, or has not enough room; nothing was changed.
    ModuleInUse
        A worker is in the middle of a call, or another command is at work.
    Cancelled
        `cancel` was set before the new folder was complete; nothing was changed.
    """
    place, target = home.places()[0], Path(os.path.abspath(folder))  # noqa: PTH100 - "a/../b"
    access.require(DataFolder(home.located(place)))
    with standstill.sole(place):
        if not _settle(place, report):
            raise ModuleInUse("The folder of the last move is still in use.", "Try again later.")
        data = DataFolder(home.located(place))
        data.root.mkdir(parents=True, exist_ok=True)
        _refuse(place, data.root, target)
        note = Note.of(place, data.root, target)
        with standstill.quiet(data):
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
        with standstill.sole(place):
            _settle(place, report)
    elif (place / home.LOCATION).exists():
        _settle_the_root(home.located(place), report)


def _settle_the_root(root: Path, report: Report) -> None:
    """Finish what an administrator has begun who named the data folder itself."""
    note = notes.read(root)
    if note and note.shares and Path(note.place) == root:
        with standstill.sole(root):
            machine_wide.settle(note, report)


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


def _copy(place: Path, note: Note, report: Report, cancel: CancelToken) -> int:
    """Make the new folder complete; return its size in bytes."""
    source, target = Path(note.source), Path(note.target)
    notes.write(place, note)
    try:
        target.mkdir(parents=True, exist_ok=True)
        if home.is_shared(source):
            permissions.close(target)
        for folder in {source, target} - {place}:
            notes.write(folder, note)
    except OSError as error:
        raise notes.refused(target, error) from error
    transfer = Transfer(source, target, _left_out, report, cancel)
    try:
        report(Stage("plan", f"Listing {source}"))
        if full := standstill.no_room(target, transfer.plan(MOVE_NOTE)):
            raise full
        report(Stage("copy", f"Copying to {target}"))
        transfer.copy()
    except FileNotFoundError as error:  # what was listed is gone
        raise disturbed(Path(error.filename)) from error
    report(Stage("verify", "Checking the copy"))
    transfer.verify()
    scripts.mend(source, target)
    return transfer.size


def _left_out(name: str) -> bool:
    top, _, below = name.partition("/")
    if (below or top).startswith(home.PROBE):
        return True
    if not below:
        return top in _NOT_COPIED or top.endswith(".tmp")
    return top == "envs" and "/" not in below and below.endswith(".lock")


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
    note = notes.read(place)
    if note is None or Path(note.place) != place:
        _refuse_a_foreign(note, place)
        return True
    if note.shares:
        return machine_wide.settle(note, report)
    source, target = Path(note.source), Path(note.target)
    moved = home.located(place) == target
    old = source if moved else target
    if not notes.is_ours(old, note):
        done = True  # deleted already, or not begun
    else:
        report(Stage("delete", f"Deleting {old}"))
        done = (not moved or _is_unused(source)) and _clear(old, place)
    if not done:
        report(Notice(f"A part of {old} is still in use; a later command deletes it."))
        return False
    _forget_but(source if not moved else target, place)
    if old != place and (moved or note.made):
        with contextlib.suppress(OSError):
            old.rmdir()
    notes.forget(place)
    return True


def _refuse_a_foreign(note: Note | None, place: Path) -> None:
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
    return standstill.without_workers(data)


def _clear(folder: Path, place: Path) -> bool:
    """Empty one of the folders, its note last; tell whether that worked."""
    kept: Collection[str] = _OF_THE_PLACE if folder == place else {MOVE_NOTE}
    gone = True
    for path in folder.iterdir():
        if path.name not in kept:
            gone = standstill.delete(path) and gone
    if gone:
        _forget_but(folder, place)
    return gone


def _forget_but(folder: Path, place: Path) -> None:
    """Remove a folder's note, but not the place's before all is done."""
    if folder != place:
        notes.forget(folder)
