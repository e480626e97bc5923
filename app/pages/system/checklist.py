"""The doctor's checklist: each line appears as soon as it is known, with its next step."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QHBoxLayout, QLabel, QVBoxLayout, QWidget

from app.background import Task, Work
from app.context import Context
from app.pages.system import work
from app.pages.system.panel import Panel
from app.theme import SPACE
from app.widgets import build
from app.widgets.activity import progress_bar
from envmanager.doctor import Check
from envmanager.errors import GA3EnvError

LANE = "system"
_DRAWINGS = {
    "ok": ("ok", "success"),
    "warning": ("warning", "warning"),
    "error": ("error", "danger"),
}
_BESIDE_PX = 6
_RANKS = {"error": 0, "warning": 1, "ok": 2}
_FIX_COMMAND = "./run doctor --fix"
_NOT_FIXED = "fix:"  # begins the ids of lines about a mend that failed
# Where a line that the doctor cannot mend is dealt with: a button, a page.
_SETTINGS, _MODULES = ("Settings", "settings"), ("Modules", "modules")
_PLACES = {
    "settings": _SETTINGS,
    "index": _SETTINGS,
    "python": _SETTINGS,
    "data_place": _SETTINGS,
    "hard_links": _SETTINGS,
    "long_paths": _SETTINGS,
    "disk_space": _MODULES,
}


class CheckLine(QWidget):
    """One line: its status as a picture, the message, the hint, and a button for the next step."""

    fix_asked = Signal(object)  # Check

    def __init__(self, context: Context) -> None:
        super().__init__()
        self._context = context
        self.check = Check("", "ok", "")
        self._picture = QLabel()
        self._message = build.label(wrap=True, selectable=True)
        self._hint = build.label(style="muted", wrap=True, selectable=True)
        self.button = build.button("", self._act)
        self._text = text = QVBoxLayout()
        text.setSpacing(2)
        text.addWidget(self._message)
        text.addWidget(self._hint)
        text.addStretch(1)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(SPACE + 2)
        layout.addWidget(self._picture, 0, Qt.AlignmentFlag.AlignTop)
        layout.addLayout(text, 1)
        layout.addWidget(self.button, 0, Qt.AlignmentFlag.AlignTop)

    def show_check(self, check: Check) -> None:
        """Show what was found."""
        self.check = check
        drawing, color = _DRAWINGS[check.status]
        self._context.set_picture(self._picture, drawing, color, 18)
        self._picture.setAccessibleName(check.status)
        prefix = "This could not be mended: " if check.id.startswith(_NOT_FIXED) else ""
        self._message.setText(prefix + check.message)
        hint = hint_text(check)
        self._hint.setText(hint)
        self._hint.setVisible(bool(hint))
        title, _ = next_step(check)
        self.button.setText(title)
        self.button.setVisible(bool(title))
        # The first line stands at the height of the button's text.
        self._text.setContentsMargins(0, _BESIDE_PX if title else 2, 0, 0)
        self._picture.setContentsMargins(0, _BESIDE_PX - 1 if title else 0, 0, 0)
        self.button.setAccessibleName(f"{title}: {check.message}")

    def show_waiting(self) -> None:
        """Show that this line is being examined again."""
        self._context.set_picture(self._picture, "busy", "muted", 18)
        self._picture.setAccessibleName("being checked")

    def _act(self) -> None:
        _, page = next_step(self.check)
        if not page:
            self.fix_asked.emit(self.check)
            return
        kind, _, module = self.check.id.partition(":")
        hints = {"module": module} if kind in ("module", "weights") else {}
        self._context.shell.show_page(page, **hints)


def next_step(check: Check) -> tuple[str, str]:
    """Return the title of a line's button and the page that it leads to, empty for a fix."""
    if check.fixable:
        return "Fix", ""
    if not check.hint:
        return "", ""
    kind, _, module = check.id.partition(":")
    if kind in ("module", "weights") and module:
        return "Show module", "modules"
    return _PLACES.get(check.id, ("", "")) if check.status != "ok" else ("", "")


def hint_text(check: Check) -> str:
    """Return a line's hint for people who have its button before them, not a command line."""
    is_command = check.hint.startswith("./run ") and ". " not in check.hint
    title, place = next_step(check)
    if check.hint.rstrip(".") == _FIX_COMMAND or (is_command and place):
        return ""
    return check.hint.replace(_FIX_COMMAND, title) if check.fixable else check.hint


