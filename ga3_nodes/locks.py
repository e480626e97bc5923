"""A lock between processes that the operating system releases when its holder dies.

The file holds a readable note of its holder. `fcntl.flock` on POSIX; on Windows one locked byte far
behind the note, since locked bytes cannot be read there.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment,unused-ignore]
    import msvcrt

_LOCKED_BYTE = 1 << 30
_POLL_S = 0.02
_DELETION_S = 2.0


class FileLock:
    """An exclusive lock on a file.

    Parameters
    ----------
    path : Path
        The lock file; its folder must exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd: int | None = None
        self._patience = 0.0

    @property
    def held(self) -> bool:
        """Whether this object holds the lock."""
        return self._fd is not None

    def acquire(self, timeout: float = 0.0) -> bool:
        """Take the lock; return False if another holder keeps it for `timeout` seconds.

        Raises
        ------
        PermissionError
            The lock file cannot be made.
        """
        deadline = time.monotonic() + timeout
        self._patience = time.monotonic() + _DELETION_S
        while not self._try():
            if time.monotonic() >= deadline:
                return False
            time.sleep(_POLL_S)
        return True

    def _try(self) -> bool:
        try:
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        except PermissionError:
            # On Windows a file that is just being deleted; else a folder that we may not write.
            if fcntl is not None or time.monotonic() > self._patience:
                raise
            return False
        if _lock(fd) and _is_at(fd, self.path):
            self._fd = fd
            return True
        os.close(fd)
        return False

    def write_note(self, note: dict[str, Any]) -> None:
        """Leave a readable note about the holder in the lock file."""
        assert self._fd is not None
        data = json.dumps(note).encode()
        os.lseek(self._fd, 0, os.SEEK_SET)
        os.ftruncate(self._fd, 0)
        os.write(self._fd, data)

    def release(self, *, remove: bool = True) -> None:
        """Give the lock back and remove its file."""
        fd, self._fd = self._fd, None
        if fd is None:
            return
        if fcntl is not None:
            if remove:
                # While the lock is still held: who waits for this inode sees that it is gone.
                self.path.unlink(missing_ok=True)
            os.close(fd)
            return
        _unlock_windows(fd)
        os.close(fd)
        if remove:
            try:
                self.path.unlink(missing_ok=True)
            except PermissionError:
                pass  # the next holder has it open already

    def __enter__(self) -> FileLock:
        """Hold the lock, waiting for it without limit."""
        self.acquire(timeout=float("inf"))
        return self

    def __exit__(self, *exc: object) -> None:
        """Release the lock."""
        self.release()


def read_note(path: Path) -> dict[str, Any]:
    """Return the note in a lock file, or an empty dictionary."""
    try:
        note = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return note if isinstance(note, dict) else {}


def is_locked(path: Path) -> bool:
    """Tell whether a living process holds the lock at `path`."""
    if not path.exists():
        return False
    probe = FileLock(path)
    if probe.acquire():
        probe.release()
        return False
    return path.exists()


def _lock(fd: int) -> bool:
    try:
        if fcntl is not None:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:
            os.lseek(fd, _LOCKED_BYTE, os.SEEK_SET)
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
    except OSError:
        return False
    return True


def _unlock_windows(fd: int) -> None:
    os.lseek(fd, _LOCKED_BYTE, os.SEEK_SET)
    msvcrt.locking(fd, msvcrt.LK_UNLCK, 1)  # type: ignore[attr-defined,unused-ignore]


def _is_at(fd: int, path: Path) -> bool:
    """Tell whether the locked file still has its name: a former holder may have removed it."""
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except OSError:
        return False
