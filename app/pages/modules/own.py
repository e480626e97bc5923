"""The sheets for modules of the user's own: add a folder, make a new one."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QCheckBox, QLineEdit

from app.context import Context
from app.pages.modules import work
from app.pages.modules.sheet import Sheet
from app.widgets import build
from envmanager.modules.catalog import Module

_NAME = re.compile(r"[a-z][a-z0-9_]*")


class AddSheet(Sheet):
    """What a folder holds, before it is copied among the user's modules."""

    confirmed = Signal(bool)  # whether one of the same name is replaced

    def __init__(self, context: Context, folder: Path) -> None:
        super().__init__(context, "", "Add a module")
        self.folder = folder
        self._replace: QCheckBox | None = None
        self.add_text("Checking the folder ...", "muted")
        context.background.ask(
            partial(work.check_module, folder), self._show, self.show_error, owner=self
        )

    def _show(self, module: Module) -> None:
        self.clear()
        self.add_facts(
            {
                "Module": module.title,
                "Name": module.name,
                "Version": module.version,
                "Licence": module.license,
                "Folder": str(self.folder),
            }
        )
        self.add_text(module.summary)
        self.add_text(
            "Its files are copied. Its code runs on this computer as you, so add only what you "
            "trust.",
            "muted",
        )
        snapshot = self.context.store.snapshot
        there = snapshot.declarations.get(module.name) if snapshot else None
        if there:
            text = f"Take it in place of {there.title} {there.version}"
            self._replace = QCheckBox(text)
            self.content.addWidget(self._replace)
        self.add_button("Cancel", self.closed.emit)
        add = self.add_button("Add", self._confirm, role="primary")
        if self._replace:
            add.setEnabled(False)
            self._replace.toggled.connect(add.setEnabled)

    def _confirm(self) -> None:
        self.confirmed.emit(self._replace is not None)


class NewSheet(Sheet):
    """Name and title of a new module that works and can be changed; `confirmed` gives both."""

    confirmed = Signal(str, str)

    def __init__(self, context: Context) -> None:
        super().__init__(context, "", "New module")
        self.add_text(
            "Makes a small module that works: it labels what is brighter than a threshold. Change "
            "its worker.py to call your own tool."
        )
        self.title = self._field("Title", "What people read, such as: Yeast counter")
        self.name = self._field("Name", "Small letters, digits and _")
        self.add_button("Cancel", self.closed.emit)
        self.create_button = self.add_button("Create", self._confirm, role="primary")
        self.create_button.setEnabled(False)
        self._is_named = False
        self.title.textEdited.connect(self._suggest)
        self.name.textEdited.connect(self._named)
        self.name.textChanged.connect(self._check)
        self.title.setFocus()

    def _field(self, name: str, tip: str) -> QLineEdit:
        self.content.addWidget(build.label(name, "muted"))
        field = QLineEdit()
        field.setAccessibleName(name)
        field.setPlaceholderText(tip)
        field.returnPressed.connect(self._confirm)
        self.content.addWidget(field)
        return field

    def _suggest(self, title: str) -> None:
        if not self._is_named:
            self.name.setText(re.sub(r"[^a-z0-9]+", "_", title.lower()).strip("_"))

    def _named(self, text: str) -> None:
        self._is_named = bool(text)

    def _check(self, text: str) -> None:
        self.create_button.setEnabled(_NAME.fullmatch(text) is not None)

    def _confirm(self) -> None:
        if self.create_button.isEnabled():
            self.confirmed.emit(self.name.text(), self.title.text().strip())
