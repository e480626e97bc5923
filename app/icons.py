"""Icons: drawings of ``resources/icons`` in the colours of the theme."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from PySide6.QtCore import QByteArray, QRectF, Qt
from PySide6.QtGui import QIcon, QPainter, QPixmap
from PySide6.QtSvg import QSvgRenderer

RESOURCES = Path(__file__).resolve().parent.parent / "resources"
_SIZES = (16, 20, 24, 32, 48, 64)  # px; a screen of high density takes a larger one


@lru_cache(maxsize=256)
def icon(name: str, color: str) -> QIcon:
    """Return a drawing of ``resources/icons`` in one colour (``#rrggbb``)."""
    drawing = (RESOURCES / "icons" / f"{name}.svg").read_text("utf-8")
    return _rendered(drawing.replace("#000", color))


@lru_cache(maxsize=1)
def application() -> QIcon:
    """Return the icon of the application."""
    return _rendered((RESOURCES / "app.svg").read_text("utf-8"), (*_SIZES, 128, 256))


def _rendered(drawing: str, sizes: tuple[int, ...] = _SIZES) -> QIcon:
    renderer = QSvgRenderer(QByteArray(drawing.encode()))
    made = QIcon()
    for size in sizes:
        pixmap = QPixmap(size, size)
        pixmap.fill(Qt.GlobalColor.transparent)
        painter = QPainter(pixmap)
        renderer.render(painter, QRectF(0, 0, size, size))
        painter.end()
        made.addPixmap(pixmap)
    return made
