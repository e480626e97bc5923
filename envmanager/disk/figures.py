"""What is known of a data folder's disk space: plain values."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from envmanager.disk.counting import Usage
from envmanager.disk.volumes import Volume

PARTS = tuple("envs cache downloads weights trash logs python standin client rest".split())


@dataclass(frozen=True)
class ModuleUsage(Usage):
    """A module's generations together, and each of them.

    What two generations of the module share with each other only is own to the module.
    """

    generations: Mapping[int, Usage] = field(default_factory=dict)


@dataclass(frozen=True)
class CacheUsage(Usage):
    """The cache of uv.

    Attributes
    ----------
    linked : int
        Bytes that environments of the data folder link: a deleted cache would not free them.
    path : str
        Its folder.
    inside : bool
        Whether it lies in the data folder, and so is part of its total.
    """

    linked: int = 0
    path: str = ""
    inside: bool = True


@dataclass(frozen=True)
class Overview:
    """What a whole data folder takes.

    Attributes
    ----------
    date : float
        When it was counted, in seconds since 1970.
    total : int
        Bytes of the data folder, each inode once, as ``du`` counts.
    modules : dict of ModuleUsage
        By name, also of modules that are no longer in the catalog.
    parts : dict of Usage
        By `PARTS` other than the cache; "envs" is all modules together.
    cache : CacheUsage
        uv's cache.
    volumes : tuple of Volume
        The data folder's volume, and the cache's where that is another.
    unreadable : int
        Files and folders that the system kept from us: the figures lack them.
    """

    date: float
    total: int
    modules: Mapping[str, ModuleUsage]
    parts: Mapping[str, Usage]
    cache: CacheUsage
    volumes: tuple[Volume, ...]
    unreadable: int = 0

    @property
    def shared(self) -> int:
        """Bytes in the data folder that no part has of its own: `total` less every part's own."""
        inside = self.cache.own if self.cache.inside else 0
        return self.total - inside - sum(part.own for part in self.parts.values())

    def module(self, name: str, generations: Collection[int]) -> ModuleUsage | None:
        """Return a module's figures, or None where other generations were counted."""
        found = self.modules.get(name)
        return found if found and set(found.generations) == set(generations) else None

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {**asdict(self), "shared": self.shared}
