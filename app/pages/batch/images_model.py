"""The images of a batch: their size, what will be done with them, and what became of them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from PySide6.QtCore import (
    QAbstractTableModel,
    QModelIndex,
    QPersistentModelIndex,
    QSortFilterProxyModel,
    Qt,
    Signal,
)
from PySide6.QtGui import QColor

from app.theme import Theme
from envmanager.pipelines import previewing
from envmanager.pipelines.previewing import Preview
from envmanager.pipelines.records import ImageRecord

_Index = QModelIndex | QPersistentModelIndex
_NOWHERE = QModelIndex()
_TITLES = ("Image", "Size", "State")
NAME, SIZE, STATE = range(len(_TITLES))
WAITING, DONE, BEFORE, FAILED, UNUSABLE = "waiting", "done", "before", "failed", "unusable"
_TONES = {WAITING: "text", DONE: "success", BEFORE: "muted", FAILED: "danger", UNUSABLE: "danger"}


@dataclass(frozen=True)
class Row:
    """An image; `text` says its state, `reason` why it failed."""

    path: Path
    name: str
    size: str = ""
    state: str = WAITING
    text: str = ""
    reason: str = ""


class ImagesModel(QAbstractTableModel):
    """The images of a wish or of a run."""

    counted = Signal()  # how many there are of a state may have changed

    def __init__(self, theme: Theme) -> None:
        super().__init__()
        self._theme = theme
        self.rows: list[Row] = []
        self._places: dict[str, int] = {}
        self._counts: Counter[str] = Counter()
        theme.changed.connect(self._repaint)

    # ---- what it is told ------------------------------------------------------------------------

    def set_files(self, files: Sequence[Path], base: Path, text: str = "") -> None:
        """Show other images; what is known of the size of one that stays is kept."""
        known = {row.path: row.size for row in self.rows}
        self.beginResetModel()
        self.rows = [Row(path, _name(path, base), known.get(path, ""), text=text) for path in files]
        self._places = {str(row.path): number for number, row in enumerate(self.rows)}
        self._counts = Counter({WAITING: len(self.rows)})
        self.endResetModel()
        self.counted.emit()

    def take_previews(self, previews: Sequence[Preview]) -> None:
        """Show what would be done with images."""
        for one in previews:
            if one.problem:
                text = "Cannot be used"
                self._change(one.input, state=UNUSABLE, text=text, reason=one.problem)
            else:
                is_done = one.state == previewing.DONE
                state, text = (BEFORE, "Done before") if is_done else (WAITING, "To do")
                self._change(one.input, size=one.shape, state=state, text=text, reason="")
        self.counted.emit()

    def take_record(self, record: ImageRecord) -> None:
        """Show what became of an image."""
        reason = reason_of(record)
        if record.state == "failed":
            self._change(record.input, state=FAILED, text="Failed", reason=reason)
        elif record.state == "skipped":
            self._change(record.input, state=BEFORE, text="Done before", reason="")
        else:
            self._change(record.input, state=DONE, text=f"Done, {objects(record)}", reason="")
        self.counted.emit()

    def end(self) -> None:
        """A run has ended: what it has not reached is still to do."""
        for place, row in enumerate(self.rows):
            if row.state == WAITING:
                self.rows[place] = replace(row, text="To do")
        self._repaint()

    def count(self, *states: str) -> int:
        """Return how many images are in one of some states."""
        return sum(self._counts[state] for state in states)

    def _change(self, path: str, **changed: Any) -> None:
        place = self._places.get(path)
        if place is None:
            return
        self._counts[self.rows[place].state] -= 1
        self.rows[place] = replace(self.rows[place], **changed)
        self._counts[self.rows[place].state] += 1
        self.dataChanged.emit(self.index(place, 0), self.index(place, STATE))

    def _repaint(self) -> None:
        if self.rows:
            self.dataChanged.emit(self.index(0, 0), self.index(len(self.rows) - 1, STATE))

    # ---- what Qt asks ---------------------------------------------------------------------------

    def rowCount(self, parent: _Index = _NOWHERE) -> int:  # noqa: N802
        """Return how many images there are."""
        return 0 if parent.isValid() else len(self.rows)

    def columnCount(self, parent: _Index = _NOWHERE) -> int:  # noqa: N802
        """Return how many columns there are."""
        return 0 if parent.isValid() else len(_TITLES)

    def data(self, index: _Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Return a cell as it is shown."""
        row, column = self.rows[index.row()], index.column()
        if role == Qt.ItemDataRole.DisplayRole:
            told = f"{row.text}: {row.reason}" if row.reason else row.text
            return (row.name, row.size, told)[column]
        if role == Qt.ItemDataRole.ToolTipRole:
            return str(row.path) if column == NAME else row.reason or row.text
        if role == Qt.ItemDataRole.ForegroundRole and column != NAME:
            tone = _TONES[row.state] if column == STATE else "muted"
            return QColor(getattr(self._theme.colors, tone))
        return None

    def headerData(  # noqa: N802
        self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole
    ) -> Any:
        """Return the title of a column."""
        if role == Qt.ItemDataRole.DisplayRole and orientation == Qt.Orientation.Horizontal:
            return _TITLES[section]
        return None


class Troubled(QSortFilterProxyModel):
    """Of the images those that failed or cannot be used, with the reason alone."""

    def __init__(self, images: ImagesModel) -> None:
        super().__init__(images)
        self._images = images
        self.setSourceModel(images)

    def filterAcceptsRow(self, row: int, parent: _Index) -> bool:  # noqa: N802
        """Tell whether an image is shown."""
        return bool(self._images.rows[row].reason)

    def filterAcceptsColumn(self, column: int, parent: _Index) -> bool:  # noqa: N802
        """Tell whether a column is shown."""
        return column != SIZE

    def data(self, index: _Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Return a cell as it is shown."""
        source = self.mapToSource(index)
        if role == Qt.ItemDataRole.DisplayRole and source.column() == STATE:
            return self._images.rows[source.row()].reason
        if role == Qt.ItemDataRole.ForegroundRole:
            return None
        return super().data(index, role)

    def headerData(  # noqa: N802
        self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole
    ) -> Any:
        """Return the title of a column."""
        if role == Qt.ItemDataRole.DisplayRole and orientation == Qt.Orientation.Horizontal:
            return ("Image", "Why")[section]
        return None


def reason_of(record: ImageRecord) -> str:
    """Return why an image failed, with what to do about it."""
    error = record.error or {}
    return " ".join(filter(None, (error.get("message"), error.get("hint"))))


def objects(record: ImageRecord) -> str:
    """Say how many objects an image has."""
    return f"{record.objects:,} object{'' if record.objects == 1 else 's'}"


def _name(path: Path, base: Path) -> str:
    try:
        return os.path.relpath(path, base) if path.is_relative_to(base) else str(path)
    except ValueError:  # on another drive of Windows
        return str(path)
