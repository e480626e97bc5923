"""Which module and which of its functions: a panel to which a page adds lines of its own."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QGridLayout, QLabel, QVBoxLayout, QWidget

from app.store import Snapshot
from app.theme import SPACE
from app.widgets import build
from app.widgets.module_choice import ModuleChoice


class ModuleCard(ModuleChoice):
    """Shows the choice of module and function; `chosen.Chosen` knows what is chosen."""

    def __init__(self) -> None:
        super().__init__()
        self._labels: dict[QWidget, QLabel] = {}
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
        layout.addWidget(self.summary)

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
        self.list_modules(snapshot.modules, chosen)
