"""A table to be read and copied."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication, QKeySequence, QShortcut
from PySide6.QtWidgets import QAbstractItemView, QHeaderView, QTableWidget, QTableWidgetItem

_HEIGHT_PX = 220


def table(
    titles: Sequence[str], rows: Sequence[Sequence[object]], *, all_rows: bool = False
) -> QTableWidget:
    """Return a table; `all_rows` makes it as high as it needs, so that only the page scrolls."""
    made = QTableWidget(len(rows), len(titles))
    made.setHorizontalHeaderLabels(list(titles))
    made.verticalHeader().hide()
    made.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
    made.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
    made.setTabKeyNavigation(False)
    made.setShowGrid(False)
    header = made.horizontalHeader()
    header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
    header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
    header.setDefaultAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
    header.setHighlightSections(False)
    for row, values in enumerate(rows):
        for column, value in enumerate(values):
            made.setItem(row, column, QTableWidgetItem(str(value)))
    if all_rows:
        made.setFixedHeight(header.sizeHint().height() + made.verticalHeader().length() + 12)
        made.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    else:
        made.setMinimumHeight(_HEIGHT_PX)
    copy = QShortcut(QKeySequence(QKeySequence.StandardKey.Copy), made)
    copy.setContext(Qt.ShortcutContext.WidgetShortcut)
    copy.activated.connect(lambda: copy_rows(made))
    return made


def copy_rows(made: QTableWidget) -> None:
    """Copy the selected rows as text with tabs."""
    rows = sorted({item.row() for item in made.selectedItems()})
    lines = ["\t".join(_text(made, row, c) for c in range(made.columnCount())) for row in rows]
    QGuiApplication.clipboard().setText("\n".join(lines))


def _text(made: QTableWidget, row: int, column: int) -> str:
    item = made.item(row, column)
    return item.text() if item else ""
