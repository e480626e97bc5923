"""The tiles of an image or a mask: coloured in the background, kept while there is room."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
from PySide6.QtCore import QObject, Signal
from PySide6.QtGui import QImage

from app.background import Background
from app.viewer.pyramid import TILE, level_count

_AT_ONCE = 2  # tiles in the background, so that other questions are not kept waiting
_KEPT_BYTES = 256 << 20


class Tile(NamedTuple):
    """The place of a tile; rows and columns of tiles, of its level."""

    level: int
    row: int
    column: int


class Layer(QObject):
    """One of the pictures that lie over each other on a canvas.

    Painting never waits: a canvas tells what it `want`s, paints what is there, and is told by
    `tile_ready` of what came later. What is out of date is painted until its successor comes.

    Attributes
    ----------
    height, width : int
        In pixels; 0 where there is nothing.
    top, left : int
        Where it lies in the image.
    opacity : float
        0 to 1.
    """

    changed = Signal()  # all of it
    tile_ready = Signal(object)  # Tile

    def __init__(self, background: Background, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.height = self.width = self.top = self.left = 0
        self.opacity = 1.0
        self._background = background
        self._kept: OrderedDict[Tile, tuple[QImage, object]] = OrderedDict()
        self._bytes = 0
        self._wanted: dict[int, list[Tile]] = {}
        self._under_way: dict[Tile, object] = {}
        self._version = 0

    # ---- what a kind of layer does --------------------------------------------------------------

    def stamp(self, tile: Tile) -> object:
        """Return what tells whether a kept tile is up to date."""
        return self._version

    def painter(self, tile: Tile) -> Callable[[], QImage] | None:
        """Return what colours a tile, in the background; None where there is nothing to see."""
        raise NotImplementedError

    # ---- for canvases ---------------------------------------------------------------------------

    @property
    def levels(self) -> int:
        """How many resolutions there are."""
        return level_count(self.height, self.width)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to paint."""
        return not self.height

    def tile(self, tile: Tile) -> QImage | None:
        """Return what there is of a tile, even if it is out of date."""
        found = self._kept.get(tile)
        if found is None:
            return None
        self._kept.move_to_end(tile)
        return found[0]

    def want(self, canvas: int, tiles: list[Tile]) -> None:
        """Tell which tiles a canvas shows, the most wanted first."""
        # The one that shows everything stands in for whatever is not there yet.
        self._wanted[canvas] = [Tile(self.levels - 1, 0, 0), *tiles]
        self._ask()

    def forget_canvas(self, canvas: int) -> None:
        """Make no more tiles for it."""
        self._wanted.pop(canvas, None)

    def is_ready(self) -> bool:
        """Whether every tile that is wanted is there and up to date."""
        return self._next() is None and not self._under_way

    # ---- the tiles ------------------------------------------------------------------------------

    def outdate(self) -> None:
        """Make the tiles anew; those in sight stay until then."""
        self._version += 1
        wanted = {tile for tiles in self._wanted.values() for tile in tiles}
        for tile in [tile for tile in self._kept if tile not in wanted]:
            self._drop(tile)
        self._ask()
        self.changed.emit()

    def clear(self) -> None:
        """Drop all tiles: they show another image."""
        self._version += 1
        self._kept.clear()
        self._bytes = 0
        self._wanted.clear()
        self.changed.emit()

    def _next(self) -> Tile | None:
        for tiles in self._wanted.values():
            for tile in tiles:
                found, now = self._kept.get(tile), self.stamp(tile)
                if (found is None or found[1] != now) and self._under_way.get(tile) != now:
                    return tile
        return None

    def _ask(self) -> None:
        while len(self._under_way) < _AT_ONCE and not self.is_empty:
            tile = self._next()
            if tile is None or tile in self._under_way:
                return
            paint = self.painter(tile)
            if paint is None:
                return
            stamp = self.stamp(tile)
            self._under_way[tile] = stamp
            self._background.ask(
                paint, partial(self._take, tile, stamp), partial(self._fail, tile), owner=self
            )

    def _take(self, tile: Tile, stamp: object, image: QImage) -> None:
        self._under_way.pop(tile, None)
        if not self.is_empty and self._is_of_now(stamp):
            self._drop(tile)
            self._kept[tile] = image, stamp
            self._bytes += image.sizeInBytes()
            while self._bytes > _KEPT_BYTES and len(self._kept) > 1:
                self._drop(next(iter(self._kept)))
            self.tile_ready.emit(tile)
        self._ask()

    def _is_of_now(self, stamp: object) -> bool:
        """Return whether a tile that was begun earlier may still be shown."""
        return stamp == self._version

    def _fail(self, tile: Tile, _error: object) -> None:
        """Leave it unpainted; asking again would fail again."""
        self._under_way.pop(tile, None)
        self._kept[tile] = QImage(), self.stamp(tile)
        self._ask()

    def _drop(self, tile: Tile) -> None:
        image, _ = self._kept.pop(tile, (None, None))
        if image is not None:
            self._bytes -= image.sizeInBytes()


def tile_size(layer: Layer, tile: Tile) -> tuple[int, int]:
    """Return the rows and columns of a tile at its level."""
    height, width = (-(-n // (1 << tile.level)) for n in (layer.height, layer.width))
    return min(TILE, height - tile.row * TILE), min(TILE, width - tile.column * TILE)


def to_image(pixels: np.ndarray, kind: QImage.Format) -> QImage:
    """Return an image of its own from (y, x) pixels of 4 bytes."""
    pixels = np.ascontiguousarray(pixels)
    height, width = pixels.shape[:2]
    return QImage(pixels.data, width, height, width * 4, kind).copy()
