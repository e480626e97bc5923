"""The settings page: every change is checked and kept at once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PySide6.QtCore import Qt, QUrl
from PySide6.QtGui import QDesktopServices
from PySide6.QtWidgets import QFrame, QScrollArea, QVBoxLayout, QWidget

from app.context import Context
from app.pages.page import Page
from app.pages.settings.data_panel import DataPanel
from app.pages.settings.row import SettingRow
from app.pages.settings.titles import GROUPS
from app.theme import SPACE
from app.widgets import build
from envmanager.data import settings
from envmanager.data.paths import data_folder
from envmanager.data.settings import Settings
from envmanager.environments import preferences
from envmanager.errors import GA3EnvError, SettingsError
from envmanager.moving import relocation

_WIDEST_PX = 900


@dataclass(frozen=True)
class Found:
    """The data folder, and its settings or what is wrong with their file."""

    root: Path
    file: Path
    values: Settings | None
    error: SettingsError | None = None


class SettingsPage(Page):
    """All of ``settings.toml``, and moving the data folder."""

    def __init__(self, context: Context) -> None:
        super().__init__(context, "Settings", "Every change is checked and kept at once.")
        self.rows: dict[str, SettingRow] = {}
        self.data = DataPanel(context)
        self.data.moved.connect(self.visit)
        self._changes: list[tuple[str, list[str]]] = []  # the first one is being made
        self._groups: list[QFrame] = []
        self._file = Path()
        inside = QWidget()
        inside.setObjectName("content")
        inside.setMaximumWidth(_WIDEST_PX)
        content = QVBoxLayout(inside)
        content.setContentsMargins(0, 0, SPACE, 0)
        content.setSpacing(2 * SPACE)
        content.addWidget(self.data)
        for title, names in GROUPS.items():
            self._groups.append(self._group(title, names))
            content.addWidget(self._groups[-1])
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

    def _show(self, found: Found) -> None:
        self._file = found.file
        self.data.show_root(found.root)
        for group in self._groups:
            group.setEnabled(found.values is not None)
        if found.error:
            self.context.shell.tell_error(found.error, action="Open the file", run=self._open_file)
            return
        for name, row in self.rows.items():
            row.show_value(getattr(found.values, name))

    def _open_file(self) -> None:
        QDesktopServices.openUrl(QUrl.fromLocalFile(str(self._file)))

    # ---- changes, one after the other -----------------------------------------------------------

    def _change(self, name: str, given: list[str]) -> None:
        self._changes.append((name, given))
        if len(self._changes) == 1:
            self._make_next()

    def _make_next(self) -> None:
        name, given = self._changes[0]
        self.context.background.ask(
            lambda: _change(name, given), self._changed, self._refused, owner=self
        )

    def _changed(self, found: Settings) -> None:
        name, _ = self._changes.pop(0)
        if name not in (waiting for waiting, _ in self._changes):
            self.rows[name].show_value(getattr(found, name))
        self._go_on()

    def _refused(self, error: GA3EnvError) -> None:
        name, _ = self._changes.pop(0)
        self.rows[name].show_wrong(error)
        self._go_on()

    def _go_on(self) -> None:
        if self._changes:
            self._make_next()
        else:
            self.context.store.refresh()


def _read() -> Found:
    relocation.settle()
    data = data_folder()
    try:
        return Found(data.root, data.settings, settings.load(data.settings))
    except SettingsError as error:
        return Found(data.root, data.settings, None, error)


def _change(name: str, given: list[str]) -> Settings:
    relocation.settle()
    return preferences.change(data_folder(), name, given)
