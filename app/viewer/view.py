"""Where in an image one looks, and how large it is shown; canvases may share a view."""

from __future__ import annotations

from PySide6.QtCore import QObject, QPointF, QSizeF, Signal

LARGEST = 64.0  # screen pixels for a pixel of the image
_MARGIN = 0.98  # of the canvas is filled by the whole image


class View(QObject):
    """The centre of what is seen, in pixels of the image, and the zoom.

    Attributes
    ----------
    zoom : float
        Screen pixels for a pixel of the image.
    center : QPointF
        (x, y) in the middle of the canvas.
    is_fitted : bool
        Whether the whole image is shown, and shall be when the canvas changes its size.
    """

    changed = Signal()

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.zoom = 1.0
        self.center = QPointF(0, 0)
        self.is_fitted = True
        self._image = QSizeF(0, 0)

    def set_image(self, width: int, height: int) -> None:
        """Tell the size of the image; another size is fitted anew."""
        if QSizeF(width, height) != self._image:
            self._image = QSizeF(width, height)
            self.is_fitted = True

    def fit(self, canvas: QSizeF) -> None:
        """Show the whole image."""
        if self._image.isEmpty() or canvas.isEmpty():
            return
        self.is_fitted = True
        self.zoom = self._fitting(canvas)
        self.center = QPointF(self._image.width() / 2, self._image.height() / 2)
        self.changed.emit()

    def set_zoom(self, zoom: float, canvas: QSizeF, at: QPointF | None = None) -> None:
        """Zoom; what lies at `at` (of the canvas; without: the middle) stays there."""
        if self._image.isEmpty():
            return
        smallest = min(self._fitting(canvas), 1.0) / 2
        zoom = min(max(zoom, smallest), LARGEST)
        middle = QPointF(canvas.width() / 2, canvas.height() / 2)
        offset = (at or middle) - middle
        self.center = self.center + offset / self.zoom - offset / zoom
        self.zoom = zoom
        self.is_fitted = False
        self._stay_inside()
        self.changed.emit()

    def move(self, screen_pixels: QPointF) -> None:
        """Move the image by a way on the screen."""
        self.center = self.center - screen_pixels / self.zoom
        self.is_fitted = False
        self._stay_inside()
        self.changed.emit()

    def to_image(self, point: QPointF, canvas: QSizeF) -> QPointF:
        """Return which place of the image lies at a point of the canvas."""
        middle = QPointF(canvas.width() / 2, canvas.height() / 2)
        return self.center + (point - middle) / self.zoom

    def to_canvas(self, x: float, y: float, canvas: QSizeF) -> QPointF:
        """Return where a place of the image lies on the canvas."""
        middle = QPointF(canvas.width() / 2, canvas.height() / 2)
        return middle + (QPointF(x, y) - self.center) * self.zoom

    def _fitting(self, canvas: QSizeF) -> float:
        width, height = self._image.width(), self._image.height()
        return min(canvas.width() / width, canvas.height() / height, LARGEST / _MARGIN) * _MARGIN

    def _stay_inside(self) -> None:
        self.center = QPointF(
            min(max(self.center.x(), 0.0), self._image.width()),
            min(max(self.center.y(), 0.0), self._image.height()),
        )