class Checklist(Panel):
    """All lines; what needs attention comes first."""

    def __init__(self, context: Context) -> None:
        super().__init__(context, "Checklist")
        self.lines: dict[str, CheckLine] = {}
        self.summary = build.label(wrap=True, selectable=True)
        self.fix_all = build.button("Fix all", self._fix_all, tip="Mend all that can be mended")
        self.again = build.button("Check again", self.check, tip="Examine everything again")
        self.head.addWidget(self.fix_all)
        self.head.addWidget(self.again)
        self._bar = progress_bar()
        self._bar.setRange(0, 0)
        self._bar.setAccessibleName("The checks run")
        self._rows = QVBoxLayout()
        self._rows.setSpacing(SPACE + 4)
        for widget in (self.summary, self._bar):
            self.content.addWidget(widget)
        self.content.addSpacing(SPACE // 2)
        self.content.addLayout(self._rows)
        self._task: Task[list[Check]] | None = None
        self._told: set[str] = set()
        self._order: dict[str, int] = {}  # of the engine
        self._show_state()

    # ---- running it -----------------------------------------------------------------------------

    @property
    def has_run(self) -> bool:
        """Whether there is something to see, or soon will be."""
        return bool(self.lines) or self._task is not None

    def check(self) -> None:
        """Examine everything."""
        self._start("Check this computer", work.check)

    def fix(self, check: Check) -> None:
        """Mend what one line tells, then examine everything again."""
        self._start("Mend and check again", work.fix([check]))

    def _fix_all(self) -> None:
        found = [line.check for line in self.lines.values() if line.check.fixable]
        self._start("Mend and check again", work.fix(found))

    def _start(self, title: str, job: Work[list[Check]]) -> None:
        if self._task:
            return
        self._told = set()
        for line in self.lines.values():
            line.show_waiting()
        task = self.context.background.start(title, job, lane=LANE)
        task.told.connect(self._take)
        task.succeeded.connect(self._done)
        task.failed.connect(self._failed)
        task.cancelled.connect(self._stopped)
        self._task = task
        self._show_state()

    def _take(self, check: Check) -> None:
        if check.id not in self.lines:
            line = CheckLine(self.context)
            line.fix_asked.connect(self.fix)
            self.lines[check.id] = line
            self._order.setdefault(check.id, len(self._order))
        self._told.add(check.id)
        line = self.lines[check.id]
        line.show_check(check)
        self._put(line)
        self._show_state()

    def _put(self, line: CheckLine) -> None:
        """Put a line where it belongs: errors, warnings, the rest."""
        place = sorted(self.lines.values(), key=self._rank).index(line)
        if self._rows.indexOf(line) != place:
            self._rows.removeWidget(line)
            self._rows.insertWidget(place, line)

    def _rank(self, line: CheckLine) -> tuple[int, int]:
        return _RANKS[line.check.status], self._order.get(line.check.id, 0)

    def _done(self, found: Sequence[Check]) -> None:
        for gone in self.lines.keys() - {check.id for check in found}:
            line = self.lines.pop(gone)
            self._rows.removeWidget(line)
            line.deleteLater()
        self._end()
        self.summary.setText(f"{summary(found)} Checked at {time.strftime('%H:%M')}.")
        build.set_tone(self.summary, _tone(found))
        self.context.store.refresh()

    def _failed(self, error: GA3EnvError) -> None:
        self._stopped()
        self.context.shell.tell_error(error, action="Check again", run=self.check)

    def _stopped(self) -> None:
        for line in self.lines.values():
            line.show_check(line.check)
        self._end()
        self.summary.setText("Stopped before all was checked.")

    # ---- what it shows --------------------------------------------------------------------------

    def _end(self) -> None:
        self._task = None
        self._show_state()

    def _show_state(self) -> None:
        busy = self._task is not None
        self._bar.setVisible(busy)
        self.again.setEnabled(not busy)
        fixable = [line for line in self.lines.values() if line.check.fixable]
        self.fix_all.setVisible(len(fixable) > 1)
        self.fix_all.setEnabled(not busy)
        for line in self.lines.values():
            line.button.setEnabled(not busy or not line.check.fixable)
        if busy:
            build.set_tone(self.summary, "")
            count = len(self._told)
            self.summary.setText(f"Checking: {count} done ..." if count else "Checking ...")


def summary(found: Sequence[Check]) -> str:
    """Say how a run of the checklist ended."""
    errors = _count(found, "error", "error")
    warnings = _count(found, "warning", "warning")
    told = " and ".join(filter(None, (errors, warnings)))
    if not told:
        return f"All is well: {len(found)} checks."
    return f"{told} in {len(found)} checks."


def _count(found: Sequence[Check], status: str, name: str) -> str:
    number = sum(check.status == status for check in found)
    return f"{number} {name}{'s' * (number > 1)}" if number else ""


def _tone(found: Sequence[Check]) -> str:
    statuses: set[Any] = {check.status for check in found}
    return "danger" if "error" in statuses else "warning" if "warning" in statuses else "success"
