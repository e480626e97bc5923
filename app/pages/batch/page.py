"""Puts the page together: the images at the left, what is done with them at the right."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from PySide6.QtCore import QSettings, QTimer
from PySide6.QtGui import QDragEnterEvent, QDropEvent
from PySide6.QtWidgets import QFileDialog, QHBoxLayout, QVBoxLayout

from app.context import Context
from app.pages.batch import hindrances
from app.pages.batch import wish as wishes
from app.pages.batch.column import Column
from app.pages.batch.folders_card import FoldersCard, show_folder
from app.pages.batch.images_panel import ImagesPanel
from app.pages.batch.runner import Runner
from app.pages.batch.wish import Found, Looker, Wish
from app.pages.modules import steps
from app.pages.modules.steps import Step
from app.pages.page import Page
from app.theme import SPACE
from app.widgets import build
from envmanager.data import files
from envmanager.pipelines import SUFFIXES, composing
from envmanager.pipelines import document as documents
from envmanager.pipelines.document import Document
from envmanager.pipelines.previewing import Preview

_SETTLE_MS = 250  # who types a folder or a number is not asked at each key
_FILES = "batch/pipelines"
_KINDS = f"Pipelines ({' '.join(f'*{suffix}' for suffix in SUFFIXES)});;All files (*)"


class BatchPage(Page):
    """The page *Batch*.

    Attributes
    ----------
    folders : FoldersCard
        Which images, and where the results go.
    panel : ImagesPanel
        The images, their results and failures.
    column : Column
        What is done with each.
    runner : Runner
        The run.
    """

    def __init__(self, context: Context) -> None:
        super().__init__(context, "Batch")
        self.folders = FoldersCard(context)
        self.panel = ImagesPanel(context)
        self.column = Column(context)
        self.runner = Runner(context, self.panel, self.column, self)
        self.found: Found | None = None
        self._seen: object = None  # what was looked at, or is
        self._is_run_shown = False
        self._question = f"batch {id(self)}"
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.setInterval(_SETTLE_MS)
        self._soon.timeout.connect(self._look)
        self._lay_out()
        self._connect()
        self._judge()
        self.setAcceptDrops(True)

    def _lay_out(self) -> None:
        self.open_button = build.button("Open pipeline ...", self.browse_pipeline)
        self.open_button.setToolTip("Run a pipeline file (YAML) as it is")
        self.context.set_icon(self.open_button, "open")
        self.save_button = build.button("Save as YAML ...", self.save_pipeline)
        self.save_button.setToolTip("A pipeline file that does the same on the command line")
        self.context.set_icon(self.save_button, "save")
        self.head.setSpacing(SPACE)
        self.head.addWidget(self.open_button)
        self.head.addWidget(self.save_button)
        left = QVBoxLayout()
        left.setSpacing(SPACE + 4)
        left.addWidget(self.folders)
        left.addWidget(self.panel, 1)
        parts = QHBoxLayout()
        parts.setSpacing(2 * SPACE)
        parts.addLayout(left, 1)
        parts.addWidget(self.column)
        self.body.addLayout(parts, 1)

    def _connect(self) -> None:
        self.folders.changed.connect(self._changed)
        self.column.changed.connect(self._changed)
        self.column.pipeline.closed.connect(self._close_pipeline)
        self.column.bar.run.connect(self.run)
        self.column.summary.open_folder.connect(self.open_output)
        self.column.parameters.form.wants_weights.connect(self._get_weights)
        self.panel.browse.connect(self.folders.browse_input)
        self.panel.opened.connect(self.try_image)
        self.runner.changed.connect(self._run_changed)

    # ---- visits, and what is dropped ------------------------------------------------------------

    def visit(self, **hints: Any) -> None:
        """Take over `module`, `function`, `parameters` and `channel` (from 1; None: all).

        `folder` is one of images, `pipeline` a file.
        """
        self.column.parameters.read_presets()
        if not self.runner.task:
            if module := hints.get("module"):
                function, values = str(hints.get("function") or ""), hints.get("parameters")
                self.column.choose(str(module), function, values, hints.get("channel"))
                self.folders.show_variables(None)
            if folder := hints.get("folder"):
                self.folders.take_paths([Path(folder)])
            if pipeline := hints.get("pipeline"):
                self.open_pipeline(Path(pipeline))
            if not self._is_run_shown:
                self._seen = None  # there may be other images by now
        self._changed()

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:  # noqa: N802
        """Take folders, images and pipelines, as long as nothing runs."""
        if _paths(event) and not self.runner.task:
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:  # noqa: N802
        """Open what was dropped."""
        event.acceptProposedAction()
        paths = _paths(event)
        pipeline = next((path for path in paths if path.suffix.lower() in SUFFIXES), None)
        if pipeline:
            self.open_pipeline(pipeline)
        else:
            self.folders.take_paths(paths)

    # ---- looking --------------------------------------------------------------------------------

    def wish(self) -> Wish:
        """Return what is wanted now."""
        opened = self.column.document
        names = wishes.variables_of(opened) if opened else None
        folders = self.folders
        batch = None if opened else self.column.batch(folders.pattern.currentText().strip() or "*")
        return Wish(
            input=folders.input_dir if names is None or "INPUT_DIR" in names else None,
            output=folders.output_dir if names is None or "OUTPUT_DIR" in names else None,
            batch=batch,
            opened=opened,
            values=folders.given(),
            force=self.column.force.isChecked(),
        )

    def _key(self) -> object:
        """Return what changes where the images must be looked at anew."""
        snapshot = self.context.store.snapshot
        modules = snapshot.modules if snapshot else ()
        state = [(m.name, m.generation, [one.present for one in m.weights]) for m in modules]
        return self.wish(), state

    def _changed(self) -> None:
        self._judge()
        if not self.runner.task:
            self._soon.start()

    def _look(self) -> None:
        """Look which images there are now, and what would be done with them."""
        wanted, key = self.wish(), self._key()
        if self.runner.task or key == self._seen:
            return
        self._seen = key
        if wanted.lack or (wanted.opened is None and wanted.batch is None):
            self.found = None
            self.panel.invite(wanted.lack if wanted.input else "")
            return
        self.context.background.ask(
            lambda: wishes.find(wanted), self._take_found, self.context.shell.tell_error,
            owner=self, only_latest=self._question,
        )  # fmt: skip

    def _take_found(self, found: Found) -> None:
        if self.runner.task:
            return
        self.found, self._is_run_shown = found, False
        self.panel.images.set_files(found.files, found.base)
        if not found.files:
            title = "No images" if found.wish.opened is None else "The pipeline cannot run"
            self.panel.show_nothing(title, found.problem, choose=found.wish.opened is None)
        self.column.choice.show_channels(found.channels)
        self._judge()
        if found.plan:
            self._look_closer(Looker(found.plan, found.wish))

    def _look_closer(self, looker: Looker) -> None:
        self.context.background.ask(
            looker.more, partial(self._take_previews, looker), self.context.shell.tell_error,
            owner=self, only_latest=self._question,
        )  # fmt: skip

    def _take_previews(self, looker: Looker, previews: list[Preview]) -> None:
        if previews and not self.runner.task:
            self.panel.images.take_previews(previews)
            self._look_closer(looker)

    def _judge(self) -> None:
        """Say what stands in the way of a run."""
        wanted = self.wish()
        self.save_button.setEnabled(wanted.batch is not None)
        found = hindrances.find(wanted, self.column, self.found, self.context.store.snapshot)
        if found is None:
            self.column.bar.set_problem("")
            return
        hindrance, module = found
        step = hindrance.step
        if step:
            go = partial(self._go, module, step)
            self.column.bar.set_problem(hindrance.text, step.title, go)
        else:
            self.column.bar.set_problem(hindrance.text)

    def _go(self, module: str, step: Step) -> None:
        self.context.shell.show_page("modules", module=module, step=step)

    def _get_weights(self, _name: str) -> None:
        self._go(self.column.chosen.module, steps.GET_WEIGHTS)

    # ---- the run --------------------------------------------------------------------------------

    def run(self) -> None:
        """Run it on all images, in the background."""
        if not self.column.bar.problem and not self.runner.task:
            self.runner.run(self.wish())

    def _run_changed(self) -> None:
        is_idle = self.runner.task is None
        self.folders.setEnabled(is_idle)
        self.column.set_enabled(is_idle)
        self.open_button.setEnabled(is_idle)
        self._seen = self._key()  # what became of the images stays until something is changed
        self._is_run_shown = True
        self._judge()

    def open_output(self) -> None:
        """Show the folder of the last run's results."""
        if root := self.runner.root or self.folders.output_dir:
            show_folder(root)

    def try_image(self, path: Path) -> None:
        """Open an image on Try it, with what is chosen here."""
        chosen = self.column.chosen
        hints = {} if self.column.document else {
            "module": chosen.module,
            "function": chosen.function,
            "parameters": self.column.parameters.form.values(),
        }  # fmt: skip
        self.context.shell.show_page("try", image=path, **hints)

    # ---- pipeline files -------------------------------------------------------------------------

    def browse_pipeline(self) -> None:
        """Let the user choose a pipeline file."""
        path = self.choose_pipeline(str(QSettings().value(_FILES, "")))
        if path:
            QSettings().setValue(_FILES, str(path.parent))
            self.open_pipeline(path)

    def choose_pipeline(self, folder: str) -> Path | None:
        """Show the system's dialog."""
        name, _ = QFileDialog.getOpenFileName(self, "Open a pipeline", folder, _KINDS)
        return Path(name) if name else None

    def open_pipeline(self, path: Path) -> None:
        """Show a pipeline file, which is then run as it is."""
        self.context.background.ask(
            lambda: documents.load(path),
            self._take_pipeline,
            self.context.shell.tell_error,
            owner=self,
        )

    def _take_pipeline(self, document: Document) -> None:
        self.found = None
        self.folders.show_variables(wishes.variables_of(document))
        self.column.open(document)

    def _close_pipeline(self) -> None:
        self.found = None
        self.panel.invite()
        self.folders.show_variables(None)

    def save_pipeline(self) -> None:
        """Write what is chosen into a pipeline file that the user names."""
        batch = self.wish().batch
        if batch is None:
            return
        folder = Path(str(QSettings().value(_FILES, "")))
        path = self.choose_file(str(folder / f"{batch.module}_{batch.function}.yaml"))
        if path is None:
            return
        path = path if path.suffix else path.with_suffix(".yaml")
        QSettings().setValue(_FILES, str(path.parent))
        self.context.background.ask(
            lambda: files.write_text(path, composing.text_of(batch)),
            lambda _: self._saved(path),
            self.context.shell.tell_error,
            owner=self,
        )

    def choose_file(self, suggested: str) -> Path | None:
        """Show the system's dialog."""
        name, _ = QFileDialog.getSaveFileName(self, "Save the pipeline", suggested, _KINDS)
        return Path(name) if name else None

    def _saved(self, path: Path) -> None:
        self.context.shell.tell(
            f"Saved {path.name} in {path.parent}.",
            tone="success",
            details=f'./run pipeline "{path}" --input-dir FOLDER --output-dir FOLDER',
            action="Open folder",
            run=partial(show_folder, path.parent),
        )


def _paths(event: QDropEvent) -> list[Path]:
    return [Path(url.toLocalFile()) for url in event.mimeData().urls() if url.isLocalFile()]
