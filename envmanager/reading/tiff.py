"""TIFF, OME-TIFF, ImageJ's and others: page by page, without zarr."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from envmanager.errors import ImageError
from envmanager.reading.metadata import Told, of_tiff
from envmanager.reading.sources import pick, places

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPageSeries

# What a slide scanner adds to its image; no positions.
_EXTRAS = ("thumbnail", "label", "macro", "map")
_MINISWHITE, _PALETTE = 0, 3


class TiffSource:
    """One series of a TIFF. A page of it, or a plane where the pixels lie in one piece, is read."""

    def __init__(self, path: Path, file: TiffFile, series: TiffPageSeries, number: int) -> None:
        self._path, self._file, self._series = path, file, series
        self.axes, self.shape = series.axes, tuple(series.shape)
        self.dtype = np.dtype(series.dtype)
        self.told: Told = of_tiff(file, series, number)
        self._offset: int | None = None if series.transform else series.dataoffset
        self._lead = self._leading()  # how many axes stand before those of one reading
        if _is_palette(series):
            self.axes, self.shape, self.dtype = self.axes + "S", (*self.shape, 3), np.dtype("u1")

    def _leading(self) -> int | None:
        """Return None where only the whole can be read."""
        series = self._series
        if self._offset is not None:
            return self.axes.index("Y") if "Y" in self.axes else 0
        for lead in range(len(self.shape) + 1):
            pages, size = math.prod(self.shape[:lead]), math.prod(self.shape[lead:])
            if pages == len(series) and size == series.keyframe.size and not series.transform:
                return lead
        return None

    def read(self, at: Mapping[str, int]) -> np.ndarray:
        """Return pixels of which larger is brighter; a palette's numbers become its colours."""
        handle = self._file.filehandle
        handle.open()
        try:
            axes, pixels = self._read(at)
        finally:
            handle.close()
        return as_seen(self._series, pick(pixels, axes, at))

    def _read(self, at: Mapping[str, int]) -> tuple[str, np.ndarray]:
        """Return pixels and their axes; some of `at` may still be among them."""
        axes, shape = self._series.axes, tuple(self._series.shape)
        if self._lead is None:
            return axes, self._series.asarray()
        loops = dict(zip(axes[: self._lead], shape, strict=False))
        kept, numbers = places(loops, at)
        pixels = self._piece(numbers) if self._offset is not None else self._pages(numbers)
        left = "".join(axis for axis in loops if axis not in at) + axes[self._lead :]
        return left, pixels.reshape(kept + shape[self._lead :])

    def _pages(self, numbers: list[int]) -> np.ndarray:
        missing = [number for number in numbers if self._series[number] is None]
        if missing:
            raise ImageError(
                f"{self._path.name} holds no image there: {len(missing)} planes are missing.",
                "Keep the files of one acquisition together in one folder.",
            )
        return self._file.asarray(key=numbers, series=self._series)

    def _piece(self, numbers: list[int]) -> np.ndarray:
        """Read planes of pixels that lie in one piece."""
        assert self._offset is not None
        page, size = self._series.keyframe, math.prod(self._series.shape[self._lead :])
        dtype = np.dtype(self._file.byteorder + self._series.dtype.char)
        planes = np.empty((len(numbers), size), self._series.dtype)
        for plane, number in zip(planes, numbers, strict=True):
            start = self._offset + number * size * dtype.itemsize
            plane[:] = page.parent.filehandle.read_array(dtype, size, start)
        return planes


def sources(path: Path) -> list[TiffSource]:
    """Return the positions of a TIFF: at least one.

    Raises
    ------
    ImageError
        There is no image, or there are several of different shapes.
    """
    import tifffile

    with tifffile.TiffFile(path) as file:
        if not file.series:
            raise ImageError(f"{path.name} holds no image.", "Export it again.")
        positions = _positions(path, file.series)
        return [TiffSource(path, file, one, number) for number, one in enumerate(positions)]


def _positions(path: Path, series: Sequence[TiffPageSeries]) -> list[TiffPageSeries]:
    first = series[0]
    found = [first, *(s for s in series[1:] if s.kind == first.kind and not _aside(s, first))]
    if any(one.shape != first.shape for one in found):
        raise ImageError(
            f"{path.name} holds {len(found)} images.",
            "Save the one that you want as a file of its own.",
        )
    return found


def _aside(series: TiffPageSeries, first: TiffPageSeries) -> bool:
    """Return whether a series only accompanies the first: a level of its pyramid, a thumbnail."""
    if series.keyframe.is_reduced or series.name.lower() in _EXTRAS:
        return True
    if first.kind == "ome" or series.shape == first.shape:
        return False  # OME names its images: each is one of its own, whatever its size
    # Some writers do not mark the levels of a pyramid: the same picture, half the size or less.
    large, small = first.keyframe, series.keyframe
    height = large.imagelength / small.imagelength
    width = large.imagewidth / small.imagewidth
    # Levels are rounded to whole pixels.
    slack = 1 + 2 / min(small.imagelength, small.imagewidth)
    return height > 1.5 and max(height, width) <= min(height, width) * slack


def _is_palette(series: TiffPageSeries) -> bool:
    page = series.keyframe
    has_colors = page.photometric == _PALETTE and page.colormap is not None
    return has_colors and not {*"SC"} & {*series.axes}


def as_seen(series: TiffPageSeries, pixels: np.ndarray) -> np.ndarray:
    """Return pixels of which larger is brighter; a palette's numbers become its colours."""
    page = series.keyframe
    if page.photometric == _MINISWHITE and pixels.dtype.kind in "bi":
        return ~pixels  # of whole numbers -1 - value: the negative ones have to fit as well
    if page.photometric == _MINISWHITE and pixels.dtype.kind == "u":
        # 4 or 12 bits lie in a larger type, whose largest value they never reach.
        return np.asarray(pixels.dtype.type(2**page.bitspersample - 1) - pixels)
    if _is_palette(series):
        assert page.colormap is not None
        # 16 bits as the standard says; some programs write 8.
        shift = 8 if page.colormap.max(initial=0) > 255 else 0
        return np.asarray((page.colormap >> shift).astype(np.uint8).T[pixels])
    return pixels
