"""Size and sha256 of a file: what tells that it is the wanted one."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from envmanager.events import CancelToken

_PIECE = 1 << 20  # bytes hashed between two looks at the cancel token


@dataclass(frozen=True)
class Fetched:
    """A file that has come; `size` in bytes."""

    size: int
    sha256: str


def hashed(path: Path, cancel: CancelToken) -> Fetched:
    """Return size and sha256 of a file.

    Raises
    ------
    Cancelled
        `cancel` was set.
    """
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while data := file.read(_PIECE):
            cancel.check()
            digest.update(data)
            size += len(data)
    return Fetched(size, digest.hexdigest())


def hash_of(content: bytes) -> Fetched:
    """Return size and sha256 of what a file holds."""
    return Fetched(len(content), hashlib.sha256(content).hexdigest())
