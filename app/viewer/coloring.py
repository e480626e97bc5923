"""From intensities and labels to colours: by tables, so that a tile takes milliseconds."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

Color = tuple[int, int, int]  # red, green, blue; 0 to 255

_STEPS = 1 << 12  # for types that have too many values for a table of their own
_LABEL_COLORS = 4095
_COUNTED = 1 << 22  # pixels that are counted at once
_GOLDEN = 0.6180339887498949  # consecutive multiples of it, modulo 1, lie far from each other


@dataclass(frozen=True)
class Shade:
    """How one channel is shown: black at `low`, its full colour at `high`."""

    low: float
    high: float
    color: Color = (255, 255, 255)
    visible: bool = True


def compose(planes: np.ndarray, shades: tuple[Shade, ...]) -> np.ndarray:
    """Add the visible channels in their colours.

    Parameters
    ----------
    planes : ndarray
        (c, y, x).
    shades : tuple of Shade
        One for each channel.

    Returns
    -------
    ndarray of uint8
        (y, x, 4): blue, green, red, 255, as ``QImage.Format_RGB32`` has them in memory.
    """
    total = np.zeros(planes.shape[1:], np.uint64)
    for plane, shade in zip(planes, shades, strict=True):
        if shade.visible:
            total += _shaded(plane, shade)
    fields = total.view(np.uint16).reshape(*total.shape, 4)  # four sums in each number
    fields[..., 3] = 255
    return np.minimum(fields, 255, out=fields).astype(np.uint8)


def _shaded(plane: np.ndarray, shade: Shade) -> np.ndarray:
    if plane.dtype in (np.uint8, np.uint16) and plane.dtype.isnative:
        return np.take(_table(shade, 256**plane.dtype.itemsize, shade.low, shade.high), plane)
    factor = (_STEPS - 1) / max(shade.high - shade.low, 1e-30)
    part = (plane.astype(np.float32) - np.float32(shade.low)) * np.float32(factor)
    index = np.clip(part, 0, _STEPS - 1).astype(np.uint16)
    shaded: np.ndarray = np.take(_table(shade, _STEPS, 0, _STEPS - 1), index)
    return shaded


@lru_cache(maxsize=16)
def _table(shade: Shade, size: int, low: float, high: float) -> np.ndarray:
    """Return the colour of each value: three fields of 16 bits, which can be added."""
    values = np.arange(size, dtype=np.float64)
    part = np.clip((values - low) / max(high - low, 1e-9), 0, 1)
    red, green, blue = (np.rint(part * value).astype(np.uint64) for value in shade.color)
    table: np.ndarray = red << np.uint64(32) | green << np.uint64(16) | blue
    return table


def paint_labels(labels: np.ndarray, *, outlines: bool) -> np.ndarray:
    """Colour labels; the same number has the same colour everywhere, the background has none.

    Parameters
    ----------
    labels : ndarray of int
        (y + 2, x + 2): the tile and one pixel around it, so that outlines meet at its edges.
    outlines : bool
        Colour only the outermost pixels of each object.

    Returns
    -------
    ndarray of uint32
        (y, x), as ``QImage.Format_ARGB32_Premultiplied`` has them.
    """
    inner = labels[1:-1, 1:-1]
    index = inner % _LABEL_COLORS + 1
    index[inner == 0] = 0
    if outlines:
        around = (labels[:-2, 1:-1], labels[2:, 1:-1], labels[1:-1, :-2], labels[1:-1, 2:])
        inside = np.logical_and.reduce([inner == other for other in around])
        index[inside] = 0
    return np.take(_label_table(), index)


def label_color(label: int) -> Color:
    """Return the colour of an object."""
    value = int(_label_table()[label % _LABEL_COLORS + 1])
    return value >> 16 & 255, value >> 8 & 255, value & 255


@lru_cache(maxsize=1)
def _label_table() -> np.ndarray:
    table = np.zeros(_LABEL_COLORS + 1, np.uint32)
    for number in range(_LABEL_COLORS):
        # Bright and saturated: they must be seen on dark and on stained ground.
        light = (0.52, 0.62, 0.72)[number % 3]
        rgb = colorsys.hls_to_rgb(number * _GOLDEN % 1.0, light, 0.9)
        red, green, blue = (round(255 * part) for part in rgb)
        table[number + 1] = 0xFF << 24 | red << 16 | green << 8 | blue
    return table


def object_sizes(labels: np.ndarray) -> dict[int, int] | np.ndarray:
    """Return how many pixels each label has: an array by label, a mapping where it would be long.

    Parameters
    ----------
    labels : ndarray of int
        Of any rank, none negative.
    """
    largest = int(labels.max(initial=0))
    if largest > max(1 << 22, labels.size):
        found, counts = np.unique(labels, return_counts=True)
        return dict(zip(found.tolist(), counts.tolist(), strict=True))
    counted = np.zeros(largest + 1, np.int64)
    flat = labels.reshape(-1)
    for start in range(0, flat.size, _COUNTED):  # bincount makes a wide copy of what it gets
        found = np.bincount(flat[start : start + _COUNTED])
        counted[: found.size] += found
    return counted
