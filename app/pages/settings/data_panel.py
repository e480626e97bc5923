"""Where the data folder is, its move to another disk, and who shares it."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from PySide6.QtCore import QUrl, Signal
from PySide6.QtGui import QDesktopServices
from PySide6.QtWidgets import QFileDialog, QFrame, QHBoxLayout, QVBoxLayout

from app import words
from app.background import Task
from app.context import Context
from app.pages.settings.share_panel import TITLE, SharePanel
from app.store import Snapshot
from app.theme import SPACE
from app.widgets import build
from app.widgets.activity import TaskRow
from app.widgets.text import Text
from envmanager.events import CancelToken, Report
from envmanager.moving import relocation
from envmanager.moving.relocation import Moved

_SHARE = "Do several people log on to this computer? Then each module can be there once for all."
_IS_SHARED = "What all accounts of this computer share is in {}. "
_YOURS, _NOT_YOURS = "This account may change it.", "Only an administrator may change it."


class DataPanel(QFrame):
    """The places of the data folders; `moved` comes after the account's is another one."""

    moved = Signal()

    def __init__(self, context: Context) -> None:
        super().__init__()
        self.setObjectName("panel")
        self.setAccessibleName("Data folder")
        self._context = context
        self.root = build.label(selectable=True, wrap=True)
        self.move_button = build.button("Move ...", self._choose, tip="Move it to another folder")
        self.progress: TaskRow | None = None
        self.sharing = Text(style="muted")
        self.share_button = build.button(f"{TITLE} ...", self._share)
        self.share_panel = SharePanel(context)
        self._lay_out()
        self.share_panel.closed.connect(self._show_shared)
        self.share_panel.moved.connect(self._end)
        context.store.changed.connect(self._show_shared)
        self._show_shared()

    def _lay_out(self) -> None:
        line = QHBoxLayout()
        line.setSpacing(SPACE)
        line.addWidget(self.root, 1)
        line.addWidget(build.button("Open", self._open, tip="Open it in the file manager"))
        line.addWidget(self.move_button)
        share = QHBoxLayout()
        share.setSpacing(SPACE)
        share.addWidget(self.sharing, 1)
        share.addWidget(self.share_button)
        text = "Environments, weights and the cache lie here; a large and fast disk suits it."
        self._layout = QVBoxLayout(self)
        self._layout.setContentsMargins(2 * SPACE, SPACE + 4, 2 * SPACE, SPACE + 4)
        self._layout.setSpacing(SPACE)
        self._layout.addWidget(build.label("Data folder", "heading"))
        self._layout.addWidget(build.label(text, "muted", wrap=True))
        self._layout.addLayout(line)
        self._layout.addLayout(share)
        self._layout.addWidget(self.share_panel)

    def show_root(self, root: Path) -> None:
        """Show where it is."""
        self.root.setText(str(root))

    def choose_place(self) -> str:
        """Ask for the new folder; empty where the user thinks again."""
        return QFileDialog.getExistingDirectory(self, "New place of the data folder")

    def _choose(self) -> None:
        if chosen := self.choose_place():
            self.move_to(Path(chosen))

    def _open(self) -> None:
        QDesktopServices.openUrl(QUrl.fromLocalFile(self.root.text()))

    # ---- who shares it --------------------------------------------------------------------------

    def _show_shared(self, _snapshot: Snapshot | None = None) -> None:
        """Say what all accounts share; where that is nothing, offer to share this."""
        snapshot = self._context.store.snapshot
        shared = snapshot.shared if snapshot else None
        is_open = not self.share_panel.isHidden()
        text = _SHARE
        if shared:
            text = _IS_SHARED.format(shared.root) + (_YOURS if shared.may_change else _NOT_YOURS)
        self.sharing.set_text(text)
        self.sharing.setVisible(not is_open or bool(shared))
        self.share_button.setVisible(snapshot is not None and not is_open and not shared)

    def _share(self) -> None:
        self.share_panel.look()
        self._show_shared()

    # ---- the move -------------------------------------------------------------------------------

    def move_to(self, folder: Path) -> Task[Moved]:
        """Move the data folder to another folder, which is empty or new."""
        task = self._context.background.start("Move the data folder", partial(_move, folder))
        task.succeeded.connect(self._succeeded)
        task.failed.connect(self._context.shell.tell_error)
        task.cancelled.connect(self._cancelled)
        task.ended.connect(self._end)
        self.move_button.setEnabled(False)
        self.progress = TaskRow(task, self._context)
        self._layout.addWidget(self.progress)
        return task

    def _succeeded(self, done: Moved) -> None:
        text = f"The data folder ({words.size(done.size)}) is now {done.target}. {done.rest}"
        self._context.shell.tell(text.rstrip(), tone="success")

    def _cancelled(self) -> None:
        self._context.shell.tell("The data folder stays where it was.")

    def _end(self) -> None:
        self.move_button.setEnabled(True)
        if self.progress:
            self._layout.removeWidget(self.progress)
            self.progress.deleteLater()
            self.progress = None
        self.moved.emit()
        self._context.store.refresh()


def _move(folder: Path, report: Report, cancel: CancelToken) -> Moved:
    return relocation.move(folder, report, cancel)
