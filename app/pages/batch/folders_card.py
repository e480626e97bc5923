"""Which images, and where the results go."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from PySide6.QtCore import QSettings, QUrl, Signal
from PySide6.QtGui import QDesktopServices
from PySide6.QtWidgets import QComboBox, QFileDialog, QFrame, QGridLayout, QLineEdit, QWidget

from app.context import Context
from app.pages.batch.wish import RESULTS
from app.theme import SPACE
from app.widgets import build
from envmanager.pipelines.variables import INPUT_DIR, OUTPUT_DIR

PATTERNS = ("*", "*.tif", "*.nd2", "*.png", "**/*")
_PATTERN_TIP = (
    "* stands for any characters: *.tif takes TIFF files, *_DAPI.tif those that end so.\n"
    "* alone takes all images of the folder, **/* those of the folders below it, too."
)
_FOLDER = "batch/folder"
_ROW_PX = 30
_MEANING = {"*": "All images", "**/*": "Also in subfolders"}


class FoldersCard(QFrame):
    """The panel above the images.

    Attributes
    ----------
    input, output : QLineEdit
        Folders; where the output is empty, it is `RESULTS` in that of the images.
    values : dict of QLineEdit
        The other variables of a pipeline.
    """

    changed = Signal()

    def __init__(self, context: Context) -> None:
        super().__init__()
        self.setObjectName("card")
        self._context = context
        self.input = _edit("Folder of the images")
        self.output = _edit("Folder of the results")
        self.pattern = QComboBox()
        self.values: dict[str, QLineEdit] = {}
        self._rows: dict[str, list[QWidget]] = {}
        self._grid = QGridLayout(self)
        self._lay_out()
        self.input.textChanged.connect(self._take_input)
        self.output.textChanged.connect(lambda _text: self.changed.emit())
        self.pattern.currentTextChanged.connect(self._take_pattern)
        self._take_input()
        self._take_pattern(self.pattern.currentText())

    def _lay_out(self) -> None:
        self._grid.setContentsMargins(SPACE + 4, SPACE + 4, SPACE + 4, SPACE + 4)
        self._grid.setHorizontalSpacing(SPACE)
        self._grid.setVerticalSpacing(SPACE)
        self._grid.setColumnStretch(1, 1)
        self.pattern.setEditable(True)
        self.pattern.setInsertPolicy(QComboBox.InsertPolicy.NoInsert)
        self.pattern.addItems(PATTERNS)
        self.pattern.setAccessibleName("Pattern of the images' names")
        self.pattern.setToolTip(_PATTERN_TIP)
        line = self.pattern.lineEdit()
        assert line is not None
        line.setAcceptDrops(False)
        self.opener = build.tool("Open the folder of the results", self.open_output)
        self._context.set_icon(self.opener, "folder", "muted")
        self._add(INPUT_DIR, "Images in", self.input, self._button(self.browse_input))
        self.meaning = build.label(style="muted")
        self._add("", "Pattern", self.pattern)
        self._grid.addWidget(self.meaning, self._grid.rowCount() - 1, 2, 1, 2)
        self._rows[""].append(self.meaning)
        self._add(OUTPUT_DIR, "Results to", self.output, self._button(self.browse_output),
                  self.opener)  # fmt: skip

    def _button(self, clicked: Callable[[], object]) -> QWidget:
        return build.button("Choose ...", clicked)

    def _add(self, name: str, text: str, control: QWidget, *others: QWidget) -> None:
        label = build.label(text)
        label.setMinimumHeight(_ROW_PX)
        label.setBuddy(control)
        row = self._grid.rowCount()
        self._grid.addWidget(label, row, 0)
        self._grid.addWidget(control, row, 1)
        for column, widget in enumerate(others, 2):
            self._grid.addWidget(widget, row, column)
        self._rows[name] = [label, control, *others]

    # ---- what is chosen -------------------------------------------------------------------------

    @property
    def input_dir(self) -> Path | None:
        """The folder of the images; None where none is given."""
        return _path(self.input)

    @property
    def output_dir(self) -> Path | None:
        """The folder of the results; None where it is not known yet."""
        own, images = _path(self.output), self.input_dir
        return own or (images / RESULTS if images else None)

    def given(self) -> dict[str, str]:
        """Return the variables that were entered."""
        return {name: edit.text() for name, edit in self.values.items() if edit.text()}

    def show_variables(self, names: Sequence[str] | None) -> None:
        """Ask for the variables of a pipeline; None: for what a function needs."""
        for name in self.values:
            for widget in self._rows.pop(name):
                self._grid.removeWidget(widget)
                widget.hide()
                widget.deleteLater()
        self.values = {}
        for name in (INPUT_DIR, OUTPUT_DIR):
            self._show(name, names is None or name in names)
        self._show("", names is None)
        for name in names or ():
            if name not in (INPUT_DIR, OUTPUT_DIR):
                edit = _edit(f"Variable {name}")
                edit.setPlaceholderText(os.environ.get(name, ""))
                edit.textChanged.connect(lambda _text: self.changed.emit())
                self._add(name, f"%{name}%", edit)
                self.values[name] = edit
        self.setVisible(names is None or bool(names))

    def _show(self, name: str, on: bool) -> None:
        for widget in self._rows[name]:
            widget.setVisible(on)

    def take_paths(self, paths: Sequence[Path]) -> bool:
        """Take a folder, or images and with them their folder; return whether there was one."""
        folder = next((path for path in paths if path.is_dir()), None)
        if folder is None and paths:
            suffixes = {path.suffix for path in paths}
            self.pattern.setCurrentText(f"*{suffixes.pop()}" if len(suffixes) == 1 else "*")
            folder = paths[0].parent
        if folder is not None:
            self.input.setText(str(folder))
        return folder is not None

    def _take_input(self, _text: str = "") -> None:
        images = self.input_dir
        self.output.setPlaceholderText(str(images / RESULTS) if images else "")
        self.changed.emit()

    def _take_pattern(self, text: str) -> None:
        self.meaning.setText(_MEANING.get(text.strip(), ""))
        self.changed.emit()

    # ---- dialogs --------------------------------------------------------------------------------

    def browse_input(self) -> None:
        """Let the user choose the folder of the images."""
        start = self.input.text() or str(QSettings().value(_FOLDER, ""))
        if path := self.choose_folder("Choose a folder of images", start):
            QSettings().setValue(_FOLDER, str(path))
            self.input.setText(str(path))

    def browse_output(self) -> None:
        """Let the user choose where the results go."""
        start = str(self.output_dir or QSettings().value(_FOLDER, ""))
        if path := self.choose_folder("Choose a folder for the results", start):
            self.output.setText(str(path))

    def choose_folder(self, title: str, start: str) -> Path | None:
        """Show the system's dialog."""
        name = QFileDialog.getExistingDirectory(self, title, start)
        return Path(name) if name else None

    def open_output(self) -> None:
        """Show the folder of the results, or what there is of the way to it."""
        if folder := self.output_dir:
            show_folder(folder)


def show_folder(folder: Path) -> None:
    """Show a folder in the system's file manager, or the next one above that is there."""
    there = next((one for one in (folder, *folder.parents) if one.is_dir()), folder)
    QDesktopServices.openUrl(QUrl.fromLocalFile(str(there)))


def _edit(name: str) -> QLineEdit:
    edit = QLineEdit()
    edit.setAccessibleName(name)
    edit.setAcceptDrops(False)  # what is dropped on the page is a folder, not its address
    return edit


def _path(edit: QLineEdit) -> Path | None:
    text = edit.text().strip().strip('"')  # as Windows copies paths
    return Path(text).expanduser() if text else None
