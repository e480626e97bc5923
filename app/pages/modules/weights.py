"""The sheet of a module's weights: what is there, download, import, remove."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QSettings, Qt
from PySide6.QtWidgets import QFileDialog, QFrame, QHBoxLayout, QLineEdit, QVBoxLayout

from app import words
from app.context import Context
from app.pages.modules import work
from app.pages.modules.sheet import Sheet
from app.theme import SPACE
from app.widgets import build
from envmanager.environments.inventory import ModuleStatus
from envmanager.errors import GA3EnvError
from envmanager.weights.store import SetState


class WeightsSheet(Sheet):
    """One row per set of weights, and a form to import a set of one's own."""

    def __init__(self, context: Context, status: ModuleStatus) -> None:
        super().__init__(context, status.name, f"Weights of {status.title}")
        self._title = status.title
        self._source: Path | None = None
        self._show(status.weights)
        context.store.changed.connect(self._refresh)

    def _refresh(self) -> None:
        snapshot = self.context.store.snapshot
        status = snapshot.module(self.module) if snapshot else None
        if status and not self._source:  # a form that is being filled in stays
            self._show(status.weights)

    def _show(self, sets: list[SetState]) -> None:
        self.clear()
        for found in sets:
            self.content.addWidget(self._row(found))
        if not sets:
            self.add_text("This module has no weights of its own yet.", "muted")
        declared = self.context.store.snapshot
        module = declared.declarations.get(self.module) if declared else None
        if module and module.collection:
            self._add_by_id(module.collection.title, module.collection.page)
        self.add_button("Import a file ...", self._choose_file)
        self.add_button("Import a folder ...", self._choose_folder)

    def _row(self, found: SetState) -> QFrame:
        row = build.frame("card", found.title)
        text = QVBoxLayout()
        text.setSpacing(2)
        name = QHBoxLayout()
        name.addWidget(build.label(found.title, selectable=True))
        name.addStretch(1)
        state, tone = _state(found)
        told = build.label(state)
        build.set_tone(told, tone)
        name.addWidget(told)
        text.addLayout(name)
        facts = [words.size(found.size) if found.size else "", _licence(found), found.note]
        text.addWidget(
            build.label("   ·   ".join(filter(None, facts)), "muted", wrap=True, selectable=True)
        )
        if found.problem:
            text.addWidget(build.label(found.problem, wrap=True, selectable=True))
        layout = QHBoxLayout(row)
        layout.setContentsMargins(SPACE + 4, SPACE, SPACE, SPACE)
        layout.addLayout(text, 1)
        if found.present:
            remove = build.tool(f"Remove {found.name}", lambda: self._remove(found.name))
            self.context.set_icon(remove, "remove", "muted")
            layout.addWidget(remove, 0, Qt.AlignmentFlag.AlignTop)
        else:
            layout.addWidget(build.button("Download", lambda: self._get(found.name)))
        return row

    def _add_by_id(self, title: str, page: str) -> None:
        self.content.addWidget(build.label(f"From {title}", "heading"))
        if page:
            self.add_text(f"Find a model on {page} and enter its id.", "muted")
        line = QHBoxLayout()
        self._id = QLineEdit()
        self._id.setPlaceholderText("affable-shark")
        self._id.setAccessibleName(f"Id of a model of {title}")
        line.addWidget(self._id, 1)
        line.addWidget(build.button("Download", self._get_by_id))
        self.content.addLayout(line)

    # ---- download and remove --------------------------------------------------------------------

    def _get_by_id(self) -> None:
        if name := self._id.text().strip():
            self._get(name)

    def _get(self, name: str) -> None:
        task = self.context.background.start(
            f"Download {name} for {self._title}",
            work.get_weights(self.module, [name]),
            module=self.module,
        )
        task.succeeded.connect(self.context.store.refresh)
        task.failed.connect(self.context.shell.tell_error)
        task.noticed.connect(lambda text: self.context.shell.tell(text, tone="warning"))

    def _remove(self, name: str) -> None:
        module = self.module
        self.context.background.ask(
            lambda: work.remove_weights(module, name),
            self._removed,
            self.context.shell.tell_error,
            owner=self,
        )

    def _removed(self, freed: int) -> None:
        self.context.shell.tell(f"{words.size(freed)} are free again.", tone="success")
        self.context.store.refresh()

    # ---- import ---------------------------------------------------------------------------------

    def _choose_file(self) -> None:
        chosen, _ = QFileDialog.getOpenFileName(self, "Weights to import", self._folder())
        self.offer(Path(chosen) if chosen else None)

    def _choose_folder(self) -> None:
        chosen = QFileDialog.getExistingDirectory(self, "Weights to import", self._folder())
        self.offer(Path(chosen) if chosen else None)

    def _folder(self) -> str:
        return str(QSettings().value("weights/folder", ""))

    def offer(self, source: Path | None) -> None:
        """Ask for the name and a note of what is to be imported."""
        if source is None:
            return
        QSettings().setValue("weights/folder", str(source.parent))
        self._source = source
        self.clear()
        self.add_text(str(source), "muted")
        self.name = self._field("Name", source.stem)
        self.note = self._field("Note", "")
        self.note.setPlaceholderText("For yourself: trained on what, by whom")
        self.add_button("Back", self._back)
        self.add_button("Import", self.add, role="primary")

    def _field(self, name: str, text: str) -> QLineEdit:
        self.content.addWidget(build.label(name))
        field = QLineEdit(text)
        field.setAccessibleName(name)
        self.content.addWidget(field)
        return field

    def _back(self) -> None:
        self._source = None
        self._refresh()

    def add(self) -> None:
        """Import what was chosen, under the name in the form."""
        assert self._source is not None
        name, note = self.name.text().strip(), self.note.text().strip()
        task = self.context.background.start(
            f"Import {name} for {self._title}",
            work.add_weights(self.module, self._source, name, note),
            module=self.module,
        )
        task.succeeded.connect(self._added)
        task.failed.connect(self._not_added)

    def _added(self, name: str) -> None:
        self._source = None
        self.context.shell.tell(f"{name} can be chosen as a model now.", tone="success")
        self.context.store.refresh()
        self._refresh()

    def _not_added(self, error: GA3EnvError) -> None:
        self.context.shell.tell_error(error)


def _state(found: SetState) -> tuple[str, str]:
    if found.problem:
        return "Damaged", "danger"
    if found.present:
        return ("Your own" if found.custom else "Present"), "success"
    return ("Needed", "warning") if found.default else ("Not downloaded", "muted")


def _licence(found: SetState) -> str:
    return f"Licence: {found.license}" if found.license else ""
