"""The column at the right: what is run on each image, or the pipeline that was opened."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QCheckBox, QFrame, QScrollArea, QVBoxLayout, QWidget

from app.context import Context
from app.pages.batch.choice_card import ChoiceCard
from app.pages.batch.pipeline_card import PipelineCard
from app.pages.batch.summary_card import SummaryCard
from app.pages.try_it.chosen import Chosen
from app.pages.try_it.parameters_card import ParametersCard
from app.theme import SPACE
from app.widgets.run_bar import RunBar
from app.widgets.scrolling import always_keep_room, scrolled
from envmanager.pipelines.composing import Batch
from envmanager.pipelines.document import Document

_COLUMN_PX, _GAP_PX = 356, 2


class Column(QWidget):
    """Knows what shall be done with each image."""

    changed = Signal()

    def __init__(self, context: Context) -> None:
        super().__init__()
        self._context = context
        self.document: Document | None = None
        self.choice = ChoiceCard()
        self.parameters = ParametersCard(context)
        self.chosen = Chosen(context, self.choice, self.parameters, self)
        self.pipeline = PipelineCard(context)
        self.force = QCheckBox("Do images again that are done")
        self.force.setToolTip(
            "Else images are left out that were done with the same module and parameters"
        )
        self.bar = RunBar(context, "Run it on all images")
        self.summary = SummaryCard()
        self._lay_out()
        self._connect()
        if context.store.snapshot:
            self.chosen.take_snapshot(context.store.snapshot)
        self.open(None)

    def _lay_out(self) -> None:
        self.setFixedWidth(_COLUMN_PX)
        inside = QVBoxLayout()
        inside.setContentsMargins(0, 0, _GAP_PX, 0)
        inside.setSpacing(SPACE + 4)
        for card in (self.pipeline, self.choice, self.parameters):
            inside.addWidget(card)
        inside.addStretch(1)
        self.area: QScrollArea = scrolled(inside)
        self.area.setFrameShape(QFrame.Shape.NoFrame)
        always_keep_room(self.area)
        below = QVBoxLayout()
        width = self.area.verticalScrollBar().sizeHint().width()
        below.setContentsMargins(0, 0, _GAP_PX + width, 0)
        below.setSpacing(SPACE + 4)
        self.bar.column.insertWidget(0, self.force)
        below.addWidget(self.bar)
        below.addWidget(self.summary)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(SPACE + 4)
        layout.addWidget(self.area, 1)
        layout.addLayout(below)

    def _connect(self) -> None:
        self.chosen.function_changed.connect(self.changed)
        self.chosen.refreshed.connect(self.changed)
        self.choice.changed.connect(self.changed)
        self.parameters.changed.connect(self.changed)
        self.force.toggled.connect(lambda _on: self.changed.emit())
        self.pipeline.closed.connect(lambda: self.open(None))
        self.parameters.form.set_volume(True)  # a folder may hold stacks

    # ---- what is chosen -------------------------------------------------------------------------

    def open(self, document: Document | None) -> None:
        """Show a pipeline; None: the choice of a module."""
        self.document = document
        self.summary.hide()
        if document:
            self.pipeline.show_pipeline(document)
        self.pipeline.setVisible(document is not None)
        self.choice.setVisible(document is None)
        self.parameters.setVisible(document is None)
        self.changed.emit()

    def choose(
        self,
        module: str,
        function: str,
        parameters: Mapping[str, Any] | None,
        channel: int | None,
    ) -> None:
        """Take over what another page has chosen."""
        self.open(None)
        self.chosen.choose(module, function, parameters)
        self.choice.choose_channel(channel)

    def set_enabled(self, on: bool) -> None:
        """Let the user change what is chosen, or not."""
        inside = self.area.widget()
        assert inside is not None
        inside.setEnabled(on)
        self.force.setEnabled(on)

    def batch(self, pattern: str) -> Batch | None:
        """Return the function with its parameters; None as long as nothing is chosen."""
        spec = self.chosen.spec
        if not spec:
            return None
        status = self.chosen.status
        title = status.title if status else self.chosen.module
        return Batch(
            module=self.chosen.module,
            function=self.chosen.function,
            outputs={name: output["kind"] for name, output in spec["outputs"].items()},
            parameters=self.parameters.form.values(),
            pattern=pattern,
            input_name=next(iter(spec["inputs"])),
            name=f"{spec.get('title', self.chosen.function)} with {title}",
            selection=self.choice.selection,
            beside=self.choice.wanted,
        )
