"""Which wheels a computer's Python takes: told by the tags in the names of their files.

uv judges so too, but only once it has been told where to look.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

from packaging import tags
from packaging.tags import Tag
from packaging.utils import InvalidWheelFilename, parse_wheel_filename
from packaging.version import Version

from envmanager.uv.program import Uv

_LEGACY = ("manylinux2014", "manylinux2010", "manylinux1", "linux")  # names of PEP 513, 571, 599
# By uv's name of the platform: its "linux" has glibc 2.28; x86-64 begins with glibc 2.5 (PEP 600).
_PLATFORMS = {
    "windows": ["win_amd64"],
    "linux": [
        *(f"manylinux_2_{minor}_x86_64" for minor in range(28, 4, -1)),
        *(f"{name}_x86_64" for name in _LEGACY),
    ],
}


def python_version(uv: Uv, python: Path) -> str:
    """Return the version, as ``3.12``, of the Python that `uv` resolves for."""
    major, minor = Version(uv.python_version or uv.version_of(python)).release[:2]
    return f"{major}.{minor}"


def taken(uv: Uv, python: Path) -> frozenset[Tag]:
    """Return the tags of the wheels that the computer takes which `uv` resolves for.

    Parameters
    ----------
    python : Path
        The interpreter; where `uv` resolves for another computer, only that one's version counts.
    """
    version = Version(python_version(uv, python)).release
    platforms = _PLATFORMS[uv.platform] if uv.platform else list(tags.platform_tags())
    made_for_it = tags.cpython_tags(version, platforms=platforms)
    for_several = tags.compatible_tags(version, "cp{}{}".format(*version), platforms)
    return frozenset((*made_for_it, *for_several))


def versions(folder: Path, name: str, fitting: Collection[Tag]) -> Iterator[Version]:
    """Yield the versions of a package that fitting wheels in a folder have; of one name only."""
    for path in folder.glob(f"{name}-*.whl"):
        try:
            _, version, _, made_for = parse_wheel_filename(path.name)
        except InvalidWheelFilename:
            continue
        if not made_for.isdisjoint(fitting):
            yield version
