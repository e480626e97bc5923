"""Sliders for time, slice and position; each is there only where there is more than one."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QHBoxLayout, QLabel, QSlider, QSpinBox, QWidget

from app.theme import SPACE
from app.widgets import build

_WORDS = {"t": "Time", "z": "Slice", "p": "Position"}


class PlaceSliders(QWidget):
    """Which plane of a series is in sight. Counted from 1 for people, from 0 in code."""

    moved = Signal()

    def __init__(self) -> None:
        super().__init__()
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2 * SPACE)
        self._axes: dict[str, _Axis] = {key: _Axis(word) for key, word in _WORDS.items()}
        for axis in self._axes.values():
            layout.addWidget(axis, 1)
            axis.slider.valueChanged.connect(self.moved)

    def set_lengths(self, times: int, slices: int, positions: int) -> None:
        """Begin with another series: at its first time and position, and its middle slice."""
        for key, length in (("t", times), ("z", slices), ("p", positions)):
            self._axes[key].set_length(length, length // 2 if key == "z" else 0)
        self.setVisible(max(times, slices, positions) > 1)

    @property
    def place(self) -> tuple[int, int, int]:
        """Time, slice and position, from 0."""
        t, z, p = (self._axes[key].slider.value() - 1 for key in "tzp")
        return t, z, p

    def go(self, t: int, z: int, p: int) -> None:
        """Go to a plane."""
        for key, value in (("t", t), ("z", z), ("p", p)):
            self._axes[key].slider.setValue(value + 1)

    def slider(self, axis: str) -> QSlider:
        """Return the slider of ``"t"``, ``"z"`` or ``"p"``."""
        return self._axes[axis].slider


class _Axis(QWidget):
    def __init__(self, word: str) -> None:
        super().__init__()
        self.slider = QSlider(Qt.Orientation.Horizontal)
        self.number = QSpinBox()
        for widget in (self.slider, self.number):
            widget.setAccessibleName(word)
            widget.setRange(1, 1)
        self.number.setKeyboardTracking(False)
        self.number.setButtonSymbols(QSpinBox.ButtonSymbols.NoButtons)
        self._of = build.label(style="muted")
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(SPACE)
        layout.addWidget(QLabel(word))
        layout.addWidget(self.slider, 1)
        layout.addWidget(self.number)
        layout.addWidget(self._of)
        self.slider.valueChanged.connect(self.number.setValue)
        self.number.valueChanged.connect(self.slider.setValue)

    def set_length(self, length: int, first: int) -> None:
        for widget in (self.slider, self.number):
            widget.blockSignals(True)
            widget.setRange(1, length)
            widget.setValue(first + 1)
            widget.blockSignals(False)
        self.slider.setPageStep(max(1, length // 10))
        self._of.setText(f"of {length}")
        self.setVisible(length > 1)
