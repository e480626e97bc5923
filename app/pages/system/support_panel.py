"""The support file in one click: what it holds, its making, and where it is."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QStandardPaths, QUrl
from PySide6.QtGui import QDesktopServices
from PySide6.QtWidgets import QHBoxLayout

from app import words
from app.background import Task
from app.context import Context
from app.pages.system import work
from app.pages.system.panel import Panel
from app.widgets import build
from app.widgets.activity import progress_bar, show_progress
from envmanager.errors import GA3EnvError
from envmanager.support import Made

LANE = "system"
_ABOUT = (
    "A ZIP with logs, manifests, settings and the checklist, for whoever helps with a fault. "
    "No images and no weights; passwords, home folders and names are blanked."
)


class SupportPanel(Panel):
    """Makes the support file in the folder of downloads."""

    def __init__(self, context: Context) -> None:
        super().__init__(context, "Support file")
        self.content.addWidget(build.label(_ABOUT, "muted", wrap=True))
        self.told = build.label(wrap=True, selectable=True)
        self._bar = progress_bar()
        self._bar.setAccessibleName("The support file is being made")
        self.make = build.button("Make support file", self._make)
        self.open = build.button("Open folder", self._open)
        context.set_icon(self.open, "folder")
        for widget in (self.told, self._bar):
            self.content.addWidget(widget)
            widget.hide()
        line = QHBoxLayout()
        line.addWidget(self.make)
        line.addWidget(self.open)
        line.addStretch(1)
        self.content.addLayout(line)
        self.open.hide()
        self.made: Made | None = None
        self._task: Task[Made] | None = None

    def folder(self) -> Path:
        """Return where the file goes: the user's folder of downloads."""
        place = QStandardPaths.StandardLocation.DownloadLocation
        return Path(QStandardPaths.writableLocation(place) or Path.home())

    def _make(self) -> None:
        task = self.context.background.start(
            "Make the support file", work.make_support_file(self.folder()), lane=LANE
        )
        task.changed.connect(self._show_progress)
        task.succeeded.connect(self._succeeded)
        task.failed.connect(self._failed)
        task.ended.connect(self._end)
        self._task = task
        self.make.setEnabled(False)
        self.open.hide()
        self.told.show()
        self._bar.show()
        self._show_progress()

    def _show_progress(self) -> None:
        if self._task:
            self.told.setText(words.task(self._task) or "Gathering ...")
            show_progress(self._bar, self._task)

    def _succeeded(self, made: Made) -> None:
        self.made = made

    def _failed(self, error: GA3EnvError) -> None:
        self.made = None
        self.context.shell.tell_error(error)

    def _end(self) -> None:
        done = self._task is not None and self._task.state == "done"
        self._task = None
        self._bar.hide()
        self.make.setEnabled(True)
        self.told.setVisible(done)
        self.open.setVisible(done)
        if done and self.made:
            self.told.setText(f"{self.made.path} ({words.size(self.made.size)})")

    def _open(self) -> None:
        if self.made:
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(self.made.path.parent)))
