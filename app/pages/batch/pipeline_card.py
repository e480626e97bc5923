"""The steps of a pipeline that was opened: it is run as it is."""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QFrame, QGridLayout, QHBoxLayout, QLabel, QVBoxLayout, QWidget

from app.context import Context
from app.theme import SPACE
from app.widgets import build
from envmanager.pipelines import builtin
from envmanager.pipelines.document import Document, Step

_VERBS = {
    builtin.LOAD: "Reads the images",
    "save_tczyx_image": "Writes images",
    "save_objects_csv": "Measures objects (CSV)",
    "save_overlay_png": "Draws outlines (PNG)",
    "save_rois": "Writes ROIs for ImageJ",
    "save_table": "Writes a table (CSV)",
}


class PipelineCard(QFrame):
    """Takes the place of the choice of module and parameters."""

    closed = Signal()

    def __init__(self, context: Context) -> None:
        super().__init__()
        self.setObjectName("card")
        self.title = build.label(style="heading", wrap=True, selectable=True)
        self.description = build.label(style="muted", wrap=True, selectable=True)
        self.file = build.label(style="muted", wrap=True, selectable=True)
        self.steps = QWidget()
        close = build.tool("Close the pipeline", self.closed.emit)
        context.set_icon(close, "close", "muted")
        head = QHBoxLayout()
        head.addWidget(self.title, 1)
        head.addWidget(close)
        self._layout = QVBoxLayout(self)
        self._layout.setContentsMargins(SPACE + 4, SPACE + 4, SPACE + 4, SPACE + 4)
        self._layout.setSpacing(SPACE)
        self._layout.addLayout(head)
        self._layout.addWidget(self.description)
        self._layout.addWidget(self.file)
        self._layout.addWidget(self.steps)

    def show_pipeline(self, document: Document) -> None:
        """Show name, description, file and steps."""
        self.title.setText(document.name)
        self.description.setText(document.description)
        self.description.setVisible(bool(document.description))
        self.file.setText(document.path.name)
        self.file.setToolTip(str(document.path))
        old, self.steps = self.steps, _steps(document)
        self._layout.replaceWidget(old, self.steps)
        old.hide()
        old.deleteLater()


def _steps(document: Document) -> QWidget:
    made = QWidget()
    grid = QGridLayout(made)
    grid.setContentsMargins(0, SPACE, 0, 0)
    grid.setHorizontalSpacing(SPACE)
    grid.setVerticalSpacing(2)
    grid.setColumnStretch(1, 1)
    for number, step in enumerate(document.steps):
        place: QLabel = build.label(f"{number + 1}.", "muted")
        grid.addWidget(place, 3 * number, 0)
        grid.addWidget(build.label(step.name, wrap=True, selectable=True), 3 * number, 1)
        grid.addWidget(build.label(_what(step), "muted", wrap=True), 3 * number + 1, 1)
        grid.setRowMinimumHeight(3 * number + 2, SPACE // 2)
    return made


def _what(step: Step) -> str:
    if not step.enabled:
        return "Switched off"
    if step.module == builtin.MODULE:
        return _VERBS.get(step.function, step.function)
    return ": ".join(filter(None, (step.module, step.function)))
