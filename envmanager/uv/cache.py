"""The layout of the pinned uv's cache, as far as the engine must know it.

A wheel streams, unpacked, into a folder ``.tmp*`` and moves to ``archive-v0/<id>`` when it is
complete. A pointer in ``wheels-v*`` holds the sha256 of each file that became an archive: ``.http``
for one that came by the network, ``.rev`` for one from a folder. Each uv holds ``.lock`` as long as
it runs: shared, or alone to prune.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from ga3_nodes import locks

HTTP, LOCAL = "http", "rev"


def streaming(cache: Path) -> set[Path]:
    """Return the folders of wheels that are on their way, or were when a uv was killed."""
    return {path for path in _entries(cache) if path.name.startswith(".tmp")}


def archives(cache: Path) -> set[Path]:
    """Return the folders of complete wheels."""
    return _entries(cache / "archive-v0")


def package_of(archive: Path) -> str:
    """Return the name of an unpacked wheel's package, as it spells it; empty where it has none."""
    names = (path.name for path in _entries(archive) if path.name.endswith(".dist-info"))
    return next(names, "").partition("-")[0]


def origins(cache: Path, package: str, version: str, hashes: Iterable[str]) -> set[str]:
    """Return how the cache came by the file with one of these sha256: ``http``, ``rev``.

    The layout is that of the pinned uv; in another one nothing would be found.
    """
    wanted = [digest.encode() for digest in hashes if digest]
    pattern = f"{package}/{version}-*"
    pointers = [*cache.glob(f"wheels-v*/*/{pattern}"), *cache.glob(f"wheels-v*/*/*/{pattern}")]
    found = set()
    for pointer in pointers:
        kind = pointer.suffix.removeprefix(".")
        if kind in (HTTP, LOCAL) and kind not in found and pointer.is_file():
            content = pointer.read_bytes()
            found |= {kind} if any(digest in content for digest in wanted) else set()
    return found


def sweep(cache: Path) -> None:
    """Remove what a uv that was killed left half done; uv itself would, at its next prune.

    Not while any other uv works: one of the folders could be its own.
    """
    if not streaming(cache):
        return
    lock = locks.FileLock(cache / ".lock")
    if lock.acquire():
        try:
            for folder in streaming(cache):
                shutil.rmtree(folder, ignore_errors=True)
        finally:
            lock.release(remove=False)


def _entries(folder: Path) -> set[Path]:
    try:
        with os.scandir(folder) as entries:
            return {Path(entry.path) for entry in entries}
    except OSError:  # not there yet, or not any more
        return set()
