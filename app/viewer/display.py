"""How the channels of an image are shown; no widget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from app.viewer.coloring import Color, Shade
from app.viewer.statistics import AUTO, Statistics

WHITE: Color = (255, 255, 255)
# What a channel without a colour of its own gets.
COLORS: dict[str, Color] = {
    "Green": (0, 255, 0),
    "Magenta": (255, 0, 255),
    "Cyan": (0, 255, 255),
    "Yellow": (255, 255, 0),
    "Red": (255, 0, 0),
    "Blue": (64, 96, 255),
    "Orange": (255, 144, 0),
    "White": WHITE,
}


@dataclass(frozen=True)
class Display:
    """Names and shades of all channels.

    Attributes
    ----------
    chosen : int
        The channel whose contrast is being set; in gray it is the only one in sight.
    gray : bool
        Show the chosen channel alone, from black to white.
    """

    names: tuple[str, ...] = ()
    shades: tuple[Shade, ...] = ()
    chosen: int = 0
    gray: bool = False

    def shown(self) -> tuple[Shade, ...]:
        """Return the shades to paint with."""
        if not self.gray:
            return self.shades
        return tuple(
            replace(shade, color=WHITE, visible=number == self.chosen)
            for number, shade in enumerate(self.shades)
        )

    def with_shade(self, channel: int, shade: Shade) -> Display:
        """Return the same with another shade of one channel."""
        shades = (*self.shades[:channel], shade, *self.shades[channel + 1 :])
        return replace(self, shades=shades)


def first_display(
    names: Sequence[str],
    colors: Sequence[Color | None],
    statistics: Sequence[Statistics],
    *,
    dtype: np.dtype,
    is_rgb: bool,
) -> Display:
    """Return how an image is shown at first: in its own colours, with automatic contrast.

    The colours of a picture belong together: they keep their common range.
    """
    usual = [color for color in COLORS.values() if color != WHITE]
    shades = []
    for number, found in enumerate(statistics):
        own = colors[number] or usual[number % len(usual)]
        color = WHITE if len(statistics) == 1 else own
        low, high = picture_range(dtype, statistics) if is_rgb else found.percentiles(*AUTO)
        shades.append(Shade(low, high, color, visible=not (is_rgb and number == 3)))
    names = [name or f"Channel {number + 1}" for number, name in enumerate(names)]
    return Display(tuple(names), tuple(shades))


def picture_range(dtype: np.dtype, statistics: Sequence[Statistics]) -> tuple[float, float]:
    """Return what is black and white in a picture of a colour camera."""
    if dtype == np.uint8:
        return 0.0, 255.0
    return 0.0, max(found.high for found in statistics)
