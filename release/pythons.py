"""The Python that a release carries: from an archive that is given with its sha256."""

from __future__ import annotations

import re
import shutil
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from external import bootstrap
from release.errors import ReleaseError

_VERSION = re.compile(
    "FileVersion".encode("utf-16-le") + rb"(?:\0\0)+((?:[0-9.]\0)+)"  # in a version resource
)
_LEFT_OUT = {"__pycache__", "test", "tests"}  # the standard library's own tests
_OLDEST = (3, 11)


@dataclass(frozen=True)
class CarriedPython:
    """An unpacked Python; `version` such as ``3.12.11``, `sha256` of its archive."""

    version: str
    sha256: str

    @property
    def minor(self) -> str:
        """The version without its patch."""
        return self.version.rpartition(".")[0]

    @property
    def folder(self) -> str:
        """Its folder's name: another archive is another folder, so an upgrade never mixes two."""
        return f"{self.version}-{self.sha256[:8]}"


def unpack(archive: Path, sha256: str, pythons: Path) -> CarriedPython:
    """Unpack a Python for Windows into a folder of its own.

    Parameters
    ----------
    archive : Path
        ``.zip`` or ``.tar.gz``, with ``python.exe`` at its top or in its only folder there, such as
        the ``install_only`` archives of python-build-standalone.
    sha256 : str
        What its file must have.
    pythons : Path
        Where its folder shall lie.

    Raises
    ------
    ReleaseError
        The file is not there, has another sha256, or holds no Python 3.11 or newer for Windows.
    """
    try:
        found = bootstrap.sha256(archive)
    except OSError as error:
        raise ReleaseError(f"{archive} cannot be read: {error.strerror}.") from error
    if found != sha256.lower():
        raise ReleaseError(
            f"{archive.name} has the sha256 {found}, not {sha256}.",
            "Do not use it: fetch it again, and compare with what its publisher names.",
            code="hash_mismatch",
        )
    temporary = pythons / "unpacked"
    try:
        _extract(archive, temporary)
    except (OSError, ValueError, zipfile.BadZipFile, tarfile.TarError) as error:
        raise ReleaseError(f"{archive.name} cannot be unpacked: {error}") from error
    python = CarriedPython(_version(_top(temporary, archive), archive), found)
    _top(temporary, archive).rename(pythons / python.folder)
    shutil.rmtree(temporary, ignore_errors=True)
    return python


def _extract(archive: Path, folder: Path) -> None:
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as packed:
            packed.extractall(folder, [n for n in packed.namelist() if _is_wanted(n)])
        return
    with tarfile.open(archive) as tar:
        members = [member for member in tar if _is_wanted(member.name)]
        tar.extractall(folder, members, filter="data")


def _is_wanted(name: str) -> bool:
    parts = PurePosixPath(name).parts
    return not _LEFT_OUT.intersection(parts)


def _top(folder: Path, archive: Path) -> Path:
    for place in (folder, *folder.iterdir()):
        if (place / "python.exe").is_file() and (place / "pythonw.exe").is_file():
            return place
    raise ReleaseError(
        f"{archive.name} holds no Python for Windows: there is no python.exe with a pythonw.exe.",
        "Take an install_only archive of python-build-standalone for x86_64-pc-windows-msvc.",
    )


def _version(folder: Path, archive: Path) -> str:
    libraries = sorted(folder.glob("python3[0-9]*.dll"))
    match = _VERSION.search(libraries[0].read_bytes()) if libraries else None
    version = match[1].decode("utf-16-le") if match else ""
    if tuple(int(part) for part in version.split(".") if part)[:2] < _OLDEST:
        raise ReleaseError(
            f"{archive.name} holds no Python 3.11 or newer ({version or 'its version is unknown'})."
        )
    return version
