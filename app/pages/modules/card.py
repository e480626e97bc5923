"""A module's card: what it is, how it is, and the right next step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QAction, QKeyEvent, QMouseEvent
from PySide6.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QLabel,
    QMenu,
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
)

from app import icons, words
from app.background import Task
from app.context import Context
from app.pages.modules import facts, rights, steps
from app.pages.modules.rights import Rights
from app.pages.modules.steps import Step
from app.theme import SPACE
from app.widgets import build
from app.widgets.activity import progress_bar, show_progress

if TYPE_CHECKING:
    from envmanager.environments.inventory import ModuleStatus

_BUTTON_PX = 116
_PICTURE_PX = 16
_SOFT_BREAK = "\u200b"  # where a path may be broken: nothing of a card is copied
_DRAWINGS = {
    "success": "ok",
    "warning": "warning",
    "danger": "error",
    "accent": "busy",
    "muted": "download",
}


class ModuleCard(QFrame):
    """One module; `asked` tells what the user wants to do with it, `chosen` that it was clicked."""

    asked = Signal(str, object)  # the module's name, a Step
    chosen = Signal(str)

    def __init__(
        self, status: ModuleStatus, summary: str, own: bool, may: Rights, context: Context
    ) -> None:
        super().__init__()
        self.setObjectName("card")
        self._context = context
        self._task: Task[Any] | None = None
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self._title = build.label(style="heading")
        self._version = build.label(style="muted")
        self._own = build.label("Your module", "pill")
        self._shared = build.label(rights.SHARED, "pill")
        self._state = build.label(wrap=True)
        self._picture = QLabel()
        self._due = build.label(style="muted", wrap=True)
        self._summary = build.label(style="muted", wrap=True)
        self._facts = build.label(style="muted", wrap=True)
        self._users = build.label(wrap=True)
        self._lock = QLabel()
        context.set_picture(self._lock, "lock", "muted", _PICTURE_PX)
        self._bar = progress_bar()
        self.main = build.button("", self._act, role="primary")
        self.main.setMinimumWidth(_BUTTON_PX)
        self.more = build.tool("More to do")
        self.more.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        context.set_icon(self.more, "more")
        self.menu = QMenu(self)
        self.menu.setToolTipsVisible(True)
        self.more.setMenu(self.menu)
        self._lay_out()
        self.show_status(status, summary, own, may)

    def _lay_out(self) -> None:
        text = QVBoxLayout()
        text.setSpacing(4)
        text.addLayout(self._name_line())
        text.addWidget(self._shared, 0, Qt.AlignmentFlag.AlignLeft)  # the line above is full
        text.addWidget(self._summary)
        text.addLayout(_line(self._picture, self._state))
        text.addWidget(self._due)
        text.addWidget(self._bar)
        text.addWidget(self._facts)
        text.addLayout(_line(self._lock, self._users))
        layout = QHBoxLayout(self)
        layout.setContentsMargins(2 * SPACE, SPACE + 4, SPACE + 4, SPACE + 4)
        layout.setSpacing(SPACE)
        layout.addLayout(text, 1)
        layout.addSpacing(SPACE)
        layout.addWidget(self.main, 0, Qt.AlignmentFlag.AlignVCenter)
        layout.addWidget(self.more, 0, Qt.AlignmentFlag.AlignVCenter)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)

    def _name_line(self) -> QHBoxLayout:
        line = QHBoxLayout()
        line.setSpacing(SPACE)
        line.addWidget(self._title)
        line.addWidget(self._version, 0, Qt.AlignmentFlag.AlignBottom)
        line.addWidget(self._own, 0, Qt.AlignmentFlag.AlignVCenter)
        line.addStretch(1)
        return line

    # ---- what it shows --------------------------------------------------------------------------

    def show_status(self, status: ModuleStatus, summary: str, own: bool, may: Rights) -> None:
        """Show another state of the same module."""
        self.status, self.summary, self.own, self.may = status, summary, own, may
        self.more.setAccessibleName(f"More to do with {status.title}")
        self.more.setToolTip(f"More to do with {status.title}")
        self._title.setText(status.title)
        self._version.setText(status.installed_version or status.version)
        self._own.setVisible(own and not may.shared)
        self._shared.setVisible(may.shared)
        self._shared.setToolTip(may.refusal or "What you change here changes for all accounts.")
        self._due.setText(facts.due(status, may))
        self._due.setVisible(bool(self._due.text()))
        self._summary.setText(summary)
        self._summary.setVisible(bool(summary))
        self._facts.setText(facts.line(status))
        self._facts.setVisible(bool(self._facts.text()))
        self._users.setText(facts.users(status))
        for widget in (self._lock, self._users):
            widget.setVisible(bool(status.in_use_by))
        self._show_steps()
        self._show_state()

    def follow(self, task: Task[Any] | None) -> None:
        """Show the progress of a task of this app that changes the module."""
        if task is self._task:
            return
        if self._task:
            self._task.changed.disconnect(self._show_state)
        self._task = task
        if task:
            task.changed.connect(self._show_state)
        self._show_steps()
        self._show_state()

    def set_chosen(self, chosen: bool) -> None:
        """Mark the card whose details are shown."""
        self.setProperty("chosen", chosen)
        self.style().unpolish(self)
        self.style().polish(self)

    @property
    def told(self) -> str:
        """What it says of the state."""
        return self._state.text().replace(_SOFT_BREAK, "")

    def _show_steps(self) -> None:
        step = steps.next_step(self.status, self.may)
        if self._task:
            self._set_main("Cancel", f"Cancel: {self._task.title}", "")
        elif step:
            self._set_main(step.title, step.help, "primary")
        self.main.setVisible(bool(self._task or step))
        self.menu.clear()
        for group in steps.menu(self.status, self.may, own=self.own):
            if not self.menu.isEmpty():
                self.menu.addSeparator()
            for step in group:
                self.menu.addAction(self._action(step))

    def _set_main(self, text: str, help: str, role: str) -> None:
        self.main.setText(text)
        self.main.setToolTip(help)
        self.main.setAccessibleName(f"{text} {self.status.title}")
        self.main.setProperty("role", role)
        self.main.style().unpolish(self.main)
        self.main.style().polish(self.main)

    def _action(self, step: Step) -> QAction:
        drawing = icons.icon(step.icon, self._context.theme.colors.text)
        action = QAction(drawing, step.title, self.menu)
        refused = self.may.refuses(step.key)
        action.setToolTip(self.may.refusal if refused else step.help)
        action.setData(step.key)
        reading = step.key in ("log", "folder", "source")
        is_free = self._task is None and not self.status.busy
        action.setEnabled(reading or (is_free and not refused))
        action.triggered.connect(lambda: self.asked.emit(self.status.name, step))
        return action

    def _show_state(self) -> None:
        text, tone = facts.state(self.status)
        if self._task:
            what = self._task.title.removesuffix(self.status.title).strip()
            told = f"{what}: {words.task(self._task)}"
            text, tone = told.rstrip(": "), "accent"
            self.main.setEnabled(not self._task.is_cancelling)
            show_progress(self._bar, self._task)
        else:
            self.main.setEnabled(True)
        self._bar.setVisible(self._task is not None)
        self._state.setText(_breakable(text))
        build.set_tone(self._state, tone)
        self._context.set_picture(self._picture, _DRAWINGS.get(tone, "info"), tone, _PICTURE_PX)
        self.setAccessibleName(f"{self.status.title}: {text}")

    # ---- what the user does ---------------------------------------------------------------------

    def _act(self) -> None:
        if self._task:
            self._task.cancel()
        elif step := steps.next_step(self.status, self.may):
            self.asked.emit(self.status.name, step)

    def mousePressEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        """Choose the card."""
        self.chosen.emit(self.status.name)
        super().mousePressEvent(event)

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802
        """Choose the card by the keyboard as well."""
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter, Qt.Key.Key_Space):
            self.chosen.emit(self.status.name)
        else:
            super().keyPressEvent(event)


def _line(picture: QLabel, text: QLabel) -> QHBoxLayout:
    """Return a drawing with a text beside it, at the height of the text's first line."""
    picture.setFixedHeight(text.fontMetrics().height())
    line = QHBoxLayout()
    line.setSpacing(6)
    line.addWidget(picture, 0, Qt.AlignmentFlag.AlignTop)
    line.addWidget(text, 1)
    return line


def _breakable(text: str) -> str:
    """Let paths break at their parts: a label is else as wide as its longest word."""
    for mark in ("/", "\\", "_"):
        text = text.replace(mark, mark + _SOFT_BREAK)
    return text
