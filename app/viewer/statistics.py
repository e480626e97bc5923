"""How often each intensity occurs in a channel, for the histogram and the automatic contrast."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from app.viewer.pyramid import Pyramid

AUTO = (0.1, 99.8)  # percentiles that become black and full colour
BINS = 128
_SAMPLE = 1 << 18  # pixels of a channel that are looked at


@dataclass(frozen=True)
class Statistics:
    """A channel's intensities.

    Attributes
    ----------
    low, high : float
        The smallest and the largest; `high` is above `low` in any case.
    counts : ndarray
        How many there are in each of `BINS` equal parts of this range.
    """

    low: float
    high: float
    counts: np.ndarray
    _sorted: np.ndarray

    def percentiles(self, lower: float, upper: float) -> tuple[float, float]:
        """Return the intensities below which these per cents of the pixels lie."""
        last = len(self._sorted) - 1
        low, high = (float(self._sorted[round(p / 100 * last)]) for p in (lower, upper))
        # A plane of almost only background: the few others must be seen all the same.
        return (low, high) if high > low else (low, max(self.high, low + 1))


def of(pyramid: Pyramid) -> tuple[Statistics, ...]:
    """Return the statistics of each channel of a plane."""
    return tuple(_of_values(pyramid.sample(c, _SAMPLE)) for c in range(pyramid.channels))


def _of_values(values: np.ndarray) -> Statistics:
    values = np.sort(values)
    low, high = float(values[0]), float(values[-1])
    if high <= low:
        high = low + 1.0
    counts, _ = np.histogram(values, BINS, (low, high))
    return Statistics(low, high, counts, values)
