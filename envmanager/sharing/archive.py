"""A zip that somebody else has made, read strictly: whatever could mislead is refused by its name.

Nothing is written before all of it has passed. Python's `zipfile` is lenient where we must not be:
it cuts names at a zero byte, takes a name twice, and unpacks as many bytes as a header promises.
"""

from __future__ import annotations

import hashlib
import re
import stat
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import BinaryIO

from envmanager.errors import BadInput
from envmanager.events import CancelToken, Progress, Report, ignore
from envmanager.fetching.hashing import Fetched

_PIECE = 1 << 20
_MOST_FILES = 10_000  # as many as a set of weights may have
_MOST_LISTING = _MOST_FILES * 1024  # bytes: 46 for each file, its name, and what programs add
_TAIL, _LARGE_END, _LOCATOR = (1 << 16) + 200, 56, 20  # bytes at the end of a zip, of its records
_LONGEST = 180  # characters of a name: Windows takes 260 for a full path
_MOST_PACKED = 64 << 20  # unpacked bytes of all packed members; the others are as large as they are
_WRITTEN = (1980, 1, 1, 0, 0, 0)  # the oldest time that a zip can hold: the same for all files
# What Windows takes for something else than a name, or refuses.
_ODD = re.compile(
    r'[\x00-\x1f\x7f<>:"|?*\\]|[ .]$'
    r"|^(con|prn|aux|nul|conin\$|conout\$|com[\d¹²³]|lpt[\d¹²³]) *(\.|$)",
    re.IGNORECASE,
)
_DAMAGED = (
    *(zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, struct.error),
    *(UnicodeError, ValueError, OverflowError, RuntimeError),
)


def refused(path: Path, why: str, code: str = "file_refused", hint: str = "") -> BadInput:
    """Return the error for a file that is not taken."""
    hint = hint or "Nothing was changed. Ask its author for the file again."
    return BadInput(f"{path.name} cannot be used: {why}.", hint, code=code)


def damaged(path: Path, why: str) -> BadInput:
    """Return the error for a file that has lost something, or gained."""
    return refused(path, f"it is damaged or not complete ({why})", "file_damaged")


def _nobody(size: int) -> None:
    """Tell nobody how many bytes were read."""


class Archive:
    """The members of a zip, all of which may be unpacked; see `opened`."""

    def __init__(self, path: Path, file: zipfile.ZipFile) -> None:
        self.path = path
        self._file = file
        found = file.infolist()
        for member in found:
            if problem := _problem(member):
                raise self.unsafe(f"{member.orig_filename[:_LONGEST]!r} in it {problem}")
        if problem := _wrong_names([member.filename for member in found]):
            raise self.unsafe(problem)
        self._refuse_bomb(found)
        self._members = {member.filename: member for member in found}

    def _refuse_bomb(self, found: list[zipfile.ZipInfo]) -> None:
        """Refuse promises that the bytes of the file cannot keep, before any is unpacked."""
        packed = [member for member in found if member.compress_type != zipfile.ZIP_STORED]
        if sum(member.file_size for member in packed) > _MOST_PACKED:
            raise self.unsafe(f"it would become more than {_MOST_PACKED >> 20} MB when unpacked")
        plain = (m for m in found if m.compress_type == zipfile.ZIP_STORED)
        overlapping = sum(m.compress_size for m in found) > self.path.stat().st_size
        if overlapping or any(m.file_size != m.compress_size for m in plain):
            raise self.unsafe("it promises more bytes than it has")

    def unsafe(self, why: str) -> BadInput:
        """Return the error for a file that tries what no honest one does."""
        hint = "Nothing was changed. Do not use this file; ask its author for another one."
        return refused(self.path, why, "file_unsafe", hint)

    @property
    def names(self) -> set[str]:
        """The names of all files in it."""
        return set(self._members)

    def size(self, name: str) -> int:
        """Return the bytes of an unpacked file."""
        return self._members[name].file_size

    def read(self, name: str, most: int) -> bytes:
        """Return a small file; BadInput where it has more than `most` bytes."""
        if self.size(name) > most:
            raise self.unsafe(f"{name!r} in it has {self.size(name):,} bytes, too much")
        with _told(self.path), self._file.open(self._members[name]) as source:
            return source.read(most)

    def hashed(
        self, name: str, cancel: CancelToken, on_bytes: Callable[[int], object] = _nobody
    ) -> Fetched:
        """Return size and sha256 of a file in it; `on_bytes` is told how many were read."""
        digest, size = hashlib.sha256(), 0
        for data in self._pieces(name, cancel):
            digest.update(data)
            size += len(data)
            on_bytes(size)
        return Fetched(size, digest.hexdigest())

    def extract(
        self,
        name: str,
        place: Path,
        cancel: CancelToken,
        on_bytes: Callable[[int], object] = _nobody,
    ) -> Fetched:
        """Write a file to a new place; return what was written."""
        place.parent.mkdir(parents=True, exist_ok=True)
        digest, size = hashlib.sha256(), 0
        with place.open("xb") as target:
            for data in self._pieces(name, cancel):
                digest.update(data)
                size += len(data)
                target.write(data)
                on_bytes(size)
        return Fetched(size, digest.hexdigest())

    def _pieces(self, name: str, cancel: CancelToken) -> Iterator[bytes]:
        with _told(self.path):
            source = self._file.open(self._members[name])
        with source:
            while True:
                with _told(self.path):  # not around the yield: the writer's errors are its own
                    data = source.read(_PIECE)
                if not data:
                    return
                cancel.check()
                yield data


