"""What the writers of all formats have in common: blocks in any order, then all or nothing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from envmanager.errors import ImageError
from envmanager.writing import putting
from envmanager.writing.layout import Layout, Place

_LARGEST = int(np.iinfo(np.int32).max)


class SeriesWriter(ABC):
    """Takes the blocks of a series; `finish` makes the file, anything else leaves the old one.

    Leaving a ``with`` discards what was not finished. Only one thread may use it at a time.

    Attributes
    ----------
    path : Path
    layout : Layout
    place : Path
        Where the file grows.

    Raises
    ------
    DiskFull, ImageError
        Also of each method: the file cannot be written. The old one is as it was.
    """

    def __init__(self, path: Path, layout: Layout) -> None:
        self.path, self.layout = path, layout
        self.place = putting.beside(path)
        self._written = np.zeros(layout.places, bool)
        self._ended = False
        try:
            with putting.refusals(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                putting.sweep(path)
                putting.remove(self.place)
                self._begin()
        except BaseException:
            self.discard()
            raise

    def write(self, block: np.ndarray, *, t: int = 0, c: int = 0, z: int = 0) -> None:
        """Write a part of the series; one that is written again replaces the earlier one.

        Parameters
        ----------
        block : ndarray
            (c, z, y, x): whole planes. It is not kept.
        t, c, z : int
            Where it starts.

        Raises
        ------
        ImageError
            It does not fit into the layout, or the format cannot hold these values.
        """
        self._check_open()
        block = self._checked(block, (t, c, z))
        with putting.refusals(self.path):
            self._take(block, (t, c, z))
        self._written[t, c : c + block.shape[0], z : z + block.shape[1]] = True

    def finish(self) -> None:
        """Put the file into its place.

        Raises
        ------
        ImageError
            Planes are missing.
        """
        self._check_open()
        missing = int((~self._written).sum())
        if missing:
            raise ImageError(
                f"{self.path.name} is not complete: {missing} of {self.layout.planes} planes are"
                " missing.",
                "Run it again.",
            )
        with putting.refusals(self.path):
            self._complete()
            putting.put(self.place, self.path)
        self._ended = True
        self._leave()

    def discard(self) -> None:
        """Leave nothing of what is not finished; it may be called at any time."""
        self._ended = True
        self._leave()
        putting.remove(self.place)

    def __enter__(self) -> Self:
        """Return the writer."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Discard what is not finished."""
        self.discard()

    # ---- what a format does ---------------------------------------------------------------------

    def _begin(self) -> None:
        """Make the file or folder: what the system refuses is to be known before any work."""
        self.place.touch()

    @abstractmethod
    def _take(self, block: np.ndarray, at: Place) -> None:
        """Keep a block of the right shape and type."""

    def _complete(self) -> None:  # noqa: B027 (not each format has it)
        """Let the file at `place` hold everything."""

    def _leave(self) -> None:  # noqa: B027 (not each format has it)
        """Close and delete what is not the file itself; it may have happened before."""

    # ---- checks ---------------------------------------------------------------------------------

    def _check_open(self) -> None:
        if self._ended:
            raise ImageError(f"{self.path.name} was finished or discarded.", "Open it again.")

    def _checked(self, block: np.ndarray, at: Place) -> np.ndarray:
        layout = self.layout
        if block.ndim != 4 or block.shape[2:] != layout.shape[3:]:
            raise self._misfit(block, at)
        ends = (at[0] + 1, at[1] + block.shape[0], at[2] + block.shape[1])
        inside = all(start >= 0 for start in at)
        if not inside or any(end > n for end, n in zip(ends, layout.places, strict=True)):
            raise self._misfit(block, at)
        if layout.is_labels:
            return self._checked_labels(block)
        if not np.can_cast(block.dtype, layout.dtype, "safe"):
            raise ImageError(
                f"{self.path.name} holds {layout.dtype}, but pixels of {block.dtype} came.",
                "All frames of a series need the same type.",
            )
        return block.astype(layout.dtype, copy=False)

    def _misfit(self, block: np.ndarray, at: Place) -> ImageError:
        return ImageError(
            f"A block of the shape {block.shape} (c, z, y, x) does not fit into {self.path.name}"
            f" at (t, c, z) = {at}: its shape is {self.layout.shape} (t, c, z, y, x).",
            "All frames of a series need the same size.",
        )

    def _checked_labels(self, block: np.ndarray) -> np.ndarray:
        if block.dtype.kind not in "biu":
            raise ImageError(
                f"{self.path.name} holds labels, but pixels of {block.dtype} came.",
                "Labels are whole numbers, 0 is background.",
            )
        if block.dtype.itemsize >= 4 and block.dtype != np.int32:
            low, high = int(block.min(initial=0)), int(block.max(initial=0))
            if low < -_LARGEST or high > _LARGEST:
                raise ImageError(
                    f"{self.path.name} cannot hold a label of {high}.",
                    f"The largest is {_LARGEST}; number the objects from 1.",
                )
        return block
