"""How much disk space everything takes: by inode, in allocated bytes, as ``du`` counts.

uv hard-links the files of environments from its cache, so one file lies in many folders and its
bytes exist once. Bytes are *own* to a folder where all links of the inode lie in it (deleting the
folder frees them), else *shared*.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import stat
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from envmanager import files
from envmanager.errors import GA3EnvError
from envmanager.events import CancelToken, LogLine, Progress, Report, Stage, ignore
from envmanager.paths import DataFolder

PARTS = ("envs", "cache", "weights", "trash", "logs", "python", "standin", "client", "rest")
_FILE, _SCHEMA = "disk.json", 1
_BLOCK = 4096  # the cluster of NTFS, whose stat tells no allocated size
_CHECK_EVERY = 256  # files between two looks at the cancel token and the clock
_REPORT_EVERY_S = 0.1
_MOUNT_POINT = 0xA0000003  # IO_REPARSE_TAG_MOUNT_POINT; `stat` has it on Windows only
_KEPT_FREE = 1_000_000_000

# Where a file lies: ("envs", "classic", "2"), ("envs", "classic"), ("cache",), ...
_Place = tuple[str, ...]
# How many links of an inode lie in which places.
_Links = tuple[tuple[_Place, int], ...]


@dataclass(frozen=True)
class Usage:
    """Allocated bytes of a folder, each inode once.

    Attributes
    ----------
    own : int
        Bytes that would be freed if this folder alone were deleted.
    shared : int
        Bytes of files that have further links elsewhere.
    """

    own: int = 0
    shared: int = 0

    @property
    def total(self) -> int:
        """All bytes: what ``du`` says of the folder."""
        return self.own + self.shared

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


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
class Volume:
    """A volume that the data folder or the cache lies on; `total` and `free` in bytes."""

    path: str
    total: int
    free: int


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


class CacheCleaner(Protocol):
    """What `clean_cache` needs of `uv.Uv`."""

    def clean_cache(self, *, everything: bool) -> None:
        """Run ``uv cache prune``, or ``uv cache clean``."""


def scan(folder: Path, report: Report = ignore, cancel: CancelToken | None = None) -> Usage:
    """Count one folder; one that does not exist takes nothing.

    Symbolic links and junctions are not followed; files that vanish meanwhile count nothing.
    `cancel` ends it with `Cancelled`.
    """
    counter = _Counter(report, cancel)
    counter.tree(_real(folder), lambda parts: ("",))
    counter.end()
    return counter.usages(lambda place: place).get(("",), Usage())


def overview(
    data: DataFolder, report: Report = ignore, cancel: CancelToken | None = None
) -> Overview:
    """Count a whole data folder and uv's cache, and keep the figures for `cached`.

    `Cancelled` leaves those of last time.
    """
    last = cached(data)
    report(Stage("disk", "Counting the disk space"))
    root, cache = _real(data.root), _real(data.uv_cache)
    inside = cache.startswith(_with_separator(root))
    expected = (last.total + (0 if inside else last.cache.total)) if last else 0
    counter = _Counter(report, cancel, expected)
    counter.tree(root, _place, leave_out=cache)
    if cache != root:
        counter.tree(cache, lambda parts: ("cache",), leave_out=root)
    counter.end()
    parts = counter.usages(lambda place: place[0])
    in_cache = parts.get("cache", Usage())
    linked = counter.total(lambda places: {"cache", "envs"} <= places)
    found = Overview(
        date=time.time(),
        total=counter.total(lambda places: inside or places != {"cache"}),
        modules=_modules(counter),
        parts={part: parts.get(part, Usage()) for part in PARTS if part != "cache"},
        cache=CacheUsage(in_cache.own, in_cache.shared, linked, str(data.uv_cache), inside),
        volumes=volumes(data),
        unreadable=counter.unreadable,
    )
    _keep(data, found, report)
    return found


def cached(data: DataFolder) -> Overview | None:
    """Return the figures that `overview` counted last; None where there are none to read."""
    try:
        kept = json.loads((data.root / _FILE).read_text("utf-8"))
        return _overview(kept) if kept["schema"] == _SCHEMA else None
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None


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


def fits(data: DataFolder, needed_bytes: int) -> str | None:
    """Return a warning where the volumes have no room for so many new bytes, else None.

    Beside what is needed 1 GB shall stay free for Windows, NIS-Elements and the images, or a tenth
    of what is needed where that is more: an estimate is the less exact the larger it is. A share of
    the volume would be no measure: a tenth of 4 TB is no shortage.

    A cache on another volume cannot be linked from: then both volumes take all bytes.
    """
    reserve = max(_KEPT_FREE, needed_bytes // 10)
    for volume in volumes(data):
        if volume.free < needed_bytes + reserve:
            return (
                f"The volume of {volume.path} has {_gb(volume.free)} free; about "
                f"{_gb(needed_bytes)} are needed, and {_gb(reserve)} should stay free beside."
            )
    return None


def clean_cache(
    uv: CacheCleaner,
    data: DataFolder,
    *,
    everything: bool = False,
    report: Report = ignore,
    cancel: CancelToken | None = None,
) -> int:
    """Remove from uv's cache what it no longer needs; return the bytes that this freed.

    Environments keep their files: a hard link holds the bytes without the cache.

    Parameters
    ----------
    everything : bool
        Empty the cache. The next install downloads anew and shares no bytes with those of today.

    Raises
    ------
    GA3EnvError
        An environment has symbolic links into the cache (``UV_LINK_MODE=symlink``) and would break.
    """
    cache = _real(data.uv_cache)
    if not Path(cache).is_dir():
        return 0
    _refuse_if_linked(data, cache, cancel)
    before = scan(data.uv_cache, report, cancel).own
    uv.clean_cache(everything=everything)
    return max(0, before - scan(data.uv_cache, report, cancel).own)


# ---- counting -----------------------------------------------------------------------------------


class _Counter:
    """Walks trees and keeps, for each set of places, the bytes of the inodes that lie there."""

    def __init__(self, report: Report, cancel: CancelToken | None, expected: int = 0) -> None:
        self.unreadable = 0
        self.symlinks: list[str] = []
        self._report = report
        self._cancel = cancel
        self._expected = expected
        self._bytes = 0
        self._seen = 0
        self._next_report = 0.0
        # By links and the inode's link count. Inodes with one link come here at once; the others
        # wait in `_inodes` for their further links.
        self._groups: defaultdict[tuple[_Links, int], int] = defaultdict(int)
        self._inodes: dict[tuple[int, int], tuple[int, int, _Links]] = {}
        self._plus: dict[tuple[_Links, _Place], _Links] = {}

    def tree(
        self, folder: str, place_of: Callable[[tuple[str, ...]], _Place], leave_out: str = ""
    ) -> None:
        """Count a folder; `place_of` gets the names of a folder's first three levels below it."""
        state = self._state(folder)
        if state is None or not stat.S_ISDIR(state.st_mode):
            return
        waiting: list[tuple[str, tuple[str, ...], int]] = [(folder, (), _allocated(state))]
        while waiting:
            path, parts, alone = waiting.pop()
            place, start = place_of(parts), _with_separator(path)
            for name in self._names(path):
                self._tick()
                below = start + name
                if below == leave_out or (state := self._state(below)) is None:
                    continue
                if _is_link(state):
                    self.symlinks.append(below)
                elif stat.S_ISDIR(state.st_mode):
                    known = (*parts, name) if len(parts) < 3 else parts
                    waiting.append((below, known, _allocated(state)))
                    continue
                if state.st_nlink > 1 and state.st_ino:
                    self._add_link(state, place)
                else:
                    alone += _allocated(state)
            self._bytes += alone
            self._groups[((place, 1),), 1] += alone

    def end(self) -> None:
        """Put the inodes with several links into their groups."""
        for size, links, where in self._inodes.values():
            self._groups[where, links] += size
        self._inodes.clear()
        self._report(Progress(self._bytes, self._bytes))

    def usages(self, key_of: Callable[[_Place], Any]) -> dict[Any, Usage]:
        """Return what is own and what is shared by a key of the places; key None is left out."""
        own: Counter[Any] = Counter()
        shared: Counter[Any] = Counter()
        for (where, links), size in self._groups.items():
            inside: Counter[Any] = Counter()
            for place, count in where:
                inside[key_of(place)] += count
            for key, count in inside.items():
                (own if count >= links else shared)[key] += size
        return {key: Usage(own[key], shared[key]) for key in {*own, *shared} - {None}}

    def total(self, counts: Callable[[set[str]], bool]) -> int:
        """Return the bytes of the inodes whose parts `counts` accepts."""
        groups = self._groups.items()
        return sum(s for (where, _), s in groups if counts({place[0] for place, _ in where}))

    def _add_link(self, state: os.stat_result, place: _Place) -> None:
        inode = (state.st_dev, state.st_ino)
        size, links, where = self._inodes.get(inode) or (-1, state.st_nlink, ())
        if size < 0:
            size = _allocated(state)
            self._bytes += size
        # Few sets of places are met many times: one tuple for each saves time and memory.
        more = self._plus.get((where, place))
        if more is None:
            counts = dict(where)
            counts[place] = counts.get(place, 0) + 1
            more = self._plus[where, place] = tuple(sorted(counts.items()))
        self._inodes[inode] = (size, links, more)

    def _names(self, folder: str) -> list[str]:
        try:
            with os.scandir(folder) as entries:
                return [entry.name for entry in entries]
        except OSError as error:
            self._miss(error)
        return []

    def _state(self, path: str) -> os.stat_result | None:
        """Return the state of a link itself; `os.scandir`'s has no inode on Windows."""
        try:
            return os.lstat(path)
        except OSError as error:
            self._miss(error)
        return None

    def _miss(self, error: OSError) -> None:
        if not isinstance(error, (FileNotFoundError, NotADirectoryError)):  # not just deleted
            self.unreadable += 1

    def _tick(self) -> None:
        self._seen += 1
        if self._seen % _CHECK_EVERY != 1:
            return
        if self._cancel:
            self._cancel.check()
        if (now := time.monotonic()) >= self._next_report:
            self._next_report = now + _REPORT_EVERY_S
            total = max(self._expected, self._bytes) if self._expected else 0
            self._report(Progress(self._bytes, total))


