"""Tables of images that can be selected and copied; a double click opens one on Try it."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QAbstractItemModel, QModelIndex, Qt, Signal
from PySide6.QtGui import QGuiApplication, QKeyEvent, QKeySequence
from PySide6.QtWidgets import QAbstractItemView, QFrame, QHeaderView, QTableView

from app.pages.batch.images_model import NAME, SIZE, ImagesModel, Troubled
from app.theme import SPACE

_PLAIN = """QTableView { border: none; padding: 0; }
QHeaderView::section { padding-left: 3px; }
QAbstractScrollArea::corner { background: transparent; border: none; }"""
_NAME_PX, _SIZE_PX = 260, 160


class ImagesTable(QTableView):
    """All images of a batch."""

    opened = Signal(object)  # Path

    def __init__(self, name: str, model: QAbstractItemModel) -> None:
        super().__init__()
        self.setAccessibleName(name)
        self.setModel(model)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setStyleSheet(_PLAIN)
        self.setShowGrid(False)
        self.setWordWrap(False)
        self.setTabKeyNavigation(False)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setTextElideMode(Qt.TextElideMode.ElideRight)
        self.verticalHeader().hide()
        self.verticalHeader().setDefaultSectionSize(self.fontMetrics().height() + SPACE + 4)
        header = self.horizontalHeader()
        header.setStretchLastSection(True)
        header.setHighlightSections(False)
        header.setDefaultAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
        header.resizeSection(NAME, _NAME_PX)
        self.activated.connect(self._open)

    def path_of(self, index: QModelIndex) -> Path:
        """Return the image of a row."""
        model = index.model()
        assert isinstance(model, ImagesModel)
        return model.rows[index.row()].path

    def _open(self, index: QModelIndex) -> None:
        self.opened.emit(self.path_of(index))

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802
        """Copy the selected rows, for a spreadsheet."""
        if not event.matches(QKeySequence.StandardKey.Copy):
            super().keyPressEvent(event)
            return
        rows: dict[int, list[str]] = {}
        for index in sorted(self.selectedIndexes()):
            rows.setdefault(index.row(), []).append(str(index.data()))
        QGuiApplication.clipboard().setText("\n".join("\t".join(row) for row in rows.values()))


class AllTable(ImagesTable):
    """All images, with size and state."""

    def __init__(self, images: ImagesModel) -> None:
        super().__init__("Images", images)
        self.horizontalHeader().resizeSection(SIZE, _SIZE_PX)


class TroubledTable(ImagesTable):
    """Those that failed, with reasons that may need several lines."""

    def __init__(self, images: ImagesModel) -> None:
        super().__init__("Images that failed", Troubled(images))
        self.setWordWrap(True)
        self.verticalHeader().setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)

    def path_of(self, index: QModelIndex) -> Path:
        """Return the image of a row."""
        model = self.model()
        assert isinstance(model, Troubled)
        return super().path_of(model.mapToSource(index))
