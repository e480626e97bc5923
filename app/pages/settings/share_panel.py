"""Sharing the data folder with all accounts of the computer: what would happen, then the move."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from PySide6.QtCore import Signal
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from app import words
from app.background import Task
from app.context import Context
from app.pages.modules.sheet import add_facts, clear
from app.theme import SPACE
from app.widgets import build
from app.widgets.activity import TaskRow
from app.widgets.text import Text
from envmanager.data import config
from envmanager.errors import GA3EnvError, NotWritable
from envmanager.events import CancelToken, Report, ignore
from envmanager.moving import machine_wide
from envmanager.moving.machine_wide import Plan
from envmanager.moving.relocation import Moved
from ga3_nodes import home

TITLE = "Share with all accounts of this computer"
_WHAT = (
    "The environments move to a folder that every account of this computer reads. Everybody who "
    "logs on here then has these modules, in this app and in NIS-Elements, and they take their "
    "room only once."
)
_AFTERWARDS = (
    "All accounts use them; only administrators update, repair or remove them. Any account can "
    "still install a module for itself alone."
)
_ON_WINDOWS = (
    "Close the app, start it with a right click and Run as administrator, and come back here. An "
    "administrator with an account of his own takes this command instead, in a command prompt that "
    "was started as administrator:"
)
_STAYS = "Settings, presets, weights that you imported, logs, and keys of workers"


class SharePanel(QWidget):
    """Looks first, says what would move and what is in the way, and moves where the user agrees.

    `moved` comes after it is another folder, `closed` where there is nothing more to show.
    """

    moved = Signal()
    closed = Signal()

    def __init__(self, context: Context) -> None:
        super().__init__()
        self.setAccessibleName(TITLE)
        self._context = context
        self._asked = CancelToken()
        self.task: Task[Moved] | None = None
        self._content = QVBoxLayout()
        self._content.setSpacing(SPACE)
        self._buttons = QHBoxLayout()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, SPACE, 0, 0)
        layout.setSpacing(SPACE)
        layout.addWidget(build.label(TITLE, "heading"))
        layout.addLayout(self._content)
        layout.addLayout(self._buttons)
        self.hide()

    # ---- before ---------------------------------------------------------------------------------

    def look(self) -> None:
        """Find out what would move, and what is in the way; nothing is changed."""
        self._clear()
        self._add(_WHAT)
        self._add("Looking at what would move ...", "muted")
        self._add_button("Cancel", self.close_panel)
        self.show()
        self._asked.cancel()
        self._asked = CancelToken()
        self._context.background.ask(
            partial(machine_wide.plan, None, ignore, self._asked),
            self._show,
            self._show_error,
            owner=self,
            only_latest="sharing",
        )

    def close_panel(self) -> None:
        """Leave all as it is."""
        self._asked.cancel()
        self.hide()
        self.closed.emit()

    def _show(self, plan: Plan) -> None:
        self._clear()
        self._add(_WHAT)
        add_facts(
            self._content,
            {
                "Modules": ", ".join(map(self._title_of, plan.modules)),
                "From": str(plan.source),
                "To": str(plan.target),
                "Size": f"{words.size(plan.size)}; {words.size(plan.free)} are free there",
                "Stays yours": _STAYS,
                "Afterwards": _AFTERWARDS,
            },
        )
        for error in plan.obstacles:
            self._add_obstacle(error)
        self._add_button("Cancel", self.close_panel)
        if plan.obstacles:
            self._add_button("Check again", self.look)
        else:
            self._add_button("Share", self.share, role="primary")

    def _add_obstacle(self, error: GA3EnvError) -> None:
        self._add(error.message, tone="warning")
        if error.code != NotWritable.code:
            self._add(error.hint, "muted")
            return
        hint, command = as_administrator()
        self._add(hint, "muted")
        copy = build.button("Copy", partial(self._copy, command))
        copy.setAccessibleName("Copy the command")
        line = QHBoxLayout()
        line.setSpacing(SPACE)
        line.addWidget(Text(command), 1)
        line.addWidget(copy)
        self._content.addLayout(line)

    def _copy(self, command: str) -> None:
        QGuiApplication.clipboard().setText(command)
        self._context.shell.tell("The command is on the clipboard.", tone="success")

    def _title_of(self, name: str) -> str:
        snapshot = self._context.store.snapshot
        status = snapshot.module(name) if snapshot else None
        return status.title if status else name

    # ---- the move -------------------------------------------------------------------------------

    def share(self) -> Task[Moved]:
        """Move the data folder to where all accounts find it."""
        self._clear()
        self._add(_WHAT)
        task = self._context.background.start(TITLE, _move)
        self.task = task
        self._content.addWidget(TaskRow(task, self._context))
        task.succeeded.connect(self._succeeded)
        task.failed.connect(self._failed)
        task.cancelled.connect(self._cancelled)
        task.ended.connect(self._ended)
        return task

    def _succeeded(self, done: Moved) -> None:
        size = words.size(done.size)
        text = f"All accounts of this computer share {size} in {done.target} now. {done.rest}"
        text = text.rstrip()
        self._clear()
        self._add(text, tone="success")
        self._add(_AFTERWARDS, "muted")
        self._add_button("Close", self.close_panel)
        self._context.shell.tell(text, tone="success")

    def _failed(self, error: GA3EnvError) -> None:
        self._context.shell.tell_error(error)
        self.look()

    def _cancelled(self) -> None:
        self._context.shell.tell("Nothing was shared: the data folder is as it was.")
        self.close_panel()

    def _ended(self) -> None:
        self.task = None
        self.moved.emit()

    # ---- what it shows --------------------------------------------------------------------------

    def _show_error(self, error: GA3EnvError) -> None:
        self._clear()
        self._add_obstacle(error)
        self._add_button("Close", self.close_panel)
        self._add_button("Check again", self.look)

    def _clear(self) -> None:
        clear(self._content)
        clear(self._buttons)
        self._buttons.addStretch(1)

    def _add(self, text: str, style: str = "", *, tone: str = "") -> None:
        made = Text(text, style)
        if tone:
            build.set_tone(made, tone)
        self._content.addWidget(made)

    def _add_button(
        self, text: str, clicked: Callable[[], object], *, role: str = ""
    ) -> QPushButton:
        made = build.button(text, clicked, role=role)
        self._buttons.addWidget(made)
        return made


def as_administrator() -> tuple[str, str]:
    """Return how somebody with the rights does it, and the command for that."""
    (program,) = config.manager_command()
    command = f'"{program}" move-root --machine-wide --from "{home.places()[0]}"'
    if program.endswith(".cmd"):
        return _ON_WINDOWS, command
    return "An administrator can, with this command in a terminal:", f"sudo {command}"


def _move(report: Report, cancel: CancelToken) -> Moved:
    return machine_wide.move(None, report, cancel)
