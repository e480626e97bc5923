"""Which module and which of its functions: a panel to which a page adds lines of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QFrame, QGridLayout, QLabel, QVBoxLayout, QWidget

from app.store import Snapshot
from app.theme import SPACE
from app.widgets import build
from app.widgets.form.editors import Choice
from envmanager.environments.inventory import ModuleStatus


class ModuleCard(QFrame):
    """Shows the choice of module and function; `chosen.Chosen` knows what is chosen."""

    module_chosen = Signal(str)
    function_chosen = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("card")
        self.module = Choice("Module")
        self.function = Choice("Function")
        self._labels: dict[QWidget, QLabel] = {}
        self._summary = build.label(style="muted", wrap=True)
        self._grid = QGridLayout()
        self._grid.setHorizontalSpacing(SPACE + 4)
        self._grid.setVerticalSpacing(SPACE)
        self._grid.setColumnStretch(1, 1)
        self.add_row("Module", self.module)
        self.add_row("Function", self.function)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(SPACE + 4, SPACE + 4, SPACE + 4, SPACE + 4)
        layout.setSpacing(SPACE)
        layout.addLayout(self._grid)
        layout.addWidget(self._summary)
        self.module.activated.connect(self._choose_module)
        self.function.activated.connect(self._choose_function)

    def add_row(self, text: str, control: QWidget, *, at_top: bool = False) -> None:
        """Add a line below the others; `at_top` puts the text beside the control's first line."""
        label = build.label(text)
        label.setBuddy(control)
        row = self._grid.rowCount()
        self._grid.addWidget(label, row, 0)
        if at_top:
            label.setAlignment(Qt.AlignmentFlag.AlignTop)
            label.setContentsMargins(0, SPACE // 2, 0, 0)
        self._grid.addWidget(control, row, 1)
        self._labels[control] = label

    def remove_row(self, control: QWidget) -> None:
        """Remove a line that was added."""
        for widget in (control, self._labels.pop(control)):
            self._grid.removeWidget(widget)
            widget.hide()
            widget.deleteLater()

    def show_row(self, control: QWidget, on: bool) -> None:
        """Show a line or hide it."""
        control.setVisible(on)
        self._labels[control].setVisible(on)

    def show_modules(self, snapshot: Snapshot, chosen: str) -> None:
        """Show all modules, the installed ones first."""
        modules = sorted(snapshot.modules, key=lambda status: status.generation is None)
        self.module.blockSignals(True)
        self.module.clear()
        for status in modules:
            self.module.addItem(_told(status), status.name)
        self.module.setCurrentIndex(self.module.findData(chosen))
        self.module.blockSignals(False)

    def show_functions(self, functions: Mapping[str, Any], chosen: str) -> None:
        """Show the functions of the module."""
        self.function.clear()
        for name, spec in functions.items():
            self.function.addItem(str(spec.get("title", name)), name)
        self.function.setCurrentIndex(max(0, self.function.findData(chosen)))
        self.function.setEnabled(len(functions) > 1)

    def show_function(self, spec: Mapping[str, Any]) -> None:
        """Show what concerns one function."""
        self._summary.setText(str(spec.get("summary", "")))
        self._summary.setVisible(bool(spec.get("summary")))

    def _choose_module(self, _index: int) -> None:
        self.module_chosen.emit(str(self.module.currentData()))

    def _choose_function(self, _index: int) -> None:
        self.function_chosen.emit(str(self.function.currentData()))


def _told(status: ModuleStatus) -> str:
    return status.title if status.generation is not None else f"{status.title} (not installed)"
