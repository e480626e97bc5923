"""One version of a module in its details: what it is, and what can be done with it."""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QVBoxLayout

from app.context import Context
from app.pages.modules import steps
from app.pages.modules.detail_facts import Version
from app.pages.modules.rights import Rights
from app.pages.modules.steps import Step
from app.theme import SPACE
from app.widgets import build
from app.widgets.text import Text

_PICTURE_PX = 16


class VersionRow(QFrame):
    """A version with its pin; `asked` tells what the user wants to do with it."""

    asked = Signal(object, int)  # a Step, the generation

    def __init__(self, context: Context, version: Version, may: Rights) -> None:
        super().__init__()
        self._version, self._may = version, may
        self.setObjectName("panel")
        self.setAccessibleName(version.title)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(SPACE + 4, SPACE, SPACE, SPACE)
        layout.setSpacing(4)
        layout.addLayout(self._head())
        layout.addWidget(Text(version.told, "muted"))
        if version.pin:
            layout.addLayout(_pin_line(context, version.pin.note))
        if version.complete:
            layout.addLayout(self._buttons())

    def _head(self) -> QHBoxLayout:
        head = QHBoxLayout()
        head.addWidget(Text(self._version.title), 1)
        if self._version.published:
            used = build.label("In use")
            build.set_tone(used, "success")
            head.addWidget(used)
        return head

    def _buttons(self) -> QHBoxLayout:
        line = QHBoxLayout()
        line.setSpacing(SPACE)
        pin = steps.UNPIN if self._version.pin else steps.PIN
        self._add(line, pin.title, pin)
        if not self._version.published:
            self._add(line, steps.COMPARE.title, steps.COMPARE)
            self._add(line, "Roll back to this", steps.ROLLBACK, _ROLLBACK_HELP)
        line.addStretch(1)
        return line

    def _add(self, line: QHBoxLayout, text: str, step: Step, tip: str = "") -> None:
        button = build.button(text, lambda: self.asked.emit(step, self._version.number))
        refused = self._may.refuses(step.key)
        button.setToolTip(self._may.refusal if refused else tip or step.help)
        button.setEnabled(not refused)
        button.setAccessibleName(f"{text}: {self._version.title}")
        line.addWidget(button)


_ROLLBACK_HELP = "Take this version in use again; it is checked first"


def _pin_line(context: Context, note: str) -> QHBoxLayout:
    picture = QLabel()
    context.set_picture(picture, "lock", "accent", _PICTURE_PX)
    line = QHBoxLayout()
    line.setSpacing(6)
    line.addWidget(picture)
    line.addWidget(Text(f"Pinned: {note}" if note else "Pinned"), 1)
    return line
