"""Shows what runs gave, over the image and beside it; two runs compared; export."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from PySide6.QtCore import QObject, QSettings, QUrl, Signal
from PySide6.QtGui import QDesktopServices
from PySide6.QtWidgets import QFileDialog

from app.background import Work
from app.context import Context
from app.pages.try_it import exports, runs
from app.pages.try_it.exports import Export
from app.pages.try_it.image_panel import ImagePanel
from app.pages.try_it.result_card import BOTH, A, B, ResultCard
from app.pages.try_it.runs import Run
from app.pages.try_it.table_panel import TablePanel
from envmanager.errors import UsageError
from envmanager.events import CancelToken, Report

_FOLDER = "try/export folder"
FILES = "files"  # the lane: a mask is saved while the next one computes


class Results(QObject):
    """The last run, and another one that was kept as A to be compared with it.

    Attributes
    ----------
    objects : Run or None
        The last run that gave objects: what functions that measure them are given.
    """

    changed = Signal()

    def __init__(self, context: Context, images: ImagePanel) -> None:
        super().__init__(images)
        self._context = context
        self._images = images
        self.card = ResultCard(context)
        self.table = TablePanel(context)
        self.kept: Run | None = None
        self.last: Run | None = None
        self.objects: Run | None = None
        self.view = B
        self.card.keep.connect(self.keep)
        self.card.view_chosen.connect(self.show_view)
        self.card.stop_comparing.connect(self.stop_comparing)
        self.card.export.connect(self.export)
        self.table.save.connect(self._save_table)
        images.image_opened.connect(self.clear)

    # ---- runs -----------------------------------------------------------------------------------

    @property
    def shown(self) -> Run | None:
        """The run whose result is in sight."""
        return self.kept if self.view == A and self.kept else self.last

    def add(self, run: Run) -> None:
        """Show a new run."""
        current = self._images.current()
        if current is None or current.series is not run.of.series:
            return  # another image was opened meanwhile
        self.last = run
        if run.trial.labels:
            self.objects = run
        if self.view == A or not run.trial.labels:
            self.view = B
        self._show()

    def keep(self) -> None:
        """Keep the run in sight as A."""
        self.kept, self.view = self.shown, B
        self._show()

    def show_view(self, view: str) -> None:
        """Show A, B, or both side by side."""
        self.view = view
        self._show()

    def stop_comparing(self) -> None:
        """Show the last run only."""
        self.kept, self.view = None, B
        self._show()

    def clear(self) -> None:
        """Forget all runs: they are of another image."""
        self.kept = self.last = self.objects = None
        self.view = B
        self._show()

    # ---- showing --------------------------------------------------------------------------------

    def _show(self) -> None:
        second = self.last if self.last is not self.kept else None
        self.card.show_run(self.shown)
        self.card.show_comparison(self.kept, second, self.view)
        self._show_masks(second)
        self._show_picture(self.shown)
        self._show_table(self.shown)
        self.changed.emit()

    def _show_masks(self, second: Run | None) -> None:
        both = self.view == BOTH and self.kept is not None and second is not None
        if both and self.kept and second:
            captions = [f"{side}: {runs.objects_text(run)}"
                        for side, run in ((A, self.kept), (B, second))]  # fmt: skip
            self._images.compare(True, (captions[0], captions[1]))
            self._show_mask(self.kept, A)
            self._show_mask(second, B)
            return
        self._images.compare(False)
        shown = self.shown if self.shown and self.shown.trial.labels else self.objects
        self._show_mask(shown, A)
        self._show_mask(None, B)

    def _show_mask(self, run: Run | None, side: str) -> None:
        if run is None:
            self._images.set_labels(None, side=side)
        else:
            self._images.set_labels(run.trial.mask, run.region, of=run.of, side=side)

    def _show_picture(self, run: Run | None) -> None:
        pixels = next(iter(run.trial.pictures.values()), None) if run else None
        if run is None or pixels is None:
            self._images.set_picture(None)
            return
        self._images.set_picture(pixels, run.region, of=run.of, volume=run.volume)

    def _show_table(self, run: Run | None) -> None:
        found = next(iter(run.trial.tables.items()), None) if run else None
        if run is None or found is None:
            self.table.hide()
            return
        name, columns = found
        self.table.show_table(name, columns, run.spec["outputs"][name])

    # ---- files ----------------------------------------------------------------------------------

    def export(self, kind: Export) -> None:
        """Ask for a file, and save what is in sight in the background."""
        run = self.shown
        if run is None:
            return
        source = run.of.series.path
        folder = Path(str(QSettings().value(_FOLDER, "") or source.parent))
        path = self.choose_file(kind, folder / f"{_stem(source)}{kind.ending}")
        if path is None:
            return
        path = path if path.suffix else path.with_suffix(kind.suffix)
        if _same(path, source):
            self._context.shell.tell_error(
                UsageError(f"This would replace the image {path.name}.", "Choose another name.")
            )
            return
        QSettings().setValue(_FOLDER, str(path.parent))
        current = self._images.current()
        work = _writing(kind, run, path, current.z if current else run.of.z)
        task = self._context.background.start(f"Save {path.name}", work, lane=FILES)
        task.succeeded.connect(self._saved)
        task.failed.connect(self._context.shell.tell_error)

    def choose_file(self, kind: Export, suggested: Path) -> Path | None:
        """Show the system's dialog."""
        name, _ = QFileDialog.getSaveFileName(
            self.card, kind.title.removesuffix(" ..."), str(suggested), kind.kind
        )
        return Path(name) if name else None

    def _saved(self, path: Path) -> None:
        self._context.shell.tell(
            f"Saved {path.name} in {path.parent}.",
            tone="success",
            action="Open folder",
            run=partial(_open_folder, path.parent),
        )

    def _save_table(self, name: str) -> None:
        self.export(exports.of_table(name))


def _writing(kind: Export, run: Run, path: Path, z: int) -> Work[Path]:
    def work(report: Report, cancel: CancelToken) -> Path:
        kind.write(run, path, z)
        return path

    return work


def _open_folder(folder: Path) -> None:
    QDesktopServices.openUrl(QUrl.fromLocalFile(str(folder)))


def _stem(path: Path) -> str:
    """Return a file's name without suffix, also without the first part of ``.ome.tif``."""
    return path.stem.removesuffix(".ome")


def _same(first: Path, second: Path) -> bool:
    try:
        return first.resolve() == second.resolve() or first.samefile(second)
    except OSError:  # the first is not there yet
        return False
