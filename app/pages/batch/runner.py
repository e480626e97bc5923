"""Runs a wish, and shows what becomes of the images."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from PySide6.QtCore import QObject, Signal

from app.background import CANCELLED, RUNS, Task
from app.background import DONE as FINISHED
from app.context import Context
from app.pages.batch.column import Column
from app.pages.batch.images_model import BEFORE, DONE, FAILED
from app.pages.batch.images_panel import IMAGES, RESULTS, TROUBLED, ImagesPanel
from app.pages.batch.wish import Begun, Wish
from app.pages.modules import steps
from app.pages.modules.steps import Step
from envmanager.errors import GA3EnvError
from envmanager.pipelines.records import ImageRecord
from envmanager.pipelines.running import Summary


class Runner(QObject):
    """One run at a time.

    Attributes
    ----------
    task : Task or None
        The run that is under way.
    root : Path or None
        Where the results of the last run are.
    """

    changed = Signal()  # it has begun, or ended

    def __init__(
        self, context: Context, panel: ImagesPanel, column: Column, parent: QObject
    ) -> None:
        super().__init__(parent)
        self._context, self._panel, self._column = context, panel, column
        self.task: Task[Summary] | None = None
        self.root: Path | None = None
        self._module = ""
        column.summary.show_failed.connect(lambda: panel.show_tab(TROUBLED))

    def run(self, wish: Wish) -> None:
        """Begin."""
        title = f"Batch {wish.input.name}" if wish.input else "Batch"
        self._module = wish.batch.module if wish.batch else ""
        task = self._context.background.start(title, wish.work(), module=self._module, lane=RUNS)
        self.task = task
        self._column.summary.hide()
        task.told.connect(self._take)
        task.succeeded.connect(self._succeeded)
        task.failed.connect(self._failed)
        task.ended.connect(self._ended)
        self._column.bar.follow(task)
        self.changed.emit()

    def _take(self, told: object) -> None:
        match told:
            case Begun():
                self.root = told.root
                load = told.plan.load
                self._panel.images.set_files(load.files, load.base, "Waits")
                self._panel.grid.begin(told.sources)
            case ImageRecord():
                self._panel.images.take_record(told)
                if told.state == "done":
                    self._panel.grid.add(told)
                    if self._panel.images.count(DONE) == 1 and self._panel.tab == IMAGES:
                        self._panel.show_tab(RESULTS)

    def _succeeded(self, summary: Summary) -> None:
        notices = self.task.notices if self.task else []
        self._column.summary.show_summary(summary, notices)
        if summary.failed and self._panel.tab == RESULTS:
            self._panel.show_tab(TROUBLED)
        codes = {(record.error or {}).get("code", "") for record in summary.failed}
        if len(codes) == 1 and (step := steps.MENDING.get(codes.pop())) and self._module:
            first = summary.failed[0].error or {}
            error = GA3EnvError(str(first.get("message")), str(first.get("hint")))
            self._tell(error, step)

    def _failed(self, error: GA3EnvError) -> None:
        step = steps.MENDING.get(error.code)
        if step and self._module:
            self._tell(error, step)
        else:
            self._context.shell.tell_error(error)

    def _tell(self, error: GA3EnvError, step: Step) -> None:
        go = partial(self._context.shell.show_page, "modules", module=self._module, step=step)
        self._context.shell.tell_error(error, action=step.title, run=go)

    def _ended(self) -> None:
        task, self.task = self.task, None
        images = self._panel.images
        images.end()
        if task:
            done, failed = images.count(DONE, BEFORE), images.count(FAILED)
            if task.state == CANCELLED or (task.state != FINISHED and done + failed):
                total = len(images.rows)
                self._column.summary.show_stopped(done, total, failed, task.notices)
            self._context.background.forget(task)
        self._context.store.refresh()
        self.changed.emit()
