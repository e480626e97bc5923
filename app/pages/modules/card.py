"""A module's card: what it is, how it is, and the right next step."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QAction, QMouseEvent
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
from app.pages.modules import steps
from app.pages.modules.steps import Step
from app.theme import SPACE
from app.widgets import build
from app.widgets.activity import progress_bar, show_progress
from envmanager.data.users import user_text
from envmanager.environments.inventory import ModuleStatus

_BUTTON_PX = 132


class ModuleCard(QFrame):
    """One module; `asked` tells what the user wants to do with it, `chosen` that it was clicked."""

    asked = Signal(str, object)  # the module's name, a Step
    chosen = Signal(str)

    def __init__(self, status: ModuleStatus, summary: str, context: Context) -> None:
        super().__init__()
        self.setObjectName("card")
        self.status = status
        self.summary = summary
        self._context = context
        self._task: Task[Any] | None = None
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self._title = build.label(style="heading")
        self._version = build.label(style="muted")
        self._state = build.label(wrap=True)
        self._picture = QLabel()
        self._summary = build.label(style="muted", wrap=True)
        self._facts = build.label(style="muted", wrap=True)
        self._bar = progress_bar()
        self.main = build.button("", self._ask_main, role="primary")
        self.main.setMinimumWidth(_BUTTON_PX)
        self.more = build.tool("More to do", tip="More to do with this module")
        self.more.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        context.set_icon(self.more, "more")
        self._menu = QMenu(self)
        self.more.setMenu(self._menu)
        self._lay_out()
        self.show_status(status, summary)

    def _lay_out(self) -> None:
        name = QHBoxLayout()
        name.setSpacing(SPACE)
        name.addWidget(self._title)
        name.addWidget(self._version, 0, Qt.AlignmentFlag.AlignBottom)
        name.addStretch(1)
        state = QHBoxLayout()
        state.setSpacing(6)
        state.addWidget(self._picture)
        state.addWidget(self._state, 1)
        text = QVBoxLayout()
        text.setSpacing(4)
        text.addLayout(name)
        text.addWidget(self._summary)
        text.addLayout(state)
        text.addWidget(self._bar)
        text.addWidget(self._facts)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(2 * SPACE, SPACE + 4, SPACE + 4, SPACE + 4)
        layout.setSpacing(SPACE)
        layout.addLayout(text, 1)
        layout.addWidget(self.main, 0, Qt.AlignmentFlag.AlignVCenter)
        layout.addWidget(self.more, 0, Qt.AlignmentFlag.AlignVCenter)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)

    # ---- what it shows --------------------------------------------------------------------------

    def show_status(self, status: ModuleStatus, summary: str) -> None:
        """Show another state of the same module."""
        self.status, self.summary = status, summary
        self.setAccessibleName(f"{status.title}: {words.STATES[status.state][0]}")
        self.more.setAccessibleName(f"More to do with {status.title}")
        self._title.setText(status.title)
        self._version.setText(status.installed_version or status.version)
        self._summary.setText(summary)
        self._facts.setText("   ·   ".join(facts(status)))
        self._facts.setVisible(bool(self._facts.text()))
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
        """Mark the card as the one whose details are shown."""
        self.setProperty("chosen", chosen)
        self.style().polish(self)

    def _show_steps(self) -> None:
        step = None if self._task else steps.next_step(self.status)
        self.main.setVisible(step is not None)
        if step:
            self.main.setText(step.title)
            self.main.setToolTip(step.help)
            self._context.set_icon(self.main, step.icon, "on_accent")
        self._menu.clear()
        for group in steps.menu(self.status):
            self._menu.addSeparator()
            for each in group:
                self._menu.addAction(self._action(each))

    def _action(self, step: Step) -> QAction:
        drawing = icons.icon(step.icon, self._context.theme.colors.text)
        action = QAction(drawing, step.title, self._menu)
        action.setToolTip(step.help)
        action.setEnabled(self._task is None and not self.status.busy)
        action.triggered.connect(lambda: self.asked.emit(self.status.name, step))
        return action

    def _show_state(self) -> None:
        text, tone = self._said()
        self._state.setText(text)
        build.set_tone(self._state, tone)
        self._context.set_picture(self._picture, _DRAWINGS.get(tone, "info"), tone, 16)
        self._bar.setVisible(self._task is not None)
        if self._task:
            show_progress(self._bar, self._task)

    def _said(self) -> tuple[str, str]:
        if self._task:
            return f"{self._task.title}: {words.task(self._task)}".rstrip(": "), "accent"
        text, tone = words.STATES[self.status.state]
        if self.status.busy:
            return busy_text(self.status), "accent"
        if self.status.state == "broken" and self.status.problems:
            text = f"{text}: {self.status.problems[0]}"
        return text, tone

    # ---- what the user does ---------------------------------------------------------------------

    def _ask_main(self) -> None:
        if step := steps.next_step(self.status):
            self.asked.emit(self.status.name, step)

    def mousePressEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        """Choose the card."""
        self.chosen.emit(self.status.name)
        super().mousePressEvent(event)

    def keyPressEvent(self, event: Any) -> None:  # noqa: N802
        """Choose the card by the keyboard as well."""
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter, Qt.Key.Key_Space):
            self.chosen.emit(self.status.name)
        else:
            super().keyPressEvent(event)


_DRAWINGS = {
    "success": "ok",
    "warning": "warning",
    "danger": "error",
    "accent": "busy",
    "muted": "download",
}


def facts(status: ModuleStatus) -> list[str]:
    """Return what a card says in its last line: disk, device, who uses it, the last self-test."""
    found = []
    if any(status.disk.values()):
        found.append(disk_text(status.disk))
    if status.device:
        found.append(device_text(status))
    if status.in_use_by:
        found.append("In use by " + ", ".join(map(user_text, status.in_use_by)))
    if status.manifest and status.manifest.get("selftest"):
        found.append(f"Self-test {status.manifest['selftest']}")
    return found


def disk_text(disk: dict[str, int]) -> str:
    """Say how much disk space a module takes: ``3.1 GB, 1.2 GB of it shared``."""
    own, shared = disk.get("own", 0), disk.get("shared", 0)
    text = words.size(own + shared)
    if shared:
        text += f", {words.size(shared)} of it shared"
    if weights := disk.get("weights", 0):
        text += f", weights {words.size(weights)}"
    return text


def device_text(status: ModuleStatus) -> str:
    """Say where a module computes: ``GPU: RTX A4000, cu130``, or ``CPU``."""
    if status.device == "cpu":
        return "CPU"
    gpu = (status.manifest or {}).get("gpu") or status.device
    return f"GPU: {gpu}" + (f", {status.backend}" if status.backend else "")


def busy_text(status: ModuleStatus) -> str:
    """Say who else changes a module."""
    busy = status.busy or {}
    stage = f", {busy['stage']}" if busy.get("stage") else ""
    who = user_text({key: busy.get(key) for key in ("program", "pid", "since")})
    return f"Busy: {busy.get('what', 'change')}{stage}, by {who}"
