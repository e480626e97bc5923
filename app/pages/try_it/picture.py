"""An image that a module gave, over the one that it was made from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PySide6.QtCore import QObject

from app.background import Background
from app.pages.try_it.current import Current
from app.viewer import statistics
from app.viewer.coloring import Shade
from app.viewer.display import first_display
from app.viewer.image_layer import ImageLayer
from app.viewer.pyramid import Pyramid
from envmanager.images import Region


@dataclass(frozen=True)
class _Ready:
    pyramid: Pyramid
    shades: tuple[Shade, ...]


class Picture(QObject):
    """What lies between the image and the objects; in sight at the place that it is of."""

    def __init__(self, background: Background, parent: QObject) -> None:
        super().__init__(parent)
        self.layer = ImageLayer(background, self)
        self._background = background
        self._question = f"picture {id(self)}"
        self._pixels: np.ndarray | None = None
        self._of: Current | None = None
        self._is_volume = False
        self._shown = -1  # the slice, of a volume

    def set_picture(
        self,
        pixels: np.ndarray | None,
        region: Region | None,
        of: Current | None,
        *,
        volume: bool = False,
    ) -> None:
        """Take an image (y, x) or (y, x, c), in a volume with slices first; None: none."""
        self._pixels, self._of, self._is_volume = pixels, of, volume
        self._shown = -1
        self.layer.top, self.layer.left = (region[0], region[2]) if region else (0, 0)
        if of is None or pixels is None:
            self.layer.set_plane(None, ())

    def show_at(self, current: Current) -> None:
        """Show what there is for a plane."""
        of, pixels = self._of, self._pixels
        if of is None or pixels is None:
            return
        same = (current.series, current.t, current.p) == (of.series, of.t, of.p)
        if not same or not (self._is_volume or current.z == of.z):
            self._shown = -1
            self.layer.set_plane(None, ())
            return
        if self._shown == current.z:
            return
        self._shown = current.z
        plane = pixels[current.z] if self._is_volume else pixels
        self._background.ask(
            lambda: _ready(plane), self._show, owner=self, only_latest=self._question
        )

    def _show(self, ready: _Ready) -> None:
        if self._pixels is not None and self._shown >= 0:
            self.layer.set_plane(ready.pyramid, ready.shades)


def _ready(plane: np.ndarray) -> _Ready:
    pyramid = Pyramid(plane if plane.ndim == 3 else plane[..., np.newaxis])
    found = statistics.of(pyramid)
    nothing = [None] * len(found)
    display = first_display([""] * len(found), nothing, found, dtype=pyramid.dtype, is_rgb=False)
    return _Ready(pyramid, display.shown())
