"""The image: its channels in their colours and contrast."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import QObject
from PySide6.QtGui import QImage

from app.background import Background
from app.viewer.coloring import Shade, compose
from app.viewer.layer import Layer, Tile, to_image
from app.viewer.pyramid import Pyramid


class ImageLayer(Layer):
    """A plane of an image; coarser resolutions are built while it is already shown."""

    def __init__(self, background: Background, parent: QObject | None = None) -> None:
        super().__init__(background, parent)
        self._pyramid: Pyramid | None = None
        self._shades: tuple[Shade, ...] = ()

    def set_plane(self, pyramid: Pyramid | None, shades: tuple[Shade, ...]) -> None:
        """Show a plane, one shade for each of its channels; None: nothing."""
        if self._pyramid:
            self._pyramid.give_up()
        height, width = (pyramid.height, pyramid.width) if pyramid else (0, 0)
        same = (height, width) == (self.height, self.width)
        self._pyramid, self._shades = pyramid, shades
        self.height, self.width = height, width
        if same:
            self.outdate()
        else:
            self.clear()
        self._build()

    def set_shades(self, shades: tuple[Shade, ...]) -> None:
        """Show the same plane in other colours or another contrast."""
        if shades != self._shades and self._pyramid:
            self._shades = shades
            self.outdate()

    def value(self, y: int, x: int) -> tuple[float, ...]:
        """Return the intensities of a pixel, one for each channel."""
        if self._pyramid is None or not (0 <= y < self.height and 0 <= x < self.width):
            return ()
        size = 512
        tile = self._pyramid.tile(0, y // size, x // size)
        return tuple(channel.item() for channel in tile[:, y % size, x % size])

    def stamp(self, tile: Tile) -> object:
        """Return the version, and from which level it is made."""
        built = self._pyramid.built if self._pyramid else 0
        return self._version, min(tile.level, built)

    def painter(self, tile: Tile) -> Callable[[], QImage] | None:
        """Return what composes the channels of a tile."""
        pyramid, shades = self._pyramid, self._shades
        if pyramid is None:
            return None
        return lambda: to_image(compose(pyramid.tile(*tile), shades), QImage.Format.Format_RGB32)

    def _is_of_now(self, stamp: object) -> bool:
        return isinstance(stamp, tuple) and stamp[0] == self._version

    def _build(self) -> None:
        pyramid = self._pyramid
        if pyramid is None or pyramid.built + 1 >= pyramid.levels:
            return

        def built(level: int) -> None:
            if pyramid is self._pyramid:
                self._ask()
                self._build()

        self._background.ask(pyramid.build_next, built, owner=self)
