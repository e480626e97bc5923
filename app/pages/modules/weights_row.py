"""One set of weights in the sheet: its state, its licence, and what can be done with it."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QFrame, QHBoxLayout, QVBoxLayout

from app import words
from app.background import Task
from app.context import Context
from app.theme import SPACE
from app.widgets import build
from app.widgets.activity import progress_bar, show_progress
from app.widgets.text import Text
from envmanager.weights.store import SetState


class WeightsRow(QFrame):
    """A set that may be present; `wanted` and `unwanted` give its name.

    `refusal` says why this account may not remove it.
    """

    wanted = Signal(str)
    unwanted = Signal(str)

    def __init__(self, found: SetState, context: Context, refusal: str = "") -> None:
        super().__init__()
        self.setObjectName("panel")
        self.found = found
        self._task: Task[Any] | None = None
        state, tone = _state(found)
        self.setAccessibleName(f"{found.title}: {state}")
        self._state = build.label(state)
        build.set_tone(self._state, tone)
        self._told = build.label(style="muted", wrap=True)
        self._bar = progress_bar()
        self.get = build.button("Download", self._want)
        self.get.setAccessibleName(f"Download {found.title}")
        self.remove = build.tool(f"Remove {found.title}", self._drop, tip=refusal)
        self.remove.setEnabled(not refusal)
        context.set_icon(self.remove, "lock" if refusal else "remove", "muted")
        self._lay_out()
        self._show()

    def _lay_out(self) -> None:
        head = QHBoxLayout()
        head.setSpacing(SPACE)
        head.addWidget(Text(self.found.title), 1)
        head.addWidget(self._state, 0, Qt.AlignmentFlag.AlignTop)
        text = QVBoxLayout()
        text.setSpacing(4)
        text.addLayout(head)
        for line in _lines(self.found):
            text.addWidget(Text(line, "muted"))
        if self.found.problem:
            problem = Text(self.found.problem)
            build.set_tone(problem, "danger")
            text.addWidget(problem)
        text.addWidget(self._told)
        text.addWidget(self._bar)
        buttons = QHBoxLayout()
        buttons.addStretch(1)
        buttons.addWidget(self.get)
        buttons.addWidget(self.remove)
        text.addLayout(buttons)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(SPACE + 4, SPACE, SPACE, SPACE)
        layout.addLayout(text, 1)

    def follow(self, task: Task[Any] | None) -> None:
        """Show the progress of a download."""
        if task is self._task:
            return
        if self._task:
            self._task.changed.disconnect(self._show)
        self._task = task
        if task:
            task.changed.connect(self._show)
        self._show()

    def _show(self) -> None:
        task, found = self._task, self.found
        self._told.setText(words.task(task) if task else "")
        self._told.setVisible(task is not None)
        self._bar.setVisible(task is not None)
        if task:
            show_progress(self._bar, task)
        can_get = not found.present and not (found.problem and found.custom)
        self.get.setText("Cancel" if task else "Download again" if found.problem else "Download")
        self.get.setVisible(can_get or task is not None)
        self.get.setEnabled(not (task and task.is_cancelling))
        self.remove.setVisible(task is None and (found.present or bool(found.problem)))

    def _want(self) -> None:
        if self._task:
            self._task.cancel()
        else:
            self.wanted.emit(self.found.name)

    def _drop(self) -> None:
        self.unwanted.emit(self.found.name)


def _state(found: SetState) -> tuple[str, str]:
    if found.problem:
        return "Damaged", "danger"
    if found.present:
        if found.shared:
            return "Shared by all", "success"
        return ("Your own" if found.custom else "Present"), "success"
    return ("Needed", "warning") if found.default else ("Not downloaded", "muted")


def _lines(found: SetState) -> list[str]:
    size = words.size(found.size) if found.size else ""
    licence = f"Licence: {found.license}" if found.license else ""
    return [line for line in (found.note, size, licence) if line]
