"""Copies a data folder so that it works in its new place: the work behind `relocation`.

Files that share their bytes through hard links (uv's cache and the environments) share them in the
copy too. On one volume the copy itself is made of hard links: fast, and without room for the data.
What names the old place by its full path names the new one: symbolic links, junctions, and the
``pyvenv.cfg`` of an environment whose interpreter lies in the data folder.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from envmanager.data import fulldisk
from envmanager.errors import GA3EnvError
from envmanager.events import CancelToken, Progress, Report

_CHUNK = 4 << 20
_BLOCK = 4096  # the least that a file takes
_REPORT_EVERY = 64 << 20  # bytes
_MENDED = "pyvenv.cfg"
_MOUNT_POINT = 0xA0000003  # IO_REPARSE_TAG_MOUNT_POINT; `stat` has it on Windows only

LeaveOut = Callable[[str], bool]


def listing(folder: Path, leave_out: LeaveOut, cancel: CancelToken) -> dict[str, os.stat_result]:
    """Return all that lies in a folder, by its path from there with slashes; parents come first."""
    found: dict[str, os.stat_result] = {}
    start = os.path.join(folder, "")  # noqa: PTH118 - pathlib is slow for 200,000 files
    waiting = [""]
    while waiting:
        cancel.check()
        above = waiting.pop()
        for name in sorted(os.listdir(start + above)):  # noqa: PTH208
            below = f"{above}/{name}" if above else name
            if leave_out(below):
                continue
            state = os.lstat(start + below)
            if _is_link(state) or stat.S_ISREG(state.st_mode):
                found[below] = state
            elif stat.S_ISDIR(state.st_mode):
                found[below] = state
                waiting.append(below)
    return found


@dataclass
class Transfer:
    """The copy of one folder's content into another, empty one.

    `leave_out` tells, by paths from `source`, what is not copied. Where `may_link` is False the
    copy shares no bytes with the source, also on one volume: both will have other owners.
    """

    source: Path
    target: Path
    leave_out: LeaveOut
    report: Report
    cancel: CancelToken
    may_link: bool = True
    items: dict[str, os.stat_result] = field(default_factory=dict)
    _links: bool = False
    _copies: dict[tuple[int, int], Path] = field(default_factory=dict)
    _done: int = 0
    _told: int = 0

    def plan(self, probe: str) -> int:
        """List what is to be copied; return the bytes that this needs on the target's volume.

        `probe` is a file that lies in both folders: it shows whether they can share files.
        """
        self.items = listing(self.source, self.leave_out, self.cancel)
        self._links = self.may_link and self._can_link(probe)
        return len(self.items) * _BLOCK // 16 if self._links else self.size

    @property
    def size(self) -> int:
        """The bytes of all files, each inode once."""
        sizes = {}
        for name, state in self.items.items():
            if stat.S_ISREG(state.st_mode):
                shared = state.st_nlink > 1 and state.st_ino
                sizes[(state.st_dev, state.st_ino) if shared else name] = _rounded(state.st_size)
        return sum(sizes.values())

    def copy(self) -> None:
        """Copy all that `plan` has listed.

        Raises
        ------
        Cancelled, DiskFull
            The copy is not complete.
        """
        with fulldisk.named(self.target):
            self._copy_items()

    def _copy_items(self) -> None:
        total = sum(state.st_size for state in self.items.values())
        self.report(Progress(0, total))
        for name, state in self.items.items():
            self.cancel.check()
            source, target = self.source / name, self.target / name
            if _is_link(state):
                self._relink(source, target, state)
            elif stat.S_ISDIR(state.st_mode):
                target.mkdir()
                shutil.copymode(source, target)
            elif source.name == _MENDED:
                self._mend(source, target)
            else:
                self._file(source, target, state)
            self._count(state.st_size if stat.S_ISREG(state.st_mode) else 0, total)
        self.report(Progress(total, total))

    def verify(self) -> None:
        """Compare the copy with the list, and the list with what lies in the source now.

        Raises
        ------
        GA3EnvError
            Something differs: the source was changed meanwhile, or the copy is not complete.
        """
        now = listing(self.source, self.leave_out, self.cancel)
        copied = listing(self.target, self.leave_out, self.cancel)
        was = _signature(self.items, times=True)
        if changed := set(was.items()) ^ set(_signature(now, times=True).items()):
            raise disturbed(self.source / min(changed)[0])
        expected = _signature(self.items, times=False)
        if wrong := set(expected.items()) ^ set(_signature(copied, times=False).items()):
            raise GA3EnvError(
                f"The copy of {min(wrong)[0]} in {self.target} is not what it should be.",
                "Nothing was moved. Check the disk of the new folder.",
                code="move_disturbed",
            )
        if hasattr(os, "sync"):
            os.sync()  # a copy that only lies in memory must not replace the original

    def _can_link(self, probe: str) -> bool:
        trial = self.target / f"{probe}.link"
        try:
            os.link(self.source / probe, trial)
        except OSError:
            return False
        trial.unlink()
        return True

    def _file(self, source: Path, target: Path, state: os.stat_result) -> None:
        inode = (state.st_dev, state.st_ino)
        earlier = source if self._links else self._copies.get(inode)
        if earlier:
            try:
                os.link(earlier, target)
            except OSError:  # too many links, or a mount point within the folder: a copy will do
                pass
            else:
                return
        self._copy(source, target)
        if state.st_nlink > 1 and state.st_ino:
            self._copies.setdefault(inode, target)

    def _copy(self, source: Path, target: Path) -> None:
        with source.open("rb") as old, target.open("xb") as new:
            while chunk := old.read(_CHUNK):
                self.cancel.check()
                new.write(chunk)
        shutil.copystat(source, target)  # .pyc files know their source by its time

    def _relink(self, source: Path, target: Path, state: os.stat_result) -> None:
        aim = self._moved(str(source.readlink()))
        if stat.S_ISLNK(state.st_mode):
            target.symlink_to(aim, target_is_directory=source.is_dir())
        else:  # a junction: uv's name for the newest patch of a Python, on Windows
            import _winapi

            _winapi.CreateJunction(aim, str(target))  # type: ignore[attr-defined,unused-ignore]

    def _mend(self, source: Path, target: Path) -> None:
        """Write a ``pyvenv.cfg`` whose interpreter moves along."""
        lines = []
        for line in source.read_text("utf-8").splitlines():
            key, separator, value = line.partition(" = ")
            lines.append(f"{key}{separator}{self._moved(value)}")
        target.write_text("\n".join(lines) + "\n", "utf-8")
        shutil.copystat(source, target)

    def _moved(self, path: str) -> str:
        """Return what a full path in the old folder becomes in the new one."""
        plain = path.removeprefix("\\\\?\\")  # how Windows tells the aim of a junction
        for root in (str(self.source), str(self.source.resolve())):
            head, rest = plain[: len(root)], plain[len(root) :]
            if os.path.normcase(head) == os.path.normcase(root) and rest[:1] in ("", "/", "\\"):
                return str(self.target) + rest
        return path

    def _count(self, size: int, total: int) -> None:
        self._done += size
        if self._done - self._told >= min(_REPORT_EVERY, max(total // 20, 1)):
            self._told = self._done
            self.report(Progress(self._done, total))


def disturbed(path: Path) -> GA3EnvError:
    """Return the error for a file that another program changed meanwhile."""
    return GA3EnvError(
        f"{path} was changed while the data folder was copied.",
        "Nothing was moved. Close what works on it and try again.",
        code="move_disturbed",
    )


def _signature(items: dict[str, os.stat_result], *, times: bool) -> dict[str, tuple[int, ...]]:
    """Return what two listings of the same content agree in."""
    found: dict[str, tuple[int, ...]] = {}
    for name, state in items.items():
        if name.partition("/")[0] == "logs":
            continue  # this very command writes there
        if times and "/__pycache__" in name:
            continue  # a worker that starts writes them; nothing is lost without
        mended = not times and name.endswith(_MENDED)
        regular = stat.S_ISREG(state.st_mode) and not mended
        time = state.st_mtime_ns if times and regular else 0
        kind = stat.S_IFMT(state.st_mode) | (_is_link(state) << 16)
        found[name] = (kind, state.st_size if regular else 0, time)
    return found


def _is_link(state: os.stat_result) -> bool:
    """Tell a symbolic link or a junction."""
    return stat.S_ISLNK(state.st_mode) or getattr(state, "st_reparse_tag", 0) == _MOUNT_POINT


def _rounded(size: int) -> int:
    return (size + _BLOCK - 1) // _BLOCK * _BLOCK
