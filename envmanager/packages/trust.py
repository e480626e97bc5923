"""Trust on first use for the torch family: its builds are not those that a lock knows.

The hashes of a lock are those of the ordinary index. What comes from a backend's own index is
taken as it is the first time, and ``trusted.json`` in the data folder remembers each file's sha256:
a file of the same name with other bytes is refused from then on.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import unquote

from envmanager.data import files
from envmanager.data.paths import DataFolder
from envmanager.errors import InstallFailed
from envmanager.packages.lockfile import Wheel
from ga3_nodes import locks


def check(data: DataFolder, wheels: Iterable[Wheel]) -> dict[str, str]:
    """Return the sha256 of each file, by its name, after a look at what was trusted before.

    Raises
    ------
    InstallFailed
        A file has no sha256, or another one than the first time.
    """
    known = _read(_path(data))
    found = {}
    for wheel in wheels:
        for address, digest in wheel.files:
            name = unquote(address.rpartition("/")[2])
            if not digest:
                raise InstallFailed(
                    f"The index of the torch family gives no sha256 for {name}.",
                    "Choose an index that does, by the setting torch_index.",
                    code="hash_missing",
                )
            if known.get(name, digest) != digest:
                raise InstallFailed(
                    f"{name} is not the file that it was when it was first installed here.",
                    "The index was altered, or the file was published anew. If you are sure of "
                    f"it, remove its line from {_path(data)} and try again.",
                    code="hash_mismatch",
                )
            found[name] = digest
    return found


def remember(data: DataFolder, found: dict[str, str]) -> None:
    """Keep the hashes of files that were installed."""
    path = _path(data)
    if not found.items() - _read(path).items():
        return
    with locks.FileLock(path.with_suffix(".lock")):
        files.write_text(path, json.dumps(_read(path) | found, indent=2, sort_keys=True) + "\n")


def _path(data: DataFolder) -> Path:
    return data.root / "trusted.json"


def _read(path: Path) -> dict[str, str]:
    try:
        known = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise InstallFailed(
            f"{path} cannot be read: {error}.",
            "It holds the hashes of the torch builds that were installed before. Rename it to "
            "start anew.",
            code="trust_unreadable",
        ) from error
    return known if isinstance(known, dict) else {}
