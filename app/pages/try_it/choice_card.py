"""What is run, and on what: module, function, part of the image, channel."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QFrame, QGridLayout, QLabel, QVBoxLayout

from app.context import Context
from app.pages.try_it.runs import ALL, is_labels
from app.store import Snapshot
from app.theme import SPACE
from app.widgets import build
from app.widgets.form.editors import Choice
from envmanager.environments.inventory import ModuleStatus
from envmanager.reading.series import Series


@dataclass(frozen=True)
class Area:
    """A part of the image to run on."""

    volume: bool
    visible: bool


class ChoiceCard(QFrame):
    """The first panel of the column."""

    module_chosen = Signal(str)
    function_chosen = Signal(str)
    area_chosen = Signal()

    def __init__(self, context: Context) -> None:
        super().__init__()
        self.setObjectName("card")
        self._context = context
        self.module = Choice("Module")
        self.function = Choice("Function")
        self.area = Choice("Part of the image")
        self.area.setPlaceholderText("No image yet")
        self.channels: dict[str, Choice] = {}
        self._labels: dict[Choice, QLabel] = {}
        self._summary = build.label(style="muted", wrap=True)
        self._spec: Mapping[str, Any] = {}
        self._series: Series | None = None
        self._lay_out()
        self.module.activated.connect(self._choose_module)
        self.function.activated.connect(self._choose_function)
        self.area.activated.connect(lambda _index: self.area_chosen.emit())

    def _lay_out(self) -> None:
        self._grid = QGridLayout()
        self._grid.setHorizontalSpacing(SPACE + 4)
        self._grid.setVerticalSpacing(SPACE)
        self._grid.setColumnStretch(1, 1)
        for name, choice in (
            ("Module", self.module), ("Function", self.function), ("Run on", self.area),
        ):  # fmt: skip
            self._add_row(name, choice)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(SPACE + 4, SPACE + 4, SPACE + 4, SPACE + 4)
        layout.setSpacing(SPACE)
        layout.addLayout(self._grid)
        layout.addWidget(self._summary)

    def _add_row(self, text: str, choice: Choice) -> None:
        label = build.label(text)
        label.setBuddy(choice)
        row = self._grid.rowCount()
        self._grid.addWidget(label, row, 0)
        self._grid.addWidget(choice, row, 1)
        self._labels[choice] = label

    def _remove_row(self, choice: Choice) -> None:
        for widget in (choice, self._labels.pop(choice)):
            self._grid.removeWidget(widget)
            widget.hide()
            widget.deleteLater()

    # ---- module and function --------------------------------------------------------------------

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
        self._spec = spec
        self._summary.setText(str(spec.get("summary", "")))
        self._summary.setVisible(bool(spec.get("summary")))
        self._show_places()

    def show_series(self, series: Series | None) -> None:
        """Show the parts and channels of an image."""
        self._series = series
        self._show_places()

    def _choose_module(self, _index: int) -> None:
        self.module_chosen.emit(str(self.module.currentData()))

    def _choose_function(self, _index: int) -> None:
        self.function_chosen.emit(str(self.function.currentData()))

    # ---- where ----------------------------------------------------------------------------------

    def chosen_area(self) -> Area | None:
        """Return where it shall run; None where it can run nowhere."""
        found = self.area.currentData()
        return found if isinstance(found, Area) else None

    def chosen_channels(self) -> dict[str, int]:
        """Return the channel of each input."""
        return {name: int(choice.currentData()) for name, choice in self.channels.items()}

    def _show_places(self) -> None:
        inputs = self._spec.get("inputs", {})
        needs_labels = any(map(is_labels, inputs.values()))
        kept = self.area.currentData()
        self.area.clear()
        for text, area in _areas(inputs, self._series):
            self.area.addItem(text, area)
        if needs_labels:
            self.area.clear()
            self.area.addItem("The objects of the last run", Area(volume=False, visible=False))
        areas = [self.area.itemData(i) for i in range(self.area.count())]
        self.area.setCurrentIndex(areas.index(kept) if kept in areas else min(0, len(areas) - 1))
        self.area.setPlaceholderText("Nothing" if self._series else "No image yet")
        self.area.setEnabled(self.area.count() > 1)
        self._show_channels(inputs)

    def _show_channels(self, inputs: Mapping[str, Any]) -> None:
        kept = self.chosen_channels()
        for choice in self.channels.values():
            self._remove_row(choice)
        self.channels = {}
        series = self._series
        if series is None or series.channels_count == 1:
            return
        images = {name: spec for name, spec in inputs.items() if not is_labels(spec)}
        for name, spec in images.items():
            choice = Choice(f"Channel of {name}")
            if any("c" in axes for axes in spec["axes"]):
                choice.addItem("All channels", ALL)
            for number, channel in enumerate(series.channels):
                choice.addItem(channel.name or f"Channel {number + 1}", number)
            choice.setCurrentIndex(max(0, choice.findData(kept.get(name, ALL))))
            choice.activated.connect(lambda _index: self.area_chosen.emit())
            self.channels[name] = choice
            self._add_row("Channels" if len(images) == 1 else name.capitalize(), choice)


def _areas(inputs: Mapping[str, Any], series: Series | None) -> list[tuple[str, Area]]:
    """Return where a function can run, in words."""
    if series is None or not inputs:
        return []
    axes = [spec["axes"] for spec in inputs.values() if not is_labels(spec)]
    found = []
    if all(any("z" not in one for one in orders) for orders in axes):
        what = "This plane" if series.slices > 1 else "The whole image"
        found += [(what, Area(volume=False, visible=False))]
        found += [("The visible part", Area(volume=False, visible=True))]
    if series.slices > 1 and all(any("z" in one for one in orders) for orders in axes):
        found += [(f"All {series.slices} slices", Area(volume=True, visible=False))]
        found += [("All slices, the visible part", Area(volume=True, visible=True))]
    return found


def _told(status: ModuleStatus) -> str:
    return status.title if status.generation is not None else f"{status.title} (not installed)"
