"""The bar at the bottom: what works in the background, how far it is, and a way to stop it."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QProgressBar, QVBoxLayout

from app import words
from app.background import Task
from app.context import Context
from app.theme import SPACE
from app.widgets import build

_STEPS = 1000  # of a progress bar
_BAR_PX = 220


class TaskRow(QFrame):
    """One task: title, stage and bytes, a progress bar, and Cancel."""

    def __init__(self, task: Task[Any], context: Context) -> None:
        super().__init__()
        self.task = task
        self._title = QLabel(task.title)
        self._told = build.label(style="muted")
        self._bar = progress_bar()
        self._bar.setFixedWidth(_BAR_PX)
        self.cancel = build.tool(f"Cancel: {task.title}", task.cancel)
        context.set_icon(self.cancel, "close", "muted")
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(SPACE + 4)
        layout.addWidget(self._title)
        layout.addWidget(self._told, 1)
        layout.addWidget(self._bar, 0, Qt.AlignmentFlag.AlignVCenter)
        layout.addWidget(self.cancel)
        task.changed.connect(self._show)
        self._show()

    def _show(self) -> None:
        self._told.setText(words.task(self.task))
        self.cancel.setEnabled(not self.task.is_cancelling)
        show_progress(self._bar, self.task)


class Activity(QFrame):
    """All tasks that are not over; hidden where there are none."""

    def __init__(self, context: Context) -> None:
        super().__init__()
        self.setObjectName("activity")
        self._context = context
        self._rows: dict[Task[Any], TaskRow] = {}
        self._layout = QVBoxLayout(self)
        self._layout.setContentsMargins(2 * SPACE, SPACE, 2 * SPACE, SPACE)
        self._layout.setSpacing(4)
        context.background.tasks_changed.connect(self._follow)
        self.hide()

    def _follow(self) -> None:
        under_way = self._context.background.under_way()
        for task in [task for task in self._rows if task not in under_way]:
            row = self._rows.pop(task)
            self._layout.removeWidget(row)
            row.deleteLater()
        for task in under_way:
            if task not in self._rows:
                self._rows[task] = TaskRow(task, self._context)
                self._layout.addWidget(self._rows[task])
        self.setVisible(bool(self._rows))


def progress_bar() -> QProgressBar:
    """Return a progress bar without a text of its own."""
    bar = QProgressBar()
    bar.setTextVisible(False)
    return bar


def show_progress(bar: QProgressBar, task: Task[Any]) -> None:
    """Set a progress bar to how far a task is; it moves to and fro where nobody can tell."""
    part = words.part_done(task)
    bar.setRange(0, 0 if part is None else _STEPS)
    if part is not None:
        bar.setValue(round(part * _STEPS))
