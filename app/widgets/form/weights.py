"""Chooses weights: sets that are present, those that could be downloaded, or a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PySide6.QtCore import QSettings, Qt, Signal
from PySide6.QtGui import QColor, QStandardItemModel
from PySide6.QtWidgets import QFileDialog, QHBoxLayout, QVBoxLayout, QWidget

from app.context import Context
from app.theme import SPACE
from app.widgets import build
from app.widgets.form.editors import Choice, Spec
from envmanager.weights.store import SetState
from ga3_nodes import weights

_FILE, _FOLDER, _HEAD = "\0file", "\0folder", "\0head"  # what are no names of weights
_LAST = "weights/folder"


class WeightsEditor(QWidget):
    """The value is the name of a set, or the full path of a file or folder."""

    edited = Signal()
    wanted = Signal(str)  # the name of a set that shall be downloaded

    def __init__(self, spec: Spec, context: Context) -> None:
        super().__init__()
        self._spec, self._context = spec, context
        self._sets: dict[str, SetState] = {}
        self._value = str(spec["default"])
        self.choice = Choice()
        self.choice.activated.connect(self._choose)
        self._told = build.label("Not downloaded yet.")
        build.set_tone(self._told, "warning")
        self.download = build.button("Download", lambda: self.wanted.emit(self._value))
        self._line = QWidget()
        line = QHBoxLayout(self._line)
        line.setContentsMargins(0, 0, 0, 0)
        line.addWidget(self._told, 1)
        line.addWidget(self.download)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(SPACE // 2)
        layout.addWidget(self.choice)
        layout.addWidget(self._line)
        self.setFocusProxy(self.choice)
        context.theme.changed.connect(self._fill)
        self._fill()

    def set_name(self, name: str) -> None:
        """Tell screen readers what is chosen here."""
        self.choice.setAccessibleName(name)

    def set_sets(self, sets: Sequence[SetState]) -> None:
        """Tell which sets there are, and which of them are present."""
        if (found := {one.name: one for one in sets}) != self._sets:
            self._sets = found
            self._fill()

    def get(self) -> str:
        """Return the name or path."""
        return self._value

    def put(self, value: Any) -> None:
        """Choose a name or path."""
        changed = value != self._value
        self._value = str(value)
        self._fill()
        if changed:
            self.edited.emit()

    @property
    def problem(self) -> str:
        """What hinders a call with this choice, as a sentence; empty where nothing does."""
        if not self._value:
            return "Choose a model."
        return f"The model {self._value} is not downloaded yet." if self.is_missing else ""

    @property
    def is_missing(self) -> bool:
        """Whether a known set is chosen that is not present."""
        found = self._sets.get(self._value)
        if found:
            return not found.present
        known = [choice["value"] for choice in self._spec.get("choices", [])]
        return self._value in known

    # ---- the list -------------------------------------------------------------------------------

    def _fill(self) -> None:
        self.choice.clear()
        names = {str(one["value"]): str(one["label"]) for one in self._spec.get("choices", [])}
        names |= {one.name: one.title for one in self._sets.values()}
        if not self._value:
            self.choice.addItem("Choose a model", "")
        present = {name for name in names if name in self._sets and self._sets[name].present}
        for name in (name for name in names if name in present):
            self._add(name, names[name])
        if self._value and self._value not in names:
            title = Path(self._value).name if weights.is_path(self._value) else self._value
            self.choice.addItem(title, self._value)
            self._set_tip(self._value)
        self._add_absent({name: title for name, title in names.items() if name not in present})
        self.choice.insertSeparator(self.choice.count())
        self.choice.addItem("Choose a file ...", _FILE)
        self.choice.addItem("Choose a folder ...", _FOLDER)
        self.choice.setCurrentIndex(self.choice.findData(self._value))
        self._line.setVisible(self.is_missing)

    def _add(self, name: str, title: str) -> None:
        self.choice.addItem(title, name)
        found = self._sets.get(name)
        self._set_tip("\n".join(filter(None, (title, found.note if found else ""))))

    def _add_absent(self, names: dict[str, str]) -> None:
        """Add sets that could be downloaded, in gray, under a line that says so."""
        if not names:
            return
        self.choice.insertSeparator(self.choice.count())
        self.choice.addItem("Not downloaded:", _HEAD)
        gray = QColor(self._context.theme.colors.muted)
        head = self.choice.count() - 1
        for name, title in names.items():
            self._add(name, title)
        model = self.choice.model()
        assert isinstance(model, QStandardItemModel)
        model.item(head).setEnabled(False)
        for row in range(head, self.choice.count()):
            self.choice.setItemData(row, gray, Qt.ItemDataRole.ForegroundRole)

    def _set_tip(self, text: str) -> None:
        self.choice.setItemData(self.choice.count() - 1, text, Qt.ItemDataRole.ToolTipRole)

    def _choose(self, index: int) -> None:
        value = str(self.choice.itemData(index) or "")
        if value in (_FILE, _FOLDER):
            kept = str(QSettings().value(_LAST, ""))
            path = self.choose_folder(kept) if value == _FOLDER else self.choose_file(kept)
            if path is None:
                self._fill()
                return
            QSettings().setValue(_LAST, str(path.parent))
            value = str(path)
        self.put(value)

    def choose_file(self, folder: str) -> Path | None:
        """Show the system's dialog for a file."""
        name, _ = QFileDialog.getOpenFileName(self, "Choose a model's file", folder)
        return Path(name) if name else None

    def choose_folder(self, folder: str) -> Path | None:
        """Show the system's dialog for a folder."""
        name = QFileDialog.getExistingDirectory(self, "Choose a model's folder", folder)
        return Path(name) if name else None
