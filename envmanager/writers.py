"""One writer per module across processes: who changes its environments holds its lock."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from envmanager.errors import ModuleInUse
from envmanager.events import Report, Stage
from envmanager.files import empty_trash
from envmanager.paths import DataFolder
from ga3_nodes import locks


def lock_path(data: DataFolder, name: str) -> Path:
    """Return the lock file of a module's writer."""
    return data.module(name).with_name(f"{name}.lock")


@contextmanager
def waiting(data: DataFolder, name: str, report: Report) -> Iterator[None]:
    """Be the only writer of a module's environments; wait for the one before."""
    empty_trash(data.trash)
    data.module(name).mkdir(parents=True, exist_ok=True)
    lock = locks.FileLock(lock_path(data, name))
    if not lock.acquire():
        report(Stage("wait", f"Waiting for another change of {name}"))
        while not lock.acquire(timeout=0.2):
            pass
    try:
        yield
    finally:
        lock.release()


@contextmanager
def sole(data: DataFolder, name: str) -> Iterator[None]:
    """Be the only writer of a module's environments, or raise ModuleInUse."""
    path = lock_path(data, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = locks.FileLock(path)
    if not lock.acquire():
        raise ModuleInUse(
            f"Another program is changing {name} right now.", "Wait until it is done."
        )
    try:
        yield
    finally:
        lock.release()
