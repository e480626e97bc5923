"""The canvas: paints the tiles in sight of its layers; zoom, pan and hover."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

from PySide6.QtCore import QPoint, QPointF, QRect, QSizeF, Qt, Signal
from PySide6.QtGui import (
    QColor,
    QEnterEvent,
    QFocusEvent,
    QHideEvent,
    QKeyEvent,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QResizeEvent,
    QShowEvent,
    QWheelEvent,
)
from PySide6.QtWidgets import QWidget

from app.theme import DARK, SPACE, Theme
from app.viewer import scale_bar
from app.viewer.layer import Layer, Tile
from app.viewer.pyramid import TILE
from app.viewer.view import View

_STEP = 1.25  # of a key or a button
_WHEEL = 1.0015  # per unit of a wheel, which has 120 in a notch
_PAN_PX = 80
_DRAGS = (Qt.MouseButton.LeftButton, Qt.MouseButton.MiddleButton)


class Canvas(QWidget):
    """Shows layers over each other, the first one at the bottom.

    Wheel or +, - zooms, 0 fits, 1 shows a pixel on a pixel; dragging or the arrow keys move.
    """

    hovered = Signal(object)  # (y, x) of the pixel under the mouse, or None

    def __init__(self, theme: Theme) -> None:
        super().__init__()
        self.setAccessibleName("Image")
        self._theme = theme
        self._layers: list[Layer] = []
        self._dragged: QPointF | None = None
        self.view = View(self)
        self.view.changed.connect(self.update)
        self.caption = ""
        self.um_per_pixel: float | None = None
        self.setMouseTracking(True)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setAttribute(Qt.WidgetAttribute.WA_OpaquePaintEvent)
        self.setCursor(Qt.CursorShape.OpenHandCursor)
        self.setMinimumSize(160, 120)
        theme.changed.connect(self.update)

    # ---- for others -----------------------------------------------------------------------------

    def set_layers(self, layers: list[Layer]) -> None:
        """Show these layers; the first one is the image, whose size is that of the view."""
        for layer in layers:
            layer.changed.connect(self._relook)
            layer.tile_ready.connect(self._update_tile)
        self._layers = layers
        self._relook()

    def link(self, other: Canvas) -> None:
        """Look at the same place as another canvas, from now on."""
        self.view.changed.disconnect(self.update)
        self.view = other.view
        self.view.changed.connect(self.update)
        self.update()

    def fit(self) -> None:
        """Show the whole image."""
        self.view.fit(self._size())

    def set_zoom(self, zoom: float) -> None:
        """Zoom around the middle; 1.0 shows a pixel of the image on a pixel of the screen."""
        self.view.set_zoom(zoom / self.devicePixelRatioF(), self._size())

    @property
    def zoom(self) -> float:
        """Pixels of the screen for a pixel of the image."""
        return self.view.zoom * self.devicePixelRatioF()

    def zoom_in(self) -> None:
        """Show it larger."""
        self.view.set_zoom(self.view.zoom * _STEP, self._size())

    def zoom_out(self) -> None:
        """Show it smaller."""
        self.view.set_zoom(self.view.zoom / _STEP, self._size())

    def visible_region(self) -> tuple[int, int, int, int] | None:
        """Return y0, y1, x0, x1 of the image's pixels in sight; None where there is no image."""
        if self._is_empty():
            return None
        image, size = self._layers[0], self._size()
        first = self.view.to_image(QPointF(0, 0), size)
        last = self.view.to_image(QPointF(size.width(), size.height()), size)
        y0, x0 = max(0, math.floor(first.y())), max(0, math.floor(first.x()))
        y1, x1 = min(image.height, math.ceil(last.y())), min(image.width, math.ceil(last.x()))
        return (y0, y1, x0, x1) if y1 > y0 and x1 > x0 else None

    # ---- painting -------------------------------------------------------------------------------

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802
        """Paint what there is, and ask for the rest."""
        painter = QPainter(self)
        painter.fillRect(event.rect(), self._ground())
        for layer in self._layers:
            if not layer.is_empty and layer.opacity:
                painter.setOpacity(layer.opacity)
                self._paint_layer(painter, layer, event.rect())
        painter.setOpacity(1.0)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        if not self._is_empty():
            self._paint_furniture(painter)
        if self.hasFocus():
            painter.setPen(QColor(self._theme.colors.accent))
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.drawRect(self.rect().adjusted(0, 0, -1, -1))

    def _paint_layer(self, painter: QPainter, layer: Layer, part: QRect) -> None:
        # Smaller than 1:1 is averaged; larger shows the pixels as they are.
        smooth = self.zoom < 1
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform, smooth)
        tiles = self._tiles(layer)
        layer.want(id(self), tiles)
        for tile in tiles:
            target = self._place(layer, tile)
            if target.intersects(part):
                self._paint_tile(painter, layer, tile, target)

    def _paint_tile(self, painter: QPainter, layer: Layer, tile: Tile, target: QRect) -> None:
        """Paint a tile, or while it is not there the same place of a coarser one."""
        for level in range(tile.level, layer.levels):
            up = level - tile.level
            image = layer.tile(Tile(level, tile.row >> up, tile.column >> up))
            if image is None or image.isNull():
                continue
            if not up:
                painter.drawImage(target, image)
                return
            part = TILE >> up
            inside = (1 << up) - 1
            x, y = (tile.column & inside) * part, (tile.row & inside) * part
            wide = max(1, min(part, image.width() - x))
            high = max(1, min(part, image.height() - y))
            painter.drawImage(target, image, QRect(x, y, wide, high))
            return

    def _tiles(self, layer: Layer) -> list[Tile]:
        """Return the tiles in sight, those in the middle first."""
        level = max(0, min(math.floor(math.log2(1 / self.zoom)), layer.levels - 1))
        side, size = TILE << level, self._size()
        first = self.view.to_image(QPointF(0, 0), size)
        last = self.view.to_image(QPointF(size.width(), size.height()), size)
        rows = _span(first.y() - layer.top, last.y() - layer.top, layer.height, side)
        columns = _span(first.x() - layer.left, last.x() - layer.left, layer.width, side)
        middle_y = (self.view.center.y() - layer.top) / side - 0.5
        middle_x = (self.view.center.x() - layer.left) / side - 0.5
        return sorted(
            (Tile(level, row, column) for row in rows for column in columns),
            key=lambda tile: (tile.row - middle_y) ** 2 + (tile.column - middle_x) ** 2,
        )

    def _place(self, layer: Layer, tile: Tile) -> QRect:
        """Return where a tile lies on the canvas; neighbours share their edge."""
        side, size = TILE << tile.level, self._size()
        y0, x0 = tile.row * side, tile.column * side
        y1, x1 = min(y0 + side, layer.height), min(x0 + side, layer.width)
        first = self.view.to_canvas(x0 + layer.left, y0 + layer.top, size)
        last = self.view.to_canvas(x1 + layer.left, y1 + layer.top, size)
        corner = QPoint(round(first.x()), round(first.y()))
        return QRect(corner, QPoint(round(last.x()) - 1, round(last.y()) - 1))

    def _paint_furniture(self, painter: QPainter) -> None:
        if self.um_per_pixel:
            size = self._size()
            scale_bar.paint(painter, size, self.um_per_pixel / self.view.zoom)
        if self.caption:
            width = painter.fontMetrics().horizontalAdvance(self.caption) + 2 * SPACE
            plate = QRect(SPACE, SPACE, width, painter.fontMetrics().height() + SPACE)
            ground = QColor(DARK.window)
            ground.setAlpha(190)
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(ground)
            painter.drawRoundedRect(plate, 4, 4)
            painter.setPen(QColor(DARK.text))
            painter.drawText(plate, Qt.AlignmentFlag.AlignCenter, self.caption)

    def _ground(self) -> QColor:
        # An image is judged on a dark ground in both schemes.
        return QColor(self._theme.colors.surface if self._is_empty() else DARK.window)

    def _update_tile(self, tile: Tile) -> None:
        layer = self.sender()
        if isinstance(layer, Layer):
            self.update(self._place(layer, tile).adjusted(-1, -1, 1, 1))

    def _relook(self) -> None:
        if self._layers:
            self.view.set_image(self._layers[0].width, self._layers[0].height)
        self._keep_fitted()
        self.update()

    def _keep_fitted(self) -> None:
        # A hidden one that is linked has a size of no meaning.
        if self.view.is_fitted and self.isVisible():
            self.fit()

    def _is_empty(self) -> bool:
        return not self._layers or self._layers[0].is_empty

    def _size(self) -> QSizeF:
        return QSizeF(self.size())

    # ---- the user -------------------------------------------------------------------------------

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802
        """Keep the whole image in sight where it was."""
        self._keep_fitted()

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802
        """Keep the whole image in sight where it was."""
        self._keep_fitted()

    def hideEvent(self, event: QHideEvent) -> None:  # noqa: N802
        """Ask for no more tiles."""
        for layer in self._layers:
            layer.forget_canvas(id(self))

    def wheelEvent(self, event: QWheelEvent) -> None:  # noqa: N802
        """Zoom; what is under the mouse stays there."""
        turned = event.angleDelta().y() or event.angleDelta().x()
        if not self._is_empty() and turned:
            self.view.set_zoom(self.view.zoom * _WHEEL**turned, self._size(), event.position())
            self._tell_hovered(event.position())
        event.accept()

    def mousePressEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        """Begin to drag."""
        if event.button() in _DRAGS and not self._is_empty():
            self._dragged = event.position()
            self.setCursor(Qt.CursorShape.ClosedHandCursor)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        """Move the image, or tell what is under the mouse."""
        if self._dragged is not None:
            self.view.move(event.position() - self._dragged)
            self._dragged = event.position()
        self._tell_hovered(event.position())

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        """End to drag."""
        self._dragged = None
        self.setCursor(Qt.CursorShape.OpenHandCursor)

    def enterEvent(self, event: QEnterEvent) -> None:  # noqa: N802
        """Tell what is under the mouse."""
        self._tell_hovered(event.position())

    def leaveEvent(self, event: object) -> None:  # noqa: N802
        """Nothing is under the mouse."""
        self.hovered.emit(None)

    def focusInEvent(self, event: QFocusEvent) -> None:  # noqa: N802
        """Show where the keys go."""
        self.update()

    def focusOutEvent(self, event: QFocusEvent) -> None:  # noqa: N802
        """Show where the keys go."""
        self.update()

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802
        """Zoom by +, -, 0 and 1, move by the arrows."""
        key, move = Qt.Key, self.view.move
        actions: dict[int, Callable[[], None]] = {
            key.Key_Plus: self.zoom_in,
            key.Key_Equal: self.zoom_in,
            key.Key_Minus: self.zoom_out,
            key.Key_0: self.fit,
            key.Key_1: partial(self.set_zoom, 1.0),
            key.Key_Left: partial(move, QPointF(_PAN_PX, 0)),
            key.Key_Right: partial(move, QPointF(-_PAN_PX, 0)),
            key.Key_Up: partial(move, QPointF(0, _PAN_PX)),
            key.Key_Down: partial(move, QPointF(0, -_PAN_PX)),
        }
        action = actions.get(event.key())
        if action is None or self._is_empty():
            super().keyPressEvent(event)
        else:
            action()

    def _tell_hovered(self, point: QPointF) -> None:
        if self._is_empty():
            return
        place = self.view.to_image(point, self._size())
        y, x = math.floor(place.y()), math.floor(place.x())
        inside = 0 <= y < self._layers[0].height and 0 <= x < self._layers[0].width
        self.hovered.emit((y, x) if inside else None)


def _span(first: float, last: float, length: int, side: int) -> range:
    """Return which tiles of a side length lie between two places."""
    start = max(0, math.floor(first / side))
    return range(start, min(-(-length // side), math.floor(last / side) + 1))
