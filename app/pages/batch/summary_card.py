"""How a run ended."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QFrame, QHBoxLayout, QVBoxLayout

from app import words
from app.theme import SPACE
from app.widgets import build
from envmanager.pipelines.running import Summary

_NOTES = 3


class SummaryCard(QFrame):
    """The last panel of the column; hidden until something was run."""

    open_folder = Signal()
    show_failed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("card")
        self.headline = build.label(style="heading", wrap=True, selectable=True)
        self.facts = build.label(style="muted", wrap=True, selectable=True)
        self.notes = build.label(wrap=True, selectable=True)
        build.set_tone(self.notes, "warning")
        self.opener = build.button("Open output folder", self.open_folder.emit)
        self.failed = build.button("Show why", self.show_failed.emit)
        self.failed.setToolTip("The images that failed, with reasons")
        buttons = QHBoxLayout()
        buttons.setSpacing(SPACE)
        buttons.addWidget(self.opener, 1)
        buttons.addWidget(self.failed, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(SPACE + 4, SPACE + 4, SPACE + 4, SPACE + 4)
        layout.setSpacing(SPACE)
        for label in (self.headline, self.facts, self.notes):
            layout.addWidget(label)
        layout.addLayout(buttons)
        self.hide()

    def show_summary(self, summary: Summary, notes: Sequence[str]) -> None:
        """Show a run that went through all images."""
        failed = len(summary.failed)
        parts = [f"{summary.done:,} done"] if summary.done or not summary.skipped else []
        parts += [f"{summary.skipped:,} done before"] if summary.skipped else []
        parts += [f"{failed:,} failed"] if failed else []
        took = words.duration(summary.seconds)
        facts = f"{_images(summary.images)} in {took}"
        if summary.done:
            inside = words.duration(summary.inside_s)
            facts = f"{summary.objects:,} objects in {took}, {inside} of it in the module"
        self._show(", ".join(parts), f"{facts}.", notes, failed)

    def show_stopped(self, done: int, total: int, failed: int, notes: Sequence[str]) -> None:
        """Show a run that has ended too early."""
        headline = f"Stopped: {done:,} of {total:,} are done"
        self._show(headline, "The next run goes on with the others.", notes, failed)

    def _show(self, headline: str, facts: str, notes: Sequence[str], failed: int) -> None:
        self.headline.setText(headline)
        self.facts.setText(facts)
        more = [f"... and {len(notes) - _NOTES} more notes"] if len(notes) > _NOTES else []
        self.notes.setText("\n".join([*notes[:_NOTES], *more]))
        self.notes.setVisible(bool(notes))
        self.failed.setVisible(bool(failed))
        self.show()


def _images(count: int) -> str:
    return f"{count:,} image{'' if count == 1 else 's'}"
