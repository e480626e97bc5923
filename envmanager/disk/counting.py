"""Counts trees by inode, in allocated bytes, as ``du`` does.

uv hard-links the files of environments from its cache, so one file lies in many folders and its
bytes exist once. Bytes are *own* to a folder where all links of the inode lie in it (deleting the
folder frees them), else *shared*.
"""

from __future__ import annotations

import os
import stat
import time
from collections import Counter as Tally
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from envmanager.events import CancelToken, Progress, Report, ignore

_BLOCK = 4096  # the cluster of NTFS, whose stat tells no allocated size
_CHECK_EVERY = 256  # files between two looks at the cancel token and the clock
_REPORT_EVERY_S = 0.1
_MOUNT_POINT = 0xA0000003  # IO_REPARSE_TAG_MOUNT_POINT; `stat` has it on Windows only

# Where a file lies: ("envs", "classic", "2"), ("envs", "classic"), ("cache",), ...
Place = tuple[str, ...]
# How many links of an inode lie in which places.
_Links = tuple[tuple[Place, int], ...]


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


def scan(folder: Path, report: Report = ignore, cancel: CancelToken | None = None) -> Usage:
    """Count one folder; one that does not exist takes nothing.

    Symbolic links and junctions are not followed; files that vanish meanwhile count nothing.
    `cancel` ends it with `Cancelled`.
    """
    counter = Counter(report, cancel)
    counter.tree(real(folder), lambda parts: ("",))
    counter.end()
    return counter.usages(lambda place: place).get(("",), Usage())


class Counter:
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
        self._plus: dict[tuple[_Links, Place], _Links] = {}

    def tree(
        self, folder: str, place_of: Callable[[tuple[str, ...]], Place], leave_out: str = ""
    ) -> None:
        """Count a folder; `place_of` gets the names of a folder's first three levels below it."""
        state = self._state(folder)
        if state is None or not stat.S_ISDIR(state.st_mode):
            return
        waiting: list[tuple[str, tuple[str, ...], int]] = [(folder, (), _allocated(state))]
        while waiting:
            path, parts, alone = waiting.pop()
            place, start = place_of(parts), with_separator(path)
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

    def usages(self, key_of: Callable[[Place], Any]) -> dict[Any, Usage]:
        """Return what is own and what is shared by a key of the places; key None is left out."""
        own: Tally[Any] = Tally()
        shared: Tally[Any] = Tally()
        for (where, links), size in self._groups.items():
            inside: Tally[Any] = Tally()
            for place, count in where:
                inside[key_of(place)] += count
            for key, count in inside.items():
                (own if count >= links else shared)[key] += size
        return {key: Usage(own[key], shared[key]) for key in {*own, *shared} - {None}}

    def total(self, counts: Callable[[set[str]], bool]) -> int:
        """Return the bytes of the inodes whose parts `counts` accepts."""
        groups = self._groups.items()
        return sum(s for (where, _), s in groups if counts({place[0] for place, _ in where}))

    def _add_link(self, state: os.stat_result, place: Place) -> None:
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


def real(folder: Path) -> str:
    """Return a folder's true path; on a Windows drive one that may be longer than 260 letters."""
    path = os.path.realpath(folder)
    return f"\\\\?\\{path}" if path[1:2] == ":" else path


def with_separator(folder: str) -> str:
    return folder if folder.endswith(os.sep) else folder + os.sep
