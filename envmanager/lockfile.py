"""``requirements.lock`` (what is committed) and ``pylock.toml`` (what it resolves to here).

uv does not compare the two, so the engine does: every file that an install may fetch must stand in
the lock with its sha256, else a tampered lock or index would pass.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

from envmanager.errors import InstallFailed

_REQUIREMENT = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)")
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")


@dataclass(frozen=True)
class Wheel:
    """The file of one package that fits this machine; `size` in bytes, 0 where unknown."""

    package: str
    version: str
    size: int
    hashes: frozenset[str]


def locked_hashes(lock: Path) -> dict[tuple[str, str], set[str]]:
    """Return the sha256 sums of a ``requirements.lock`` by package and version."""
    found: dict[tuple[str, str], set[str]] = {}
    current: set[str] = set()
    for line in lock.read_text("utf-8").splitlines():
        if match := _REQUIREMENT.match(line):
            current = found.setdefault((_normal(match[1]), match[2]), set())
        current.update(_HASH.findall(line))
    return found


def wheels(pylock: Path) -> list[Wheel]:
    """Return what a ``pylock.toml`` (PEP 751) would install."""
    document = tomllib.loads(pylock.read_text("utf-8"))
    result = []
    for package in document.get("packages", []):
        files = list(package.get("wheels", []))
        if "sdist" in package:
            files.append(package["sdist"])
        if "archive" in package:
            files.append(package["archive"])
        hashes = frozenset(file.get("hashes", {}).get("sha256", "") for file in files)
        size = int(files[0].get("size", 0)) if files else 0
        version = str(package.get("version", ""))
        result.append(Wheel(_normal(package["name"]), version, size, hashes))
    return result


def check(lock: Path, pylock: Path) -> list[Wheel]:
    """Return the wheels of `pylock` after a proof that `lock` allows each file.

    Raises
    ------
    InstallFailed
        A file's sha256 is missing in the lock.
    """
    allowed = locked_hashes(lock)
    found = wheels(pylock)
    for wheel in found:
        if not wheel.hashes or not wheel.hashes <= allowed.get(
            (wheel.package, wheel.version), set()
        ):
            raise InstallFailed(
                f"The files of {wheel.package} {wheel.version} do not match {lock.name}.",
                "The lock file or the package index was altered. Get the module again from its "
                "source, and check the settings index_url, extra_index_urls and find_links.",
                code="hash_mismatch",
            )
    return found


def _normal(name: str) -> str:
    """Normalise a package name (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()
