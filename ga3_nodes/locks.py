"""A lock between processes that the operating system releases when its holder dies.

The file holds a readable note of its holder. `fcntl.flock` on POSIX; on Windows one locked byte far
behind the note, since locked bytes cannot be read there.
"""

from __future__ import annotations

import contextlib
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
_READS = 10


class FileLock:
    """An exclusive lock on a file.

    Parameters
    ----------
    path : Path
        The lock file; its folder must exist.
    public : bool
        Other accounts may read the note.
    """

    def __init__(self, path: Path, *, public: bool = False) -> None:
        self.path = path
        self.public = public
        self._fd: int | None = None
        self._patience = 0.0
        self._note_size = 0

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
            fd = self._open()
        except PermissionError:
            # On Windows a file that is just being deleted; else a folder that we may not write.
            if fcntl is not None or time.monotonic() > self._patience:
                raise
            return False
        if _lock(fd) and _is_at(fd, self.path):
            if self.public:
                self.path.chmod(0o644)  # whatever the umask says
            self._fd, self._note_size = fd, 0
            return True
        os.close(fd)
        return False

    def _open(self) -> int:
        return os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)

    def write_note(self, note: dict[str, Any]) -> None:
        """Leave a readable note about the holder in the lock file, or replace it."""
        assert self._fd is not None
        data = json.dumps(note).encode()
        if not self._note_size:
            os.ftruncate(self._fd, 0)  # the note of a holder that was killed
        # In one write, with blanks over the rest of the old one, so that no reader finds it empty.
        padded = data.ljust(self._note_size)
        os.lseek(self._fd, 0, os.SEEK_SET)
        with contextlib.suppress(OSError):  # a full disk: the lock holds without a note
            os.write(self._fd, padded)
        self._note_size = len(padded)

    def release(self, *, remove: bool = True) -> None:
        """Give the lock back and remove its file."""
        fd, self._fd = self._fd, None
        if fd is not None:
            _give_back(fd, self.path, remove=remove)

    def disown(self) -> None:
        """Let go of the lock in a copy of the process that holds it, which goes on holding it."""
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)

    def __enter__(self) -> FileLock:
        """Hold the lock, waiting for it without limit."""
        self.acquire(timeout=float("inf"))
        return self

    def __exit__(self, *exc: object) -> None:
        """Release the lock."""
        self.release()


def read_note(path: Path) -> dict[str, Any]:
    """Return the note in a lock file, or an empty dictionary."""
    before = text = ""
    try:
        for _ in range(_READS):
            before, text = text, path.read_text("utf-8")
            if text == before:  # else its holder may have been replacing it
                break
        note = json.loads(text)
    except (OSError, ValueError):
        return {}
    return note if isinstance(note, dict) else {}


def is_locked(path: Path) -> bool:
    """Tell whether a living process holds the lock at `path`; sweep the file of a dead one.

    Works for the public locks of other accounts too, whose files may only be read.

    Raises
    ------
    PermissionError
        The file may not even be read.
    """
    try:
        fd = _open_existing(path)
    except FileNotFoundError:
        return False
    except PermissionError:
        if fcntl is None:
            return False  # Windows: the file is just being deleted
        raise
    if _lock(fd):
        _give_back(fd, path, remove=True)
        return False
    still_there = _is_at(fd, path)  # else its holder has just released it
    os.close(fd)
    return still_there


def _open_existing(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR)
    except PermissionError:
        return os.open(path, os.O_RDONLY)


def _give_back(fd: int, path: Path, *, remove: bool) -> None:
    if fcntl is not None:
        # While the lock is still held: who waits for this inode sees that it is gone.
        if remove and _is_at(fd, path):
            _remove(path)
        os.close(fd)
        return
    _unlock_windows(fd)
    os.close(fd)
    if remove:
        _remove(path)


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:
        pass  # Windows: the next holder has it open already; else: another account's folder


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
