"""Files and folders that grow beside their place and are put into it at once."""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from envmanager.data import fulldisk
from envmanager.errors import ImageError
from envmanager.reading.problems import hint
from ga3_nodes import home

_OLD = "old"
_PATIENCE_S = 10.0  # as for all files that are replaced, see `data.files`


def beside(path: Path, kind: str = "") -> Path:
    """Return the place where this process lets `path`, or a thing of a kind for it, grow."""
    return path.with_name(".".join(filter(None, (path.name, kind, str(os.getpid()), "tmp"))))


@contextmanager
def refusals(path: Path) -> Iterator[None]:
    """Name what the system refuses while `path` is written.

    Raises
    ------
    DiskFull
        There is no room.
    ImageError
        The system refused for another reason.
    """
    try:
        with fulldisk.named(path.parent):
            yield
    except OSError as error:
        raise ImageError(
            f"{path} cannot be written: {error.strerror or error}.",
            hint(error, "Choose a folder that you may write to."),
        ) from error


def sweep(path: Path) -> None:
    """Remove what writers of `path` left that were killed: their process id is in the name.

    One that was killed between the two steps of replacing a folder has left the old one: it gets
    its name back.
    """
    for leftover in path.parent.glob(f"{glob.escape(path.name)}.*.tmp"):
        *kind, pid, _ = leftover.name.removeprefix(f"{path.name}.").split(".")
        if not pid.isdecimal() or psutil.pid_exists(int(pid)):
            continue
        if kind == [_OLD] and not path.exists():
            leftover.rename(path)
        else:
            remove(leftover)


def remove(place: Path) -> None:
    """Delete a file or folder as far as the system lets us."""
    if os.path.isdir(place):  # noqa: PTH112 (a Path would raise for a name that is too long)
        shutil.rmtree(place, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            place.unlink(missing_ok=True)


def put(place: Path, path: Path) -> None:
    """Put what is complete at `place` where `path` is: the old one stays until then."""
    for file in [place] if place.is_file() else [p for p in place.rglob("*") if p.is_file()]:
        with file.open("rb+") as opened:
            os.fsync(opened.fileno())
    if place.is_file():
        home.patiently(lambda: place.replace(path), seconds=_PATIENCE_S)
    else:
        _exchange(place, path)


def _exchange(place: Path, path: Path) -> None:
    """Put a folder into its place; no system replaces a folder that holds something."""
    old = beside(path, _OLD)
    remove(old)
    if replaces := path.exists():
        home.patiently(lambda: path.rename(old), seconds=_PATIENCE_S)
    try:
        home.patiently(lambda: place.rename(path), seconds=_PATIENCE_S)
    except OSError:
        if replaces:
            old.rename(path)
        raise
    remove(old)
