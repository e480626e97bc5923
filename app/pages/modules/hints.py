"""What the page says above its cards: the first steps, and whose the shared modules are."""

from __future__ import annotations

from PySide6.QtCore import QSettings, Qt
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel

from app.context import Context
from app.pages.modules import rights
from app.store import Snapshot
from app.theme import SPACE
from app.widgets import build

FIRST_STEPS = (
    "Each module is a tool with an environment of its own, so that none can break another or "
    "NIS-Elements. Install one, try it on an image, then take its node to NIS-Elements."
)
_SHARED = f"Modules marked “{rights.SHARED}” are here once, for everybody on this computer. "
_USED = (
    "You can use all of them; only an administrator can update, repair or remove them. To have one "
    "that you can change, choose Install for me alone in the menu of its card."
)
_CHANGED = "What you change of them changes for all accounts."
_CLOSED = "modules/shared hint closed"


class Hint(QFrame):
    """A sentence or two in a panel; hidden at first."""

    def __init__(self, context: Context, name: str, text: str = "") -> None:
        super().__init__()
        self.setObjectName("panel")
        self.setAccessibleName(name)
        self.text = build.label(text, wrap=True, selectable=True)
        picture = QLabel()
        context.set_picture(picture, "info", "accent")
        self.line = QHBoxLayout(self)
        self.line.setContentsMargins(2 * SPACE, SPACE + 4, 2 * SPACE, SPACE + 4)
        self.line.setSpacing(SPACE + 4)
        self.line.addWidget(picture, 0, Qt.AlignmentFlag.AlignTop)
        self.line.addWidget(self.text, 1)
        self.hide()


class SharedHint(Hint):
    """Whose the shared modules are, until it is closed: another time for administrators."""

    def __init__(self, context: Context) -> None:
        super().__init__(context, "Shared modules")
        self.close_button = build.tool("Close: Shared modules", self._close)
        self.close_button.setToolTip("Do not show this again")
        context.set_icon(self.close_button, "close", "muted")
        self.line.addWidget(self.close_button, 0, Qt.AlignmentFlag.AlignTop)

    def show_snapshot(self, snapshot: Snapshot) -> None:
        """Show what goes for this account, where there are shared modules."""
        told = [status.may_change for status in snapshot.modules if status.shared]
        self.text.setText(_SHARED + (_CHANGED if any(told) else _USED))
        self.setVisible(bool(told) and QSettings().value(_CLOSED) != self.text.text())

    def _close(self) -> None:
        QSettings().setValue(_CLOSED, self.text.text())
        self.hide()
