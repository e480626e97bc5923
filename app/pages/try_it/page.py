"""Puts the page together: the image at the left, what is done with it at the right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PySide6.QtGui import QDragEnterEvent, QDropEvent
from PySide6.QtWidgets import QHBoxLayout, QVBoxLayout

from app.context import Context
from app.pages.page import Page
from app.pages.try_it.image_panel import ImagePanel
from app.pages.try_it.results import Results
from app.pages.try_it.run_column import RunColumn
from app.theme import SPACE


class TryPage(Page):
    """The page *Try it*.

    Attributes
    ----------
    images : ImagePanel
        The image view, at the left.
    results : Results
        What was run on the image.
    column : RunColumn
        What is run on it, at the right.
    """

    def __init__(self, context: Context) -> None:
        super().__init__(context, "Try it")
        self.images = ImagePanel(context)
        self.results = Results(context, self.images)
        self.column = RunColumn(context, self.images, self.results)
        left = QVBoxLayout()
        left.setSpacing(SPACE + 4)
        left.addWidget(self.images, 1)
        left.addWidget(self.results.table)
        parts = QHBoxLayout()
        parts.setSpacing(2 * SPACE)
        parts.addLayout(left, 1)
        parts.addWidget(self.column)
        self.body.addLayout(parts, 1)
        self.setAcceptDrops(True)

    def visit(self, **hints: Any) -> None:
        """Open the hint `image`, choose `module` and `function`, take over `parameters`."""
        if image := hints.get("image"):
            self.images.open(Path(image))
        if module := hints.get("module"):
            self.column.choose(
                str(module), str(hints.get("function") or ""), hints.get("parameters")
            )
        self.column.refresh()

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


def _files(event: QDropEvent) -> list[Path]:
    return [Path(url.toLocalFile()) for url in event.mimeData().urls() if url.isLocalFile()]
