"""A worker's claim on its generation: locks that it holds as long as it lives, and their notes.

The note says who uses the worker, for those whom it cannot answer: it may be suspended, or belong
to another account. There are two locks. The private one lies beside the worker's record and lets
only one worker of this user live. The public one, in ``ROOT/leases``, tells all accounts of a
shared data folder; a worker that may not write there lives without it.
"""

from __future__ import annotations

import getpass
import re
import stat
import threading
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ga3_nodes import home, locks, records

_LONGEST_NOTE = 1 << 20  # bytes
_PUBLIC_S = 0.2  # longer than anybody's question whether the lease is held
_NAME = re.compile(r"(?P<module>[a-z][a-z0-9_]*)-(?P<generation>\d+)(-.*)?\.lease")


class Lease:
    """The two locks of one worker.

    Parameters
    ----------
    root : Path
        The data folder.
    stem : Path
        The common beginning of the worker's private files.
    """

    def __init__(self, root: Path, stem: Path) -> None:
        self._private = locks.FileLock(records.lease_path(stem))
        self._public = locks.FileLock(public_path(root, stem), public=True)
        self._writing = threading.Lock()

    def acquire(self, timeout: float) -> bool:
        """Take the lease; return False if another worker keeps it for `timeout` seconds."""
        if not self._private.acquire(timeout):
            return False
        try:
            self._public.path.parent.mkdir(exist_ok=True)
            self._public.acquire(_PUBLIC_S)
        except OSError:
            pass  # a shared data folder that this user only reads
        return True

    def write_note(self, note: dict[str, Any]) -> None:
        """Replace the note; a lease that was given back takes none."""
        with self._writing:
            for lock in (self._private, self._public):
                if lock.held:
                    lock.write_note(note)

    def disown(self) -> None:
        """Let go of the lease in a copy of the process, as `locks.FileLock.disown`."""
        for lock in (self._private, self._public):
            lock.disown()

    def release(self) -> None:
        """Give the lease back."""
        with self._writing:
            self._public.release()
            self._private.release()


@dataclass(frozen=True)
class Held:
    """The lease of a live worker, as its note tells it.

    `pid` is 0 while the worker is just starting; `since` is seconds since the epoch; `clients` are
    dictionaries with ``program``, ``pid``, ``since`` and ``busy``.
    """

    module: str
    generation: int
    pid: int
    user: str
    since: float | None
    clients: list[dict[str, Any]]


def held(root: Path, module: str | None = None) -> list[Held]:
    """Return the leases of live workers, also of other accounts; sweep those of dead ones."""
    folders = (home.run_dir(root), root / "leases")
    found: dict[object, Held] = {}
    for path in (path for folder in folders for path in sorted(folder.glob("*.lease"))):
        name = _NAME.fullmatch(path.name)
        if not name or module not in (None, name["module"]):
            continue
        try:
            alive = locks.is_locked(path)
        except PermissionError:
            continue  # its worker is just taking it
        if alive:
            lease = _told(name, locks.read_note(path))
            # The private and the public lock of one process are one lease.
            found[(lease.module, lease.generation, lease.pid) if lease.pid else path] = lease
    return list(found.values())


def noted(folder: Path, module: str, pids: Collection[int]) -> Held | None:
    """Return the lease that a process of another account notes in its private folder.

    Only an administrator may look there. What lies there is not trusted to be a lease: nothing is
    locked, and nothing but a small file is read.
    """
    for path in folder.glob(f"{module}-*.lease"):
        name = _NAME.fullmatch(path.name)
        if not name or name["module"] != module or not _is_small_file(path):
            continue
        lease = _told(name, locks.read_note(path))
        if lease.pid in pids:
            return lease
    return None


def _is_small_file(path: Path) -> bool:
    try:
        state = path.lstat()
    except OSError:
        return False
    return stat.S_ISREG(state.st_mode) and state.st_size <= _LONGEST_NOTE


def _told(name: re.Match[str], note: dict[str, Any]) -> Held:
    """Read a note; it may be another account's, and is not trusted to be well-formed."""
    clients = note.get("clients")
    pid, since = note.get("pid"), note.get("since")
    return Held(
        module=name["module"],
        generation=int(name["generation"]),
        pid=pid if isinstance(pid, int) else 0,
        user=str(note.get("user", "")),
        since=since if isinstance(since, float) else None,
        clients=[_client(c) for c in clients] if isinstance(clients, list) else [],
    )


def _client(told: Any) -> dict[str, Any]:
    told = told if isinstance(told, dict) else {}
    since = told.get("since")
    return {
        "program": str(told.get("program", "")),
        "pid": told.get("pid"),
        "since": since if isinstance(since, float) else None,
        "busy": told.get("busy") is True,
    }


def public_path(root: Path, stem: Path) -> Path:
    """Return the path of the lease that other accounts can see."""
    user = re.sub(r"[^A-Za-z0-9_.]", "_", user_name())
    return root / "leases" / f"{stem.name}-{user}.lease"


def user_name() -> str:
    """Return the name of this user's account."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return "unknown"
