"""Files that are written whole or not at all, folders that are deleted as far as they can be."""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import psutil

from envmanager.data import fulldisk
from envmanager.errors import BadInput, FilesInUse
from ga3_nodes import home

_PATIENCE_S = 10.0  # for a program that has a file open: a virus scanner soon lets go


def refuse_place(path: Path, example: str) -> None:
    """Refuse a file that could not be written, before any work is done for it.

    Parameters
    ----------
    example : str
        A name for the file, where `path` is a folder.

    Raises
    ------
    BadInput
        `path` is a folder or a device, or lies where this account may not write.
    """
    path = path.absolute()
    try:
        if path.is_dir():
            raise BadInput(f"{path} is a folder.", f"Name a file in it: {path / example}")
        _refuse_device(path)
        nearest = next((folder for folder in path.parents if folder.exists()), None)
        if nearest is None:
            raise FileNotFoundError(f"there is no {path.anchor}")
        if not nearest.is_dir() or not home.may_write(nearest):
            raise PermissionError(f"{nearest} is no folder that you may write to")
    except OSError as error:
        raise BadInput(
            f"{path} cannot be written: {error.strerror or error}.",
            "Choose another folder.",
            code="output_not_writable",
        ) from error


def _refuse_device(path: Path) -> None:
    """Refuse to put a file in the place of what is none, such as a device."""
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise BadInput(f"{path} is no file that can be replaced.", "Name another one.")


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` make a file beside `path`, then put it in its place at once.

    A reader sees the old file or the new one, whatever happens. Windows refuses while a reader has
    the old one open: hence the patience.

    Raises
    ------
    BadInput
        `path` is a device, or the like.
    DiskFull
        The old file is as it was.
    """
    _refuse_device(path)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with fulldisk.named(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
            _sweep(path)
            write(temporary)
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            home.patiently(lambda: temporary.replace(path), seconds=_PATIENCE_S)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _sweep(path: Path) -> None:
    """Remove what writers of `path` left that were killed: their process id is in the name."""
    for leftover in path.parent.glob(f"{glob.escape(path.name)}.*.tmp"):
        pid = leftover.suffixes[-2].removeprefix(".")
        if pid.isdecimal() and not psutil.pid_exists(int(pid)):
            leftover.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file whole, in UTF-8."""
    write_whole(path, lambda place: place.write_text(text, "utf-8"))


def drop_bytecode(folder: Path) -> None:
    """Delete what Python has compiled below a folder; it does without, at a slower start."""
    for compiled in list(folder.rglob("__pycache__")):
        shutil.rmtree(compiled, ignore_errors=True)


def discard(path: Path, trash: Path) -> None:
    """Delete a folder: at once out of its place, and from the disk as far as that works now.

    Windows cannot delete what a process has open; `empty_trash` tries again later.

    Raises
    ------
    FilesInUse
        Windows does not even let it out of its place; it is as it was.
    """
    if not path.exists():
        return
    grave = trash / f"{path.name}-{os.urandom(6).hex()}"
    try:
        trash.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if not fulldisk.is_full(error):
            raise
        grave = trash  # no room for one more folder: this one becomes the trash
    try:
        home.patiently(lambda: path.rename(grave), seconds=_PATIENCE_S)
    except PermissionError as error:
        raise FilesInUse(
            f"{path} cannot be deleted: another program has a file in it open, or it belongs to "
            f"another account ({error}).",
            "Close what shows or scans that folder (Explorer, an editor, an antivirus), then "
            "run the command again.",
            details={"folder": str(path)},
        ) from error
    shutil.rmtree(grave, ignore_errors=True)
    _remove_if_empty(trash)


def discard_if_free(path: Path, trash: Path) -> None:
    """Delete a folder like `discard`; where another program holds it, leave it for a later time."""
    with contextlib.suppress(FilesInUse):
        discard(path, trash)


def empty_trash(trash: Path) -> None:
    """Delete what an earlier `discard` could not."""
    if trash.is_dir():
        for grave in trash.iterdir():
            if grave.is_dir():
                shutil.rmtree(grave, ignore_errors=True)
            else:  # of a folder that became the trash, see `discard`
                with contextlib.suppress(OSError):
                    grave.unlink()
        _remove_if_empty(trash)


def _remove_if_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:
        pass
