"""A full disk: how it is told from other failures, one error for it, and a reserve against it."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from envmanager.errors import DiskFull

RESERVE = "reserve"
_RESERVE_BYTES = 256 * 1024  # config.json, settings.toml, and a copy of the client package
_PIECE_BYTES = 4096
# ERROR_HANDLE_DISK_FULL, ERROR_DISK_FULL, ERROR_DISK_QUOTA_EXCEEDED
_WINDOWS = (39, 112, 1295)
_POSIX = (errno.ENOSPC, errno.EDQUOT)
# The numbers of the one system are other errors on the other. Windows tells the text in the user's
# language, so the number counts.
_NUMBERS = _WINDOWS if hasattr(OSError, "winerror") else _POSIX
_TOLD = re.compile(
    "No space left on device|There is not enough space on the disk|Disk quota exceeded"
    rf"|\[Errno {errno.ENOSPC}\]|\[WinError (?:{'|'.join(map(str, _WINDOWS))})\]"
    rf"|\(os error (?:{'|'.join(map(str, _NUMBERS))})\)"
)
# On a full disk Python 3.11 leaves half of a file of bytecode, of which only its reader tells.
_HALF_WRITTEN = "EOFError: marshal data too short"
_NEARLY_FULL_BYTES = 8 << 20
_T = TypeVar("_T")


def is_full(error: BaseException) -> bool:
    """Tell whether the system refused for want of room, or of the user's share of it."""
    if not isinstance(error, OSError):
        return False
    return error.errno in _POSIX or getattr(error, "winerror", None) in _WINDOWS


def told_in(text: str) -> bool:
    """Tell whether a program's output says that a disk is full."""
    return _TOLD.search(text) is not None


def failure(*places: Path, log_tail: str = "") -> DiskFull:
    """Return the error for the fullest volume of these folders; they need not exist."""
    left, place = min((free(place), str(place)) for place in places)
    return DiskFull(
        f"The disk is full: the volume of {place} has {left / 1e6:,.1f} MB free.",
        "What was installed is as it was. Free some room (./run disk --clean-cache, ./run remove "
        "MODULE, or keep fewer old environments with ./run settings generations_kept 0), then run "
        "the command again.",
        details={"path": place, "free_bytes": left, "log_tail": log_tail},
    )


def explains(text: str, place: Path) -> bool:
    """Tell whether a full disk is why a program failed in a folder that was just made."""
    half_written = _HALF_WRITTEN in text and free(place) < _NEARLY_FULL_BYTES
    return told_in(text) or half_written


@contextmanager
def named(*places: Path) -> Iterator[None]:
    """Raise DiskFull in the place of the system's own error.

    Parameters
    ----------
    places : Path
        Where the work inside writes.
    """
    try:
        yield
    except OSError as error:
        if not is_full(error):
            raise
        raise failure(*places) from error


def with_reserve(root: Path, action: Callable[[], _T]) -> _T:
    """Run `action`, which replaces a small file of the data folder, also on a full disk.

    A file is written beside the one that it replaces, so it needs room for a moment; the reserve
    gives it, and takes it back. So a user with a full disk can remove modules and change settings.
    """
    reserve = root / RESERVE
    try:
        with named(root):
            done = action()
    except DiskFull:
        if not reserve.exists():
            raise
        reserve.unlink(missing_ok=True)
        with named(root):
            done = action()
    with contextlib.suppress(OSError):  # what there is room for must do
        _fill(reserve)
    return done


def _fill(reserve: Path) -> None:
    """Write bytes that no file system can compress or leave out."""
    size = reserve.stat().st_size if reserve.exists() else 0
    if size < _RESERVE_BYTES:
        with reserve.open("ab", buffering=0) as file:
            for _ in range(size, _RESERVE_BYTES, _PIECE_BYTES):
                file.write(os.urandom(_PIECE_BYTES))
            os.fsync(file.fileno())


def free(place: Path) -> int:
    """Return the free bytes of a folder's volume; the folder need not exist."""
    place = place.absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    return shutil.disk_usage(place).free
