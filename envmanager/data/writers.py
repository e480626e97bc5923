"""One writer per module across processes: who changes its environments holds its lock.

The lock's file holds a note of the writer, so that whoever waits can be told for whom.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from envmanager.data import access, fulldisk
from envmanager.data.files import empty_trash
from envmanager.data.paths import APP, MOVE_NOTE, DataFolder
from envmanager.data.users import User, user_text
from envmanager.errors import ModuleInUse
from envmanager.events import CancelToken, Event, Report, Stage, ignore
from ga3_nodes import leases, locks

_POLL_S = 0.2  # how often a wait looks at its cancel token
_PROBE_S = 0.5  # longer than anybody's question whether a lock is held


@dataclass(frozen=True)
class Writer:
    """Who changes a module: `what` is a command's word, `stage` the name of its present stage.

    `since` is seconds since the epoch. A note that cannot be read leaves all but `what` empty.
    """

    what: str = "change"
    pid: int = 0
    program: str = ""
    user: str = ""
    since: float = 0.0
    stage: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)

    def as_user(self) -> User:
        """Return the writer as one who uses the module."""
        program = f"{self.program} {self.what}" if self.program else "another program"
        return {"program": program, "pid": self.pid, "since": self.since, "busy": True}


def lock_path(data: DataFolder, name: str) -> Path:
    """Return the lock file of a module's writer."""
    return data.module(name).with_name(f"{name}.lock")


def removal_mark(data: DataFolder, name: str) -> Path:
    """Return the file that says that a module is to be removed; see `removal`."""
    return data.module(name).with_name(f"{name}.remove")


def present(data: DataFolder, name: str) -> Writer | None:
    """Return who changes a module right now."""
    return holder(lock_path(data, name))


def holder(lock: Path) -> Writer | None:
    """Return the living writer that holds a lock file."""
    try:
        return _noted(lock) if locks.is_locked(lock) else None
    except PermissionError:
        return None  # another account's, which has just made it


def others_at_work(data: DataFolder, name: str = "") -> bool:
    """Tell whether somebody changes a module other than this one right now."""
    own = lock_path(data, name) if name else None
    return any(holder(path) for path in data.root.glob("envs/*.lock") if path != own)


def _noted(lock: Path) -> Writer:
    note, empty = locks.read_note(lock), asdict(Writer())
    return Writer(**{k: note[k] for k, v in empty.items() if type(note.get(k)) is type(v)})


@contextmanager
def waiting(
    data: DataFolder, name: str, what: str, report: Report, cancel: CancelToken | None = None
) -> Iterator[Report]:
    """Be the only writer of a module's environments; wait for the one before.

    Yields a `report` that also notes the stage in the lock, for others to see.

    Raises
    ------
    NotWritable
        This account may not change the data folder.
    Cancelled
        `cancel` was set while waiting.
    """
    access.require(data)
    with fulldisk.named(data.root), access.readable_by_all(data):
        data.module(name).mkdir(parents=True, exist_ok=True)
    lock = locks.FileLock(lock_path(data, name), public=True)
    told = ""
    while not lock.acquire(timeout=_POLL_S):
        if cancel:
            cancel.check()
        before = holder(lock.path)
        text = f"Waiting for {user_text(before.as_user())}" if before else told
        if text != told:
            report(Stage("wait", text))
            told = text
    with _holding(data, lock, what, report) as noting:
        yield noting


@contextmanager
def sole(
    data: DataFolder, name: str, what: str = "change", report: Report = ignore
) -> Iterator[Report]:
    """Be the only writer of a module's environments, or raise ModuleInUse.

    Yields a `report` that also notes the stage in the lock, for others to see.

    Raises
    ------
    NotWritable
        This account may not change the data folder.
    """
    access.require(data)
    path = lock_path(data, name)
    with access.readable_by_all(data):
        path.parent.mkdir(parents=True, exist_ok=True)
    lock = locks.FileLock(path, public=True)
    if not lock.acquire(timeout=_PROBE_S):
        who = (holder(path) or Writer()).as_user()
        raise ModuleInUse(
            f"{user_text(who)} is changing {name} right now.",
            "Wait until it is done.",
            details={"in_use_by": [who]},
        )
    with _holding(data, lock, what, report) as noting:
        yield noting


@contextmanager
def _holding(data: DataFolder, lock: locks.FileLock, what: str, report: Report) -> Iterator[Report]:
    """Note who holds the lock and, as `report` is told of them, the stages of the work."""
    writer = Writer(what, os.getpid(), _program(), leases.user_name(), time.time())

    def noting(event: Event) -> None:
        if isinstance(event, Stage):
            lock.write_note(replace(writer, stage=event.name).as_dict())
        report(event)

    try:
        _refuse_if_moving(data.root)
        lock.write_note(writer.as_dict())
        empty_trash(data.trash)  # what was in use, or a killed command left
        with access.readable_by_all(data):
            yield noting
    finally:
        lock.release()


def _refuse_if_moving(root: Path) -> None:
    """Raise ModuleInUse where `relocation` moves this data folder: what is built here is lost."""
    try:
        source = json.loads((root / MOVE_NOTE).read_text("utf-8"))["source"]
    except (OSError, ValueError, KeyError, TypeError):
        return
    if Path(source) == root:
        hint = "Wait until that is done. If it was interrupted, ./run move-root ends it."
        raise ModuleInUse("The data folder is being moved.", hint, code="moving")


def _program() -> str:
    """Return how the user started this process."""
    started = Path(sys.argv[0]).absolute()
    if started == APP / "envmanager" / "__main__.py":
        return "./run"
    return started.stem if started.is_file() else "python"
