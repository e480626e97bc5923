"""The sheets that show what would happen before it does: install, update, remove."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QCheckBox, QComboBox, QHBoxLayout

from app import words
from app.context import Context
from app.pages.modules import facts, work
from app.pages.modules.sheet import Sheet
from app.theme import SPACE
from app.widgets import build
from app.widgets.tables import table
from envmanager.environments.inventory import ModuleStatus
from envmanager.environments.lifecycle import UpdatePlan
from envmanager.environments.planning import InstallPlan
from envmanager.errors import GA3EnvError
from envmanager.events import CancelToken

_DRIVER_TOO_OLD = "driver_too_old"
_FOR_ALL, _FOR_ME = "All accounts of this computer", "Me alone"
_ALONE = (
    "You get one of your own, which you can update and change. Your nodes and this app use it from "
    "then on; all others go on with the shared one. Remove yours to go back to that."
)
_ALL_LOSE_IT = "All accounts of this computer share it, and lose it."


class InstallSheet(Sheet):
    """What an install would fetch and take.

    `confirmed` gives the data folder, the backend, and whether weights come too. `alone` installs
    for this account beside what all accounts share.
    """

    confirmed = Signal(object, str, bool)

    def __init__(self, context: Context, status: ModuleStatus, *, alone: bool = False) -> None:
        title = f"Install {status.title}" + (" for me alone" if alone else "")
        super().__init__(context, status.name, title)
        self._alone = alone
        self._roots = _roots(context, status, alone=alone)
        self._root = next(iter(self._roots))
        self._backend = ""
        self._backends: list[str] = []
        self._asked = CancelToken()
        self._missing = [found for found in status.weights if found.default and not found.present]
        self.weights: QCheckBox | None = None
        self.place: QComboBox | None = None
        self.backend: QComboBox | None = None
        self._ask()

    def end(self) -> None:
        """Look up nothing more."""
        self._asked.cancel()

    def _ask(self) -> None:
        self.clear()
        self._add_choices()
        self.add_text("Looking up what is needed ...", "muted")
        self.add_button("Cancel", self.closed.emit)
        self._asked = CancelToken()
        self.context.background.ask(
            partial(work.plan_install, self.module, self._root, self._backend, self._asked),
            self._show,
            self.show_error,
            owner=self,
            only_latest="install plan",
        )

    def _show(self, plan: InstallPlan) -> None:
        self.clear()
        self._backends = plan.backends
        self._add_choices()
        if plan.backends:
            self.add_text(plan.why, "muted")
        python = "fetched too" if plan.python_missing else "is here"
        version = plan.python if plan.python_missing else ""
        self.add_facts(
            {
                "Version": plan.version,
                "Download": words.size(plan.space.download_bytes),
                "Disk needed": words.size(plan.space.disk_bytes),
                "Free": words.size(plan.space.free_bytes),
                "Python": f"{version} {python}".strip(),
            }
        )
        if plan.space.unknown:
            names = ", ".join(plan.space.unknown)
            self.add_text(f"Not counted, as the index does not tell their size: {names}", "muted")
        if not plan.space.fits:
            self.add_text(plan.space.sentence, tone="danger")
        if self._missing:
            self._add_weights()
        count = len(plan.packages)
        title = f"{count} package{'s' * (count != 1)} that it needs"
        self.content.addWidget(build.label(title, "heading"))
        rows = [(p["package"], p["version"], _size(p["bytes"])) for p in plan.packages]
        made = table(("Package", "Version", "Size"), rows)
        made.setAccessibleName(title)
        self.content.addWidget(made, 1)
        self.add_button("Cancel", self.closed.emit)
        self.prefer(self.add_button("Install", self._confirm, role="primary"))

    def show_error(self, error: GA3EnvError) -> None:
        """Say what is in the way; another choice of where it computes may be the way out."""
        super().show_error(error)
        if error.code == _DRIVER_TOO_OLD and not self._backends:
            self._backends = ["cpu"]
        self._add_choices()
        self.add_button("Try again", self._ask, role="primary")

    # ---- for whom, and where it computes --------------------------------------------------------

    def _add_choices(self) -> None:
        if self._alone:
            self.add_text(_ALONE, "muted")
        if len(self._roots) > 1:
            self.place = self._choice("Install for", self._roots, self._root)
            self.place.activated.connect(self._change_place)
        if self._backends:
            titles = {key: backend_title(key) for key in ("", *self._backends)}
            self.backend = self._choice("Computes on", titles, self._backend)
            self.backend.activated.connect(self._change_backend)

    def _choice(self, name: str, titles: Mapping[Any, str], chosen: Any) -> QComboBox:
        line = QHBoxLayout()
        line.setSpacing(SPACE)
        line.addWidget(build.label(name, "muted"))
        choice = QComboBox()
        choice.setAccessibleName(name)
        for key, title in titles.items():
            choice.addItem(title, key)
        choice.setCurrentIndex(list(titles).index(chosen))
        line.addWidget(choice)
        line.addStretch(1)
        self.content.addLayout(line)
        return choice

    def _add_weights(self) -> None:
        size = sum(found.size for found in self._missing)
        told = f" ({words.size(size)})" if size else ""
        self.weights = QCheckBox(f"Also download the model weights{told}")
        self.weights.setChecked(True)
        self.content.addWidget(self.weights)
        for found in self._missing:
            licence = f". Licence: {found.license}" if found.license else ""
            self.add_text(f"{found.title}{licence}", "muted")

    def _change_place(self, row: int) -> None:
        self._root = list(self._roots)[row]
        self._ask()

    def _change_backend(self, _row: int) -> None:
        assert self.backend
        self._backend = str(self.backend.currentData())
        self._ask()

    def _confirm(self) -> None:
        weights = bool(self.weights and self.weights.isChecked())
        self.confirmed.emit(self._root, self._backend, weights)


def _roots(context: Context, status: ModuleStatus, *, alone: bool) -> dict[Path, str]:
    """Return where a module can be installed, in words; the first one is what is usual."""
    snapshot = context.store.snapshot
    if alone and snapshot:
        return {snapshot.root: _FOR_ME}
    for_all = snapshot.for_all if snapshot else None
    if snapshot and for_all and for_all != snapshot.root and status.generation is None:
        both = {for_all: _FOR_ALL, snapshot.root: _FOR_ME}
        return both if snapshot.shared else dict(reversed(both.items()))
    return {Path(status.root): _FOR_ALL if status.shared else _FOR_ME}


class UpdateSheet(Sheet):
    """The list of changes that an update would make."""

    confirmed = Signal()

    def __init__(self, context: Context, status: ModuleStatus) -> None:
        super().__init__(context, status.name, f"Update {status.title}")
        self._root = Path(status.root)
        self._asked = CancelToken()
        self._ask()

    def end(self) -> None:
        """Look up nothing more."""
        self._asked.cancel()

    def _ask(self) -> None:
        self.clear()
        self.add_text("Looking up what would change ...", "muted")
        self.context.background.ask(
            partial(work.plan_update, self.module, self._root, self._asked),
            self._show,
            self.show_error,
            owner=self,
        )

    def show_error(self, error: GA3EnvError) -> None:
        """Say what is in the way."""
        super().show_error(error)
        self.add_button("Try again", self._ask, role="primary")

    def _show(self, plan: UpdatePlan) -> None:
        self.clear()
        if not plan.needed:
            self.add_text(f"Version {plan.old_version} is up to date. Nothing would change.")
            self.add_button("Close", self.closed.emit)
            return
        same = plan.old_version == plan.new_version
        self.add_facts(
            {
                "Version": plan.new_version if same else f"{plan.old_version} → {plan.new_version}",
                "Download": words.size(plan.download_bytes),
                "Disk needed": words.size(plan.disk_bytes),
                "Free": words.size(plan.free_bytes),
            }
        )
        if plan.why:
            self.add_text(plan.why, "muted")
        if not plan.fits:
            self.add_text("It may not fit on the disk.", tone="danger")
        self.add_text("The present version is kept, so that you can roll back.", "muted")
        self._add_changes(plan)
        self.add_button("Cancel", self.closed.emit)
        self.prefer(self.add_button("Update", self.confirmed.emit, role="primary"))

    def _add_changes(self, plan: UpdatePlan) -> None:
        if not plan.changes:
            self.add_text("The module's own files changed; its packages stay the same.")
            return
        rows = [(c["package"], c["old"] or "-", c["new"] or "-") for c in plan.changes]
        made = table(("Package", "Now", "Then"), rows)
        made.setAccessibleName("Changes")
        self.content.addWidget(made, 1)


class RemoveSheet(Sheet):
    """What would be deleted; `confirmed` says whether to wait, and whether weights go too."""

    confirmed = Signal(bool, bool)

    def __init__(self, context: Context, status: ModuleStatus) -> None:
        super().__init__(context, status.name, f"Remove {status.title}")
        self._status = status
        self.weights: QCheckBox | None = None
        own, shared = status.disk.get("own", 0), status.disk.get("shared", 0)
        weights = status.disk.get("weights", 0)
        count = len(status.generations)
        versions = f", {count} versions" if count > 1 else ""
        rows = [(f"Environment{versions}", words.size(own), "deleted")]
        if shared:
            rows.append(("Shared files", words.size(shared), "kept"))
        if weights:
            rows.append(("Model weights", words.size(weights), "kept"))
        made = table(("What", "Size", ""), rows, all_rows=True)
        made.setAccessibleName("What is removed")
        self.content.addWidget(made)
        if status.shared:
            self.add_text(_ALL_LOSE_IT, tone="warning")
        if shared:
            text = "Other modules or the cache of downloads use the shared files too."
            self.add_text(text, "muted")
        if weights and not facts.others(status):
            self.weights = QCheckBox(f"Delete the model weights too ({words.size(weights)})")
            self.content.addWidget(self.weights)
        self.pinned: QCheckBox | None = None
        if status.pins:
            told = ", ".join(f"build {pin.text}" for pin in status.pins)
            self.add_text(f"Pinned, to be kept: {told}.", tone="warning")
            self.pinned = QCheckBox("Delete the pinned versions too")
            self.content.addWidget(self.pinned)
        self.add_button("Cancel", self.closed.emit)
        self._add_remove()

    def _add_remove(self) -> None:
        if others := facts.others(self._status):
            self.add_text(f"In use by {facts.names(others)}.", tone="warning")
            text = "It works on until then, and the app removes it once nobody uses it."
            self.add_text(text, "muted")
            title, wait = "Remove when free", True
        else:
            title, wait = "Remove", False
        remove = self.add_button(title, partial(self._confirm, wait), role="primary")
        if self.pinned:
            remove.setEnabled(False)
            self.pinned.toggled.connect(remove.setEnabled)

    def _confirm(self, wait: bool) -> None:
        self.confirmed.emit(wait, bool(self.weights and self.weights.isChecked()))


def backend_title(key: str) -> str:
    """Return a build of torch for people: ``CUDA 13.0``."""
    if key in ("", "auto"):
        return "Automatic"
    if key == "cpu":
        return "CPU only"
    return f"CUDA {key[2:-1]}.{key[-1]}" if key.startswith("cu") else key


def _size(number: int) -> str:
    return words.size(number) if number else ""
