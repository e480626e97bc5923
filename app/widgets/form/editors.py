"""One control for each type of parameter; `get` and `put` are what `client.call` takes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Protocol

from PySide6.QtCore import QLocale, QObject, QSize, Qt, Signal
from PySide6.QtGui import QValidator, QWheelEvent
from PySide6.QtWidgets import QCheckBox, QComboBox, QDoubleSpinBox, QLineEdit, QWidget

Spec = Mapping[str, Any]
_DECIMALS = 9
_UNLIMITED = 1e12
_NUMBER_PX = 112
# Without its buttons the style sheet of the app leaves no place for the text.
_NO_BUTTONS = """QDoubleSpinBox::up-button, QDoubleSpinBox::down-button {
    subcontrol-origin: border; width: 0px; border: none;
}"""


class Editor(Protocol):
    """What the form asks of a control."""

    edited: Any  # Signal(): by the user or by `put`

    def get(self) -> Any:
        """Return the value."""

    def put(self, value: Any) -> None:
        """Show a value."""


class NumberEditor(QDoubleSpinBox):
    """A number; whole where the parameter is. Takes a comma as a decimal point too."""

    edited = Signal()

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        self._whole = spec["type"] == "int"
        self.setLocale(QLocale(QLocale.Language.C))
        self.setDecimals(0 if self._whole else _DECIMALS)
        self.setRange(spec.get("min", -_UNLIMITED), spec.get("max", _UNLIMITED))
        self.setSingleStep(step(spec))
        if unit := spec.get("unit"):
            self.setSuffix(f" {unit}")
        self.setAlignment(Qt.AlignmentFlag.AlignRight)
        self.setButtonSymbols(QDoubleSpinBox.ButtonSymbols.NoButtons)  # arrow keys and the wheel
        self.setStyleSheet(_NO_BUTTONS)
        self.setKeyboardTracking(False)  # 15 is no 1 on the way
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setFixedWidth(_NUMBER_PX)
        self.valueChanged.connect(lambda _value: self.edited.emit())

    def get(self) -> float | int:
        """Return the number, also one that is just being typed."""
        self.interpretText()
        return int(self.value()) if self._whole else self.value()

    def put(self, value: Any) -> None:
        """Show a number."""
        self.setValue(value)

    def textFromValue(self, value: float) -> str:  # noqa: N802
        """Leave out zeros that say nothing."""
        return str(int(value)) if value == int(value) else f"{value:.{_DECIMALS}f}".rstrip("0")

    def valueFromText(self, text: str) -> float:  # noqa: N802
        """Read a point or a comma."""
        return super().valueFromText(text.replace(",", "."))

    def validate(self, text: str, position: int) -> tuple[QValidator.State, str, int]:
        """Take a point or a comma."""
        found = super().validate(text.replace(",", "."), position)
        assert isinstance(found, tuple)
        return found

    def wheelEvent(self, event: QWheelEvent) -> None:  # noqa: N802
        """Leave the wheel to the form, as long as the field was not chosen."""
        if not _pass_on(self, event):
            super().wheelEvent(event)

    def minimumSizeHint(self) -> QSize:  # noqa: N802
        """Be as wide as was decided, not as the widest number."""
        return QSize(_NUMBER_PX, super().minimumSizeHint().height())


def step(spec: Spec) -> float:
    """Return by how much an arrow key changes a number: a tenth of its order of magnitude."""
    size = abs(spec["default"]) or min(spec.get("max", 1.0), 100.0) or 1.0
    found = 10.0 ** (math.floor(math.log10(size)) - 1)
    return max(1.0, found) if spec["type"] == "int" else found


class FlagEditor(QCheckBox):
    """Yes or no; the box has the parameter's name as its text."""

    edited = Signal()

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.toggled.connect(lambda _on: self.edited.emit())

    def get(self) -> bool:
        """Return whether it is checked."""
        return self.isChecked()

    def put(self, value: Any) -> None:
        """Check it or not."""
        self.setChecked(bool(value))


class Choice(QComboBox):
    """A list that is as wide as its place, and does not turn with the wheel by accident."""

    def __init__(self, name: str = "") -> None:
        super().__init__()
        self.setAccessibleName(name)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(6)

    def wheelEvent(self, event: QWheelEvent) -> None:  # noqa: N802
        """Leave the wheel to the form, as long as the list was not chosen."""
        if not _pass_on(self, event):
            super().wheelEvent(event)


class ChoiceEditor(Choice):
    """One of several values."""

    edited = Signal()

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        for choice in spec["choices"]:
            self.addItem(str(choice.get("label", choice["value"])), choice["value"])
        self.currentIndexChanged.connect(lambda _index: self.edited.emit())

    def get(self) -> Any:
        """Return the value that is chosen."""
        return self.currentData()

    def put(self, value: Any) -> None:
        """Choose a value."""
        self.setCurrentIndex(self.findData(value))


class TextEditor(QLineEdit):
    """A text."""

    edited = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.textChanged.connect(lambda _text: self.edited.emit())

    def get(self) -> str:
        """Return the text."""
        return self.text()

    def put(self, value: Any) -> None:
        """Show a text."""
        self.setText(str(value))


def _pass_on(control: QWidget, event: QWheelEvent) -> bool:
    """Give an event of the wheel to what scrolls; return whether that was right."""
    if control.hasFocus():
        return False
    event.ignore()
    return True


def is_wide(kind: str) -> bool:
    """Tell whether a control needs a line of its own."""
    return kind not in ("float", "int", "bool")


def owner(editor: Editor) -> QWidget:
    """Return the widget that an editor is."""
    assert isinstance(editor, QObject)
    assert isinstance(editor, QWidget)
    return editor
