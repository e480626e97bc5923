"""A table that a function gave: it can be selected, copied and saved."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from PySide6.QtCore import QAbstractTableModel, QModelIndex, QPersistentModelIndex, Qt, Signal
from PySide6.QtGui import QGuiApplication, QKeyEvent, QKeySequence
from PySide6.QtWidgets import QAbstractItemView, QFrame, QHBoxLayout, QTableView, QVBoxLayout

from app.context import Context
from app.theme import SPACE
from app.widgets import build

_Index = QModelIndex | QPersistentModelIndex
_NOWHERE = QModelIndex()
_HEIGHT_PX = 220
_PLAIN = """QTableView { border: none; padding: 0; }
QAbstractScrollArea::corner { background: transparent; border: none; }"""


class Columns(QAbstractTableModel):
    """Columns by name, as Qt wants them."""

    def __init__(self, columns: Mapping[str, list[Any]], units: Mapping[str, str]) -> None:
        super().__init__()
        self._names = list(columns)
        self._columns = list(columns.values())
        self._units = units

    def rowCount(self, parent: _Index = _NOWHERE) -> int:  # noqa: N802
        """Return the length of the columns."""
        return 0 if parent.isValid() else max(map(len, self._columns), default=0)

    def columnCount(self, parent: _Index = _NOWHERE) -> int:  # noqa: N802
        """Return how many columns there are."""
        return 0 if parent.isValid() else len(self._columns)

    def data(self, index: _Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Return a cell as it is shown."""
        value = self._columns[index.column()][index.row()]
        if role == Qt.ItemDataRole.DisplayRole:
            return f"{value:.5g}" if isinstance(value, float) else str(value)
        if role == Qt.ItemDataRole.TextAlignmentRole and not isinstance(value, str):
            return int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        return None

    def headerData(  # noqa: N802
        self,
        section: int,
        orientation: Qt.Orientation,
        role: int = Qt.ItemDataRole.DisplayRole,
    ) -> Any:
        """Return the name of a column with its unit, or the number of a row."""
        if role != Qt.ItemDataRole.DisplayRole:
            return None
        if orientation == Qt.Orientation.Vertical:
            return str(section + 1)
        unit = self._units.get(self._names[section], "")
        return f"{self._names[section]} ({unit})" if unit else self._names[section]


class _View(QTableView):
    """Copies what is selected, for a spreadsheet."""

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802
        if event.matches(QKeySequence.StandardKey.Copy):
            QGuiApplication.clipboard().setText(self.selected_text())
        else:
            super().keyPressEvent(event)

    def selected_text(self) -> str:
        rows: dict[int, dict[int, str]] = {}
        for index in self.selectedIndexes():
            rows.setdefault(index.row(), {})[index.column()] = str(index.data())
        return "\n".join("\t".join(rows[r][c] for c in sorted(rows[r])) for r in sorted(rows))


class TablePanel(QFrame):
    """Lies under the image as long as there is a table."""

    save = Signal(str)  # the name of the table

    def __init__(self, context: Context) -> None:
        super().__init__()
        self.setObjectName("card")
        self.setFixedHeight(_HEIGHT_PX)
        self._name = ""
        self.title = build.label(style="heading")
        self.view = _View()
        self.view.setAccessibleName("Table")
        self.view.setFrameShape(QFrame.Shape.NoFrame)
        self.view.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.view.setHorizontalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.view.verticalHeader().hide()
        self.view.setStyleSheet(_PLAIN)
        self.view.verticalHeader().setDefaultSectionSize(self.fontMetrics().height() + SPACE)
        self.view.setShowGrid(False)
        close = build.tool("Close the table", self.hide)
        context.set_icon(close, "close", "muted")
        head = QHBoxLayout()
        head.addWidget(self.title, 1)
        save = build.button("Save as CSV ...", lambda: self.save.emit(self._name), role="quiet")
        head.addWidget(save)
        head.addWidget(close)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(SPACE + 4, SPACE, SPACE, SPACE)
        layout.addLayout(head)
        layout.addWidget(self.view, 1)
        self.hide()

    def show_table(
        self, name: str, columns: Mapping[str, list[Any]], declared: Mapping[str, Any]
    ) -> None:
        """Show a table; `declared` is the output as the module declares it."""
        self._name = name
        units = {column["name"]: column["unit"] for column in declared.get("columns", [])}
        model = Columns(columns, units)
        old = self.view.model()
        model.setParent(self.view)
        self.view.setModel(model)
        if old:
            old.deleteLater()
        self.title.setText(f"{name.capitalize()}, {model.rowCount():,} rows")
        self.view.resizeColumnsToContents()
        self.show()
