"""A place that scrolls downwards where what it holds is too high for the window."""

from __future__ import annotations

from PySide6.QtCore import QSize, Qt
from PySide6.QtWidgets import QLayout, QScrollArea, QWidget


class _Content(QWidget):
    """Asks for the height at its width: else for that of all texts at their narrowest."""

    def minimumSizeHint(self) -> QSize:  # noqa: N802
        """Leave the height to `heightForWidth`."""
        return QSize(super().minimumSizeHint().width(), 0)


def scrolled(layout: QLayout) -> QScrollArea:
    """Return an area that scrolls what a layout holds; Tab passes it by."""
    inside = _Content()
    inside.setObjectName("content")
    inside.setLayout(layout)
    area = QScrollArea()
    area.setWidgetResizable(True)
    area.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    area.setWidget(inside)
    return area


def always_keep_room(area: QScrollArea) -> None:
    """Keep the panels as wide with a scroll bar as without: it is always there, but not in sight.

    One that comes and goes changes how texts wrap, hence their height, hence whether it is needed:
    without end where both answers are no.
    """
    area.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOn)
    bar = area.verticalScrollBar()
    bar.setStyleSheet("QScrollBar::handle:disabled { background: transparent; }")
    bar.rangeChanged.connect(lambda first, last: bar.setEnabled(last > first))