def _is_link(state: os.stat_result) -> bool:
    """Tell a symbolic link or a junction, which uv makes on Windows for minor Python versions."""
    return stat.S_ISLNK(state.st_mode) or getattr(state, "st_reparse_tag", 0) == _MOUNT_POINT


def _allocated(state: os.stat_result) -> int:
    blocks = getattr(state, "st_blocks", None)
    if blocks is not None:
        return int(blocks) * 512  # whatever the block size, says POSIX's stat
    return -(-state.st_size // _BLOCK) * _BLOCK


def _real(folder: Path) -> str:
    """Return a folder's true path; on a Windows drive one that may be longer than 260 letters."""
    path = os.path.realpath(folder)
    return f"\\\\?\\{path}" if path[1:2] == ":" else path


def _with_separator(folder: str) -> str:
    return folder if folder.endswith(os.sep) else folder + os.sep


def _place(parts: tuple[str, ...]) -> _Place:
    """Return the place of a folder by the names of its first levels below the data folder."""
    if not parts or parts[0] not in PARTS or parts[0] == "cache":
        return ("rest",)
    if parts[0] != "envs":
        return parts[:1]
    return parts[:3] if len(parts) == 3 and parts[2].isdecimal() else parts[:2]


def _modules(counter: _Counter) -> dict[str, ModuleUsage]:
    modules = counter.usages(lambda place: place[1] if len(place) > 1 else None)
    places = counter.usages(lambda place: place if len(place) > 2 else None)
    found = {}
    for name, usage in sorted(modules.items()):
        generations = {int(place[2]): places[place] for place in places if place[1] == name}
        found[name] = ModuleUsage(usage.own, usage.shared, dict(sorted(generations.items())))
    return found


def _refuse_if_linked(data: DataFolder, cache: str, cancel: CancelToken | None) -> None:
    counter = _Counter(ignore, cancel)
    counter.tree(_real(data.root / "envs"), lambda parts: ("envs",))
    for link in counter.symlinks:
        if _with_separator(_real(Path(link))).startswith(_with_separator(cache)):
            raise GA3EnvError(
                f"The cache was not cleaned: {link} is a symbolic link into it.",
                "Unset UV_LINK_MODE, repair that module, then clean the cache.",
                code="cache_in_use",
            )


# ---- the kept figures ---------------------------------------------------------------------------


def _keep(data: DataFolder, found: Overview, report: Report) -> None:
    if not data.root.is_dir():
        return
    text = json.dumps({"schema": _SCHEMA, **found.as_dict()}, indent=2, ensure_ascii=False)
    try:
        files.write_text(data.root / _FILE, text + "\n")
    except OSError as error:  # no room, or read-only: the figures are right all the same
        report(LogLine(f"the disk figures could not be kept: {error}"))


def _overview(kept: Mapping[str, Any]) -> Overview:
    date, cache = kept["date"], kept["cache"]
    if not 0 <= date < 2**33:  # what no calendar takes, and NaN
        raise ValueError(date)
    return Overview(
        date=float(date),
        total=_bytes(kept["total"]),
        modules={name: _module(value) for name, value in kept["modules"].items()},
        parts={part: _usage(kept["parts"][part]) for part in PARTS if part != "cache"},
        cache=CacheUsage(
            _bytes(cache["own"]),
            _bytes(cache["shared"]),
            _bytes(cache["linked"]),
            str(cache["path"]),
            bool(cache["inside"]),
        ),
        volumes=tuple(
            Volume(str(one["path"]), _bytes(one["total"]), _bytes(one["free"]))
            for one in kept["volumes"]
        ),
        unreadable=_bytes(kept["unreadable"]),
    )


def _module(value: Mapping[str, Any]) -> ModuleUsage:
    generations = {int(number): _usage(one) for number, one in value["generations"].items()}
    return ModuleUsage(_bytes(value["own"]), _bytes(value["shared"]), generations)


def _usage(value: Mapping[str, Any]) -> Usage:
    return Usage(_bytes(value["own"]), _bytes(value["shared"]))


def _bytes(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(value)
    return value


def _gb(number: int) -> str:
    return f"{number / 1e9:.1f} GB"
