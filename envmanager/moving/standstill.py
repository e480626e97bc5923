"""What a move needs: that nobody else changes the data folder, or uses what it will delete."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from envmanager import workers
from envmanager.data import fulldisk, writers
from envmanager.data.paths import DataFolder
from envmanager.errors import DiskFull, ModuleInUse
from envmanager.modules import catalog
from ga3_nodes import home, leases, locks, records

LOCK = "move.lock"
_PATIENCE_S = 5.0  # for a worker that began in the old folder at the last moment


@contextmanager
def sole(place: Path) -> Iterator[None]:
    """Be the only one that moves the data folder of a place.

    Raises
    ------
    ModuleInUse
        Somebody does so right now.
    """
    place.mkdir(parents=True, exist_ok=True)
    lock = locks.FileLock(place / LOCK)
    if not lock.acquire():
        raise ModuleInUse(
            "The data folder is being moved right now.", "Wait until that is done.", code="moving"
        )
    try:
        yield
    finally:
        lock.release()


@contextmanager
def quiet(data: DataFolder) -> Iterator[None]:
    """Keep all others from changing the data folder; end the workers that nobody uses.

    Raises
    ------
    ModuleInUse
        A worker is in the middle of a call, or another command is at work.
    """
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


def refuse_busy(data: DataFolder) -> None:
    """Raise ModuleInUse where a worker is in the middle of a call."""
    if busy := [worker for worker in workers.live(data) if worker.busy]:
        raise _in_use([f"{worker.module} (PID {worker.pid})" for worker in busy])


def _end_workers(data: DataFolder) -> None:
    refuse_busy(data)
    workers.stop(data)
    if held := leases.held(data.root):
        raise _in_use([f"{found.module} (PID {found.pid})" for found in held])


def _in_use(names: list[str]) -> ModuleInUse:
    return ModuleInUse(
        f"Workers are at work: {', '.join(names)}.",
        "Wait for the end of their calls, or end them: ./run workers stop.",
    )


def without_workers(data: DataFolder) -> bool:
    """End the workers of a folder in which nothing is published any more; tell if none is left."""
    workers.stop(data, patience_s=_PATIENCE_S)
    return not leases.held(data.root)


def no_room(target: Path, needed: int) -> DiskFull | None:
    """Return the error where a volume has less room than a copy of `needed` bytes takes."""
    needed += needed // 50 + (1 << 20)  # folders take room too
    free = fulldisk.free(target)
    if free >= needed:
        return None
    return DiskFull(
        f"The volume of {target} has {free / 1e6:,.1f} MB free; {needed / 1e6:,.1f} MB are needed.",
        "Choose a folder on another volume, or free some room: ./run disk --clean-cache.",
    )


def delete(path: Path) -> bool:
    """Delete a file or folder as far as that works now; tell whether it is gone."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
    return not path.exists()
