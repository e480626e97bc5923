"""How far uv is with its downloads, judged from outside: it has no progress that could be read.

What it says: which wheels the cache lacks, and how large the larger ones are as they start. What
its cache shows: the unpacked wheels as they grow. How many bytes of a wheel have come follows from
that: what is new in it is packed again, in samples, to see how much room it took in the wheel.

A uv that says it otherwise, or has another cache, costs the steps of the bar, nothing else.
"""

from __future__ import annotations

import contextlib
import heapq
import os
import re
import time
import zlib
from collections.abc import Collection, Iterable
from pathlib import Path
from urllib.parse import unquote

from envmanager.events import Progress
from envmanager.fetching.pace import LOOK_S, Pace
from envmanager.packages.lockfile import Wheel
from envmanager.uv import cache as uv_cache

# What uv shall say more than it does by itself: its plan, and what its cache lacks.
_LACKING = re.compile(r"^DEBUG (?:Identified uncached distribution|Must revalidate.*): ([\w.-]+)")
_CACHED = re.compile(r"^DEBUG Found (?:fresh|not-modified) response for: \S*/([^/\s?#]+)")
_PLANNED = re.compile(r"^DEBUG (?:Identified uncached|Must revalidate|.* already (cach|install)ed)")
_STARTED = re.compile(r"^\s*Downloading (\S+) \(([\d.]+)([KMGT]?)iB\)")
_COMPLETE = re.compile(r"^\s*Downloaded (\S+)")
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}

_COST = 20  # a look may take a 20th of the time: large wheels have ten thousand files
_SAMPLES, _SAMPLE = 4, 1 << 15  # places, and bytes at each
_NOT_ALL = 0.99  # an estimate must not claim the end of a wheel


class Downloads:
    """The downloads of one run of uv.

    `done` never falls and never exceeds the total. The total is 0 while a size is unknown.

    Parameters
    ----------
    cache : Path
        uv's cache, before uv starts.
    wheels : iterable of Wheel
        What is to be installed, from the cache or not.
    here : collection of str
        The packages that uv takes from files: no downloads.
    before : int
        The bytes that were downloaded before uv began, which count as well.
    pace : Pace
        The rate so far.
    """

    def __init__(
        self,
        cache: Path,
        wheels: Iterable[Wheel],
        here: Collection[str] = (),
        before: int = 0,
        pace: Pace | None = None,
    ) -> None:
        self._cache = cache
        self._here, self._before = here, before
        self._sizes = {wheel.package: wheel.size for wheel in wheels}
        self._lacking: set[str] = set()
        self._complete: set[str] = set()
        self._planned = 0
        self._foreign = uv_cache.streaming(cache)
        self._archives = uv_cache.archives(cache)
        self._streams: dict[Path, _Stream] = {}
        self._done = before
        self._pace = pace or Pace()
        self._next_look = 0.0

    @property
    def needless(self) -> bool:
        """Whether uv has told of each wheel that the cache has it."""
        return self._planned >= len(self._sizes) and not self._lacking

    def heard(self, line: str) -> None:
        """Take notice of a line of uv's."""
        if match := _PLANNED.match(line):
            self._planned += 1
        if match := _LACKING.match(line):
            self._lacking |= {_normal(match[1])}.difference(self._here)
        elif match := _CACHED.match(line):
            self._lacking.discard(_normal(unquote(match[1]).partition("-")[0]))
        elif match := _COMPLETE.match(line):
            self._complete.add(_normal(match[1]))
        elif match := _STARTED.match(line):
            name = _normal(match[1])
            self._lacking.add(name)
            self._sizes[name] = self._sizes.get(name) or int(float(match[2]) * _UNITS[match[3]])

    def look(self) -> Progress | None:
        """Return how far the downloads are; None where it is too early to look again."""
        started = time.monotonic()
        if started < self._next_look or not self._lacking:
            return None
        self._see_complete()
        self._see_streams()
        now = time.monotonic()
        self._next_look = now + max(LOOK_S, (now - started) * _COST)
        return self._progress(now)

    def end(self) -> Progress:
        """Return the progress of downloads that are done."""
        lacking = sum(self._sizes.get(name, 0) for name in self._lacking)
        total = max(self._done, self._before + lacking)
        return Progress(total, total, bytes_per_s=self._pace.mean())

    def _see_complete(self) -> None:
        present = uv_cache.archives(self._cache)
        for archive in present - self._archives:
            self._complete.add(_normal(uv_cache.package_of(archive)))
        self._archives |= present

    def _see_streams(self) -> None:
        present = uv_cache.streaming(self._cache) - self._foreign
        self._streams = {path: self._streams.get(path, _Stream(path)) for path in present}
        for stream in self._streams.values():
            stream.look()

    def _progress(self, now: float) -> Progress:
        of_uv = self._complete & self._lacking
        complete = self._before + sum(self._sizes.get(name, 0) for name in of_uv)
        missing = [self._sizes.get(name, 0) for name in self._lacking - self._complete]
        partly = sum(stream.packed for stream in self._streams.values())
        known = all(missing)
        if known:
            partly = min(partly, _NOT_ALL * sum(missing))
        self._done = max(self._done, int(complete + partly))
        total = max(self._done, complete + sum(missing)) if known else 0
        rate = self._pace.rate(now, self._done)
        left = (total - self._done) / rate if total and rate else None
        return Progress(self._done, total, remaining_s=left, bytes_per_s=rate)


class _Stream:
    """A wheel that is being unpacked: `packed` is what has come of it, in bytes of the wheel."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._sizes: dict[str, int] = {}
        self.packed = 0.0

    def look(self) -> None:
        """Add what has grown since the last look, packed as the largest parts of it are."""
        sizes = _sizes(str(self._folder))
        known = self._sizes.get
        grown = [
            (size - known(path, 0), path) for path, size in sizes.items() if size > known(path, 0)
        ]
        if grown:
            largest = heapq.nlargest(_SAMPLES, grown)
            packs = [(new, _packed_share(path, sizes[path] - new // 2)) for new, path in largest]
            share = sum(new * packed for new, packed in packs) / sum(new for new, _ in packs)
            self.packed += share * sum(new for new, _ in grown)
        self._sizes = sizes


def _sizes(folder: str) -> dict[str, int]:
    """Return the sizes of all files below a folder, in bytes."""
    found: dict[str, int] = {}
    newest, changed = "", -1.0
    folders = [folder]
    while folders:
        try:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                        continue
                    stat = entry.stat(follow_symlinks=False)
                    found[entry.path] = stat.st_size
                    if stat.st_mtime > changed:
                        newest, changed = entry.path, stat.st_mtime
        except OSError:  # it has just moved to its place
            continue
    # Windows tells the size of an open file only to who asks for that very file.
    with contextlib.suppress(OSError):
        found |= {newest: Path(newest).stat().st_size} if newest else {}
    return found


def _packed_share(path: str, middle: int) -> float:
    """Return how small a sample of a file packs, from 0 to 1."""
    try:
        with Path(path).open("rb") as file:
            file.seek(max(0, middle - _SAMPLE // 2))
            sample = file.read(_SAMPLE)
    except OSError:
        return 1 / 3  # as Python code does
    return min(1.0, len(zlib.compress(sample)) / len(sample)) if sample else 1.0


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
