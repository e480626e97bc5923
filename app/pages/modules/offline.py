"""Take a module offline: for which computer, with which weights, as one file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QCheckBox, QComboBox, QFileDialog

from app import words
from app.background import Work
from app.context import Context
from app.pages.modules import steps, work
from app.pages.modules.sheet import Sheet
from app.widgets import build
from envmanager.bundles import making
from envmanager.bundles.making import Made, Wanted
from envmanager.bundles.manifest import SUFFIX
from envmanager.bundles.target import PLATFORMS, Target, allowed_pythons, here, own_python
from envmanager.data.paths import data_folder
from envmanager.environments.inventory import ModuleStatus
from envmanager.environments.lifecycle import Environments
from envmanager.events import CancelToken, Report
from envmanager.modules import catalog
from envmanager.packages import resolution

if TYPE_CHECKING:
    from app.pages.modules.page import ModulesPage


@dataclass(frozen=True)
class Choices:
    """What a bundle of a module can be for; `backends` are empty for one without torch."""

    pythons: list[str]
    backends: list[str]


def choices(name: str) -> Choices:
    """Return what a bundle of a module can be for."""
    module = catalog.find(name, data_folder())
    return Choices(allowed_pythons(module), resolution.offered(module.lock))


class OfflineSheet(Sheet):
    """Which computer, which weights; `confirmed` gives what is wanted, and the file."""

    confirmed = Signal(object, object)

    def __init__(self, context: Context, status: ModuleStatus) -> None:
        super().__init__(context, status.name, f"Take {status.title} offline")
        self._sets = status.weights
        self.platform, self.python, self.backend = QComboBox(), QComboBox(), QComboBox()
        self.with_python = QCheckBox("With a Python, for a computer that has none")
        self.weights: dict[str, QCheckBox] = {}
        self.add_text("Looking at the module ...", "muted")
        context.background.ask(
            partial(choices, self.module), self._show, self.show_error, owner=self
        )

    def _show(self, found: Choices) -> None:
        self.clear()
        self.add_text(
            "Downloads all packages for the other computer, and makes one file of them. There, "
            "drop the file on this window; no network is needed."
        )
        self.platform = self._choice("System of the other computer", PLATFORMS, here())
        self.python = self._choice("Its Python", found.pythons, own_python())
        self.with_python = QCheckBox("With a Python, for a computer that has none")
        self.content.addWidget(self.with_python)
        self.backend = self._choice("Computes on", found.backends, "")
        self._add_weights()
        self.add_button("Cancel", self.closed.emit)
        self.prefer(self.add_button("Save as ...", self._choose, role="primary"))

    def _choice(self, title: str, values: Iterable[str], usual: str) -> QComboBox:
        """Add a choice; where there is nothing to choose it is left out."""
        made = QComboBox()
        made.setAccessibleName(title)
        made.addItems(list(values))
        made.setCurrentIndex(max(0, made.findText(usual)))
        if made.count():
            self.content.addWidget(build.label(title, "muted"))
            self.content.addWidget(made)
        return made

    def _add_weights(self) -> None:
        if self._sets:
            self.content.addWidget(build.label("Weights that go along", "heading"))
        for found in self._sets:
            size = f" ({words.size(found.size)})" if found.size else ""
            fetched = "" if found.present else ", is downloaded first"
            box = QCheckBox(f"{found.name}{size}{fetched}")
            box.setChecked(found.default)
            self.weights[found.name] = box
            self.content.addWidget(box)

    def _choose(self) -> None:
        suggested = f"{self.module}-{self.platform.currentText()}{SUFFIX}"
        kinds = f"Bundles (*{SUFFIX})"
        name, _ = QFileDialog.getSaveFileName(self, "Save the bundle", suggested, kinds)
        if name:
            self.save(Path(name))

    def save(self, path: Path) -> None:
        """Make the bundle."""
        target = Target(self.platform.currentText(), self.python.currentText())
        chosen = [name for name, box in self.weights.items() if box.isChecked()]
        wanted = Wanted(
            [self.module],
            target,
            self.backend.currentText(),
            chosen,
            with_python=self.with_python.isChecked(),
        )
        self.confirmed.emit(wanted, path)


def begin(page: ModulesPage, status: ModuleStatus) -> None:
    """Ask for which computer, and make the bundle."""
    sheet = OfflineSheet(page.context, status)
    sheet.confirmed.connect(partial(_make, page, status))
    page.open(sheet)


def _make(page: ModulesPage, status: ModuleStatus, wanted: Wanted, path: Path) -> None:
    shell = page.context.shell
    task = page.context.background.start(
        f"Take {status.title} offline", _work(wanted, path), module=status.name
    )

    def done(made: Made) -> None:
        shell.tell(
            f"{made.path} ({words.size(made.size)}) is ready to be carried over",
            tone="success",
            details=f"Checksum: {made.manifest.checksum}",
            action="Open folder",
            run=partial(page.open_folder, made.path.absolute().parent),
        )

    task.succeeded.connect(done)
    again = partial(page.do, status.name, steps.OFFLINE)
    task.failed.connect(partial(shell.tell_error, action="Try again", run=again))
    page.close_side()


def _work(wanted: Wanted, path: Path) -> Work[Made]:
    def run(found: Environments, report: Report, cancel: CancelToken) -> Made:
        return making.create(found.data, found.settings, wanted, path, report=report, cancel=cancel)

    return work.logged(run)
