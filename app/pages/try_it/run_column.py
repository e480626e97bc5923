"""The column at the right: what is run, with which parameters, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from PySide6.QtCore import Qt
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QFrame, QScrollArea, QVBoxLayout, QWidget

from app.background import RUNS, Task
from app.context import Context
from app.pages.modules import steps
from app.pages.modules.steps import Step
from app.pages.try_it import hindrances
from app.pages.try_it.choice_card import ChoiceCard
from app.pages.try_it.chosen import Chosen
from app.pages.try_it.hindrances import Hindrance
from app.pages.try_it.image_panel import ImagePanel
from app.pages.try_it.parameters_card import ParametersCard
from app.pages.try_it.results import Results
from app.pages.try_it.run_bar import RunBar
from app.pages.try_it.runs import ALL, Run, Wish, is_labels
from app.theme import SPACE
from app.widgets.scrolling import always_keep_room
from envmanager.errors import GA3EnvError
from envmanager.reading.series import Series

_COLUMN_PX, _GAP_PX = 356, 2
_LOW_PX = 760


class RunColumn(QWidget):
    """Knows what is chosen; asks the engine to run it, and hands what came of it to `Results`."""

    def __init__(self, context: Context, images: ImagePanel, results: Results) -> None:
        super().__init__()
        self._context, self._images, self.results = context, images, results
        self.task: Task[Run] | None = None
        self.choice = ChoiceCard()
        self.parameters = ParametersCard(context)
        self.chosen = Chosen(context, self.choice, self.parameters, self)
        self.bar = RunBar(context)
        self._lay_out()
        self._connect()
        if context.store.snapshot:
            self.chosen.take_snapshot(context.store.snapshot)

    @property
    def module(self) -> str:
        """The name of the module."""
        return self.chosen.module

    @property
    def function(self) -> str:
        """The name of its function."""
        return self.chosen.function

    @property
    def form(self) -> Any:
        """The form of the parameters."""
        return self.parameters.form

    def _lay_out(self) -> None:
        self.setFixedWidth(_COLUMN_PX)
        content = QWidget()
        content.setObjectName("content")
        inside = QVBoxLayout(content)
        inside.setContentsMargins(0, 0, _GAP_PX, 0)
        inside.setSpacing(SPACE + 4)
        inside.addWidget(self.choice)
        inside.addWidget(self.parameters)
        inside.addStretch(1)
        area = QScrollArea()
        area.setWidget(content)
        area.setWidgetResizable(True)
        area.setFrameShape(QFrame.Shape.NoFrame)
        area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        always_keep_room(area)
        below = QVBoxLayout()
        below.setContentsMargins(0, 0, _GAP_PX + area.verticalScrollBar().sizeHint().width(), 0)
        below.setSpacing(SPACE + 4)
        below.addWidget(self.bar)
        below.addWidget(self.results.card)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(SPACE + 4)
        layout.addWidget(area, 1)
        layout.addLayout(below)

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802
        """Leave room for the form in a low window."""
        super().resizeEvent(event)
        self.results.card.set_tight(self.height() < _LOW_PX)

    def _connect(self) -> None:
        self.chosen.function_changed.connect(self._take_area)
        self.chosen.refreshed.connect(self._judge)
        self.choice.area_chosen.connect(self._take_area)
        self.form.changed.connect(self._judge)
        self.form.wants_weights.connect(self._get_weights)
        self.results.changed.connect(self._judge)
        self._images.image_opened.connect(self._take_image)
        self.bar.run.connect(self.run)
        self.bar.node.connect(self.make_node)
        self.bar.folder.connect(self.run_on_folder)

    # ---- what is chosen -------------------------------------------------------------------------

    def choose(
        self, module: str, function: str = "", parameters: Mapping[str, Any] | None = None
    ) -> None:
        """Choose a module; where nothing else is said, its first function at its defaults."""
        self.chosen.choose(module, function, parameters)

    def refresh(self) -> None:
        """Look anew at what others may have changed."""
        self.parameters.read_presets()
        self._judge()

    def _take_image(self, series: Series) -> None:
        self.choice.show_series(series)
        self._take_area()

    def _take_area(self) -> None:
        area = self.choice.chosen_area()
        self.form.set_volume(bool(area and area.volume))
        self._judge()

    # ---- what stands in the way -----------------------------------------------------------------

    def _judge(self) -> None:
        """Say what stands in the way of a run."""
        found = hindrances.find(
            self.chosen.status,
            self.chosen.spec,
            self._images.current(),
            self.choice.chosen_area(),
            self.results.objects,
            self.form.weights_problem(),
        )
        self._show_hindrance(found)
        for button in (self.bar.make_node, self.bar.on_folder):
            button.setEnabled(bool(self.function))

    def _show_hindrance(self, found: Hindrance | None) -> None:
        if found is None:
            self.bar.set_problem("")
        elif found.step:
            self.bar.set_problem(found.text, found.step.title, partial(self._go, found.step))
        else:
            self.bar.set_problem(found.text)

    def _go(self, step: Step) -> None:
        self._context.shell.show_page("modules", module=self.module, step=step)

    def _get_weights(self, _name: str) -> None:
        self._go(steps.GET_WEIGHTS)

    # ---- the run --------------------------------------------------------------------------------

    def run(self) -> None:
        """Run it on the image, in the background."""
        wish = self._wish()
        if wish is None or self.task:
            return
        task = self._context.background.start(
            wish.title, wish.work(), module=wish.module, lane=RUNS
        )
        self.task = task
        task.succeeded.connect(self.results.add)
        task.failed.connect(self._failed)
        task.ended.connect(self._ended)
        self.bar.follow(task)

    def _wish(self) -> Wish | None:
        status, current = self.chosen.status, self._images.current()
        area, spec = self.choice.chosen_area(), self.chosen.spec
        if status is None or current is None or area is None or self.bar.problem:
            return None
        objects = None
        volume = area.volume
        region = self._images.visible_region() if area.visible else None
        if region == (0, current.series.height, 0, current.series.width):
            region = None  # all of it is in sight
        if any(map(is_labels, spec["inputs"].values())) and (objects := self.results.objects):
            current, region, volume = objects.of, objects.region, objects.is_volume
        return Wish(
            self.module,
            status.title,
            self.function,
            spec,
            self.form.values(),
            current,
            region,
            volume,
            self.choice.chosen_channels(),
            objects,
        )

    def _failed(self, error: GA3EnvError) -> None:
        step = steps.MENDING.get(error.code)
        if step:
            self._context.shell.tell_error(error, action=step.title, run=partial(self._go, step))
        else:
            self._context.shell.tell_error(error, action="Try again", run=self.run)

    def _ended(self) -> None:
        task, self.task = self.task, None
        if task:
            self._context.background.forget(task)  # its result may be large
        self._context.store.refresh()

    def make_node(self) -> None:
        """Go to the page that makes node scripts, with what is chosen here."""
        self._context.shell.show_page(
            "nodes", module=self.module, function=self.function, parameters=self.form.values()
        )

    def run_on_folder(self) -> None:
        """Go to the page that runs many images, with what is chosen here."""
        channel = next(iter(self.choice.chosen_channels().values()), ALL)
        self._context.shell.show_page(
            "batch",
            module=self.module,
            function=self.function,
            parameters=self.form.values(),
            channel=None if channel == ALL else channel + 1,
        )
