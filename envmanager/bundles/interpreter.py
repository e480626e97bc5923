"""The Python that a bundle carries: the archive as its publisher made it, looked into strictly.

It lies in the bundle as it came, so that its sha256 can be compared with the publisher's. Only
plain files are taken out of it. Links are left out: none is needed, and each could lead anywhere.
"""

from __future__ import annotations

import gzip
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, cast

from envmanager.bundles.target import Target
from envmanager.data import files, fulldisk
from envmanager.errors import BadInput, ToolFailed
from envmanager.events import CancelToken, Progress, Report, ignore
from envmanager.fetching.hashing import hashed
from envmanager.sharing import archive
from envmanager.uv.program import Uv

_PIECE = 1 << 20
_MOST_FILES, _MOST_BYTES = 30_000, 1 << 30  # the largest Pythons have 5000 files, 300 MB
# What no worker needs: the standard library's own tests, what compilers read, manuals.
_LEFT_OUT = frozenset({"__pycache__", "test", "tests"})
_LEFT_OUT_AT_THE_TOP = frozenset({"include", "share"})
_UNREADABLE = (
    *(OSError, EOFError, ValueError, OverflowError, RuntimeError, NotImplementedError),
    *(zlib.error, tarfile.TarError, zipfile.BadZipFile),
)
_HINT = (
    "Take an install_only archive (.tar.gz) of python-build-standalone for the other computer, "
    "with the sha256 that its publisher names."
)


@dataclass(frozen=True)
class _Member:
    """A plain file in an archive; `read` opens it, before the next member is asked for."""

    name: str
    size: int
    read: Callable[[], IO[bytes]]


def given(path: Path, sha256: str, target: Target, cancel: CancelToken) -> Path:
    """Return an archive that the user gives, after a look into it.

    Raises
    ------
    BadInput
        It is another file than the sha256 says, or holds no such Python.
    """
    if not sha256:
        raise BadInput(
            "The Python archive is given without its sha256.",
            "Add --python-sha256 with what the archive's publisher names.",
            code="sha256_missing",
        )
    try:
        found = hashed(path, cancel).sha256
    except OSError as error:
        raise BadInput(
            f"{path} cannot be read: {error.strerror}.",
            "Give another file.",
            code="file_unreadable",
        ) from error
    if found != sha256.lower():
        raise BadInput(
            f"{path.name} has the sha256 {found}, not {sha256}.",
            "Do not use it: fetch it again, and compare with what its publisher names.",
            code="hash_mismatch",
        )
    look(path, target)
    return path


def fetched(uv: Uv, target: Target, folder: Path) -> Path:
    """Let uv fetch the archive of a Python; it knows each one's sha256, and compares it.

    Parameters
    ----------
    folder : Path
        Keeps the archive, for the next time too.

    Raises
    ------
    ToolFailed
        It does not come.
    """
    try:
        path = uv.fetch_python(target.uv_python, folder)
    except ToolFailed as error:
        files.discard(folder, uv.data.trash)  # uv would find a damaged one there again
        if error.code != ToolFailed.code:
            raise
        raise ToolFailed(
            error.message,
            "Check the network connection and the settings python_mirror and python_source. Or "
            "fetch the archive elsewhere: --python-archive FILE --python-sha256 HEX",
            code="python_not_fetched",
            details=error.details,
        ) from error
    look(path, target)
    return path


@dataclass(frozen=True)
class Found:
    """The Python in an archive: the folder that it lies in, with its slash, and its size in bytes.

    The folder is empty where the Python lies in none.
    """

    top: str
    size: int


def look(path: Path, target: Target) -> Found:
    """Look through an archive; nothing is unpacked.

    Raises
    ------
    BadInput
        It holds what must not be unpacked, or no Python for that computer.
    """
    sizes, heads = [], {}
    with closing(_members(path)) as members:
        for member in members:
            sizes.append((member.name, member.size))
            if member.name.endswith(target.program):
                heads[member.name] = next(_pieces(path, member), b"")
    top = _top(heads, [name for name, _ in sizes], target)
    if top is None:
        raise BadInput(
            f"{path.name} holds no Python {target.python} for "
            f"{target.platform.capitalize()} (64 bit).",
            _HINT,
            code="python_archive",
        )
    wanted = [one for one in sizes if _is_wanted(one[0], top)]
    if problem := archive.collision(name for name, _ in wanted):
        raise _unsafe(path, problem)
    return Found(top, sum(size for _, size in wanted))


