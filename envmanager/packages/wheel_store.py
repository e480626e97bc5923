"""``ROOT/downloads``: files of large wheels, whole or begun, until what they are for is published.

Each lies in a folder of its own, named by its sha256, so that two files of one name do not collide:
``downloads/<sha256>/torch-2.13.0-....whl``, or the part of it that has come. An install that fails
or is killed leaves them, and the next one goes on. They go when an install that used them is
published, and after two weeks in which nobody came back for them.

Several modules may be built at once and want the same file, so nothing is deleted while another one
is: what is no longer needed is marked, and goes at the start or the end of the next build.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from envmanager.data import writers
from envmanager.data.paths import DataFolder
from envmanager.packages import wheelhouse
from envmanager.packages.lockfile import Wheel

# Of the sha256: enough that no two are alike, and Windows has names of 260 letters at most.
_LETTERS = 16
_KEPT_S = 14 * 24 * 3600.0
_UNNEEDED = "unneeded"


@dataclass(frozen=True)
class WheelStore:
    """The folder of large wheels of a data folder."""

    data: DataFolder

    @property
    def folder(self) -> Path:
        """The folder."""
        return self.data.downloads

    def place(self, wheel: Wheel) -> Path:
        """Return where a wheel's file lies once it has come; its sha256 and name must be known.

        A build uses what lies there whole, of any size, and asks no network for it. Whoever puts
        a file there does so under another name first, and as the writer of the module.
        """
        return self.folder / wheelhouse.digest(wheel)[:_LETTERS] / wheelhouse.file_name(wheel)

    def has(self, wheel: Wheel) -> bool:
        """Tell whether a wheel's whole file is there; its sha256 is still to be looked at."""
        return self.place(wheel).is_file()

    def come(self, wheel: Wheel) -> int:
        """Return how many bytes of a wheel are there, whole or not."""
        place = self.place(wheel)
        for path in (place, place.with_name(f"{place.name}.part")):
            try:
                return path.stat().st_size
            except OSError:
                continue
        return 0

    # ---- what goes --------------------------------------------------------------------------

    def release(self, wheels: Iterable[Wheel], module: str) -> None:
        """Let go of the files of wheels that were installed, for the writer of a module."""
        for place in (self.place(wheel).parent for wheel in wheels if wheelhouse.is_known(wheel)):
            if place.is_dir():
                with contextlib.suppress(OSError):  # a full disk: they go by their age
                    (place / _UNNEEDED).touch()
        self.sweep(module)

    def sweep(self, module: str = "", *, everything: bool = False) -> int:
        """Delete what nobody needs or comes back for; return the bytes that this frees.

        Nothing while a writer of any module but `module` is at work.
        """
        if not self.folder.is_dir() or writers.others_at_work(self.data, module):
            return 0
        freed = 0
        for place in [path for path in self.folder.iterdir() if path.is_dir()]:
            with contextlib.suppress(OSError):  # another cleaning was quicker
                if everything or (place / _UNNEEDED).exists() or _age_s(place) > _KEPT_S:
                    size = sum(path.stat().st_size for path in place.iterdir())
                    shutil.rmtree(place)
                    freed += size
        with contextlib.suppress(OSError):
            self.folder.rmdir()  # not where something is left in it
        return freed


def _age_s(folder: Path) -> float:
    """Return the seconds since something came into a folder last."""
    return time.time() - max(path.stat().st_mtime for path in (folder, *folder.iterdir()))
