"""The sheet with the methods text: what computed, to be copied or saved."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from PySide6.QtCore import QSettings
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QComboBox, QFileDialog, QHBoxLayout

from app.context import Context
from app.pages.modules import sharing_work
from app.pages.modules.sharing_work import Choices
from app.pages.modules.sheet import Sheet
from app.theme import SPACE
from app.widgets import build
from envmanager.environments.inventory import ModuleStatus
from envmanager.errors import GA3EnvError
from envmanager.events import CancelToken
from envmanager.sharing import methods
from envmanager.sharing.freezing import Record

_FOLDER = "methods/folder"
_KINDS = "Markdown (*.md);;Text (*.txt);;JSON (*.json)"
_DEFAULTS = "Defaults"


class MethodsSheet(Sheet):
    """A text for a methods section, of a function with a preset or with its defaults."""

    def __init__(self, context: Context, status: ModuleStatus) -> None:
        super().__init__(context, status.name, f"Methods text of {status.title}")
        self.record: Record | None = None
        self._root = Path(status.root)
        self.function = QComboBox()
        self.preset = QComboBox()
        self._choices = Choices({}, {})
        self._chosen = ("", "")
        self._asked = CancelToken()
        self.add_text("Looking at what is installed ...", "muted")
        context.background.ask(
            partial(sharing_work.choices, self.module, self._root),
            self._take,
            self.show_error,
            owner=self,
        )

    def end(self) -> None:
        """Hash no further."""
        self._asked.cancel()

    def _take(self, found: Choices) -> None:
        self._choices = found
        self._ask(next(iter(found.functions)), "")

    def _ask(self, function: str, preset: str) -> None:
        self._asked.cancel()
        self._asked, self._chosen, self.record = CancelToken(), (function, preset), None
        self.clear()
        self._add_choices()
        self.add_text("Hashing what computes ...", "muted")
        self.context.background.ask(
            partial(sharing_work.freeze, self.module, self._root, function, preset, self._asked),
            self._show,
            self.show_error,
            owner=self,
            only_latest="methods",
        )

    def show_error(self, error: GA3EnvError) -> None:
        """Say what is in the way; another preset may be the way out."""
        super().show_error(error)
        if self._choices.functions:
            self._add_choices()

    def _add_choices(self) -> None:
        function, preset = self._chosen
        self.function = self._choice("Function", self._choices.functions, function)
        kept = self._choices.presets.get(function, [])
        self.preset = self._choice("Parameters", {"": _DEFAULTS, **{n: n for n in kept}}, preset)
        self.function.activated.connect(lambda _: self._ask(str(self.function.currentData()), ""))
        self.preset.activated.connect(lambda _: self._ask(function, str(self.preset.currentData())))

    def _choice(self, name: str, options: dict[str, str], chosen: str) -> QComboBox:
        made = QComboBox()
        made.setAccessibleName(name)
        for key, title in options.items():
            made.addItem(title, key)
        made.setCurrentIndex(list(options).index(chosen))
        line = QHBoxLayout()
        line.setSpacing(SPACE)
        line.addWidget(build.label(name, "muted"))
        line.addWidget(made)
        line.addStretch(1)
        self.content.addLayout(line)
        return made

    def _show(self, record: Record) -> None:
        self.record = record
        self.clear()
        self._add_choices()
        for note in record.notes:
            self.add_text(note, tone="warning")
        self.add_text(methods.section(record))
        text = "The saved file holds all versions and hashes as well, also for programs."
        self.add_text(text, "muted")
        self.add_button("Copy", self.copy)
        self.prefer(self.add_button("Save ...", self._choose, role="primary"))

    def copy(self) -> None:
        """Put the sentences on the clipboard."""
        if self.record:
            QGuiApplication.clipboard().setText(methods.section(self.record))
            self.context.shell.tell("The methods text is on the clipboard.", tone="success")

    def _choose(self) -> None:
        folder = Path(str(QSettings().value(_FOLDER, "")))
        suggested = str(folder / f"{self.module}-methods.md")
        name, _ = QFileDialog.getSaveFileName(self, "Save the methods text", suggested, _KINDS)
        if name:
            self.save(Path(name))

    def save(self, path: Path) -> None:
        """Write text and record, in the form that the suffix names."""
        if self.record is None:
            return
        QSettings().setValue(_FOLDER, str(path.parent))
        self.context.background.ask(
            partial(methods.save, self.record, path),
            lambda _: self.context.shell.tell(f"The methods text is in {path}", tone="success"),
            self.context.shell.tell_error,
            owner=self,
        )
