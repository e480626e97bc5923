"""A label mask over the image: coloured areas or outlines."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PySide6.QtCore import QObject
from PySide6.QtGui import QImage

from app.background import Background
from app.viewer.coloring import object_sizes, paint_labels
from app.viewer.layer import Layer, Tile, tile_size, to_image
from app.viewer.pyramid import TILE


class LabelLayer(Layer):
    """Labels of one plane; of a coarser level every second, fourth ... pixel is shown."""

    def __init__(self, background: Background, parent: QObject | None = None) -> None:
        super().__init__(background, parent)
        self.outlines = False
        self._labels: np.ndarray | None = None
        self._sizes: dict[int, int] | np.ndarray | None = None
        self._counted: object = None

    def set_labels(self, labels: np.ndarray | None, top: int = 0, left: int = 0) -> None:
        """Show labels (y, x) of int, 0 is background, with their corner at a place of the image."""
        if labels is self._labels and (top, left) == (self.top, self.left):
            return
        self._labels = labels
        self.top, self.left = top, left
        self.height, self.width = (0, 0) if labels is None else labels.shape
        self.clear()

    def count(self, labels: np.ndarray) -> None:
        """Count the pixels of each object in the background: of the plane, or of a z-stack."""
        self._sizes, self._counted = None, labels

        def take(sizes: dict[int, int] | np.ndarray) -> None:
            if self._counted is labels:
                self._sizes = sizes

        self._background.ask(lambda: object_sizes(labels), take, owner=self)

    def set_outlines(self, outlines: bool) -> None:
        """Show outlines, or the whole areas."""
        if outlines != self.outlines:
            self.outlines = outlines
            self.outdate()

    def label(self, y: int, x: int) -> int:
        """Return the object at a pixel of the image; 0 where there is none."""
        y, x = y - self.top, x - self.left
        if self._labels is None or not (0 <= y < self.height and 0 <= x < self.width):
            return 0
        return int(self._labels[y, x])

    def size(self, label: int) -> int | None:
        """Return how many pixels an object has; None while they are being counted."""
        if self._sizes is None:
            return None
        if isinstance(self._sizes, dict):
            return self._sizes.get(label)
        return int(self._sizes[label]) if label < self._sizes.size else None

    def painter(self, tile: Tile) -> Callable[[], QImage] | None:
        """Return what colours a tile."""
        labels, outlines = self._labels, self.outlines
        if labels is None:
            return None
        rows, columns = tile_size(self, tile)

        def paint() -> QImage:
            part = _with_neighbours(labels, tile, rows, columns)
            colors = paint_labels(part, outlines=outlines)
            return to_image(colors, QImage.Format.Format_ARGB32_Premultiplied)

        return paint


def _with_neighbours(labels: np.ndarray, tile: Tile, rows: int, columns: int) -> np.ndarray:
    """Return the labels of a tile and one pixel around it; beyond the mask its edge goes on."""
    step = 1 << tile.level
    y = np.arange(tile.row * TILE - 1, tile.row * TILE + rows + 1) * step
    x = np.arange(tile.column * TILE - 1, tile.column * TILE + columns + 1) * step
    y0, x0 = max(y[0], 0), max(x[0], 0)
    inner = labels[y0 : y[-1] + 1 : step, x0 : x[-1] + 1 : step]
    before = int(y[0] < 0), int(x[0] < 0)
    missing = [
        len(want) - have - b for want, have, b in zip((y, x), inner.shape, before, strict=True)
    ]
    around = list(zip(before, missing, strict=True))
    return np.pad(inner, around, mode="edge") if any(map(any, around)) else inner
