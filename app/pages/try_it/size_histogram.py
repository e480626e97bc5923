"""How large the objects are: a small histogram."""

from __future__ import annotations

import numpy as np
from PySide6.QtCore import QPointF, QRectF, QSize, Qt
from PySide6.QtGui import QColor, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QSizePolicy, QWidget

from app.theme import Theme

_BINS = 28
_BARS_PX, _GAP_PX = 52, 2
_SHOWN = 99.0  # percentile at the right end: one giant shall not press the others together


class SizeHistogram(QWidget):
    """Bars, the median as a line, and the ends of the axis with their unit."""

    def __init__(self, theme: Theme) -> None:
        super().__init__()
        self._theme = theme
        self._counts = np.zeros(0, int)
        self._low = self._high = self._median = 0.0
        self._unit = ""
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setAccessibleName("Sizes of the objects")
        theme.changed.connect(self.update)

    def show_sizes(self, sizes: np.ndarray, unit: str) -> None:
        """Show the sizes of objects; fewer than two make no histogram."""
        if sizes.size < 2:
            return
        self._low, self._high = float(sizes.min()), float(np.percentile(sizes, _SHOWN))
        if self._high <= self._low:
            self._high = self._low + max(1.0, abs(self._low) * 0.01)
        within = np.clip(sizes, self._low, self._high)
        self._counts, _ = np.histogram(within, _BINS, (self._low, self._high))
        self._median, self._unit = float(np.median(sizes)), unit
        several = float(sizes.max()) > self._high
        last = f"the largest {number(float(sizes.max()))} {unit}, at the right end with all above"
        self.setToolTip(
            f"Sizes of the objects: median {number(self._median)} {unit}"
            + (f", {last} {number(self._high)} {unit}" if several else "")
        )
        self.setAccessibleDescription(self.toolTip())
        self.update()

    def sizeHint(self) -> QSize:  # noqa: N802
        """Bars and a line of text."""
        return QSize(200, _BARS_PX + 4 + self.fontMetrics().height())

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802
        """Paint the bars and the axis."""
        if not self._counts.size:
            return
        colors, painter = self._theme.colors, QPainter(self)
        width = self.width() / _BINS
        tallest = max(1, int(self._counts.max()))
        bar = QColor(colors.accent)
        for number_of_bin, count in enumerate(self._counts.tolist()):
            height = max(1.5, _BARS_PX * count / tallest) if count else 0
            place = QRectF(
                number_of_bin * width, _BARS_PX - height, max(1.0, width - _GAP_PX), height
            )
            painter.fillRect(place, bar)
        painter.fillRect(QRectF(0, _BARS_PX, self.width(), 1), QColor(colors.border))
        at = (self._median - self._low) / (self._high - self._low) * self.width()
        painter.setPen(QPen(QColor(colors.text), 1, Qt.PenStyle.DashLine))
        painter.drawLine(QPointF(at, 0), QPointF(at, _BARS_PX))
        self._paint_axis(painter)

    def _paint_axis(self, painter: QPainter) -> None:
        painter.setPen(QColor(self._theme.colors.muted))
        line = QRectF(0, _BARS_PX + 3, self.width(), self.fontMetrics().height())
        painter.drawText(line, Qt.AlignmentFlag.AlignLeft, number(self._low))
        end = f"{number(self._high)} {self._unit}"
        painter.drawText(line, Qt.AlignmentFlag.AlignRight, end)
        middle = f"median {number(self._median)}"
        painter.drawText(line, Qt.AlignmentFlag.AlignHCenter, middle)


def number(value: float) -> str:
    """Return a size with three digits that count."""
    if abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.3g}"
