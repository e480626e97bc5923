"""A bar that tells what happened: no modal box, every word can be selected and copied."""

from __future__ import annotations

import json
from collections.abc import Callable

from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QLabel,
    QPlainTextEdit,
    QSizePolicy,
    QVBoxLayout,
)

from app.context import Context
from app.theme import SPACE
from app.widgets import build
from envmanager.errors import GA3EnvError

_DRAWINGS = {"info": "info", "success": "ok", "warning": "warning", "danger": "error"}
_COLORS = {"info": "accent"}  # the others have the name of their tone
_DETAILS_PX = 180
_LINE_PX = 32  # picture, text and buttons stand on one line


class MessageBar(QFrame):
    """One message at a time; hidden where there is none."""

    def __init__(self, context: Context) -> None:
        super().__init__()
        self.setObjectName("message")
        self._context = context
        self._picture = QLabel()
        self._text = build.label(wrap=True, selectable=True)
        self._text.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)
        self._action = build.button("", self._act)
        self._fold = build.button("Details", role="quiet", checkable=True)
        self._copy = build.button("Copy details", self._copy_details, role="quiet")
        self._close = build.tool("Close the message", self.hide)
        context.set_icon(self._close, "close", "muted")
        self._details = QPlainTextEdit()
        self._details.setReadOnly(True)
        self._details.setAccessibleName("Details of the error")
        self._details.setMaximumHeight(_DETAILS_PX)
        self._run: Callable[[], object] | None = None
        self._lay_out()
        self._fold.toggled.connect(self._details.setVisible)
        self.hide()

    def _lay_out(self) -> None:
        line = QHBoxLayout()
        line.setSpacing(SPACE)
        line.addWidget(self._picture, 0, Qt.AlignmentFlag.AlignTop)
        line.addWidget(self._text, 1)
        self._picture.setFixedHeight(_LINE_PX)
        self._text.setMinimumHeight(_LINE_PX)
        for button in (self._action, self._fold, self._copy, self._close):
            button.setMinimumHeight(_LINE_PX)
            line.addWidget(button, 0, Qt.AlignmentFlag.AlignTop)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(SPACE + 4, SPACE, SPACE, SPACE)
        layout.addLayout(line)
        layout.addWidget(self._details)

    @property
    def text(self) -> str:
        """What it says now; empty where it is hidden."""
        return "" if self.isHidden() else self._text.text()

    def tell(
        self,
        text: str,
        *,
        tone: str = "info",
        details: str = "",
        action: str = "",
        run: Callable[[], object] | None = None,
    ) -> None:
        """Show a message in the place of the last one."""
        build.set_tone(self, tone)
        self._context.set_picture(self._picture, _DRAWINGS[tone], _COLORS.get(tone, tone))
        self._text.setText(text)
        self._details.setPlainText(details)
        self._details.hide()
        self._fold.setChecked(False)
        self._fold.setVisible(bool(details))
        self._copy.setVisible(bool(details))
        self._action.setText(action)
        self._action.setVisible(bool(action))
        self._run = run
        self.show()

    def tell_error(
        self, error: GA3EnvError, *, action: str = "", run: Callable[[], object] | None = None
    ) -> None:
        """Show an error: message and hint, a button for the next step, details folded away."""
        self.tell(
            "\n".join(filter(None, (error.message, error.hint))),
            tone="danger",
            details=details_text(error),
            action=action,
            run=run,
        )

    def _copy_details(self) -> None:
        text = f"{self._text.text()}\n\n{self._details.toPlainText()}"
        QGuiApplication.clipboard().setText(text)

    def _act(self) -> None:
        self.hide()
        if self._run:
            self._run()


def details_text(error: GA3EnvError) -> str:
    """Return all that an error folds away, for people who report it."""
    parts = [f"{error.code}: {error.message}"]
    for name, value in error.details.items():
        if name == "traceback":
            continue
        text = value if isinstance(value, str) else json.dumps(value, default=str)
        if text:
            parts.append(f"{name}: {text}")
    parts.append(str(error.details.get("traceback", "")))
    return "\n".join(filter(None, parts)).rstrip()
