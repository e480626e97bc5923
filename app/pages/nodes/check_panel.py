"""The connection, link by link: what holds, what does not, and the next step."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QScrollArea, QVBoxLayout, QWidget

from app import words
from app.background import Task
from app.context import Context
from app.pages.nodes import work
from app.pages.nodes.work import Wish
from app.theme import SPACE
from app.widgets import build
from app.widgets.message_bar import details_text
from envmanager.connection import LINKS, Link
from envmanager.errors import GA3EnvError

LANE = "check"
_PICTURE_PX = 20
_SHORTEST_S, _LONG_S = 0.01, 10.0  # what took less is not worth a number; more, no fractions
_INTRO = (
    "This runs the script as NIS-Elements does, on a small test image, and follows the way from "
    "NIS to the module and back. Nothing is changed."
)
_STALE = "The script has changed since. Check again to be sure."
_BUTTONS = {
    "install": "Install",
    "weights": "Get weights",
    "repair": "Repair",
    "parameters": "Show the parameters",
    "script": "Make the script again",
    "try": "Try it on an image",
    "system": "Open System",
}
_ENOUGH = ("install", "weights", "repair", "script", "parameters")  # whose button says it all


class LinkRow(QWidget):
    """One link."""

    step_asked = Signal(str)

    def __init__(self, context: Context, name: str) -> None:
        super().__init__()
        self._context = context
        self.link: Link | None = None
        self._picture = QLabel()
        self._picture.setFixedWidth(_PICTURE_PX)
        self._title = build.label(LINKS[name])
        self._time = build.label(style="muted")
        self._message = build.label(style="muted", wrap=True, selectable=True)
        self._hint = build.label(wrap=True, selectable=True)
        self.button = build.button("", self._ask)
        text = QVBoxLayout()
        text.setSpacing(2)
        head = QHBoxLayout()
        head.addWidget(self._title, 1)
        head.addWidget(self._time)
        text.addLayout(head)
        text.addWidget(self._message)
        text.addWidget(self._hint)
        text.addWidget(self.button, 0, Qt.AlignmentFlag.AlignLeft)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(SPACE + 4)
        layout.addWidget(self._picture, 0, Qt.AlignmentFlag.AlignTop)
        layout.addLayout(text, 1)
        self.show_waiting()

    def show_waiting(self) -> None:
        """Show that it was not examined."""
        self._show("minus", "muted", "not checked")

    def show_busy(self) -> None:
        """Show that it is being examined."""
        self._show("busy", "accent", "is being checked")

    def show_link(self, link: Link) -> None:
        """Show what was found."""
        if link.ok:
            self._show("ok", "success", "holds")
        else:
            self._show("error", "danger", "failed")
        self.link = link
        self._time.setText(_time_text(link.seconds))
        self._message.setText(link.message)
        self._message.setVisible(bool(link.message))
        self._hint.setText(link.hint)
        self._hint.setVisible(bool(link.hint) and link.step not in _ENOUGH)
        self.button.setText(_BUTTONS.get(link.step, ""))
        self.button.setVisible(not link.ok and link.step in _BUTTONS)

    def _show(self, drawing: str, color: str, said: str) -> None:
        self.link = None
        self._context.set_picture(self._picture, drawing, color, _PICTURE_PX)
        self._picture.setAccessibleName(said)
        self._title.setObjectName("muted" if said == "not checked" else "")
        build.set_tone(self._title, "danger" if color == "danger" else "")
        self._time.clear()
        for widget in (self._message, self._hint, self.button):
            widget.hide()

    def _ask(self) -> None:
        if self.link:
            self.step_asked.emit(self.link.step)


class CheckPanel(QWidget):
    """All links, a button that checks them, and how it ended."""

    step_asked = Signal(str)  # the step of a broken link

    def __init__(self, context: Context) -> None:
        super().__init__()
        self._context = context
        self._task: Task[list[Link]] | None = None
        self._wish: Wish | None = None
        self._checked: Wish | None = None
        self.start = build.button("Check connection", self.check)
        context.set_icon(self.start, "test")
        self.cancel = build.button("Cancel", self._cancel)
        context.set_icon(self.cancel, "stop")
        self.summary = build.label(wrap=True, selectable=True)
        self.copy = build.button("Copy report", self._copy, role="quiet")
        self.copy.setToolTip("For whoever helps you: every line, with its details")
        context.set_icon(self.copy, "copy")
        self.rows = {name: LinkRow(context, name) for name in LINKS}
        self._lay_out()
        self._show_state()

    def _lay_out(self) -> None:
        inside = QWidget()
        inside.setObjectName("content")
        column = QVBoxLayout(inside)
        column.setContentsMargins(0, 0, SPACE, 0)
        column.setSpacing(SPACE + 4)
        column.addWidget(build.label(_INTRO, "muted", wrap=True))
        buttons = QHBoxLayout()
        buttons.setSpacing(SPACE)
        for button in (self.start, self.cancel):
            buttons.addWidget(button)
        buttons.addWidget(self.summary, 1)
        buttons.addWidget(self.copy)
        column.addLayout(buttons)
        for row in self.rows.values():
            row.step_asked.connect(self.step_asked)
            column.addWidget(row)
        column.addStretch(1)
        scroll = QScrollArea()
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QFrame.Shape.NoFrame)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setWidget(inside)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(scroll)

    # ---- the check ------------------------------------------------------------------------------

    def set_wish(self, wish: Wish | None) -> None:
        """Tell what the script is made from now; None: there is none."""
        self._wish = wish
        if not self._task and self._checked and wish != self._checked:
            if _is_same_function(wish, self._checked):
                self._say(_STALE, "warning")
            else:
                self._clear()
                self._checked = None
        self._show_state()

    @property
    def links(self) -> list[Link]:
        """What was found so far."""
        return [row.link for row in self.rows.values() if row.link]

    def check(self) -> None:
        """Check all links."""
        if self._task or self._wish is None:
            return
        wish = self._wish
        self._clear()
        self._say("Checking ...", "")
        title = f"Check the node of {wish.module.title}"
        task = self._context.background.start(
            title, work.check(wish), module=wish.module.name, lane=LANE
        )
        task.told.connect(self._take)
        task.changed.connect(self._follow)
        task.succeeded.connect(self._done)
        task.failed.connect(self._failed)
        task.cancelled.connect(self._stopped)
        self._task, self._checked = task, wish
        self._show_state()

    def _clear(self) -> None:
        for row in self.rows.values():
            row.show_waiting()
        self._say("", "")

    def _cancel(self) -> None:
        if self._task:
            self._task.cancel()

    def _follow(self) -> None:
        if self._task and self._task.stage and not self._task.is_over:
            row = self.rows.get(self._task.stage.name)
            if row and row.link is None:
                row.show_busy()

    def _take(self, link: Link) -> None:
        self.rows[link.name].show_link(link)

    def _done(self, links: list[Link]) -> None:
        seconds = words.duration(sum(link.seconds for link in links))
        if links[-1].ok:
            self._end(f"The node works. Checked in {seconds}.", "success")
        else:
            self._end(f"The node does not work yet. See “{links[-1].title}”.", "danger")

    def _failed(self, error: GA3EnvError) -> None:
        self._end(str(error), "danger")
        self._context.shell.tell_error(error, action="Check again", run=self.check)

    def _stopped(self) -> None:
        self._end("Stopped before all was checked.", "")

    def _end(self, text: str, tone: str) -> None:
        self._task = None
        for row in self.rows.values():
            if row.link is None:
                row.show_waiting()
        self._say(text, tone)
        if self._wish != self._checked:
            self.set_wish(self._wish)
        self._show_state()

    # ---- what it shows --------------------------------------------------------------------------

    def _say(self, text: str, tone: str) -> None:
        self.summary.setText(text)
        build.set_tone(self.summary, tone)

    def _show_state(self) -> None:
        busy = self._task is not None
        self.start.setVisible(not busy)
        self.start.setEnabled(self._wish is not None)
        self.start.setText("Check again" if self.links else "Check connection")
        self.cancel.setVisible(busy)
        self.copy.setVisible(not busy and bool(self.links))

    def _copy(self) -> None:
        QGuiApplication.clipboard().setText(report(self.links))


def _is_same_function(one: Wish | None, other: Wish) -> bool:
    return one is not None and (one.module.name, one.function) == (
        other.module.name,
        other.function,
    )


def _time_text(seconds: float) -> str:
    if seconds < _SHORTEST_S:
        return ""
    return f"{seconds:.2f} s" if seconds < _LONG_S else words.duration(seconds)


def report(links: list[Link]) -> str:
    """Return all links as text, with the details of a broken one."""
    lines = []
    for link in links:
        lines.append(f"{'ok' if link.ok else 'FAILED'}  {link.title} ({link.seconds:.2f} s)")
        lines += [f"    {text}" for text in (link.message, link.hint) if text]
        if link.details:
            error = GA3EnvError(link.message, link.hint, code=link.step, details=link.details)
            lines.append(details_text(error))
    return "\n".join(lines) + "\n"
