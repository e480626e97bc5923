"""A scale bar of a round length."""

from __future__ import annotations

import math
from dataclasses import dataclass

from PySide6.QtCore import QRectF, QSizeF, Qt
from PySide6.QtGui import QColor, QFontMetricsF, QPainter

from app.theme import DARK, SPACE

_LONGEST_PX = 160.0
_THICK_PX = 4.0


@dataclass(frozen=True)
class Bar:
    """A length that is round in micrometres, nanometres or millimetres, and its pixels."""

    text: str
    pixels: float


def bar(um_per_screen_pixel: float, longest: float = _LONGEST_PX) -> Bar:
    """Return the longest bar of 1, 2 or 5 times a power of ten that has room."""
    room = um_per_screen_pixel * longest
    power = 10.0 ** math.floor(math.log10(room))
    length = next(step * power for step in (5, 2, 1) if step * power <= room * 1.000001)
    return Bar(_words(length), length / um_per_screen_pixel)


def _words(um: float) -> str:
    if um >= 1000:
        return f"{um / 1000:g} mm"
    return f"{um:g} µm" if um >= 1 else f"{um * 1000:g} nm"


def paint(painter: QPainter, canvas: QSizeF, um_per_screen_pixel: float) -> None:
    """Paint a bar into the lower left corner; it is readable on any image."""
    shown = bar(um_per_screen_pixel, min(_LONGEST_PX, canvas.width() / 3))
    metrics = QFontMetricsF(painter.font())
    width = max(shown.pixels, metrics.horizontalAdvance(shown.text)) + 2 * SPACE
    height = metrics.height() + _THICK_PX + 1.5 * SPACE
    plate = QRectF(SPACE, canvas.height() - height - SPACE, width, height)
    ground = QColor(DARK.window)
    ground.setAlpha(190)
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(ground)
    painter.drawRoundedRect(plate, 4, 4)
    line = QRectF(0, 0, shown.pixels, _THICK_PX)
    line.moveCenter(plate.center())
    line.moveBottom(plate.bottom() - SPACE * 0.75)
    painter.fillRect(line, QColor(DARK.text))
    painter.setPen(QColor(DARK.text))
    words = plate.adjusted(0, SPACE / 2, 0, 0)
    painter.drawText(words, Qt.AlignmentFlag.AlignHCenter | Qt.AlignmentFlag.AlignTop, shown.text)
