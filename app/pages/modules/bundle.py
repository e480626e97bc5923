"""A bundle: the sheet shows what it holds, and installs it where the user agrees."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QCheckBox

from app import words
from app.background import Work
from app.context import Context
from app.pages.modules import work
from app.pages.modules.sheet import Sheet
from app.widgets.tables import table
from envmanager.bundles import installing, reading
from envmanager.bundles.manifest import SUFFIX as SUFFIX
from envmanager.bundles.manifest import Manifest
from envmanager.environments.lifecycle import Environments, Installed
from envmanager.events import CancelToken, Report
from envmanager.sharing.adding import WARNING

if TYPE_CHECKING:
    from app.pages.modules.page import ModulesPage


_REPLACE = "Where a module here is another one, take that of the bundle"
_FOR_ALL = "Install it for all accounts of this computer"


class BundleSheet(Sheet):
    """What a bundle holds.

    `confirmed` gives its checksum, whether it replaces modules, and the data folder to install
    into: None is the account's own.
    """

    confirmed = Signal(str, bool, object)

    def __init__(self, context: Context, path: Path) -> None:
        super().__init__(context, "", "Install a bundle")
        self._path = path
        self.replaces, self.for_all = QCheckBox(_REPLACE), QCheckBox(_FOR_ALL)
        self.add_text(f"Looking into {path.name} ...", "muted")
        self.add_button("Cancel", self.closed.emit)
        context.background.ask(partial(reading.look, path), self._show, self.show_error, owner=self)

    def _show(self, said: Manifest) -> None:
        self.clear()
        self.add_text(WARNING, tone="warning")
        target = f"{said.target.platform.capitalize()} (64 bit) with Python {said.target.python}"
        if said.interpreter:
            target += ", which it brings along"
        self.add_facts(
            {
                "Modules": ", ".join(f"{one.title} {one.version}" for one in said.modules),
                "Is for": target,
                "Made by": f"GA3 Environment Manager {said.app_version}",
                "File": str(self._path),
                "Size": words.size(sum(file.size for file in said.files.values())),
                "Checksum": said.checksum,
            }
        )
        made = table(("Holds", "Size", "Licence"), _rows(said), all_rows=True)
        made.setAccessibleName("What the bundle holds")
        self.content.addWidget(made)
        self.add_text("No network is needed. Every byte is checked before anything is changed.")
        self.replaces, self.for_all = QCheckBox(_REPLACE), QCheckBox(_FOR_ALL)
        self.content.addWidget(self.replaces)
        if self._root_of_all():
            snapshot = self.context.store.snapshot
            self.for_all.setChecked(bool(snapshot and snapshot.shared))
            self.content.addWidget(self.for_all)
        self.add_button("Cancel", self.closed.emit)
        button = self.add_button("Install", partial(self._confirm, said.checksum), role="primary")
        self.prefer(button)

    def _confirm(self, checksum: str) -> None:
        root = self._root_of_all() if self.for_all.isChecked() else None
        self.confirmed.emit(checksum, self.replaces.isChecked(), root)

    def _root_of_all(self) -> Path | None:
        """Return the data folder of all accounts, where this one may install into it."""
        snapshot = self.context.store.snapshot
        for_all = snapshot.for_all if snapshot else None
        return for_all if snapshot and for_all != snapshot.root else None


def _rows(said: Manifest) -> list[tuple[str, str, str]]:
    """Return modules and weights with their licences, and the sum of the packages."""
    rows = [(one.title, "", one.license) for one in said.modules]
    for module in said.modules:
        licenses = dict(module.licenses)
        rows += [
            (f"Weights {one.name}", words.size(one.size), licenses[one.name])
            for one in module.weights
        ]
    packages = said.part("wheels/").values()
    size = words.size(sum(file.size for file in packages))
    return [*rows, (f"{len(packages)} packages", size, "")]


def offer(page: ModulesPage, path: Path) -> None:
    """Show what a bundle holds, and install it where the user agrees."""
    sheet = BundleSheet(page.context, path)
    sheet.confirmed.connect(partial(_install, page, path))
    page.open(sheet)


def _install(
    page: ModulesPage, path: Path, checksum: str, replaces: bool, root: Path | None
) -> None:
    shell = page.context.shell
    found = _work(path, checksum, root, replaces=replaces)
    task = page.context.background.start(f"Install {path.name}", found)

    def done(installed: Sequence[Installed]) -> None:
        page.context.store.refresh()
        names = ", ".join(f"{one.name} {one.version}" for one in installed)
        shell.tell(f"Ready to use: {names}", tone="success")

    task.succeeded.connect(done)
    again = partial(page.offer, path)
    task.failed.connect(partial(shell.tell_error, action="Try again", run=again))
    page.close_side()


def _work(path: Path, checksum: str, root: Path | None, *, replaces: bool) -> Work[list[Installed]]:
    def run(found: Environments, report: Report, cancel: CancelToken) -> list[Installed]:
        return installing.install(
            found, path, replace_modules=replaces, checksum=checksum, report=report, cancel=cancel
        )

    return work.logged(run, root)
