"""The Python that a release carries: from an archive that is given with its sha256."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from envmanager.bundles import interpreter
from envmanager.bundles.target import Target
from envmanager.errors import BadInput
from envmanager.events import CancelToken
from external import places
from release.errors import ReleaseError

_VERSION = re.compile(
    "FileVersion".encode("utf-16-le") + rb"(?:\0\0)+((?:[0-9.]\0)+)"  # in a version resource
)
_MINORS = ("3.14", "3.13", "3.12", "3.11")  # that the app runs on, as setup.nsh has them
_HINT = "Take an install_only archive of python-build-standalone for x86_64-pc-windows-msvc."


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
    """Unpack a Python for Windows into a folder of its own, as strictly as that of a bundle.

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
    BadInput
        It is damaged, or holds what must not be unpacked.
    DiskFull
        There is no room for it.
    """
    try:
        found = places.sha256(archive)
    except OSError as error:
        raise ReleaseError(f"{archive} cannot be read: {error.strerror}.") from error
    if found != sha256.lower():
        raise ReleaseError(
            f"{archive.name} has the sha256 {found}, not {sha256}.",
            "Do not use it: fetch it again, and compare with what its publisher names.",
            code="hash_mismatch",
        )
    target, temporary = _target(archive), pythons / "unpacked"
    temporary.mkdir(parents=True)
    interpreter.unpack(archive, target, temporary, CancelToken())
    python = CarriedPython(_version(temporary / target.library), found)
    if python.minor != target.python or not (temporary / "pythonw.exe").is_file():
        raise ReleaseError(
            f"{archive.name} holds no whole Python {target.python}: there is no pythonw.exe, or "
            f"its library has another version ({python.version or 'none'}).",
            _HINT,
            code="python_archive",
        )
    temporary.rename(pythons / python.folder)
    return python


def _target(archive: Path) -> Target:
    """Return which Python an archive holds."""
    why = {}
    for minor in _MINORS:
        target = Target("windows", minor)
        try:
            interpreter.look(archive, target)
        except BadInput as error:
            if error.code != "python_archive":  # it holds what must not be unpacked
                raise
            why[error.message] = error
        else:
            return target
    if len(why) == 1:  # whatever was looked for: it is damaged
        raise why.popitem()[1]
    raise ReleaseError(
        f"{archive.name} holds no Python 3.11 or newer for Windows (64 bit).",
        _HINT,
        code="python_archive",
    )


def _version(library: Path) -> str:
    """Return the version that a library names; empty where it names none."""
    match = _VERSION.search(library.read_bytes())
    return match[1].decode("utf-16-le") if match else ""
