"""The sheets that show what would happen before it does: install, update, remove."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import Signal
from PySide6.QtWidgets import (
    QAbstractItemView,
    QCheckBox,
    QComboBox,
    QHBoxLayout,
    QHeaderView,
    QTableWidget,
    QTableWidgetItem,
)

from app import words
from app.context import Context
from app.pages.modules import work
from app.pages.modules.card import disk_text
from app.pages.modules.sheet import Sheet
from app.theme import SPACE
from app.widgets import build
from envmanager.data.users import user_text
from envmanager.environments.inventory import ModuleStatus
from envmanager.environments.lifecycle import UpdatePlan
from envmanager.environments.planning import InstallPlan

_BACKENDS = {
    "": "Automatic",
    "cpu": "CPU only",
    "cu126": "CUDA 12.6",
    "cu130": "CUDA 13.0",
}
_TABLE_PX = 220


class InstallSheet(Sheet):
    """What an install would fetch and take; `confirmed` gives the backend, and whether weights."""

    confirmed = Signal(str, bool)

    def __init__(self, context: Context, status: ModuleStatus) -> None:
        super().__init__(context, status.name, f"Install {status.title}")
        self._status = status
        self._backend = ""
        self._missing = [found for found in status.weights if found.default and not found.present]
        self._weights: QCheckBox | None = None
        self._ask()

    def _ask(self) -> None:
        self.clear()
        self.add_text("Looking up what is needed ...", "muted")
        name, backend = self.module, self._backend
        self.context.background.ask(
            lambda: work.plan_install(name, backend),
            self._show,
            self.show_error,
            owner=self,
            only_latest="plan",
        )

    def _show(self, plan: InstallPlan) -> None:
        self.clear()
        python = plan.python + (" (is fetched too)" if plan.python_missing else "")
        self.add_facts(
            {
                "Version": plan.version,
                "Download": words.size(plan.space.download_bytes),
                "Disk needed": words.size(plan.space.disk_bytes),
                "Free": words.size(plan.space.free_bytes),
                "Python": python,
            }
        )
        if plan.backend:
            self._add_backends(plan)
        if not plan.space.fits:
            self.add_text(plan.space.sentence, tone="danger")
        if self._missing:
            self._add_weights()
        self.content.addWidget(build.label("What will be fetched", "heading"))
        rows = [(p["package"], p["version"], words.size(p["bytes"])) for p in plan.packages]
        self.content.addWidget(table(("Package", "Version", "Size"), rows))
        self.add_button("Cancel", self.closed.emit)
        self.add_button("Install", self._confirm, role="primary")

    def _add_backends(self, plan: InstallPlan) -> None:
        line = QHBoxLayout()
        line.setSpacing(SPACE)
        line.addWidget(build.label("Computes on", "muted"))
        choice = QComboBox()
        choice.setAccessibleName("Computes on")
        for key, title in _BACKENDS.items():
            choice.addItem(title, key)
        choice.setCurrentIndex(list(_BACKENDS).index(self._backend))
        choice.activated.connect(lambda row: self._change_backend(str(choice.itemData(row))))
        line.addWidget(choice)
        line.addStretch(1)
        self.content.addLayout(line)
        self.add_text(plan.why, "muted")

    def _add_weights(self) -> None:
        size = sum(found.size for found in self._missing)
        names = ", ".join(found.title for found in self._missing)
        told = f" ({words.size(size)})" if size else ""
        self._weights = QCheckBox(f"Also download the model weights{told}: {names}")
        self._weights.setChecked(True)
        self.content.addWidget(self._weights)

    def _change_backend(self, backend: str) -> None:
        self._backend = backend
        self._ask()

    def _confirm(self) -> None:
        self.confirmed.emit(self._backend, bool(self._weights and self._weights.isChecked()))


class UpdateSheet(Sheet):
    """The list of changes that an update would make."""

    confirmed = Signal()

    def __init__(self, context: Context, status: ModuleStatus) -> None:
        super().__init__(context, status.name, f"Update {status.title}")
        self.add_text("Looking up what would change ...", "muted")
        name = status.name
        context.background.ask(
            lambda: work.plan_update(name), self._show, self.show_error, owner=self
        )

    def _show(self, plan: UpdatePlan) -> None:
        self.clear()
        if not plan.needed:
            self.add_text(f"Version {plan.old_version} is up to date. Nothing would change.")
            self.add_button("Close", self.closed.emit)
            return
        self.add_facts(
            {
                "Version": f"{plan.old_version}  to  {plan.new_version}",
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
        rows = [(c["package"], c["old"] or "-", c["new"] or "-") for c in plan.changes]
        self.content.addWidget(table(("Package", "Now", "Then"), rows))
        self.add_button("Cancel", self.closed.emit)
        self.add_button("Update", self.confirmed.emit, role="primary")


class RemoveSheet(Sheet):
    """What would be deleted; `confirmed` says whether to wait until nobody uses it."""

    confirmed = Signal(bool)

    def __init__(self, context: Context, status: ModuleStatus) -> None:
        super().__init__(context, status.name, f"Remove {status.title}")
        count = len(status.generations)
        self.add_facts(
            {
                "Environment": f"{count} version{'s' * (count != 1)}",
                "Disk": disk_text({k: v for k, v in status.disk.items() if k != "weights"}),
                "Frees": words.size(status.disk.get("own", 0)),
            }
        )
        if status.disk.get("shared"):
            self.add_text("What is shared with other modules or the cache stays.", "muted")
        if any(found.present for found in status.weights):
            self.add_text("The model weights stay; remove them under Weights.", "muted")
        self.add_button("Cancel", self.closed.emit)
        if status.in_use_by:
            users = ", ".join(map(user_text, status.in_use_by))
            self.add_text(f"In use by {users}.", tone="warning")
            self.add_button("Remove when free", lambda: self.confirmed.emit(True), role="primary")
        else:
            self.add_button("Remove", lambda: self.confirmed.emit(False), role="primary")


def table(titles: tuple[str, ...], rows: list[tuple[Any, ...]]) -> QTableWidget:
    """Return a table that can be read and copied, not changed."""
    made = QTableWidget(len(rows), len(titles))
    made.setHorizontalHeaderLabels(titles)
    made.verticalHeader().hide()
    made.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
    made.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
    made.setShowGrid(False)
    made.setMinimumHeight(_TABLE_PX)
    header = made.horizontalHeader()
    header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
    header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
    header.setHighlightSections(False)
    for row, values in enumerate(rows):
        for column, value in enumerate(values):
            made.setItem(row, column, QTableWidgetItem(str(value)))
    return made
