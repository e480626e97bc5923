"""``requirements.lock`` (what is committed) and ``pylock.toml`` (what it resolves to here).

uv does not compare the two, so the engine does: every file that an install may fetch must stand in
the lock with its sha256, else a tampered lock or index would pass.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from envmanager.errors import InstallFailed

_REQUIREMENT = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)")
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")


@dataclass(frozen=True)
class Wheel:
    """The file of one package that fits this machine.

    Parameters
    ----------
    size : int
        In bytes; 0 where unknown.
    files : tuple of (str, str)
        Address and sha256 of each file that uv may take; without a sha256 it is empty.
    """

    package: str
    version: str
    size: int
    files: tuple[tuple[str, str], ...]

    @property
    def url(self) -> str:
        """Where the file lies; empty where unknown."""
        return self.files[0][0] if self.files else ""


def locked_hashes(lock: Path) -> dict[tuple[str, str], set[str]]:
    """Return the sha256 sums of a ``requirements.lock`` by package and version."""
    found: dict[tuple[str, str], set[str]] = {}
    current: set[str] = set()
    for line in lock.read_text("utf-8").splitlines():
        if match := _REQUIREMENT.match(line):
            current = found.setdefault((_normal(match[1]), match[2]), set())
        current.update(_HASH.findall(line))
    return found


def is_pin(line: str) -> bool:
    """Tell whether a line of a ``requirements.lock`` begins the pin of a package."""
    return _REQUIREMENT.match(line) is not None


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
        sums = [(_address(file), file.get("hashes", {}).get("sha256", "")) for file in files]
        size = int(files[0].get("size", 0)) if files else 0
        version = str(package.get("version", ""))
        result.append(Wheel(_normal(package["name"]), version, size, tuple(sums)))
    return result


def _address(file: dict[str, Any]) -> str:
    return str(file.get("url") or file.get("path") or file.get("name") or "")


def check(wheels: Iterable[Wheel], locks: Sequence[Path]) -> None:
    """Prove that the locks allow each file.

    Raises
    ------
    InstallFailed
        A file's sha256 stands in none of the locks.
    """
    allowed: dict[tuple[str, str], set[str]] = {}
    for lock in locks:
        for pin, hashes in locked_hashes(lock).items():
            allowed.setdefault(pin, set()).update(hashes)
    for wheel in wheels:
        known = allowed.get((wheel.package, wheel.version), set())
        if not wheel.files or not known.issuperset(digest for _, digest in wheel.files):
            raise InstallFailed(
                f"The files of {wheel.package} {wheel.version} do not match {locks[0].name}.",
                "The lock file or the package index was altered. Get the module again from its "
                "source, and check the settings index_url, extra_index_urls and find_links.",
                code="hash_mismatch",
            )


def _normal(name: str) -> str:
    """Normalise a package name (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()
