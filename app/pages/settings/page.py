"""The settings page: every change is checked and kept at once."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from PySide6.QtCore import Qt, QUrl
from PySide6.QtGui import QDesktopServices
from PySide6.QtWidgets import QFileDialog, QFrame, QHBoxLayout, QScrollArea, QVBoxLayout, QWidget

from app import words
from app.context import Context
from app.pages.page import Page
from app.pages.settings.row import SettingRow
from app.pages.settings.titles import GROUPS
from app.theme import SPACE
from app.widgets import build
from envmanager.data import settings
from envmanager.data.paths import data_folder
from envmanager.data.settings import Settings
from envmanager.environments import preferences
from envmanager.errors import GA3EnvError
from envmanager.events import CancelToken, Report
from envmanager.moving import relocation
from envmanager.moving.relocation import Moved

_WIDEST_PX = 900


class SettingsPage(Page):
    """All of ``settings.toml``, and moving the data folder."""

    def __init__(self, context: Context) -> None:
        super().__init__(context, "Settings", "Every change is checked and kept at once.")
        self.rows: dict[str, SettingRow] = {}
        self._root = build.label(selectable=True, wrap=True)
        inside = QWidget()
        inside.setObjectName("content")
        inside.setMaximumWidth(_WIDEST_PX)
        content = QVBoxLayout(inside)
        content.setContentsMargins(0, 0, SPACE, 0)
        content.setSpacing(2 * SPACE)
        content.addWidget(self._data_panel())
        for title, names in GROUPS.items():
            content.addWidget(self._group(title, names))
        content.addStretch(1)
        scroll = QScrollArea()
        scroll.setWidgetResizable(True)
        scroll.setAlignment(Qt.AlignmentFlag.AlignLeft)
        scroll.setWidget(inside)
        self.body.addWidget(scroll)

    def visit(self, **hints: Any) -> None:
        """Read the settings anew: the command line changes them too."""
        self.context.background.ask(
            _read, self._show, self.context.shell.tell_error, owner=self, only_latest="settings"
        )

    # ---- the parts ------------------------------------------------------------------------------

    def _group(self, title: str, names: dict[str, str]) -> QFrame:
        panel = build.frame("panel", title)
        layout = QVBoxLayout(panel)
        layout.setContentsMargins(2 * SPACE, SPACE + 4, 2 * SPACE, 2 * SPACE)
        layout.setSpacing(SPACE + 4)
        layout.addWidget(build.label(title, "heading"))
        for name, text in names.items():
            row = SettingRow(name, text, self.context)
            row.edited.connect(self._change)
            self.rows[name] = row
            layout.addWidget(row)
        return panel

    def _data_panel(self) -> QFrame:
        panel = build.frame("panel", "Data folder")
        layout = QVBoxLayout(panel)
        layout.setContentsMargins(2 * SPACE, SPACE + 4, 2 * SPACE, SPACE + 4)
        layout.addWidget(build.label("Data folder", "heading"))
        text = "Environments, weights and the cache lie here; a large and fast disk suits it."
        layout.addWidget(build.label(text, "muted", wrap=True))
        line = QHBoxLayout()
        line.addWidget(self._root, 1)
        line.addWidget(build.button("Open", self._open))
        self.move_button = build.button("Move ...", self._choose_place)
        line.addWidget(self.move_button)
        layout.addLayout(line)
        return panel

    # ---- settings -------------------------------------------------------------------------------

    def _show(self, found: tuple[Settings, Path]) -> None:
        values, root = found
        self._root.setText(str(root))
        for name, row in self.rows.items():
            row.show_value(getattr(values, name))

    def _change(self, name: str, given: list[str]) -> None:
        self.context.background.ask(
            lambda: _change(name, given),
            partial(self._changed, name),
            partial(self._refused, name),
            owner=self,
        )

    def _changed(self, name: str, found: Settings) -> None:
        self.rows[name].show_value(getattr(found, name))
        self.context.store.refresh()

    def _refused(self, name: str, error: GA3EnvError) -> None:
        self.rows[name].show_wrong(error)

    # ---- the data folder ------------------------------------------------------------------------

    def _open(self) -> None:
        QDesktopServices.openUrl(QUrl.fromLocalFile(self._root.text()))

    def _choose_place(self) -> None:
        if chosen := QFileDialog.getExistingDirectory(self, "New place of the data folder"):
            self.move_to(Path(chosen))

    def move_to(self, folder: Path) -> None:
        """Move the data folder to another folder, which is empty or new."""
        task = self.context.background.start("Move the data folder", partial(_move, folder))
        task.succeeded.connect(self._moved)
        task.failed.connect(self.context.shell.tell_error)

    def _moved(self, moved: Moved) -> None:
        self.context.shell.tell(
            f"The data folder ({words.size(moved.size)}) is now {moved.target}.", tone="success"
        )
        self.visit()
        self.context.store.refresh()


def _read() -> tuple[Settings, Path]:
    relocation.settle()
    data = data_folder()
    return settings.load(data.settings), data.root


def _change(name: str, given: list[str]) -> Settings:
    relocation.settle()
    return preferences.change(data_folder(), name, given)


def _move(folder: Path, report: Report, cancel: CancelToken) -> Moved:
    return relocation.move(folder, report, cancel)
