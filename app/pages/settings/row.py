"""One setting: its name, a control that fits its kind, its help, and what is wrong with a value."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QAction, QIcon, QKeySequence, QWheelEvent
from PySide6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFileDialog,
    QGridLayout,
    QLineEdit,
    QWidget,
)

from app import icons
from app.context import Context
from app.pages.settings import titles
from app.theme import SPACE
from app.widgets import build
from envmanager.data import redaction, settings
from envmanager.data.settings import Settings
from envmanager.errors import GA3EnvError, SettingsError

_NAME_PX = 210
_NUMBER_PX = 132
_SEPARATOR = "; "  # of a list's items; no address or constraint holds it


class _Choice(QComboBox):
    """A choice that the wheel does not change while the page is scrolled."""

    def wheelEvent(self, event: QWheelEvent) -> None:  # noqa: N802
        """Leave it to the page."""
        event.ignore()


class SettingRow(QWidget):
    """Edits one setting; `edited` gives its name and the words that a command line would take."""

    edited = Signal(str, list)

    def __init__(self, name: str, title: str, context: Context) -> None:
        super().__init__()
        self.name = name
        self.title = title
        self.kind = settings.kind(name)
        self._default = getattr(Settings(), name)
        self._shown: Any = None
        self._theme = context.theme
        self._secrets: dict[str, str] = {}  # by what is shown of them
        self.browse: QAction | None = None
        self.control = self._make()
        self.control.setAccessibleName(title)
        self.control.setToolTip(f"It takes {self.kind.takes}.")
        self.reset = build.tool(f"{title}: back to the default", self._back)
        context.set_icon(self.reset, "rollback", "muted")
        policy = self.reset.sizePolicy()
        policy.setRetainSizeWhenHidden(True)  # the controls of all rows end at one line
        self.reset.setSizePolicy(policy)
        self.wrong = build.label(wrap=True, selectable=True)
        build.set_tone(self.wrong, "danger")
        self.wrong.hide()
        self._lay_out()

    def _lay_out(self) -> None:
        name = build.label(self.title)
        name.setFixedWidth(_NAME_PX)
        name.setBuddy(self.control)
        layout = QGridLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setHorizontalSpacing(SPACE)
        layout.setVerticalSpacing(2)
        layout.setColumnStretch(1, 1)
        layout.addWidget(name, 0, 0, Qt.AlignmentFlag.AlignVCenter)
        narrow = isinstance(self.control, QCheckBox) or self.kind.limits
        place = Qt.AlignmentFlag.AlignLeft if narrow else Qt.AlignmentFlag(0)
        layout.addWidget(self.control, 0, 1, place)
        layout.addWidget(self.reset, 0, 2)
        if self.name not in titles.CHOICES:
            help_text = settings.help_text(self.name)
            text = f"{help_text[:1].upper()}{help_text[1:]}."
            layout.addWidget(build.label(text, "muted", wrap=True), 1, 1)
        layout.addWidget(self.wrong, 2, 1)

    def _make(self) -> QWidget:
        if isinstance(self._default, bool):
            box = QCheckBox()
            box.toggled.connect(self._commit)
            return box
        if self.kind.options:
            choice = _Choice()
            for option in self.kind.options:
                choice.addItem(titles.CHOICES.get(self.name, {}).get(option, option), option)
            choice.activated.connect(self._commit)
            return choice
        line = QLineEdit()
        line.setPlaceholderText(titles.EMPTY.get(self.name, ""))
        line.editingFinished.connect(self._commit)
        if self.kind.limits:
            line.setFixedWidth(_NUMBER_PX)
        if self.name in titles.PLACES:
            self._add_browse(line)
        return line

    def _add_browse(self, line: QLineEdit) -> None:
        """Add a button inside a field, for the keyboard too."""
        what = "folder" if titles.PLACES[self.name] else "file"
        self.browse = line.addAction(QIcon(), QLineEdit.ActionPosition.TrailingPosition)
        self.browse.setText(f"Choose a {what}")  # what screen readers say
        self.browse.setToolTip(f"Choose a {what} (Ctrl+O)")
        self.browse.setShortcut(QKeySequence("Ctrl+O"))
        self.browse.setShortcutContext(Qt.ShortcutContext.WidgetShortcut)
        self.browse.triggered.connect(self._browse)
        self._theme.changed.connect(self._draw_browse)
        self._draw_browse()

    def _draw_browse(self) -> None:
        if self.browse:
            self.browse.setIcon(icons.icon("folder", self._theme.colors.muted))

    # ---- the value ------------------------------------------------------------------------------

    def show_value(self, value: Any) -> None:
        """Show a value as it is kept."""
        self._shown = value
        self.reset.setVisible(value != self._default)
        self.wrong.hide()
        self.control.blockSignals(True)
        match self.control:
            case QCheckBox() as box:
                box.setChecked(value)
            case QComboBox() as choice:
                choice.setCurrentIndex(choice.findData(value))
            case QLineEdit() as text:
                items = list(value) if isinstance(value, tuple) else [str(value)]
                self._secrets = dict(_secret(item) for item in items)
                text.setText(redaction.without_passwords(_SEPARATOR.join(items)))
        self.control.blockSignals(False)

    def show_wrong(self, error: GA3EnvError) -> None:
        """Say why a value was not taken; what the user typed stays."""
        fits = f"It takes {self.kind.takes}."
        told = error.message.replace(self.name, self.title, 1)
        self.wrong.setText(f"{told} {_or_hint(error, fits)}")
        self.wrong.show()

    def words(self) -> list[str]:
        """Return the present value as the words of a command line; none for the default."""
        match self.control:
            case QCheckBox() as box:
                return ["true" if box.isChecked() else "false"]
            case QComboBox() as choice:
                return [str(choice.currentData())]
            case QLineEdit() as line:
                text = line.text().strip()
                several = self.kind.item is not None
                parts = text.split(_SEPARATOR.strip()) if several else [text]
                return [self._whole(part.strip()) for part in parts if part.strip()]
        raise AssertionError(self.control)

    def _whole(self, shown: str) -> str:
        """Return an address with its password, which is not shown."""
        for blanked, secret in self._secrets.items():
            if blanked and shown.startswith(blanked):
                return secret + shown.removeprefix(blanked)
        return shown

    # ---- what the user does ---------------------------------------------------------------------

    def _commit(self) -> None:
        words = self.words()
        if words != _words_of(self._shown):
            self.edited.emit(self.name, words)
        else:
            self.wrong.hide()

    def _back(self) -> None:
        self.control.setFocus()  # the button vanishes
        self.edited.emit(self.name, [])

    def _browse(self) -> None:
        chosen = self.choose_place()
        if chosen and isinstance(self.control, QLineEdit):
            kept = self.words() if self.kind.item else []  # one more of a list
            self.control.setText(_SEPARATOR.join([*kept, chosen]))
            self._commit()

    def choose_place(self) -> str:
        """Ask for a folder or a file of this computer; empty where the user thinks again."""
        if titles.PLACES[self.name]:
            return QFileDialog.getExistingDirectory(self, self.title)
        return QFileDialog.getOpenFileName(self, self.title)[0]


def _secret(address: str) -> tuple[str, str]:
    """Return what is shown of a password with what is before it, and the same as it is."""
    found = re.match(r"[^/]*//[^/]*@", address)
    start = found[0] if found else ""
    blanked = redaction.without_passwords(start)
    return (blanked, start) if blanked != start else ("", "")


def _or_hint(error: GA3EnvError, fits: str) -> str:
    """Return the next step: the hint, where the value is not what is wrong."""
    return fits if isinstance(error, SettingsError) else error.hint


def _words_of(value: Any) -> Sequence[str]:
    if isinstance(value, bool):
        return ["true" if value else "false"]
    if isinstance(value, tuple):
        return list(value)
    return [str(value)] if value != "" else []
