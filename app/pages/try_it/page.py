"""Puts the page together: the image at the left, what is done with it at the right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PySide6.QtCore import Qt
from PySide6.QtGui import QDragEnterEvent, QDropEvent
from PySide6.QtWidgets import QFrame, QHBoxLayout, QScrollArea, QVBoxLayout, QWidget

from app.context import Context
from app.pages.page import Page
from app.pages.try_it.image_panel import ImagePanel
from app.theme import SPACE

_COLUMN_PX = 344


class TryPage(Page):
    """The page *Try it*.

    Attributes
    ----------
    images : ImagePanel
        The image view, at the left.
    column : QVBoxLayout
        The place for panels at the right, see `add_panel`.
    """

    def __init__(self, context: Context) -> None:
        super().__init__(context, "Try it")
        self.images = ImagePanel(context)
        self.column = QVBoxLayout()
        self._scroll = self._scrolled(self.column)
        parts = QHBoxLayout()
        parts.setSpacing(2 * SPACE)
        parts.addWidget(self.images, 1)
        parts.addWidget(self._scroll)
        self.body.addLayout(parts, 1)
        self.setAcceptDrops(True)

    def add_panel(self, panel: QWidget) -> None:
        """Add a panel at the end of the right column."""
        self.column.insertWidget(self.column.count() - 1, panel)
        self._scroll.show()

    def visit(self, **hints: Any) -> None:
        """Open the image of the hint `image`."""
        if image := hints.get("image"):
            self.images.open(Path(image))

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:  # noqa: N802
        """Take files."""
        if _files(event):
            event.acceptProposedAction()
            self.images.invite(True)

    def dragLeaveEvent(self, event: object) -> None:  # noqa: N802
        """Nothing is dropped."""
        self.images.invite(False)

    def dropEvent(self, event: QDropEvent) -> None:  # noqa: N802
        """Open what was dropped."""
        event.acceptProposedAction()
        self.images.invite(False)
        self.images.open_files(_files(event))

    def _scrolled(self, column: QVBoxLayout) -> QScrollArea:
        content = QWidget()
        content.setObjectName("content")
        content.setLayout(column)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(SPACE + 4)
        column.addStretch(1)
        area = QScrollArea()
        area.setWidget(content)
        area.setWidgetResizable(True)
        area.setFixedWidth(_COLUMN_PX)
        area.setFrameShape(QFrame.Shape.NoFrame)
        area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        area.hide()  # until there is a panel
        return area


def _files(event: QDropEvent) -> list[Path]:
    return [Path(url.toLocalFile()) for url in event.mimeData().urls() if url.isLocalFile()]
