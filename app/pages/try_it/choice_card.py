"""What is run, and on what: module, function, part of the image, channel."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from PySide6.QtCore import Signal

from app.pages.try_it.runs import ALL, is_labels
from app.widgets.form.editors import Choice
from app.widgets.module_card import ModuleCard
from envmanager.reading.series import Series


@dataclass(frozen=True)
class Area:
    """A part of the image to run on."""

    volume: bool
    visible: bool


class ChoiceCard(ModuleCard):
    """The first panel of the column."""

    area_chosen = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.area = Choice("Part of the image")
        self.area.setPlaceholderText("No image yet")
        self.channels: dict[str, Choice] = {}
        self._spec: Mapping[str, Any] = {}
        self._series: Series | None = None
        self.add_row("Run on", self.area)
        self.area.activated.connect(lambda _index: self.area_chosen.emit())

    def show_function(self, spec: Mapping[str, Any]) -> None:
        """Show what concerns one function."""
        super().show_function(spec)
        self._spec = spec
        self._show_places()

    def show_series(self, series: Series | None) -> None:
        """Show the parts and channels of an image."""
        self._series = series
        self._show_places()

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
            self.remove_row(choice)
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
            self.add_row("Channels" if len(images) == 1 else name.capitalize(), choice)


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
