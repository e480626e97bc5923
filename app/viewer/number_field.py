"""A field for a number, that is as wide as its place."""

from __future__ import annotations

from PySide6.QtCore import QLocale, Qt, Signal
from PySide6.QtGui import QDoubleValidator
from PySide6.QtWidgets import QLineEdit, QSizePolicy

_C = QLocale(QLocale.Language.C)  # a point in every country, as in files and in scripts


class NumberField(QLineEdit):
    """A number between two limits; `edited` comes when the user has entered another one."""

    edited = Signal(float)

    def __init__(self, name: str, low: float, high: float, unit: str = "") -> None:
        super().__init__()
        self.setAccessibleName(name)
        self.setToolTip(name)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.setAlignment(Qt.AlignmentFlag.AlignRight)
        self._low, self._high, self._unit = low, high, unit
        self.decimals = 0
        self._value = low
        if not unit:
            validator = QDoubleValidator(self)
            validator.setLocale(_C)
            self.setValidator(validator)
        self.editingFinished.connect(self._take)

    def value(self) -> float:
        """Return the number."""
        return self._value

    def set_value(self, value: float, decimals: int | None = None) -> None:
        """Show a number."""
        self.decimals = self.decimals if decimals is None else decimals
        self._value = min(max(value, self._low), self._high)
        self.setText(f"{self._value:.{self.decimals}f}{self._unit}")

    def _take(self) -> None:
        text = self.text()
        try:
            number = round(float(text.removesuffix(self._unit).strip()), self.decimals)
        except ValueError:
            number = self._value
        before = f"{self._value:.{self.decimals}f}"
        if f"{number:.{self.decimals}f}" != before:
            self.set_value(number)
            self.edited.emit(self._value)
        elif text != f"{before}{self._unit}":
            self.set_value(self._value)
