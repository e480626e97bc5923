"""Which plane of which image is in sight, and ways to read it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from app.viewer import statistics
from app.viewer.pyramid import Pyramid
from app.viewer.statistics import Statistics
from envmanager import images
from envmanager.images import Image, Region
from envmanager.reading.series import Series


@dataclass(frozen=True)
class Current:
    """A plane of a series. Its methods read the file: call them in the background.

    Attributes
    ----------
    t, z, p : int
        Time, slice and position, from 0.
    """

    series: Series
    t: int
    z: int
    p: int

    def plane(self) -> np.ndarray:
        """Read the plane: (y, x, c)."""
        return self.series.plane(self.t, self.z, self.p)

    def stack(self) -> np.ndarray:
        """Read all slices: (z, y, x, c)."""
        return self.series.stack(self.t, self.p)

    def image(self, *, volume: bool = False, region: Region | None = None) -> Image:
        """Read what a module works on: the plane or all slices, whole or a part of it."""
        z = None if volume else self.z
        return images.of_series(self.series, t=self.t, p=self.p, z=z, region=region)


@dataclass(frozen=True)
class Loaded:
    """A plane that is ready to be shown."""

    current: Current
    pyramid: Pyramid
    statistics: tuple[Statistics, ...]


def load(current: Current) -> Loaded:
    """Read a plane and its statistics; not in the GUI thread."""
    pyramid = Pyramid(current.plane())
    return Loaded(current, pyramid, statistics.of(pyramid))
