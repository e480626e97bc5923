"""Sketches of what to do in NIS-Elements: drawn here, and like no program's own looks."""

from __future__ import annotations

import math

from PySide6.QtCore import QPointF, QRectF, QSize, Qt
from PySide6.QtGui import QColor, QFont, QPainter, QPaintEvent, QPen, QPolygonF
from PySide6.QtWidgets import QSizePolicy, QWidget

from app.context import Context
from app.theme import Colors

_SIZE = QSize(184, 112)
_TEXT_PX = 10


class Sketch(QWidget):
    """One sketch; `kind` is a name in `_DRAWINGS`, `ports` the numbers of inputs and outputs."""

    def __init__(self, kind: str, context: Context, ports: tuple[int, int] = (1, 1)) -> None:
        super().__init__()
        self._kind, self._theme, self._ports = kind, context.theme, ports
        self.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        self.setFixedSize(_SIZE)
        context.theme.changed.connect(self.update)

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802
        """Draw it in the theme's colours."""
        pen = _Pen(self, self._theme.colors, self._ports)
        pen.box(0.5, 0.5, _SIZE.width() - 1, _SIZE.height() - 1, "window", "border", 8)
        _DRAWINGS[self._kind](pen)
        pen.painter.end()


class _Pen:
    """Draws simple things in colours of the theme."""

    def __init__(self, widget: QWidget, colors: Colors, ports: tuple[int, int]) -> None:
        self._colors, self.ports = colors, ports
        self.painter = QPainter(widget)
        self.painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        font = QFont(widget.font())
        font.setPixelSize(_TEXT_PX)
        self.painter.setFont(font)

    def _color(self, name: str) -> QColor:
        return QColor(getattr(self._colors, name, name))

    def box(
        self, x: float, y: float, width: float, height: float,
        fill: str = "surface", rim: str = "muted", radius: float = 4,
    ) -> None:  # fmt: skip
        self.painter.setPen(QPen(self._color(rim), 1.2))
        self.painter.setBrush(self._color(fill))
        self.painter.drawRoundedRect(QRectF(x, y, width, height), radius, radius)

    def disc(self, x: float, y: float, radius: float, fill: str, rim: str = "") -> None:
        self.painter.setPen(QPen(self._color(rim), 1.2) if rim else Qt.PenStyle.NoPen)
        self.painter.setBrush(self._color(fill))
        self.painter.drawEllipse(QPointF(x, y), radius, radius)

    def line(
        self, x: float, y: float, to_x: float, to_y: float, color: str = "muted", width: float = 1.4
    ) -> None:
        pen = QPen(self._color(color), width)
        pen.setCapStyle(Qt.PenCapStyle.RoundCap)
        self.painter.setPen(pen)
        self.painter.drawLine(QPointF(x, y), QPointF(to_x, to_y))

    def arrow(self, x: float, y: float, to_x: float, to_y: float, color: str = "accent") -> None:
        self.line(x, y, to_x, to_y, color, 1.8)
        turn = math.atan2(to_y - y, to_x - x)
        sides = (turn + 2.6, turn - 2.6)
        tips = [QPointF(to_x + 7 * math.cos(side), to_y + 7 * math.sin(side)) for side in sides]
        tips.append(QPointF(to_x, to_y))
        self.painter.setPen(Qt.PenStyle.NoPen)
        self.painter.setBrush(self._color(color))
        self.painter.drawPolygon(QPolygonF(tips))

    def text(
        self,
        x: float,
        y: float,
        width: float,
        text: str,
        color: str = "text",
        *,
        middle: bool = True,
    ) -> None:
        self.painter.setPen(self._color(color))
        side = Qt.AlignmentFlag.AlignHCenter if middle else Qt.AlignmentFlag.AlignLeft
        self.painter.drawText(QRectF(x, y, width, 14), side | Qt.AlignmentFlag.AlignVCenter, text)

    def code(self, x: float, y: float, lines: int, scale: float = 1.0) -> None:
        """Draw lines that look like a script."""
        shapes = [(0, 34, "muted"), (0, 46, "accent"), (8, 40, "text"), (8, 28, "success"),
                  (0, 22, "accent"), (8, 44, "text"), (8, 30, "text")]  # fmt: skip
        for number, (indent, length, color) in enumerate(shapes[:lines]):
            top = y + 7 * number
            self.line(x + indent * scale, top, x + (indent + length) * scale, top, color, 2.2)


