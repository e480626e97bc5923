"""A channel's histogram with two handles: what is black, and what is shown in full colour."""

from __future__ import annotations

import numpy as np
from PySide6.QtCore import QPointF, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QColor, QPainter, QPaintEvent, QPen, QPolygonF
from PySide6.QtWidgets import QSizePolicy, QVBoxLayout, QWidget
from superqt import QRangeSlider

from app.theme import Theme
from app.viewer.statistics import Statistics

_STEPS = 4096  # positions of the slider
_HANDLE_PX = 8  # half a handle: the slider's groove begins there
_HEIGHT_PX = 44


class Histogram(QWidget):
    """Painted counts over a slider with two handles."""

    limits_changed = Signal(float, float)  # by the user

    def __init__(self, theme: Theme) -> None:
        super().__init__()
        self._theme = theme
        self._statistics: Statistics | None = None
        self._limits = (0.0, 1.0)
        self._color = QColor()
        self._plot = _Plot(self)
        self.slider = QRangeSlider(Qt.Orientation.Horizontal)  # type: ignore[no-untyped-call]
        self.slider.setAccessibleName("Contrast: black and full colour")
        self.slider.setToolTip("What is shown black, and what in full colour")
        self.slider.setRange(0, _STEPS)
        self.slider.setFixedHeight(20)
        self.slider.valueChanged.connect(self._moved)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.addWidget(self._plot, 1)
        layout.addWidget(self.slider)
        theme.changed.connect(self._restyle)
        self._restyle()

    def show_channel(
        self, statistics: Statistics | None, limits: tuple[float, float], color: QColor
    ) -> None:
        """Show a channel's statistics, its limits and its colour."""
        self._statistics, self._limits, self._color = statistics, limits, color
        low, high = self._range()
        steps = [round((value - low) / (high - low) * _STEPS) for value in limits]
        self.slider.blockSignals(True)
        self.slider.setValue(tuple(min(max(step, 0), _STEPS) for step in steps))
        self.slider.blockSignals(False)
        self.setEnabled(statistics is not None)
        self._plot.update()

    def _range(self) -> tuple[float, float]:
        """Return what the slider spans: all intensities, and the limits."""
        found = self._statistics
        low, high = self._limits
        if found is None:
            return low, max(high, low + 1e-9)
        return min(found.low, low), max(found.high, high)

    def _moved(self, steps: tuple[int, int]) -> None:
        low, high = self._range()
        found = [low + step / _STEPS * (high - low) for step in steps]
        self._limits = found[0], max(found[1], found[0] + (high - low) / _STEPS)
        self._plot.update()
        self.limits_changed.emit(*self._limits)

    def _restyle(self) -> None:
        colors = self._theme.colors
        self.slider.setStyleSheet(
            f"QRangeSlider {{ qproperty-barColor: {colors.accent}; }}"
            f"QSlider::groove:horizontal {{ height: 4px; background: {colors.border};"
            " border-radius: 2px; }"
            f"QSlider::handle:horizontal {{ width: {2 * _HANDLE_PX}px; margin: -6px 0;"
            f" border-radius: {_HANDLE_PX}px; background: {colors.surface};"
            f" border: 2px solid {colors.accent}; }}"
        )
        self._plot.update()

    def paint(self, painter: QPainter, size: QSize) -> None:
        """Paint the counts; those outside the limits are pale."""
        found, colors = self._statistics, self._theme.colors
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        frame = QRectF(0.5, 0.5, size.width() - 1, size.height() - 1)
        painter.setPen(QPen(QColor(colors.border)))
        painter.setBrush(QColor(colors.window))
        painter.drawRoundedRect(frame, 4, 4)
        if found is None:
            return
        low, high = self._range()
        width = size.width() - 2 * _HANDLE_PX
        xs = [_HANDLE_PX + (v - low) / (high - low) * width for v in (found.low, found.high)]
        shape = _outline(found.counts, xs[0], xs[1], size.height())
        painter.setPen(Qt.PenStyle.NoPen)
        pale = QColor(colors.muted)
        pale.setAlpha(90)
        painter.setBrush(pale)
        painter.drawPolygon(shape)
        left, right = (_HANDLE_PX + (value - low) / (high - low) * width for value in self._limits)
        painter.setClipRect(QRectF(left, 0, right - left, size.height()))
        # White and yellow would not be seen on a light ground.
        full = self._color if self._theme.is_dark else self._color.darker(135)
        is_gray = self._color.saturation() < 30
        painter.setBrush(QColor(colors.muted) if is_gray else full)
        painter.drawPolygon(shape)
        painter.setClipping(False)
        painter.setPen(QPen(QColor(colors.text), 1.2))
        painter.drawLine(QPointF(left, size.height() - 2), QPointF(right, 2))


class _Plot(QWidget):
    def __init__(self, histogram: Histogram) -> None:
        super().__init__(histogram)
        self.setAccessibleName("Histogram")
        self._histogram = histogram
        self.setMinimumHeight(_HEIGHT_PX)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802
        self._histogram.paint(QPainter(self), self.size())


def _outline(counts: np.ndarray, left: float, right: float, height: int) -> QPolygonF:
    """Return the outline of the counts; their roots are shown, so that the few are seen."""
    roots = np.sqrt(counts / max(int(counts.max()), 1))
    places = np.linspace(left, right, len(counts) + 1)
    top = [
        QPointF(float(x), height - 1 - float(root) * (height - 6))
        for start, end, root in zip(places[:-1], places[1:], roots, strict=True)
        for x in (start, end)
    ]
    return QPolygonF([QPointF(left, height - 1), *top, QPointF(right, height - 1)])
