"""A module's labels over the image; they are shown only at the place that they are of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PySide6.QtCore import QObject

from app.background import Background
from app.pages.try_it.current import Current
from app.viewer.label_layer import LabelLayer
from envmanager.images import Region


@dataclass(frozen=True)
class Labels:
    """A mask, (y, x) or (z, y, x), its corner in the image, and of what it is."""

    pixels: np.ndarray
    top: int
    left: int
    of: Current

    @property
    def is_volume(self) -> bool:
        """Whether it has slices."""
        return self.pixels.ndim == 3

    def at(self, current: Current) -> np.ndarray | None:
        """Return the labels of a plane; None where they are of another one."""
        here, there = current, self.of
        if (here.series, here.t, here.p) != (there.series, there.t, there.p):
            return None
        if self.is_volume:
            plane: np.ndarray = self.pixels[here.z]
            return plane
        return self.pixels if here.z == there.z else None


class Overlay(QObject):
    """What lies over the image on one of the two canvases."""

    def __init__(self, background: Background, parent: QObject) -> None:
        super().__init__(parent)
        self.layer = LabelLayer(background, self)
        self.labels: Labels | None = None

    def set_labels(self, pixels: np.ndarray | None, region: Region | None, of: Current) -> None:
        """Take labels of a place; None: none."""
        top, left = (region[0], region[2]) if region else (0, 0)
        self.labels = None if pixels is None else Labels(pixels, top, left, of)
        if pixels is not None:
            self.layer.count(pixels)
        self.show_at(of)

    def show_at(self, current: Current) -> None:
        """Show what there is for a plane."""
        labels = self.labels
        plane = labels.at(current) if labels else None
        if labels and plane is not None:
            self.layer.set_labels(plane, labels.top, labels.left)
        else:
            self.layer.set_labels(None)
