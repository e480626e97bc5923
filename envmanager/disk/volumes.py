"""The volumes that a data folder uses, and their free space."""

from __future__ import annotations

import contextlib
import shutil
from dataclasses import dataclass

from envmanager.data.paths import DataFolder


@dataclass(frozen=True)
class Volume:
    """A volume that the data folder or the cache lies on; `total` and `free` in bytes."""

    path: str
    total: int
    free: int


def volumes(data: DataFolder) -> tuple[Volume, ...]:
    """Return the volumes of the data folder and of uv's cache, with their free space of now."""
    found: dict[int, Volume] = {}
    for folder in (data.root, data.uv_cache):
        place = folder.absolute()
        with contextlib.suppress(OSError):  # a drive that is not there, a folder of others
            while not place.exists() and place != place.parent:
                place = place.parent
            volume, space = place.stat().st_dev, shutil.disk_usage(place)
            found.setdefault(volume, Volume(str(folder), space.total, space.free))
    return tuple(found.values())
