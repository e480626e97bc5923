"""One setting: its name, a control that fits its kind, its help, and what is wrong with a value."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QGridLayout,
    QHBoxLayout,
    QLineEdit,
    QSpinBox,
    QWidget,
)

from app.context import Context
from app.theme import SPACE
from app.widgets import build
from envmanager.data import settings
from envmanager.data.settings import Settings
from envmanager.errors import GA3EnvError

_NAME_PX = 210
_SEPARATOR = "; "  # of a list's items; no address or constraint holds it


class SettingRow(QWidget):
    """Edits one setting; `edited` gives its name and the words that a command line would take."""

    edited = Signal(str, list)

    def __init__(self, name: str, title: str, context: Context) -> None:
        super().__init__()
        self.name = name
        self.kind = settings.kind(name)
        self._default = getattr(Settings(), name)
        self._shown: Any = None
        self.control = self._make(title)
        self.control.setToolTip(f"It takes {self.kind.takes}.")
        self._reset = build.tool(f"{title}: back to the default", self._back)
        context.set_icon(self._reset, "rollback", "muted")
        self._wrong = build.label(wrap=True, selectable=True)
        build.set_tone(self._wrong, "danger")
        self._wrong.hide()
        self._lay_out(title)

    def _lay_out(self, title: str) -> None:
        name = build.label(title)
        name.setFixedWidth(_NAME_PX)
        name.setBuddy(self.control)
        line = QHBoxLayout()
        line.addWidget(self.control, 1)
        line.addWidget(self._reset)
        layout = QGridLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setHorizontalSpacing(SPACE)
        layout.setVerticalSpacing(2)
        layout.addWidget(name, 0, 0, Qt.AlignmentFlag.AlignVCenter)
        layout.addLayout(line, 0, 1)
        help_text = settings.help_text(self.name)
        text = f"{help_text[:1].upper()}{help_text[1:]}."
        layout.addWidget(build.label(text, "muted", wrap=True), 1, 1)
        layout.addWidget(self._wrong, 2, 1)

    def _make(self, title: str) -> QWidget:
        made: QWidget
        if isinstance(self._default, bool):
            made = QCheckBox()
            made.toggled.connect(self._commit)
        elif self.kind.options:
            made = QComboBox()
            made.addItems(self.kind.options)
            made.activated.connect(self._commit)
        elif self.kind.limits:
            made = QSpinBox()
            made.setRange(*self.kind.limits)
            made.editingFinished.connect(self._commit)
        else:
            made = QLineEdit()
            made.editingFinished.connect(self._commit)
        made.setAccessibleName(title)
        return made

    # ---- the value ------------------------------------------------------------------------------

    def show_value(self, value: Any) -> None:
        """Show a value as it is kept."""
        self._shown = value
        self._reset.setEnabled(value != self._default)
        self._wrong.hide()
        self.control.blockSignals(True)
        match self.control:
            case QCheckBox() as box:
                box.setChecked(value)
            case QComboBox() as choice:
                choice.setCurrentText(value)
            case QSpinBox() as number:
                number.setValue(value)
            case QLineEdit() as text:
                text.setText(_SEPARATOR.join(value) if isinstance(value, tuple) else value)
        self.control.blockSignals(False)

    def show_wrong(self, error: GA3EnvError) -> None:
        """Say why a value was not taken; what the user typed stays."""
        self._wrong.setText(f"{error.message} It takes {self.kind.takes}.")
        self._wrong.show()

    def words(self) -> list[str]:
        """Return the present value as the words of a command line; none for the default."""
        match self.control:
            case QCheckBox() as box:
                return ["true" if box.isChecked() else "false"]
            case QComboBox() as choice:
                return [choice.currentText()]
            case QSpinBox() as number:
                return [str(number.value())]
            case QLineEdit() as line:
                text = line.text().strip()
                several = self.kind.item is not None
                parts = text.split(_SEPARATOR.strip()) if several else [text]
                return [part.strip() for part in parts if part.strip()]
        raise AssertionError(self.control)

    def _commit(self) -> None:
        words = self.words()
        shown = self._shown
        same = _words_of(shown) == words
        if not same:
            self.edited.emit(self.name, words)
        elif not self._wrong.isHidden():
            self._wrong.hide()

    def _back(self) -> None:
        self.edited.emit(self.name, [])


def _words_of(value: Any) -> list[str]:
    if isinstance(value, bool):
        return ["true" if value else "false"]
    if isinstance(value, tuple):
        return list(value)
    return [str(value)] if value != "" else []
