"""Which module and which of its functions: two lists and a summary, for cards to lay out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QFrame

from app.widgets import build
from app.widgets.form.editors import Choice
from envmanager.environments.inventory import ModuleStatus


class ModuleChoice(QFrame):
    """The lists are filled by a page, which is told what the user chooses in them."""

    module_chosen = Signal(str)
    function_chosen = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("card")
        self.module, self.function = Choice("Module"), Choice("Function")
        self.summary = build.label(style="muted", wrap=True)
        self.module.activated.connect(self._choose_module)
        self.function.activated.connect(self._choose_function)

    def list_modules(self, statuses: Iterable[ModuleStatus], chosen: str) -> None:
        """Show modules, the installed ones first."""
        self.module.blockSignals(True)
        self.module.clear()
        for status in sorted(statuses, key=lambda status: status.generation is None):
            note = "" if status.generation is not None else " (not installed)"
            self.module.addItem(f"{status.title}{note}", status.name)
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
        """Say what the function is for."""
        self.summary.setText(str(spec.get("summary", "")))
        self.summary.setVisible(bool(spec.get("summary")))

    def _choose_module(self, _index: int) -> None:
        self.module_chosen.emit(str(self.module.currentData()))

    def _choose_function(self, _index: int) -> None:
        self.function_chosen.emit(str(self.function.currentData()))
