"""Sliders for time, slice and position; each is there only where there is more than one."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QHBoxLayout, QSlider, QWidget

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
        self.slider.setAccessibleName(word)
        self.slider.setRange(1, 1)
        self._told = build.label(style="muted")
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(SPACE)
        layout.addWidget(build.label(word))
        layout.addWidget(self.slider, 1)
        layout.addWidget(self._told)
        self.slider.valueChanged.connect(self._tell)

    def set_length(self, length: int, first: int) -> None:
        self.slider.blockSignals(True)
        self.slider.setRange(1, length)
        self.slider.setValue(first + 1)
        self.slider.blockSignals(False)
        self.slider.setPageStep(max(1, length // 10))
        # The widest text keeps its place, so that the slider does not change while it is moved.
        self._told.setMinimumWidth(self._told.fontMetrics().horizontalAdvance(_of(length, length)))
        self._tell(first + 1)
        self.setVisible(length > 1)

    def _tell(self, number: int) -> None:
        self._told.setText(_of(number, self.slider.maximum()))


def _of(number: int, length: int) -> str:
    return f"{number} of {length}"
