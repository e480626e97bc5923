"""Cleans uv's cache without breaking an environment, and what downloads have left."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from envmanager.data.paths import DataFolder
from envmanager.disk.counting import Counter, real, scan, with_separator
from envmanager.errors import GA3EnvError
from envmanager.events import CancelToken, Report, ignore
from envmanager.packages.wheel_store import WheelStore


class CacheCleaner(Protocol):
    """What `clean_cache` needs of `uv.program.Uv`."""

    def clean_cache(self, *, everything: bool) -> None:
        """Run ``uv cache prune``, or ``uv cache clean``."""


def clean_cache(
    uv: CacheCleaner,
    data: DataFolder,
    *,
    everything: bool = False,
    report: Report = ignore,
    cancel: CancelToken | None = None,
) -> int:
    """Remove from uv's cache what it no longer needs; return the bytes that this freed.

    Environments keep their files: a hard link holds the bytes without the cache. Large wheels of
    installs that broke off go too, unless a module is being changed right now.

    Parameters
    ----------
    everything : bool
        Empty the cache. The next install downloads anew and shares no bytes with those of today.

    Raises
    ------
    GA3EnvError
        An environment has symbolic links into the cache (``UV_LINK_MODE=symlink``) and would break.
    """
    cache, freed = real(data.uv_cache), WheelStore(data).sweep(everything=True)
    if not Path(cache).is_dir():
        return freed
    _refuse_if_linked(data, cache, cancel)
    before = scan(data.uv_cache, report, cancel).own
    uv.clean_cache(everything=everything)
    return freed + max(0, before - scan(data.uv_cache, report, cancel).own)


def _refuse_if_linked(data: DataFolder, cache: str, cancel: CancelToken | None) -> None:
    counter = Counter(ignore, cancel)
    counter.tree(real(data.root / "envs"), lambda parts: ("envs",))
    for link in counter.symlinks:
        if with_separator(real(Path(link))).startswith(with_separator(cache)):
            raise GA3EnvError(
                f"The cache was not cleaned: {link} is a symbolic link into it.",
                "Unset UV_LINK_MODE, repair that module, then clean the cache.",
                code="cache_in_use",
            )