def _top(heads: dict[str, bytes], names: list[str], target: Target) -> str | None:
    """Return the folder of the Python: the archive's own, or one that lies in it."""
    for name, head in sorted(heads.items()):
        top = name.removesuffix(target.program)
        is_top = top == "" or (top.endswith("/") and top.count("/") == 1)
        if is_top and f"{top}{target.library}" in names and target.runs(head):
            return top
    return None


def unpack(
    path: Path, target: Target, folder: Path, cancel: CancelToken, report: Report = ignore
) -> Path:
    """Unpack the Python of an archive into an empty folder; return its program.

    Raises
    ------
    BadInput
        It is damaged, or holds what must not be unpacked.
    DiskFull
        There is no room for it.
    """
    found, done = look(path, target), 0
    if found.size > fulldisk.free(folder):
        raise fulldisk.failure(folder)
    with closing(_members(path)) as members:
        for member in members:
            if not _is_wanted(member.name, found.top):
                continue
            place = folder / member.name.removeprefix(found.top)
            place.parent.mkdir(parents=True, exist_ok=True)
            with place.open("xb") as file:
                for data in _pieces(path, member):
                    cancel.check()
                    file.write(data)
            done += member.size
            report(Progress(done, found.size))
    program = folder / target.program
    program.chmod(program.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    return program


def _is_wanted(name: str, top: str) -> bool:
    parts = name.removeprefix(top).split("/")
    needed = not _LEFT_OUT.intersection(parts) and parts[0] not in _LEFT_OUT_AT_THE_TOP
    return name.startswith(top) and needed


# ---- the members --------------------------------------------------------------------------------


def _members(path: Path) -> Generator[_Member, None, None]:
    """Yield the plain files of an archive; refuse what must not be unpacked as soon as it comes."""
    count = total = 0
    with _told(path), _unpacked(path) as members:
        for member in members:
            if problem := archive.bad_name(member.name):
                raise _unsafe(path, f"{member.name[:100]!r} in it {problem}")
            count, total = count + 1, total + member.size
            if count > _MOST_FILES or total > _MOST_BYTES:
                raise _unsafe(path, "it would become larger than any Python")
            yield member


@contextmanager
def _unpacked(path: Path) -> Iterator[Iterator[_Member]]:
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as packed:
            yield _of_zip(packed)
        return
    with gzip.open(path) as unpacked:
        careful = cast(IO[bytes], _Careful(unpacked))
        with tarfile.open(fileobj=careful, mode="r:") as tar:
            yield _of_tar(tar)


def _of_zip(packed: zipfile.ZipFile) -> Iterator[_Member]:
    for member in packed.infolist():
        kind = stat.S_IFMT(member.external_attr >> 16)
        if not member.is_dir() and kind in (0, stat.S_IFREG):
            yield _Member(member.filename, member.file_size, partial(packed.open, member))


def _of_tar(tar: tarfile.TarFile) -> Iterator[_Member]:
    for member in tar:
        if member.isreg() and not member.issparse():
            name = member.name.removeprefix("./")
            yield _Member(name, member.size, partial(_open_in, tar, member))


def _open_in(tar: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    found = tar.extractfile(member)
    assert found is not None  # it is a plain file
    return found


def _pieces(path: Path, member: _Member) -> Iterator[bytes]:
    with _told(path), member.read() as source:
        while data := source.read(_PIECE):
            yield data


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Tell what an archive fails of; the errors of who takes its pieces do not come here."""
    try:
        yield
    except _UNREADABLE as error:
        raise BadInput(
            f"{path.name} cannot be unpacked: {error or type(error).__name__}.",
            _HINT,
            code="python_archive",
        ) from error


def _unsafe(path: Path, why: str) -> BadInput:
    return BadInput(f"{path.name} cannot be used: {why}.", _HINT, code="file_unsafe")


class _Careful:
    """A file that gives no more at once than any honest archive asks for.

    `tarfile` reads a header of whatever length it names into memory.
    """

    def __init__(self, file: gzip.GzipFile) -> None:
        self._file = file
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        """Return so many bytes."""
        if not 0 <= size <= 2 * _PIECE:
            raise ValueError("a header in it is too long")
        return self._file.read(size)
