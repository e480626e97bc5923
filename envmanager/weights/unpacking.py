"""Unpacks a zip that somebody else has made: all of it or nothing, and never beside its folder."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from envmanager.data import files, fulldisk
from envmanager.errors import DownloadFailed
from envmanager.events import CancelToken
from envmanager.fetching.hashing import Fetched
from ga3_nodes import home

# Weights pack by a few percent; a model with its sample images by a few times.
_MOST_FILES = 10_000
_MOST_TIMES, _ALWAYS_FINE = 100, 100 << 20  # unpacked bytes per byte of the zip; and at least
_PIECE = 1 << 20
# What Windows takes for something else than a name, or refuses.
_ODD = re.compile(r'[\x00-\x1f<>:"|?*\\]|[ .]$|^(con|prn|aux|nul|com\d|lpt\d)(\.|$)', re.IGNORECASE)


def unpack(archive: Path, folder: Path, trash: Path, cancel: CancelToken) -> dict[str, Fetched]:
    """Unpack a zip into a folder, which it replaces; return size and sha256 of each file in it.

    Raises
    ------
    DownloadFailed
        It is damaged, or holds what must not be unpacked; the folder is as it was.
    DiskFull
        There is no room for what is in it.
    Cancelled
        `cancel` was set.
    """
    temporary = folder.with_name(f"{folder.name}.{os.getpid()}.tmp")
    files.discard(temporary, trash)
    try:
        with zipfile.ZipFile(archive) as opened:
            members = _checked(archive, opened)
            if sum(member.file_size for member in members) > fulldisk.free(folder.parent):
                raise fulldisk.failure(folder.parent)
            found = {
                member.filename: _extract(opened, member, temporary, cancel) for member in members
            }
        files.discard(folder, trash)
        home.patiently(lambda: temporary.rename(folder), seconds=10.0)
        return found
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise _refused(archive, f"it is damaged ({error})") from error
    finally:
        files.discard(temporary, trash)


def _checked(archive: Path, opened: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """Return the files of a zip, all of which may be unpacked."""
    members = [member for member in opened.infolist() if not member.is_dir()]
    names = [member.filename for member in opened.infolist()]
    size = sum(member.file_size for member in members)
    if not members:
        raise _refused(archive, "it is empty")
    if len(members) > _MOST_FILES or size > _most(archive):
        raise _refused(archive, f"it holds {len(members)} files with {size:,} bytes, too much")
    if len({name.lower().rstrip("/") for name in names}) < len(names):
        raise _refused(archive, "it holds a name twice")
    for member in opened.infolist():
        if problem := _problem(member):
            raise _refused(archive, f"{member.filename!r} in it {problem}")
    return members


def _most(archive: Path) -> int:
    return max(_ALWAYS_FINE, _MOST_TIMES * archive.stat().st_size)


def _problem(member: zipfile.ZipInfo) -> str:
    path = PurePosixPath(member.filename)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        return "leads out of the folder"
    if any(_ODD.search(part) for part in path.parts):
        return "is no name that every system can have"
    kind = stat.S_IFMT(member.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a link or a device"
    return "is encrypted" if member.flag_bits & 1 else ""


def _extract(
    opened: zipfile.ZipFile, member: zipfile.ZipInfo, folder: Path, cancel: CancelToken
) -> Fetched:
    """Write one file; what it really holds cannot exceed the size that was checked."""
    place = folder / member.filename
    place.parent.mkdir(parents=True, exist_ok=True)
    digest, size = hashlib.sha256(), 0
    with opened.open(member) as source, place.open("xb") as target:
        while data := source.read(_PIECE):
            cancel.check()
            size += len(data)
            if size > member.file_size:
                raise zipfile.BadZipFile(f"{member.filename} is longer than it says")
            digest.update(data)
            target.write(data)
    return Fetched(size, digest.hexdigest())


def _refused(archive: Path, why: str) -> DownloadFailed:
    return DownloadFailed(
        f"The zip {archive.name.strip('.')} cannot be unpacked: {why}.",
        "Nothing of it was kept in use. Tell the author of the module.",
        code="zip_refused",
    )
