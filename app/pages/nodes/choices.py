"""What the node computes, for which NIS it is, and how it looks there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from PySide6.QtCore import QSettings, Signal
from PySide6.QtWidgets import QFormLayout, QFrame, QLabel, QLineEdit, QVBoxLayout, QWidget

from app.context import Context
from app.pages.nodes.colors import ColorRow
from app.store import Snapshot
from app.theme import SPACE
from app.widgets import build
from app.widgets.form.editors import Choice
from app.widgets.module_choice import ModuleChoice
from envmanager import nodes
from envmanager.machine.windows import Nis

_VERSIONS = {6: "NIS-Elements 6.10 or 6.20", 7: "NIS-Elements 7, NIS-Express 2"}
_BINARIES = {"int32": "Numbered objects (int32)", "uint8": "Mask, 0 or 1 (uint8)"}
_CHANNELS = {
    "float": "Decimal numbers (float)",
    "uint16": "Whole numbers, 16 bit",
    "uint8": "Whole numbers, 8 bit",
}
_BINARY_TIP = (
    "Numbered: the value of a pixel is the number of its object, and touching objects stay apart.\n"
    "Mask: NIS joins what touches, so touching objects get a gap of one pixel."
)
_CHANNEL_TIP = "Whole numbers are rounded, and clipped to what the type can hold."
_NIS = "nodes/nis"
_LABEL_PX = 56
_NONE_FOUND = "No NIS-Elements was found on this computer. Choose the version that runs the node."


class ModuleCard(ModuleChoice):
    """The module and its function."""

    def __init__(self) -> None:
        super().__init__()
        layout, form = _column(self, "What it does")
        form.addRow(_label("Module", self.module), self.module)
        form.addRow(_label("Function", self.function), self.function)
        layout.addWidget(self.summary)

    def show_modules(self, snapshot: Snapshot, chosen: str) -> None:
        """Show the modules whose declaration can be read; one of them is always chosen."""
        known = [one for one in snapshot.modules if one.name in snapshot.declarations]
        self.list_modules(known, chosen)
        self.module.setCurrentIndex(max(0, self.module.currentIndex()))


class LooksCard(QFrame):
    """The version of NIS, and name, colour and type of what the node gives."""

    changed = Signal()

    def __init__(self, context: Context) -> None:
        super().__init__()
        self.setObjectName("card")
        self.nis = _filled("Version of NIS-Elements", _VERSIONS)
        self.found = build.label(style="muted", wrap=True, selectable=True)
        self.name = QLineEdit()
        self.name.setAccessibleName("Name in NIS")
        self.name.setToolTip("What NIS shows the result as")
        self.color = ColorRow(context, nodes.COLORS)
        self.binary = _filled("Type of the objects", _BINARIES, _BINARY_TIP)
        self.channel = _filled("Type of the image", _CHANNELS, _CHANNEL_TIP)
        _, self._form = _column(self, "In NIS-Elements")
        self._form.addRow(_label("For", self.nis), self.nis)
        self._form.addRow(self.found)
        self._form.addRow(_label("Name", self.name), self.name)
        self._form.addRow(_label("Colour", self.color), self.color)
        self._form.addRow(_label("Objects", self.binary), self.binary)
        self._form.addRow(_label("Image", self.channel), self.channel)
        self.found.hide()
        self._chosen = bool(QSettings().value(_NIS))
        self._put_nis(int(str(QSettings().value(_NIS, 6))))
        self.nis.activated.connect(self._keep_nis)
        for choice in (self.nis, self.binary, self.channel):
            choice.currentIndexChanged.connect(lambda _index: self.changed.emit())
        self.name.textChanged.connect(lambda _text: self.changed.emit())
        self.color.changed.connect(self.changed)

    @property
    def version(self) -> int:
        """The NIS that the script is for, 6 or 7."""
        return int(self.nis.currentData())

    def show_found(self, found: Sequence[Nis]) -> None:
        """Tell which NIS are on this computer; the newest decides unless the user has."""
        told = [f"{one.folder.name} {one.version}".strip() for one in found]
        self.found.setText(f"On this computer: {', '.join(told)}." if told else _NONE_FOUND)
        self.found.setToolTip("\n".join(str(one.folder) for one in found))
        self.found.show()
        if found and not self._chosen:
            self._put_nis(max(nodes.signature(one.version) for one in found))

    def show_function(self, title: str, spec: Mapping[str, Any]) -> None:
        """Show what concerns the outputs of one function."""
        kinds = nodes.output_kinds(spec) if spec else []
        self.name.setPlaceholderText(title)
        self._form.setRowVisible(self.color, any(kind != "table" for kind in kinds))
        self._form.setRowVisible(self.binary, "binary" in kinds)
        self._form.setRowVisible(self.channel, "channel" in kinds)

    def _put_nis(self, version: int) -> None:
        self.nis.setCurrentIndex(max(0, self.nis.findData(version)))

    def _keep_nis(self, _index: int) -> None:
        self._chosen = True
        QSettings().setValue(_NIS, self.version)


def _column(card: QFrame, title: str) -> tuple[QVBoxLayout, QFormLayout]:
    layout = QVBoxLayout(card)
    layout.setContentsMargins(SPACE + 4, SPACE + 4, SPACE + 4, SPACE + 4)
    layout.setSpacing(SPACE)
    layout.addWidget(build.label(title, "heading"))
    form = QFormLayout()
    form.setHorizontalSpacing(SPACE + 4)
    form.setVerticalSpacing(SPACE)
    form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
    layout.addLayout(form)
    return layout, form


def _filled(name: str, choices: Mapping[Any, str], tip: str = "") -> Choice:
    made = Choice(name)
    for value, text in choices.items():
        made.addItem(text, value)
    made.setToolTip(tip)
    return made


def _label(text: str, buddy: QWidget) -> QLabel:
    buddy.ensurePolished()
    made = build.label(text)
    made.setMinimumSize(_LABEL_PX, buddy.sizeHint().height())  # level with what it names
    made.setBuddy(buddy)
    return made
