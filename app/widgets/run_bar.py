"""Run and Cancel, how far it is, and what stands in the way."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from PySide6.QtCore import QTimer, Signal
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QVBoxLayout, QWidget

from app import words
from app.background import RUNNING, Task
from app.context import Context
from app.theme import SPACE
from app.widgets import build
from app.widgets.activity import progress_bar, show_progress

_TICK_MS = 1000


class RunBar(QFrame):
    """The panel with the main button.

    Attributes
    ----------
    others : QHBoxLayout
        The line below the main button, for buttons of a page.
    """

    run = Signal()

    def __init__(self, context: Context, tip: str) -> None:
        super().__init__()
        self.setObjectName("card")
        self._context = context
        self._task: Task[Any] | None = None
        self._since = 0.0
        self._mend: Callable[[], object] | None = None
        self.start = build.button("Run", self.run.emit, role="primary")
        self.start.setToolTip(f"{tip} (Ctrl+Enter)")
        self.start.setShortcut("Ctrl+Return")
        self.cancel = build.button("Cancel", self._cancel)
        context.set_icon(self.cancel, "stop")
        self._bar = progress_bar()
        self._told = build.label(style="muted", wrap=True)
        self._picture = QLabel()
        self._problem = build.label(wrap=True, selectable=True)
        self.mend = build.button("", self._do_mend)
        self._hindered = QWidget()
        self._tick = QTimer(self)
        self._tick.setInterval(_TICK_MS)
        self._tick.timeout.connect(self._show)
        self._lay_out()
        self._show()
        self.set_problem("")

    def _lay_out(self) -> None:
        hindered = QHBoxLayout(self._hindered)
        hindered.setContentsMargins(0, 0, 0, 0)
        hindered.setSpacing(SPACE)
        hindered.addWidget(self._picture)
        hindered.addWidget(self._problem, 1)
        hindered.addWidget(self.mend)
        self.others = QHBoxLayout()
        self.others.setSpacing(SPACE)
        self.column = QVBoxLayout(self)
        self.column.setContentsMargins(SPACE + 4, SPACE + 4, SPACE + 4, SPACE + 4)
        self.column.setSpacing(SPACE)
        self.column.addWidget(self._hindered)
        self.column.addWidget(self.start)
        self.column.addWidget(self.cancel)
        self.column.addLayout(self.others)
        self.column.addWidget(self._bar)
        self.column.addWidget(self._told)

    # ---- what stands in the way -----------------------------------------------------------------

    def set_problem(
        self, text: str, action: str = "", mend: Callable[[], object] | None = None
    ) -> None:
        """Say in one sentence why it cannot run, with the button that leads to the right step."""
        self._mend = mend
        self._problem.setText(text)
        self.mend.setText(action)
        self.mend.setVisible(bool(action))
        drawing = ("warning", "warning") if action else ("info", "muted")
        self._context.set_picture(self._picture, *drawing)
        self._hindered.setVisible(bool(text))
        self.start.setEnabled(not text)
        self._context.set_icon(self.start, "run", "muted" if text else "on_accent")

    @property
    def problem(self) -> str:
        """What stands in the way; empty where nothing does."""
        return self._problem.text()

    def _do_mend(self) -> None:
        if self._mend:
            self._mend()

    # ---- the work -------------------------------------------------------------------------------

    def follow(self, task: Task[Any]) -> None:
        """Show a run until it is over."""
        self._task, self._since = task, time.monotonic()
        task.changed.connect(self._show)
        self._tick.start()
        self._show()

    @property
    def told(self) -> str:
        """What is said of the run that is under way."""
        return self._told.text() if self._task else ""

    def _cancel(self) -> None:
        if self._task:
            self._task.cancel()

    def _show(self) -> None:
        if self._task and self._task.is_over:
            self._task = None
            self._tick.stop()
        task = self._task
        self.start.setVisible(task is None)
        self.cancel.setVisible(task is not None)
        self._bar.setVisible(task is not None)
        self._told.setVisible(task is not None)
        if task is None:
            return
        self.cancel.setEnabled(not task.is_cancelling)
        show_progress(self._bar, task)
        passed = time.monotonic() - self._since
        parts = [words.task(task)]
        is_foretold = bool(task.items and task.items.remaining_s is not None)
        if task.state == RUNNING and passed >= 1 and not is_foretold:
            parts.append(words.duration(passed))
        self._told.setText("   ".join(filter(None, parts)))
