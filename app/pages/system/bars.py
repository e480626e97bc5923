"""A bar of several parts, and the key to its colours."""

from __future__ import annotations

from collections.abc import Mapping

from PySide6.QtCore import QRectF, QSize
from PySide6.QtGui import QColor, QPainter, QPainterPath, QPaintEvent
from PySide6.QtWidgets import QHBoxLayout, QSizePolicy, QWidget

from app.context import Context
from app.theme import SPACE, Colors
from app.widgets import build

_HEIGHT = 10  # px
_LEAST = 2.0  # px of a part that is not nothing


class Bar(QWidget):
    """Parts of a whole, one after the other.

    Parameters
    ----------
    parts : mapping of int
        Amounts by kind: ``own``, ``shared``, ``weights``.
    whole : int
        The amount of the whole bar.
    """

    def __init__(self, context: Context, parts: Mapping[str, int], whole: int) -> None:
        super().__init__()
        self._theme = context.theme
        self._parts = {kind: max(0, part) for kind, part in parts.items()}
        self._whole = max(1, whole)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self._theme.changed.connect(self.update)

    def sizeHint(self) -> QSize:  # noqa: N802
        """Return the usual size."""
        return QSize(12 * SPACE, _HEIGHT)

    def minimumSizeHint(self) -> QSize:  # noqa: N802
        """Return the least size."""
        return QSize(4 * SPACE, _HEIGHT)

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802
        """Draw the ground and the parts."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        outline = QPainterPath()
        outline.addRoundedRect(QRectF(self.rect()), _HEIGHT / 2, _HEIGHT / 2)
        painter.setClipPath(outline)
        colors = self._theme.colors
        painter.fillRect(self.rect(), QColor(colors.raised))
        start = 0.0
        for kind, part in self._parts.items():
            if part:
                width = max(_LEAST, self.width() * part / self._whole)
                painter.fillRect(QRectF(start, 0, width, _HEIGHT), color_of(kind, colors))
                start += width


class Dot(QWidget):
    """A spot in the colour of one kind of part."""

    def __init__(self, context: Context, kind: str) -> None:
        super().__init__()
        self._theme, self._kind = context.theme, kind
        self.setFixedSize(_HEIGHT, _HEIGHT)
        self._theme.changed.connect(self.update)

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802
        """Draw the spot."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        outline = QPainterPath()
        outline.addRoundedRect(QRectF(self.rect()), 3, 3)
        painter.fillPath(outline, color_of(self._kind, self._theme.colors))


def key(context: Context, titles: Mapping[str, str]) -> QHBoxLayout:
    """Return a line that tells what the colours mean; `titles` by kind."""
    line = QHBoxLayout()
    line.setSpacing(6)
    for kind, title in titles.items():
        line.addWidget(Dot(context, kind))
        line.addWidget(build.label(title, "muted"))
        line.addSpacing(SPACE)
    line.addStretch(1)
    return line


def color_of(kind: str, colors: Colors) -> QColor:
    """Return the colour of a kind of part."""
    if kind == "shared":
        return _between(QColor(colors.accent), QColor(colors.surface), 0.55)
    return QColor({"own": colors.accent, "weights": colors.muted}[kind])


def _between(one: QColor, other: QColor, part: float) -> QColor:
    """Mix two colours; `part` is how much of the other one there is."""

    def mixed(a: int, b: int) -> int:
        return round(a + (b - a) * part)

    return QColor(
        mixed(one.red(), other.red()),
        mixed(one.green(), other.green()),
        mixed(one.blue(), other.blue()),
    )
