"""The sheets of a module's file: make one, and see what is in one before it is added."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from PySide6.QtCore import QSettings, Signal
from PySide6.QtWidgets import QCheckBox, QFileDialog, QLineEdit

from app import words
from app.context import Context
from app.pages.modules import sharing_work
from app.pages.modules.sharing_work import Export
from app.pages.modules.sheet import Sheet
from app.widgets import build
from app.widgets.tables import table
from envmanager.environments.inventory import ModuleStatus
from envmanager.events import CancelToken
from envmanager.sharing.adding import Contents

_FOLDER = "sharing/folder"
_KINDS = "Modules (*.ga3module)"


class ExportSheet(Sheet):
    """Who hands it on, and which weights go along; `confirmed` gives file, author and weights."""

    confirmed = Signal(object, str, object)

    def __init__(self, context: Context, status: ModuleStatus) -> None:
        super().__init__(context, status.name, f"Export {status.title}")
        self._present = [found for found in status.weights if found.present]
        self._file_name = ""
        self.author = QLineEdit()
        self.weights: dict[str, QCheckBox] = {}
        self.add_text("Looking at its files ...", "muted")
        plan = partial(sharing_work.plan_export, self.module, Path(status.root))
        context.background.ask(plan, self._show, self.show_error, owner=self)

    def _show(self, plan: Export) -> None:
        self.clear()
        self._file_name = plan.file_name
        self.add_text(
            "Makes one file, which another computer adds with Add a module. Other files of the "
            "folder stay here."
        )
        self.add_facts({"Files": ", ".join(plan.files)})
        self.content.addWidget(build.label("Your name", "muted"))
        self.author = QLineEdit(plan.author)
        self.author.setAccessibleName("Your name")
        self.author.setPlaceholderText("Whom to ask, such as: Ada Lovelace, Imaging Lab")
        self.content.addWidget(self.author)
        self._add_weights()
        self.add_button("Cancel", self.closed.emit)
        button = self.add_button("Export ...", self._choose, role="primary")
        button.setEnabled(bool(plan.author))
        self.author.textChanged.connect(lambda text: button.setEnabled(bool(text.strip())))
        self.prefer(button)

    def _add_weights(self) -> None:
        if self._present:
            self.content.addWidget(build.label("Weights that go along", "heading"))
        for found in self._present:
            licence = f", licence: {found.license}" if found.license else ""
            box = QCheckBox(f"{found.name} ({words.size(found.size)}{licence})")
            self.weights[found.name] = box
            self.content.addWidget(box)

    def _choose(self) -> None:
        folder = str(QSettings().value(_FOLDER, ""))
        suggested = str(Path(folder) / self._file_name)
        name, _ = QFileDialog.getSaveFileName(self, "Export the module", suggested, _KINDS)
        if name:
            self.export(Path(name))

    def export(self, path: Path) -> None:
        """Write the file."""
        QSettings().setValue(_FOLDER, str(path.parent))
        chosen = [name for name, box in self.weights.items() if box.isChecked()]
        self.confirmed.emit(path, self.author.text().strip(), chosen)


class AddFileSheet(Sheet):
    """What a module's file holds; `confirmed` gives its checksum, and whether it replaces one."""

    confirmed = Signal(str, bool)

    def __init__(self, context: Context, path: Path) -> None:
        super().__init__(context, "", "Add a module")
        self._checksum = ""
        self._replace: QCheckBox | None = None
        self._asked = CancelToken()
        self.add_text(f"Checking {path.name} ...", "muted")
        self.add_button("Cancel", self.closed.emit)
        context.background.ask(
            partial(sharing_work.look, path, self._asked), self._show, self.show_error, owner=self
        )

    def end(self) -> None:
        """Check no further."""
        self._asked.cancel()

    def _show(self, found: Contents) -> None:
        self.clear()
        self._checksum = found.checksum
        self.add_text(found.warning, tone="warning")
        self.add_facts(
            {
                "Module": f"{found.title} {found.version}",
                "Name": found.module,
                "Author": f"{found.author}, {found.date}",
                "Licence": found.license,
                "Does": found.summary,
                "Functions": ", ".join(found.functions),
                "Packages": f"{', '.join(found.packages)} ({found.locked} in all)",
                "File": f"{found.path} ({words.size(found.size)})",
                "Checksum": found.checksum,
            }
        )
        rows = [(file["name"], words.size(file["size"])) for file in found.files]
        rows += [(_weights(one), words.size(one["size"])) for one in found.weights]
        made = table(("Holds", "Size"), rows, all_rows=True)
        made.setAccessibleName("What the file holds")
        self.content.addWidget(made)
        self._add_buttons(found)

    def _add_buttons(self, found: Contents) -> None:
        if found.replaces or found.shipped:
            there = f"your {found.module} {found.replaces}" if found.replaces else "that of the app"
            self._replace = QCheckBox(f"Take it in place of {there}")
            self.content.addWidget(self._replace)
        self.add_button("Cancel", self.closed.emit)
        add = self.add_button("Add", self._confirm, role="primary")
        if self._replace:
            add.setEnabled(False)
            self._replace.toggled.connect(add.setEnabled)

    def _confirm(self) -> None:
        self.confirmed.emit(self._checksum, self._replace is not None)


def _weights(found: dict[str, object]) -> str:
    here = ", which you have" if found["present"] else ""
    note = f": {found['note']}" if found["note"] else ""
    return f"Weights {found['name']}{note}{here}"
