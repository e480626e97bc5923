"""What all pages have in common: a title, a place for widgets, and what happens at a visit."""

from __future__ import annotations

from typing import Any

from PySide6.QtWidgets import QHBoxLayout, QVBoxLayout, QWidget

from app.context import Context
from app.theme import SPACE
from app.widgets import build


class Page(QWidget):
    """The base of all pages.

    Attributes
    ----------
    head : QHBoxLayout
        The line of the title; a page may add buttons at its end.
    body : QVBoxLayout
        The rest.
    """

    def __init__(self, context: Context, title: str, subtitle: str = "") -> None:
        super().__init__()
        self.context = context
        self.setObjectName("page")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(3 * SPACE, 2 * SPACE, 3 * SPACE, 2 * SPACE)
        layout.setSpacing(SPACE + 4)
        self.head = QHBoxLayout()
        self.head.addWidget(build.label(title, "title"))
        self.head.addStretch(1)
        layout.addLayout(self.head)
        if subtitle:
            layout.addWidget(build.label(subtitle, "muted", wrap=True))
        self.body = QVBoxLayout()
        self.body.setSpacing(SPACE + 4)
        layout.addLayout(self.body, 1)

    def visit(self, **hints: Any) -> None:
        """Do what is needed each time the page is shown; `hints` come from `Shell.show_page`."""

    def leave(self) -> None:
        """Do what is needed when another page is shown."""
