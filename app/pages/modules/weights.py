"""The sheet of a module's weights: what is there, download, import, remove."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from PySide6.QtCore import QSettings, Qt
from PySide6.QtWidgets import QFileDialog, QHBoxLayout, QLineEdit, QVBoxLayout

from app import words
from app.background import Task
from app.context import Context
from app.pages.modules import rights, work
from app.pages.modules.sheet import Sheet, clear
from app.pages.modules.weights_row import WeightsRow
from app.theme import SPACE
from app.widgets import build
from envmanager.environments.inventory import ModuleStatus
from envmanager.errors import GA3EnvError
from envmanager.modules.declared_weights import Collection
from envmanager.weights.store import SetState

_FOLDER = "weights/folder"
_NOT_YOURS = "Only an administrator can remove what all accounts share."


class WeightsSheet(Sheet):
    """One row per set of weights, and a form to import a set of one's own."""

    def __init__(self, context: Context, status: ModuleStatus) -> None:
        super().__init__(context, status.name, f"Weights of {status.title}")
        self._title = status.title
        self._status = status
        self._source: Path | None = None
        self._sets: list[SetState] = []
        self._rows: QVBoxLayout | None = None
        self.rows: dict[str, WeightsRow] = {}
        self.id: QLineEdit | None = None
        self._lay_out(status.weights)
        context.background.tasks_changed.connect(self._follow)

    def _lay_out(self, sets: list[SetState]) -> None:
        self.clear()
        self._rows = QVBoxLayout()
        self._rows.setSpacing(SPACE)
        self.content.addLayout(self._rows)
        snapshot = self.context.store.snapshot
        module = snapshot.declarations.get(self.module) if snapshot else None
        if module and module.collection:
            self._add_by_id(module.collection)
        self.add_button("Import a file ...", self._choose_file)
        self.add_button("Import a folder ...", self._choose_folder)
        self._show(sets)

    def show_status(self, status: ModuleStatus) -> None:
        """Show other weights; a form that is being filled in stays."""
        self._status = status
        if status.weights != self._sets and self._rows:
            self._show(status.weights)

    def _show(self, sets: list[SetState]) -> None:
        assert self._rows is not None
        clear(self._rows)
        self._sets, self.rows = sets, {}
        for found in sets:
            row = WeightsRow(found, self.context, self._refusal(found))
            row.wanted.connect(self._get)
            row.unwanted.connect(self._remove)
            self.rows[found.name] = row
            self._rows.addWidget(row)
        if not sets:
            text = "Nothing is downloaded or imported yet."
            self._rows.addWidget(build.label(text, "muted", wrap=True))
        if told := self._whose(sets):
            self._rows.addWidget(build.label(told, "muted", wrap=True))
        self._follow()

    def _follow(self) -> None:
        under_way = {task.title: task for task in self.context.background.under_way()}
        for name, row in self.rows.items():
            row.follow(under_way.get(self._download(name)))

    def _download(self, name: str) -> str:
        return f"Download {name} for {self._title}"

    def _add_by_id(self, collection: Collection) -> None:
        self.content.addWidget(build.label(f"From {collection.title}", "heading"))
        if collection.page:
            self.add_text(f"Find a model on {collection.page} and enter its id.", "muted")
        self.id = QLineEdit()
        self.id.setPlaceholderText("affable-shark")
        self.id.setAccessibleName(f"Id of a model of {collection.title}")
        self.id.returnPressed.connect(self._get_by_id)
        line = QHBoxLayout()
        line.setSpacing(SPACE)
        line.addWidget(self.id, 1)
        line.addWidget(build.button("Download", self._get_by_id))
        self.content.addLayout(line)

    # ---- whose they are -------------------------------------------------------------------------

    def _root(self) -> Path:
        """Return the data folder that gets what is downloaded or imported."""
        snapshot = self.context.store.snapshot
        return rights.weights_root(snapshot, self._status) if snapshot else Path(self._status.root)

    def _root_of(self, found: SetState) -> Path:
        """Return the data folder that holds a set."""
        snapshot = self.context.store.snapshot
        if snapshot and found.shared and snapshot.shared:
            return snapshot.shared.root
        return snapshot.root if snapshot else self._root()

    def _refusal(self, found: SetState) -> str:
        snapshot = self.context.store.snapshot
        place = snapshot.access(self._root_of(found)) if snapshot else None
        return "" if place is None or place.may_change else _NOT_YOURS

    def _whose(self, sets: list[SetState]) -> str:
        if self._status.shared and self._status.may_change:
            return "What you add or remove here counts for all accounts of this computer."
        if self._status.shared or any(found.shared for found in sets):
            return f"What you add is for you alone. {_NOT_YOURS}"
        return ""

    # ---- download and remove --------------------------------------------------------------------

    def _get_by_id(self) -> None:
        if self.id and (name := self.id.text().strip()):
            self._get(name)

    def _get(self, name: str) -> None:
        task = self.context.background.start(
            self._download(name),
            work.get_weights(self.module, self._root(), [name]),
            module=self.module,
        )
        shell = self.context.shell
        task.succeeded.connect(self.context.store.refresh)
        task.failed.connect(
            partial(
                shell.tell_error,
                action="Try again",
                run=partial(shell.show_page, "modules", module=self.module, step="weights"),
            )
        )
        task.noticed.connect(partial(shell.tell, tone="warning"))

    def _remove(self, name: str) -> None:
        self.context.background.ask(
            partial(work.remove_weights, self.module, self._root_of(self.rows[name].found), name),
            self._removed,
            self.context.shell.tell_error,
            owner=self,
        )

    def _removed(self, freed: int) -> None:
        self.context.shell.tell(f"{words.size(freed)} are free again.", tone="success")
        self.context.store.refresh()

    # ---- import ---------------------------------------------------------------------------------

    def _choose_file(self) -> None:
        chosen, _ = QFileDialog.getOpenFileName(self, "Weights to import", _last_folder())
        self.offer(Path(chosen) if chosen else None)

    def _choose_folder(self) -> None:
        chosen = QFileDialog.getExistingDirectory(self, "Weights to import", _last_folder())
        self.offer(Path(chosen) if chosen else None)

    def offer(self, source: Path | None) -> None:
        """Ask for the name and a note of what is to be imported."""
        if source is None:
            return
        QSettings().setValue(_FOLDER, str(source.parent))
        self._source, self._rows, self.id, self.rows = source, None, None, {}
        self.clear()
        self.add_text("It is copied; the original stays where it is.", "muted")
        self.add_facts({"From": str(source)})
        self.name = self._field("Name", source.stem)
        self.note = self._field("Note", "")
        self.note.setPlaceholderText("For yourself: trained on what, by whom")
        self.add_button("Back", self._back)
        self.add_button("Import", self.add, role="primary")
        self.name.setFocus(Qt.FocusReason.OtherFocusReason)

    def _field(self, name: str, text: str) -> QLineEdit:
        self.content.addWidget(build.label(name, "muted"))
        field = QLineEdit(text)
        field.setAccessibleName(name)
        field.returnPressed.connect(self.add)
        self.content.addWidget(field)
        return field

    def _back(self) -> None:
        self._source = None
        snapshot = self.context.store.snapshot
        status = snapshot.module(self.module) if snapshot else None
        self._lay_out(status.weights if status else [])

    def add(self) -> Task[Any]:
        """Import what was chosen, under the name in the form."""
        assert self._source is not None
        name, note = self.name.text().strip(), self.note.text().strip()
        task = self.context.background.start(
            f"Import {name} for {self._title}",
            work.add_weights(self.module, self._root(), self._source, name, note),
            module=self.module,
        )
        task.succeeded.connect(self._added)
        task.failed.connect(self._not_added)
        return task

    def _added(self, name: str) -> None:
        self.context.shell.tell(f"{name} can be chosen as a model now.", tone="success")
        self.context.store.refresh()
        self._back()

    def _not_added(self, error: GA3EnvError) -> None:
        self.context.shell.tell_error(error)


def _last_folder() -> str:
    return str(QSettings().value(_FOLDER, ""))
