"""A part of the page: a heading with room for buttons, and content below."""

from __future__ import annotations

from PySide6.QtWidgets import QFrame, QHBoxLayout, QLayout, QSizePolicy, QVBoxLayout

from app.context import Context
from app.theme import SPACE
from app.widgets import build

_HEAD_PX = 28


class Panel(QFrame):
    """The base of the page's panels.

    Attributes
    ----------
    head : QHBoxLayout
        The line of the heading; buttons go to its end.
    content : QVBoxLayout
        The rest.
    """

    def __init__(self, context: Context, title: str) -> None:
        super().__init__()
        self.context = context
        self.setObjectName("panel")
        self.setAccessibleName(title)
        self.head = QHBoxLayout()
        self.head.setSpacing(SPACE)
        heading = build.label(title, "heading")
        heading.setMinimumHeight(_HEAD_PX)  # as high with buttons as without
        self.head.addWidget(heading)
        self.head.addStretch(1)
        self.content = QVBoxLayout()
        self.content.setSpacing(SPACE)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(2 * SPACE, SPACE + 4, 2 * SPACE, 2 * SPACE)
        layout.setSpacing(SPACE)
        layout.addLayout(self.head)
        layout.addLayout(self.content)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Maximum)


def clear(layout: QLayout) -> None:
    """Take everything out of a layout."""
    while (item := layout.takeAt(0)) is not None:
        if widget := item.widget():
            widget.hide()  # it keeps its parent: only Qt deletes it, and in this thread
            widget.deleteLater()
        elif inner := item.layout():
            clear(inner)
