"""The sheets about one version of a module: pin it, and compare it with the one in use."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QLineEdit

from app.context import Context
from app.pages.modules import sharing_work
from app.pages.modules.sheet import Sheet
from app.widgets import build
from app.widgets.tables import table
from envmanager.environments.comparing import Comparison
from envmanager.environments.inventory import ModuleStatus


class PinSheet(Sheet):
    """Asks what a version is kept for; `confirmed` gives the note."""

    confirmed = Signal(str)

    def __init__(self, context: Context, status: ModuleStatus, generation: int) -> None:
        super().__init__(context, status.name, f"Pin build {generation} of {status.title}")
        self.add_text(
            "A pinned version is never cleaned up, however many updates come. Its packages and "
            "code stay as they are until you unpin it."
        )
        self.content.addWidget(build.label("Note", "muted"))
        self.note = QLineEdit()
        self.note.setAccessibleName("Note")
        self.note.setPlaceholderText("What for, such as: paper 2026")
        self.note.returnPressed.connect(self._confirm)
        self.content.addWidget(self.note)
        self.add_button("Cancel", self.closed.emit)
        self.add_button("Pin", self._confirm, role="primary")
        self.note.setFocus(Qt.FocusReason.OtherFocusReason)

    def _confirm(self) -> None:
        self.confirmed.emit(self.note.text())


class CompareSheet(Sheet):
    """What differs between a version and the one in use."""

    def __init__(self, context: Context, status: ModuleStatus, generation: int) -> None:
        super().__init__(context, status.name, f"Versions of {status.title}")
        self.add_text("Comparing ...", "muted")
        context.background.ask(
            partial(sharing_work.compare, self.module, Path(status.root), generation),
            self._show,
            self.show_error,
            owner=self,
        )

    def _show(self, found: Comparison) -> None:
        self.clear()
        self.add_text(f"From build {found.old} to build {found.new}, which is in use.")
        if found.same:
            self.add_text("Nothing differs.")
        rows = [(one["fact"], one["old"] or "-", one["new"] or "-") for one in found.facts]
        rows += [(f"{p['package']}", p["old"] or "-", p["new"] or "-") for p in found.packages]
        rows += [(package, "same version", "another file") for package in found.rebuilt]
        rows += [(file["file"], "", file["change"]) for file in found.files]
        if rows:
            titles = ("What", f"Build {found.old}", f"Build {found.new}")
            made = table(titles, rows)
            made.setAccessibleName("What differs")
            self.content.addWidget(made, 1)
        self.add_button("Close", self.closed.emit)
