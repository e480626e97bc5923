"""The Python environments that NIS-Elements manages itself: shown, never touched."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtWidgets import QHBoxLayout, QLabel

from app import words
from app.context import Context
from app.pages.system import work
from app.pages.system.panel import Panel, clear
from app.theme import SPACE
from app.widgets import build
from envmanager.disk import VendorFolder

LANE = "disk"
_NONE = "NIS-Elements has no Python environments of its own on this computer."
_ABOUT = (
    "NIS-Elements manages these itself; they are shown only. A file that several of them share "
    "counts in each."
)


class VendorPanel(Panel):
    """A list with sizes, which are measured once."""

    def __init__(self, context: Context) -> None:
        super().__init__(context, "Environments of NIS-Elements")
        self.content.addWidget(build.label(_NONE, "muted", wrap=True))
        self.sizes: dict[Path, QLabel] = {}

    def refresh(self) -> None:
        """Look for the environments."""
        self.context.background.ask(
            work.vendor_folders, self._show, owner=self, only_latest="vendor environments"
        )

    def _show(self, folders: list[Path]) -> None:
        if folders == list(self.sizes):
            return
        clear(self.content)
        self.sizes = {}
        about = _ABOUT if folders else _NONE
        self.content.addWidget(build.label(about, "muted", wrap=True))
        for folder in folders:
            self._add(folder)
        if folders:
            task = self.context.background.start(
                "Measure the environments of NIS-Elements", work.measure_vendor, lane=LANE
            )
            task.succeeded.connect(self._measured)
            task.failed.connect(self.context.shell.tell_error)

    def _add(self, folder: Path) -> None:
        size = build.label("...", selectable=True)
        self.sizes[folder] = size
        line = QHBoxLayout()
        line.setSpacing(SPACE)
        line.addWidget(build.label(folder.name, selectable=True), 1)
        line.addWidget(size)
        self.content.addLayout(line)
        self.content.addWidget(build.label(str(folder), "muted", wrap=True, selectable=True))

    def _measured(self, found: list[VendorFolder]) -> None:
        for each in found:
            if each.path in self.sizes:
                self.sizes[each.path].setText(words.size(each.usage.total))
