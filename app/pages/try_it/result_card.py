"""What a run gave: how many objects, how large, how fast; export; two runs compared."""

from __future__ import annotations

from functools import partial

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import (
    QButtonGroup,
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QMenu,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from app.context import Context
from app.pages.try_it import exports, runs
from app.pages.try_it.exports import Export
from app.pages.try_it.runs import Run
from app.pages.try_it.size_histogram import SizeHistogram
from app.theme import SPACE
from app.widgets import build

A, B, BOTH = "A", "B", "both"
_DIFFERENCES_PX = 96


class ResultCard(QFrame):
    """The last panel of the column; hidden until something was run."""

    export = Signal(object)  # Export
    keep = Signal()  # the run that is shown becomes A
    view_chosen = Signal(str)  # A, B or BOTH
    stop_comparing = Signal()

    def __init__(self, context: Context) -> None:
        super().__init__()
        self.setObjectName("card")
        self._context = context
        self.headline = build.label(style="heading", selectable=True)
        self.facts = build.label(style="muted", wrap=True, selectable=True)
        self.notes = build.label(wrap=True, selectable=True)
        build.set_tone(self.notes, "warning")
        self.histogram = SizeHistogram(context.theme)
        self.exporting = build.button("Export")
        self.exporting.setToolTip("Save the mask, the objects, or their outlines")
        self._menu = QMenu(self.exporting)
        self.exporting.setMenu(self._menu)
        self.keep_button = build.button("Keep as A", self.keep.emit)
        self.keep_button.setToolTip("Keep this result, and compare the next one with it")
        self.comparison = _Comparison(context)
        self.comparison.chosen.connect(self.view_chosen)
        self.comparison.closed.connect(self.stop_comparing)
        self._is_tight = False
        self._has_sizes = False
        self._lay_out()
        self.hide()

    def _lay_out(self) -> None:
        head = QHBoxLayout()
        head.setSpacing(SPACE)
        head.addWidget(self.headline, 1)
        head.addWidget(self.keep_button)
        head.addWidget(self.exporting)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(SPACE + 4, SPACE + 4, SPACE + 4, SPACE + 4)
        layout.setSpacing(SPACE)
        layout.addLayout(head)
        layout.addWidget(self.facts)
        layout.addWidget(self.notes)
        layout.addWidget(self.histogram)
        layout.addWidget(self.comparison)

    def show_run(self, run: Run | None) -> None:
        """Show a run; None: there is none."""
        self.setVisible(run is not None)
        if run is None:
            return
        self.headline.setText(runs.objects_text(run))
        self.facts.setText(_facts(run))
        self.notes.setText("\n".join(run.trial.notes))
        self.notes.setVisible(bool(run.trial.notes))
        found = runs.sizes_of(run)
        self._has_sizes = found is not None and found[0].size > 1
        if found:
            self.histogram.show_sizes(*found)
        self._show_histogram()
        self.keep_button.setVisible(bool(run.trial.labels))
        self._menu.clear()
        for export in exports.available(run):
            self._menu.addAction(export.title).triggered.connect(partial(self._export, export))
        self.exporting.setEnabled(not self._menu.isEmpty())

    def show_comparison(self, first: Run | None, second: Run | None, view: str) -> None:
        """Show what is compared: nothing, A only so far, or both."""
        self.comparison.show_runs(first, second, view)
        self._show_histogram()

    def set_tight(self, on: bool) -> None:
        """Take less room: a comparison is shown in the place of the histogram."""
        if on != self._is_tight:
            self._is_tight = on
            self._show_histogram()

    def _show_histogram(self) -> None:
        covered = self._is_tight and not self.comparison.isHidden()
        self.histogram.setVisible(self._has_sizes and not covered)

    def _export(self, export: Export, _checked: bool = False) -> None:
        self.export.emit(export)


class _Comparison(QWidget):
    """A switch between two runs, and what differs between them."""

    chosen = Signal(str)
    closed = Signal()

    def __init__(self, context: Context) -> None:
        super().__init__()
        self._rows: list[tuple[str, str, str]] = []
        self._told = build.label(style="muted", wrap=True)
        self.buttons = {
            key: build.button(text, partial(self.chosen.emit, key), checkable=True, tip=tip)
            for key, text, tip in (
                (A, "A", "Show the result that was kept"),
                (B, "B", "Show the last result"),
                (BOTH, "Side by side", "Show both; they zoom and move together"),
            )
        }
        group = QButtonGroup(self)
        line = QHBoxLayout()
        line.setSpacing(SPACE // 2)
        for button in self.buttons.values():
            group.addButton(button)
            line.addWidget(button, 1 if button is self.buttons[BOTH] else 0)
        close = build.tool("Stop comparing", self.closed.emit)
        context.set_icon(close, "close", "muted")
        line.addWidget(close)
        self._switch = QWidget()
        line.setContentsMargins(0, 0, 0, 0)
        self._switch.setLayout(line)
        self._list = QWidget()
        self._list.setObjectName("content")
        self._area = QScrollArea()
        self._area.setWidgetResizable(True)
        self._area.setFrameShape(QFrame.Shape.NoFrame)
        self._area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(SPACE)
        layout.addWidget(self._switch)
        layout.addWidget(self._told)
        layout.addWidget(self._area)
        self.hide()

    @property
    def rows(self) -> list[tuple[str, str, str]]:
        """What differs: name, value of A, value of B."""
        return self._rows if not self.isHidden() else []

    def show_runs(self, first: Run | None, second: Run | None, view: str) -> None:
        """Show what is compared: nothing, A only so far, or both."""
        self.setVisible(first is not None)
        self._switch.setVisible(second is not None)
        self._area.setVisible(second is not None)
        self._rows = []
        if first is None:
            return
        if second is None:
            self._told.setText("Kept as A. Change something and run again to compare.")
            self._told.show()
            return
        self.buttons[view].setChecked(True)
        self._rows = runs.differences(first, second)
        self._told.setText("A and B were made in the same way.")
        self._told.setVisible(not self._rows)
        self._fill(first, second)

    def _fill(self, first: Run, second: Run) -> None:
        inside = QWidget()
        inside.setObjectName("content")
        grid = QGridLayout(inside)
        grid.setContentsMargins(0, 0, SPACE, 0)
        grid.setHorizontalSpacing(SPACE + 4)
        grid.setVerticalSpacing(2)
        grid.setColumnStretch(0, 1)
        head = ("", f"A: {first.objects:,}", f"B: {second.objects:,}")
        for row, texts in enumerate([head, *self._rows]):
            for column, text in enumerate(texts):
                muted = row == 0 or column == 0
                made = build.label(text, "muted" if muted else "", wrap=True, selectable=True)
                grid.addWidget(made, row, column, Qt.AlignmentFlag.AlignTop)
        grid.setRowStretch(len(self._rows) + 1, 1)
        self._area.setWidget(inside)
        self._area.setFixedHeight(min(_DIFFERENCES_PX, inside.sizeHint().height()))


def device_text(device: str) -> str:
    """Return a device in words: ``the CPU``, ``GPU 0``."""
    return "the CPU" if device in ("", "cpu") else device.replace("cuda:", "GPU ")


def _facts(run: Run) -> str:
    trial = run.trial
    parts = [f"{_seconds(trial.seconds)} on {device_text(trial.device)}"]
    if trial.waited_s > trial.seconds + 1:
        parts.append(f"{_seconds(trial.waited_s)} with the start")
    if run.region:
        y0, y1, x0, x1 = run.region
        parts.append(f"{x1 - x0:,} × {y1 - y0:,} px")
    return ", ".join(parts)


def _seconds(seconds: float) -> str:
    if seconds < 1:
        return f"{1000 * seconds:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 60 else f"{seconds / 60:.1f} min"
