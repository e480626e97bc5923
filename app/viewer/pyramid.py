"""A plane in halved and halved again resolutions, built while it is already shown."""

from __future__ import annotations

import numpy as np

TILE = 512  # px, of every level
_BAND = 512  # rows that are halved at once; between two bands the work can be given up


def level_count(height: int, width: int) -> int:
    """Return how many levels there are, until all of the plane fits into one tile."""
    levels = 1
    while max(height, width) > TILE << (levels - 1):
        levels += 1
    return levels


class Pyramid:
    """A plane and its coarser levels; level n has 1 / 2**n of the rows and columns, rounded up.

    Parameters
    ----------
    pixels : ndarray
        (y, x, c), of whole or real numbers. It is not copied.

    Attributes
    ----------
    built : int
        The coarsest level that is there. Coarser ones are sampled from it, until they are built.
    """

    def __init__(self, pixels: np.ndarray) -> None:
        plane = np.moveaxis(pixels, -1, 0)
        if plane.dtype == bool:
            plane = plane.view(np.uint8)
        self.channels, self.height, self.width = plane.shape
        self.levels = level_count(self.height, self.width)
        self._planes = [plane]
        self._given_up = False

    @property
    def dtype(self) -> np.dtype:
        """The type of the pixels of all levels."""
        return self._planes[0].dtype

    @property
    def built(self) -> int:
        """The coarsest level that is there."""
        return len(self._planes) - 1

    def build_next(self) -> int:
        """Build one more level by the mean of 2 x 2 pixels; return the coarsest that is there."""
        finer = self._planes[-1]
        count, height, width = finer.shape
        coarser = np.empty((count, (height + 1) // 2, (width + 1) // 2), finer.dtype)
        for channel in range(count):
            for y in range(0, coarser.shape[1], _BAND):
                if self._given_up:
                    return self.built
                band = finer[channel, 2 * y : 2 * (y + _BAND)]
                coarser[channel, y : y + _BAND] = _halved(band)
        self._planes.append(coarser)
        return self.built

    def give_up(self) -> None:
        """End building: nobody looks at the plane any more."""
        self._given_up = True

    def tile(self, level: int, row: int, column: int) -> np.ndarray:
        """Return the pixels of a tile: (c, y, x), smaller at the right and lower edge."""
        have = min(level, self.built)
        step = 1 << (level - have)
        y, x = row * TILE * step, column * TILE * step
        return self._planes[have][:, y : y + TILE * step : step, x : x + TILE * step : step]

    def sample(self, channel: int, count: int) -> np.ndarray:
        """Return about `count` values of a channel, from everywhere, in rank 1."""
        step = max(1, int(np.sqrt(self.height * self.width / count)))
        plane = self._planes[0][channel]
        return np.ascontiguousarray(plane[step // 2 :: step, step // 2 :: step]).ravel()


def _halved(band: np.ndarray) -> np.ndarray:
    """Return the mean of each 2 x 2 pixels; an odd last row or column counts twice."""
    if band.shape[0] % 2:
        band = np.concatenate([band, band[-1:]])
    if band.shape[1] % 2:
        band = np.concatenate([band, band[:, -1:]], axis=1)
    wide = _WIDER.get(band.dtype.str[1:], np.dtype(np.float64))
    rows = np.add(band[0::2], band[1::2], dtype=wide)
    total = rows[:, 0::2] + rows[:, 1::2]
    if wide.kind == "f":
        return np.asarray((total / 4).astype(band.dtype))
    return np.asarray((total >> 2).astype(band.dtype))


# In which type four pixels are added without overflow.
_WIDER = {
    name: np.dtype(wide)
    for name, wide in {
        "u1": "u2", "u2": "u4", "u4": "u8", "i1": "i2", "i2": "i4", "i4": "i8", "f4": "f4",
    }.items()
}  # fmt: skip