def _copy(pen: _Pen) -> None:
    pen.box(22, 20, 62, 72)
    pen.code(30, 34, 7, 0.95)
    pen.box(126, 26, 40, 60)
    pen.box(137, 21, 18, 9, "raised", "muted", 2)
    pen.code(133, 44, 5, 0.55)
    pen.arrow(92, 56, 118, 56)


def _graph(pen: _Pen) -> None:
    pen.line(54, 56, 66, 56)
    pen.line(118, 56, 130, 56)
    pen.box(8, 42, 46, 28)
    pen.text(8, 49, 46, "Image")
    pen.box(66, 36, 52, 40, "selection", "accent", 5)
    pen.text(66, 49, 52, "Python", "accent")
    pen.box(130, 42, 46, 28)
    pen.text(130, 49, 46, "Result")
    for x in (54, 66, 118, 130):
        pen.disc(x, 56, 3, "surface", "muted")


def _ports(pen: _Pen) -> None:
    _dialog(pen)
    for number, (title, count) in enumerate(zip(("Inputs", "Outputs"), pen.ports, strict=True)):
        left = 28 + 68 * number
        pen.text(left, 29, 60, title, "muted", middle=False)
        for row in range(min(count, 3)):
            pen.box(left, 46 + 18 * row, 60, 14, "window", "border", 3)
            pen.disc(left + 8, 53 + 18 * row, 3, ("accent", "#FFDC00")[number])
            pen.line(left + 17, 53 + 18 * row, left + 44, 53 + 18 * row, "text", 2)


def _paste(pen: _Pen) -> None:
    _dialog(pen)
    pen.box(28, 32, 84, 64, "window", "border", 3)
    pen.code(35, 40, 7)
    pen.box(122, 54, 40, 20, "selection", "accent", 4)
    pen.text(122, 57, 40, "Ctrl+V", "accent")
    pen.arrow(121, 64, 100, 64)


def _mode_6(pen: _Pen) -> None:
    _dialog(pen)
    _option(pen, 34, "Run out of process", box=True)
    pen.text(42, 64, 126, "leave it empty", "accent", middle=False)
    pen.arrow(38, 66, 30, 54)


def _mode_7(pen: _Pen) -> None:
    _dialog(pen)
    for number, name in enumerate(("Internal Python", "External", "Managed environment")):
        _option(pen, 34 + 21 * number, name, chosen=number == 0)


def _run(pen: _Pen) -> None:
    for left in (18, 104):
        pen.box(left, 22, 62, 68, "#20242b", "border", 3)
    cells = [(16, 18, 9, "#FFDC00"), (42, 24, 11, "#00C8FF"), (24, 48, 12, "#FF5AC8"),
             (48, 54, 7, "#78FF5A")]  # fmt: skip
    for x, y, radius, color in cells:
        pen.disc(18 + x, 22 + y, radius, "#8b929c")
        pen.disc(104 + x, 22 + y, radius, color)
    pen.arrow(84, 56, 100, 56)


def _dialog(pen: _Pen) -> None:
    pen.box(12, 12, 160, 90)
    pen.line(13, 26, 171, 26, "border", 1)
    for number in range(3):
        pen.disc(20 + 8 * number, 19, 2.2, "border")


def _option(pen: _Pen, y: float, name: str, *, chosen: bool = False, box: bool = False) -> None:
    if box:
        pen.box(22, y + 2, 12, 12, "window", "muted", 2)
    else:
        pen.disc(28, y + 8, 6, "window", "accent" if chosen else "muted")
        if chosen:
            pen.disc(28, y + 8, 3, "accent")
    pen.text(42, y + 1, 126, name, middle=False)


_DRAWINGS = {
    "copy": _copy,
    "graph": _graph,
    "ports": _ports,
    "paste": _paste,
    "mode 6": _mode_6,
    "mode 7": _mode_7,
    "run": _run,
}
