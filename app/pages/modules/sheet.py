"""A sheet: what is beside the cards while the user decides something. Never a modal box."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QScrollArea, QVBoxLayout, QWidget

from app.context import Context
from app.theme import SPACE
from app.widgets import build
from envmanager.errors import GA3EnvError


class Sheet(QFrame):
    """The base of all sheets: a title, content that scrolls, buttons below.

    Attributes
    ----------
    module : str
        The name of the module that it is about.
    content : QVBoxLayout
        What the sheet shows.
    buttons : QHBoxLayout
        The buttons, from the right.
    """

    closed = Signal()

    def __init__(self, context: Context, module: str, title: str) -> None:
        super().__init__()
        self.context = context
        self.module = module
        self.setObjectName("panel")
        self.setAccessibleName(title)
        close = build.tool("Close", self.closed.emit)
        context.set_icon(close, "close", "muted")
        head = QHBoxLayout()
        head.addWidget(build.label(title, "heading", wrap=True), 1)
        head.addWidget(close)
        inside = QWidget()
        inside.setObjectName("content")
        self.content = QVBoxLayout(inside)
        self.content.setContentsMargins(0, 0, SPACE, 0)
        self.content.setSpacing(SPACE)
        self.content.setAlignment(Qt.AlignmentFlag.AlignTop)
        scroll = QScrollArea()
        scroll.setWidgetResizable(True)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setWidget(inside)
        self.buttons = QHBoxLayout()
        self.buttons.addStretch(1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(2 * SPACE, SPACE + 4, SPACE, SPACE + 4)
        layout.addLayout(head)
        layout.addWidget(scroll, 1)
        layout.addLayout(self.buttons)

    def add_text(self, text: str, style: str = "", tone: str = "") -> QLabel:
        """Add a paragraph that can be selected and copied."""
        made = build.label(text, style, wrap=True, selectable=True)
        if tone:
            build.set_tone(made, tone)
        self.content.addWidget(made)
        return made

    def add_facts(self, facts: dict[str, str]) -> None:
        """Add lines of a name and a value; those without a value are left out."""
        for name, value in facts.items():
            if not value:
                continue
            line = QHBoxLayout()
            line.setSpacing(SPACE)
            title = build.label(name, "muted")
            title.setFixedWidth(_NAME_PX)
            line.addWidget(title, 0, Qt.AlignmentFlag.AlignTop)
            line.addWidget(build.label(value, wrap=True, selectable=True), 1)
            self.content.addLayout(line)

    def add_button(self, text: str, clicked: Callable[[], object], *, role: str = "") -> QWidget:
        """Add a button at the end of the line of buttons."""
        made = build.button(text, clicked, role=role)
        self.buttons.addWidget(made)
        return made

    def clear(self) -> None:
        """Remove the content and the buttons."""
        _clear(self.content)
        _clear(self.buttons)
        self.buttons.addStretch(1)

    def show_error(self, error: GA3EnvError) -> None:
        """Say why the sheet has nothing to show."""
        self.clear()
        self.add_text(error.message, tone="danger")
        self.add_text(error.hint, "muted")
        self.add_button("Close", self.closed.emit)


_NAME_PX = 104


def _clear(layout: QVBoxLayout | QHBoxLayout) -> None:
    while (item := layout.takeAt(0)) is not None:
        if widget := item.widget():
            widget.setParent(None)
            widget.deleteLater()
        elif isinstance(inner := item.layout(), QHBoxLayout | QVBoxLayout):
            _clear(inner)
