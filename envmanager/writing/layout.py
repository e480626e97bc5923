"""What a file of a series will hold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from envmanager.reading.metadata import Color, PixelSize

Place = tuple[int, int, int]  # t, c, z of a plane


@dataclass(frozen=True)
class Layout:
    """Pixels in the order t, c, z, y, x.

    Attributes
    ----------
    dtype : dtype
        Of an image. Labels come in any whole numbers that fit int32; each format keeps them in
        the type that suits it.
    is_labels : bool
        Whether the values are numbers of objects, 0 is background, and no mean may be taken.
    pixel_size : PixelSize or None
        In micrometres.
    channel_names : tuple of str
        One for each channel, or none at all.
    channel_colors : tuple of (red, green, blue) or None
        One for each channel, or none at all.
    """

    times: int
    channels: int
    slices: int
    height: int
    width: int
    dtype: np.dtype
    is_labels: bool
    pixel_size: PixelSize | None
    channel_names: tuple[str, ...]
    channel_colors: tuple[Color | None, ...] = ()

    @property
    def places(self) -> Place:
        """Return the lengths of t, c and z."""
        return self.times, self.channels, self.slices

    @property
    def shape(self) -> tuple[int, int, int, int, int]:
        """Return the lengths of t, c, z, y and x."""
        return (*self.places, self.height, self.width)

    @property
    def planes(self) -> int:
        """Return the number of planes."""
        return self.times * self.channels * self.slices

    def name(self, channel: int) -> str:
        """Return a channel's name, empty where it has none."""
        return self.channel_names[channel] if self.channel_names else ""

    def color(self, channel: int) -> Color | None:
        """Return a channel's colour, None where it has none."""
        return self.channel_colors[channel] if self.channel_colors else None
