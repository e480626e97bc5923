"""What is run on each image, on which of its channels, and what is written beside the masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from PySide6.QtCore import QSettings, Signal
from PySide6.QtWidgets import QCheckBox, QVBoxLayout, QWidget

from app.theme import SPACE
from app.widgets.form.editors import Choice
from app.widgets.module_card import ModuleCard
from envmanager.exporting import Wanted

_BESIDE = {
    "csv": ("Table of the objects", "NAME_objects.csv: place, size, brightness in each channel"),
    "overlay": ("Picture with outlines", "NAME_overlay.png: to look at"),
    "rois": ("ROIs for ImageJ", "NAME_rois.zip: for the ROI Manager of ImageJ and Fiji"),
}
_KEPT = "batch/beside"
_USUAL = "csv"


class ChoiceCard(ModuleCard):
    """The first panel of the column."""

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.channel = Choice("Channel")
        self.channel.setToolTip("What of each image the function gets")
        self.beside: dict[str, QCheckBox] = {}
        self._written = QWidget()
        self._names: Sequence[str] = ()
        self._number: int | None = None  # from 1; None: all
        self.add_row("Channels", self.channel)
        self.add_row("Also write", self._written, at_top=True)
        self._lay_out()
        self._fill()
        self.channel.activated.connect(self._choose)

    def _lay_out(self) -> None:
        kept = str(QSettings().value(_KEPT, _USUAL)).split(" ")
        layout = QVBoxLayout(self._written)
        layout.setContentsMargins(0, SPACE // 2, 0, 0)
        layout.setSpacing(SPACE // 2)
        for name, (text, tip) in _BESIDE.items():
            box = QCheckBox(text)
            box.setToolTip(tip)
            box.setChecked(name in kept)
            box.toggled.connect(self._keep)
            layout.addWidget(box)
            self.beside[name] = box

    def _keep(self, _on: bool) -> None:
        chosen = [name for name, box in self.beside.items() if box.isChecked()]
        QSettings().setValue(_KEPT, " ".join(chosen))
        self.changed.emit()

    def show_function(self, spec: Mapping[str, Any]) -> None:
        """Show what concerns one function."""
        super().show_function(spec)
        kinds = [output["kind"] for output in spec.get("outputs", {}).values()]
        self.show_row(self._written, "labels" in kinds)

    @property
    def wanted(self) -> Wanted:
        """What is written beside the masks."""
        return Wanted(**{name: box.isChecked() for name, box in self.beside.items()})

    # ---- channels -------------------------------------------------------------------------------

    @property
    def selection(self) -> dict[str, Any]:
        """What is taken of each image, as a pipeline's load step says it."""
        return {"channels": self._number} if self._number else {}

    def choose_channel(self, number: int | None) -> None:
        """Choose a channel, from 1; None: all."""
        self._number = number
        self._fill()

    def show_channels(self, names: Sequence[str]) -> None:
        """Offer the channels of an image; one that was chosen and that it lacks stays."""
        if names != self._names:
            self._names = names
            self._fill()

    def _fill(self) -> None:
        number, names = self._number, self._names
        self.channel.clear()
        self.channel.addItem("All channels", None)
        for place, name in enumerate(names, 1):
            self.channel.addItem(name, place)
        if number and number > len(names):
            self.channel.addItem(f"Channel {number}", number)
        self.channel.setCurrentIndex(max(0, self.channel.findData(number)))
        self.show_row(self.channel, len(names) > 1 or bool(number))

    def _choose(self, _index: int) -> None:
        self._number = self.channel.currentData()
        self.changed.emit()
