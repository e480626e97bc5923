"""A row of colours to choose from, and the system's dialog for any other."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QRectF, QSize, Qt, Signal
from PySide6.QtGui import QColor, QIcon, QPainter, QPen, QPixmap
from PySide6.QtWidgets import QButtonGroup, QColorDialog, QHBoxLayout, QToolButton, QWidget

from app.context import Context
from app.widgets import build

_PX, _RATIO = 18, 2
_NAMES = {
    "#FFDC00": "Yellow",
    "#00C8FF": "Blue",
    "#FF5AC8": "Pink",
    "#78FF5A": "Green",
    "#FF8C28": "Orange",
}


class ColorRow(QWidget):
    """Buttons of which one is chosen."""

    changed = Signal()

    def __init__(self, context: Context, colors: Sequence[str]) -> None:
        super().__init__()
        self._context = context
        self.color = colors[0]
        self.buttons: dict[str, QToolButton] = {}
        self._group = QButtonGroup(self)
        self._layout = QHBoxLayout(self)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self._layout.setSpacing(0)
        for color in colors:
            self._add(color)
        self.other = build.tool("Another colour", self._choose_other)
        context.set_icon(self.other, "more", "muted")
        self._layout.addWidget(self.other)
        self._layout.addStretch(1)
        self.setFocusProxy(self.buttons[self.color])
        self._group.idToggled.connect(lambda _id, _on: self._redraw())
        context.theme.changed.connect(self._redraw)
        self.put(self.color)

    def put(self, color: str) -> None:
        """Choose a colour, ``#RRGGBB``."""
        color = color.upper()
        if color not in self.buttons:
            self._drop_other()
            self._add(color)
        self.buttons[color].setChecked(True)
        self._choose(color)

    def pick(self) -> str:
        """Show the system's dialog; return the colour, empty where it was closed."""
        found = QColorDialog.getColor(QColor(self.color), self, "Colour in NIS")
        return found.name().upper() if found.isValid() else ""

    def _add(self, color: str) -> None:
        name = _NAMES.get(color, color)
        made = build.tool(name, lambda: self._choose(color), tip=f"{name} ({color})")
        made.setCheckable(True)
        made.setIconSize(QSize(_PX, _PX))
        self._group.addButton(made)
        self.buttons[color] = made
        self._layout.insertWidget(len(self.buttons) - 1, made)

    def _drop_other(self) -> None:
        """Keep room for one colour beside the usual ones."""
        for color in [color for color in self.buttons if color not in _NAMES]:
            button = self.buttons.pop(color)
            self._group.removeButton(button)
            self._layout.removeWidget(button)
            button.deleteLater()

    def _choose(self, color: str) -> None:
        changed, self.color = color != self.color, color
        self._redraw()
        if changed:
            self.changed.emit()

    def _choose_other(self) -> None:
        if color := self.pick():
            self.put(color)

    def _redraw(self) -> None:
        for color, button in self.buttons.items():
            button.setIcon(self._drawn(color, button.isChecked()))

    def _drawn(self, color: str, chosen: bool) -> QIcon:
        drawing = QPixmap(_PX * _RATIO, _PX * _RATIO)
        drawing.setDevicePixelRatio(_RATIO)
        drawing.fill(Qt.GlobalColor.transparent)
        painter = QPainter(drawing)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        rim = self._context.theme.colors
        painter.setPen(QPen(QColor(rim.text if chosen else rim.border), 2 if chosen else 1))
        painter.setBrush(QColor(color))
        gap = 1.5 if chosen else 3.0
        painter.drawEllipse(QRectF(gap, gap, _PX - 2 * gap, _PX - 2 * gap))
        painter.end()
        return QIcon(drawing)
