"""The form of a function, with presets."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from PySide6.QtCore import Signal
from PySide6.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QLineEdit,
    QMenu,
    QVBoxLayout,
    QWidget,
)

from app.context import Context
from app.theme import SPACE
from app.widgets import build
from app.widgets.form import Form
from envmanager import presets
from envmanager.data.paths import data_folder
from envmanager.environments.inventory import ModuleStatus
from envmanager.presets import Preset


class ParametersCard(QFrame):
    """The second panel of the column."""

    changed = Signal()

    def __init__(self, context: Context) -> None:
        super().__init__()
        self.setObjectName("card")
        self._context = context
        self.module, self.function = "", ""
        self._spec: Mapping[str, Any] = {}
        self.names: list[str] = []
        self.form = Form(context)
        self.presets = build.button("Presets", role="quiet", tip="Parameters kept by name")
        self.menu = QMenu(self.presets)
        self._reset = build.button("Reset", self.form.reset, role="quiet")
        self._reset.setToolTip("Set all parameters to their defaults")
        self.name = QLineEdit()
        self._save_line = QWidget()
        self._lay_out()
        self.form.changed.connect(self._show_changed)
        self._save_line.hide()

    def _lay_out(self) -> None:
        self.menu.aboutToShow.connect(self._fill)
        self.presets.setMenu(self.menu)
        head = QHBoxLayout()
        head.addWidget(build.label("Parameters", "heading"), 1)
        head.addWidget(self._reset)
        head.addWidget(self.presets)
        self.name.setPlaceholderText("Name of the preset")
        self.name.setAccessibleName("Name of the preset")
        self.name.returnPressed.connect(self.save)
        close = build.tool("Do not save a preset", self._save_line.hide)
        self._context.set_icon(close, "close", "muted")
        line = QHBoxLayout(self._save_line)
        line.setContentsMargins(0, 0, 0, 0)
        line.addWidget(self.name, 1)
        line.addWidget(build.button("Save", self.save))
        line.addWidget(close)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(SPACE + 4, SPACE + 4, SPACE + 4, SPACE + 4)
        layout.setSpacing(SPACE + 4)
        layout.addLayout(head)
        layout.addWidget(self._save_line)
        layout.addWidget(self.form)

    def show_function(self, status: ModuleStatus, function: str, spec: Mapping[str, Any]) -> None:
        """Show the parameters of a function, at their defaults."""
        self.module, self.function, self._spec = status.name, function, spec
        self._save_line.hide()
        self.form.set_function(spec.get("parameters", {}), status.weights)
        self.read_presets()

    def _show_changed(self) -> None:
        self._reset.setEnabled(not self.form.is_default)
        self.changed.emit()

    # ---- presets --------------------------------------------------------------------------------

    def read_presets(self) -> None:
        """Look which presets there are; another program may have saved one."""
        module, function = self.module, self.function
        self._context.background.ask(
            lambda: presets.names(data_folder(), module, function),
            self._take_names,
            owner=self,
            only_latest=f"presets {id(self)}",
        )

    def _take_names(self, names: list[str]) -> None:
        self.names = names

    def _fill(self) -> None:
        menu = self.menu
        menu.clear()
        for name in self.names:
            menu.addAction(name.replace("&", "&&")).triggered.connect(partial(self._load, name))
        if not self.names:
            menu.addAction("No presets yet").setEnabled(False)
        menu.addSeparator()
        menu.addAction("Save these parameters ...", self.ask_for_name)
        if self.names:
            removing = menu.addMenu("Delete")
            for name in self.names:
                action = removing.addAction(name.replace("&", "&&"))
                action.triggered.connect(partial(self._remove, name))
        self.read_presets()

    def ask_for_name(self) -> None:
        """Show the line in which the name is entered."""
        self._save_line.show()
        self.name.setFocus()
        self.name.selectAll()

    def load(self, name: str) -> None:
        """Take over the parameters of a preset."""
        module, function = self.module, self.function
        self._context.background.ask(
            lambda: presets.load(data_folder(), module, name, function),
            self._take,
            self._context.shell.tell_error,
            owner=self,
        )

    def _load(self, name: str, _checked: bool = False) -> None:
        self.load(name)

    def _take(self, preset: Preset) -> None:
        if (preset.module, preset.function) != (self.module, self.function):
            return  # another function was chosen meanwhile
        declared = self._spec.get("parameters", {})
        values, others = preset.fitting(declared)
        self.form.set_values(values)
        self.name.setText(preset.name)
        if others:
            titles = ", ".join(str(declared.get(n, {}).get("label") or n) for n in others)
            self._context.shell.tell(
                f"The preset {preset.name} holds values that this version of the module does not "
                f"take: {titles}. They are at their defaults.",
                tone="warning",
            )

    def save(self) -> None:
        """Keep the parameters under the name that was entered."""
        name = self.name.text().strip()
        preset = Preset(name, self.module, self.function, self.form.values())
        self._context.background.ask(
            lambda: presets.save(data_folder(), preset),
            self._saved,
            self._context.shell.tell_error,
            owner=self,
        )

    def _saved(self, _path: object) -> None:
        self._save_line.hide()
        self._context.shell.tell(f"The preset {self.name.text().strip()} is saved.", tone="success")
        self.read_presets()

    def _remove(self, name: str, _checked: bool = False) -> None:
        module = self.module
        self._context.background.ask(
            lambda: presets.remove(data_folder(), module, name),
            lambda _: self.read_presets(),
            self._context.shell.tell_error,
            owner=self,
        )
