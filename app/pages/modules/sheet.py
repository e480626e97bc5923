"""A sheet: what is beside the cards while the user decides something. Never a modal box."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import (
    QApplication,
    QFrame,
    QHBoxLayout,
    QLayout,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from app.context import Context
from app.theme import SPACE
from app.widgets import build
from app.widgets.scrolling import scrolled
from app.widgets.text import Text
from envmanager.errors import GA3EnvError

if TYPE_CHECKING:
    from envmanager.environments.inventory import ModuleStatus

_NAME_PX = 104


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
        self.close_button = build.tool(f"Close: {title}", self.closed.emit, tip="Close (Esc)")
        self.close_button.setShortcut("Esc")
        context.set_icon(self.close_button, "close", "muted")
        head = QHBoxLayout()
        head.addWidget(build.label(title, "heading", wrap=True), 1)
        head.addWidget(self.close_button, 0, Qt.AlignmentFlag.AlignTop)
        self.content = QVBoxLayout()
        self.content.setContentsMargins(0, 0, SPACE, 0)
        self.content.setSpacing(SPACE)
        self.content.setAlignment(Qt.AlignmentFlag.AlignTop)
        self.buttons = QHBoxLayout()
        self.buttons.setContentsMargins(0, SPACE // 2, SPACE, 0)
        self.buttons.addStretch(1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(2 * SPACE, SPACE + 4, SPACE, SPACE + 4)
        layout.addLayout(head)
        layout.addWidget(self._holder(), 1)
        layout.addLayout(self.buttons)

    def _holder(self) -> QWidget:
        """Return what holds `content`: it scrolls."""
        return scrolled(self.content)

    def show_status(self, status: ModuleStatus) -> None:
        """Take another state of the module, where the sheet shows it."""

    def end(self) -> None:
        """Stop what is under way for the sheet; it is about to go."""

    def add_text(self, text: str, style: str = "", tone: str = "") -> Text:
        """Add a paragraph that can be selected and copied."""
        made = Text(text, style)
        if tone:
            build.set_tone(made, tone)
        self.content.addWidget(made)
        return made

    def add_facts(self, facts: dict[str, str]) -> None:
        """Add lines of a name and a value; those without a value are left out."""
        add_facts(self.content, facts)

    def add_button(
        self, text: str, clicked: Callable[[], object], *, role: str = ""
    ) -> QPushButton:
        """Add a button at the end of the line of buttons."""
        made = build.button(text, clicked, role=role)
        self.buttons.addWidget(made)
        return made

    def prefer(self, button: QPushButton) -> None:
        """Give a button the focus of somebody who came here by the keyboard."""
        focus = QApplication.focusWidget()
        if focus and self.isAncestorOf(focus):
            button.setFocus(Qt.FocusReason.OtherFocusReason)

    def clear(self) -> None:
        """Remove the content and the buttons."""
        clear(self.content)
        clear(self.buttons)
        self.buttons.addStretch(1)

    def show_error(self, error: GA3EnvError) -> None:
        """Say why the sheet has nothing to show."""
        self.clear()
        self.add_text(error.message, tone="danger")
        self.add_text(error.hint, "muted")
        self.add_button("Close", self.closed.emit)


def add_facts(place: QVBoxLayout, facts: dict[str, str]) -> None:
    """Add lines of a name and a value; those without a value are left out."""
    for name, value in facts.items():
        if not value:
            continue
        line = QHBoxLayout()
        line.setSpacing(SPACE)
        title = build.label(name, "muted")
        title.setFixedWidth(_NAME_PX)
        line.addWidget(title, 0, Qt.AlignmentFlag.AlignTop)
        text = Text(value)
        text.setAccessibleName(f"{name}: {value}")
        line.addWidget(text, 1)
        place.addLayout(line)


def clear(layout: QLayout) -> None:
    """Remove all that a layout holds."""
    while (item := layout.takeAt(0)) is not None:
        if widget := item.widget():
            widget.hide()
            widget.deleteLater()
        elif inner := item.layout():
            clear(inner)
            inner.deleteLater()