@contextmanager
def opened(path: Path) -> Iterator[Archive]:
    """Open a zip whose members may all be unpacked.

    Raises
    ------
    BadInput
        It is none, it is damaged, or it holds what must not be unpacked. Reading from it raises
        the same.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise refused(
            path, f"it cannot be read ({error.strerror})", "file_unreadable", "Give another file."
        ) from error
    with file:
        with _told(path):
            if _listing_bytes(file) > _MOST_LISTING:
                raise refused(path, f"it holds more than {_MOST_FILES:,} files", "file_unsafe")
            archive = zipfile.ZipFile(file)
        with archive:
            yield Archive(path, archive)


def _listing_bytes(file: BinaryIO) -> int:
    """Return how many bytes of the zip list its members: `zipfile` reads them all at once.

    The figure stands 12 bytes into the record at the end of the file, and, where a locator with the
    place of a larger record lies before that one, 40 bytes into the larger record (APPNOTE 4.3).
    """
    size = file.seek(0, 2)
    file.seek(max(0, size - _TAIL))
    tail = file.read()
    at = tail.rfind(b"PK\x05\x06")
    if at < 0:
        return 0
    large = at - _LOCATOR - _LARGE_END
    if large >= 0 and tail[large : large + 4] == b"PK\x06\x06":
        return int.from_bytes(tail[large + 40 : large + 48], "little")
    return int.from_bytes(tail[at + 12 : at + 16], "little")


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except (*_DAMAGED, OSError) as error:  # a broken header leads to places that are not there
        raise damaged(path, str(error) or type(error).__name__) from error


def _problem(member: zipfile.ZipInfo) -> str:
    """Say why a member must not be unpacked; empty where it may."""
    if member.filename != member.orig_filename:  # cut at a zero byte, or turned on Windows
        return bad_name(member.orig_filename) or "is no name that every system can have"
    kind = stat.S_IFMT(member.external_attr >> 16)
    if kind not in (0, stat.S_IFREG):
        return "is a link, a folder or a device"
    if member.flag_bits & 1:
        return "is encrypted"
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return "is packed in a way that is not used here"
    return ""


def _wrong_names(names: Sequence[str]) -> str:
    """Say why files of these names must not be in a zip; empty where they may."""
    if len(names) > _MOST_FILES:
        return f"it holds more than {_MOST_FILES:,} files"
    for name in names:
        if problem := bad_name(name):
            return f"{name[:_LONGEST]!r} in it {problem}"
    return collision(names)


def bad_name(name: str) -> str:
    """Say why a name must not become a file below a folder of ours; empty where it may."""
    if name.startswith(("/", "\\")) or PureWindowsPath(name).drive:
        return "is a full path, which may lead anywhere"
    parts = name.replace("\\", "/").split("/")
    if ".." in parts:
        return "leads out of its folder"
    if "" in parts or "." in parts:
        return "is no plain path of a file"
    # What is not printable could show another name than it is, such as letters from right to left.
    if not name.isprintable() or any(_ODD.search(part) for part in name.split("/")):
        return "is no name that every system can have"
    if len(name) > _LONGEST:
        return "is too long a name"
    return ""


def collision(names: Iterable[str]) -> str:
    """Say which names cannot lie beside each other on every system; empty where all can."""
    seen: dict[str, str] = {}
    for name in names:
        key = _folded(name)
        if key in seen:
            other = seen[key]
            return (
                f"it holds {name!r} twice" if name == other else f"it holds {other!r} and {name!r}"
            )
        seen[key] = name
    folders: dict[str, str] = {}
    for name in seen.values():
        for above in map(str, PurePosixPath(name).parents):
            key = _folded(above)
            if key in seen:
                return f"{name!r} in it lies in a file"
            if folders.setdefault(key, above) != above:
                return f"it holds the folders {folders[key]!r} and {above!r}"
    return ""


def _folded(name: str) -> str:
    """Return a name as file systems compare it that know no capitals, or compose letters."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).upper().casefold())


# ---- writing ------------------------------------------------------------------------------------


def write(
    place: Path,
    texts: Mapping[str, bytes],
    large: Mapping[str, Path],
    report: Report = ignore,
    cancel: CancelToken | None = None,
) -> dict[str, Fetched]:
    """Write a zip whose bytes depend on nothing but names and contents.

    Parameters
    ----------
    texts : mapping
        Small files by name, written first, in this order, and packed.
    large : mapping
        Files of the disk by name; they are not packed, for weights are dense already.

    Returns
    -------
    dict of Fetched
        What was read of each large file, so that the caller can compare it.

    Raises
    ------
    BadInput
        Nobody could open such a zip: a name in it is one that not every system can have.
    """
    if problem := _wrong_names([*texts, *large]):
        raise BadInput(
            f"There can be no such file: {problem}.", "Rename it, or leave it out.", code="bad_name"
        )
    cancel = cancel or CancelToken()
    total, done, found = sum(p.stat().st_size for p in large.values()), 0, {}
    with zipfile.ZipFile(place, "w") as archive:
        for name, content in texts.items():
            info = _info(name, zipfile.ZIP_DEFLATED, len(content))
            with archive.open(info, "w") as target:
                target.write(content)
        for name, source in large.items():
            info = _info(name, zipfile.ZIP_STORED, source.stat().st_size)
            digest, size = hashlib.sha256(), 0
            with source.open("rb") as file, archive.open(info, "w") as target:
                for data in _read_in_pieces(file):
                    cancel.check()
                    digest.update(data)
                    target.write(data)
                    size += len(data)
                    report(Progress(done + size, total))
            done += size
            found[name] = Fetched(size, digest.hexdigest())
    return found


def _info(name: str, packing: int, size: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, _WRITTEN)
    info.compress_type, info.file_size = packing, size
    info.create_system, info.external_attr = 3, (stat.S_IFREG | 0o644) << 16
    return info


def _read_in_pieces(file: BinaryIO) -> Iterator[bytes]:
    while data := file.read(_PIECE):
        yield data
