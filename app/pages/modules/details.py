"""All about one module: what it is, its packages, its versions, its workers, its log."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from PySide6.QtCore import QTimer
from PySide6.QtWidgets import QPlainTextEdit, QTabWidget, QVBoxLayout, QWidget

from app import words
from app.background import Task
from app.context import Context
from app.pages.modules.card import device_text, disk_text
from app.pages.modules.plans import table
from app.pages.modules.sheet import Sheet
from app.widgets import build
from envmanager import workers
from envmanager.data.paths import data_folder
from envmanager.data.users import user_text
from envmanager.environments import generations, inventory
from envmanager.environments.inventory import ModuleStatus
from ga3_nodes import spawn

_FOLLOW_MS = 1000
_LINES = 400  # of a log
_TABS = ("Overview", "Packages", "Versions", "Workers", "Log")


@dataclass(frozen=True)
class Found:
    """What the details show beyond the status; read in the background."""

    packages: tuple[tuple[str, str], ...] = ()
    versions: tuple[tuple[str, str, str, str], ...] = ()
    workers: tuple[workers.Worker, ...] = ()
    log: str = field(default="", repr=False)


class Details(Sheet):
    """The tabs about one module; the log follows what happens."""

    def __init__(self, context: Context, status: ModuleStatus) -> None:
        super().__init__(context, status.name, status.title)
        self._status = status
        self._found = Found()
        self._tabs = QTabWidget()
        self._tabs.setDocumentMode(True)
        self._tabs.setUsesScrollButtons(True)
        self._places: dict[str, QVBoxLayout] = {}
        for title in _TABS[:-1]:
            place = QWidget()
            self._places[title] = QVBoxLayout(place)
            self._tabs.addTab(place, title)
        self._log = QPlainTextEdit()
        self._log.setReadOnly(True)
        self._log.setAccessibleName(f"Log of {status.title}")
        self._log.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
        self._tabs.addTab(self._log, _TABS[-1])
        self.content.addWidget(self._tabs)
        self._again = QTimer(self)
        self._again.setInterval(_FOLLOW_MS)
        self._again.timeout.connect(self._ask)
        self._again.start()
        self.show_status(status)
        self._ask()

    def show_log(self) -> None:
        """Turn to the log."""
        self._tabs.setCurrentIndex(len(_TABS) - 1)

    def show_status(self, status: ModuleStatus) -> None:
        """Show another state of the same module."""
        self._status = status
        snapshot = self.context.store.snapshot
        declared = snapshot.declarations.get(status.name) if snapshot else None
        place = self._emptied("Overview")
        for text in (declared.summary if declared else "", *status.problems):
            if text:
                place.addWidget(build.label(text, wrap=True, selectable=True))
        manifest = status.manifest or {}
        facts = {
            "State": words.STATES[status.state][0],
            "Version": status.installed_version or "",
            "Computes on": device_text(status) if status.device else "",
            "Why": str(manifest.get("backend_why") or ""),
            "Disk": disk_text(status.disk) if any(status.disk.values()) else "",
            "In use by": ", ".join(map(user_text, status.in_use_by)),
            "Python": str(manifest.get("python") or ""),
            "Self-test": str(manifest.get("selftest") or ""),
            "Licence": declared.license if declared else "",
            "Cite": declared.citation if declared else "",
            "Home page": declared.homepage if declared else "",
        }
        _add_facts(place, facts)
        place.addStretch(1)

    # ---- what is read in the background ---------------------------------------------------------

    def _ask(self) -> None:
        if not self.isVisible() and self._found != Found():
            return
        name = self.module
        self.context.background.ask(
            lambda: read(name), self._show, owner=self, only_latest="details"
        )

    def _show(self, found: Found) -> None:
        old, self._found = self._found, found
        if found.packages != old.packages or not old.versions:
            self._fill("Packages", ("Package", "Version"), list(found.packages))
        if found.versions != old.versions:
            self._fill("Versions", ("", "Version", "Python", "Built"), list(found.versions))
        self._show_workers(found.workers)
        self._show_log(found.log)

    def _fill(self, tab: str, titles: tuple[str, ...], rows: list[tuple[Any, ...]]) -> None:
        place = self._emptied(tab)
        if rows:
            place.addWidget(table(titles, rows))
        else:
            place.addWidget(build.label("Nothing is installed yet.", "muted"))
            place.addStretch(1)

    def _show_workers(self, found: tuple[workers.Worker, ...]) -> None:
        place = self._emptied("Workers")
        for worker in found:
            clients = ", ".join(map(user_text, worker.clients)) or "nobody"
            facts = {
                "PID": str(worker.pid),
                "Idle": words.duration(worker.idle_s) if worker.idle_s is not None else "",
                "Used by": clients,
            }
            _add_facts(place, facts)
        if not found:
            text = "No worker runs. The first call starts one, and later calls find it ready."
            place.addWidget(build.label(text, "muted", wrap=True))
        place.addStretch(1)

    def _show_log(self, text: str) -> None:
        task = self._task()
        if task:
            text = "\n".join([*task.log[-_LINES:]])
        if text == self._log.toPlainText():
            return
        bar = self._log.verticalScrollBar()
        at_end = bar.value() >= bar.maximum() - 4
        self._log.setPlainText(text)
        if at_end:
            bar.setValue(bar.maximum())

    def _task(self) -> Task[Any] | None:
        under_way = self.context.background.under_way()
        return next((task for task in under_way if task.module == self.module), None)

    def _emptied(self, tab: str) -> QVBoxLayout:
        place = self._places[tab]
        while (item := place.takeAt(0)) is not None:
            if widget := item.widget():
                widget.setParent(None)
                widget.deleteLater()
        return place


def _add_facts(place: QVBoxLayout, facts: dict[str, str]) -> None:
    for name, value in facts.items():
        if value:
            place.addWidget(build.label(name, "muted"))
            place.addWidget(build.label(value, wrap=True, selectable=True))


def read(name: str) -> Found:
    """Read what the details show; not in the GUI thread."""
    data = data_folder()
    entry = inventory.usable(data, name)
    if entry is None:
        return Found()
    manifest = generations.read_manifest(entry.folder) or {}
    packages = tuple(sorted(_packages(manifest)))
    versions = tuple(
        _version(generations.read_manifest(data.module(name) / str(number)) or {}, number, entry)
        for number in reversed(inventory.numbers(data, name))
    )
    log = spawn.log_tail(spawn.log_path(entry), lines=_LINES)
    return Found(packages, versions, tuple(workers.live(data, name)), log)


def _packages(manifest: dict[str, Any]) -> list[tuple[str, str]]:
    found = manifest.get("packages") or {}
    return [(str(name), str(version)) for name, version in dict(found).items()]


def _version(manifest: dict[str, Any], number: int, entry: Any) -> tuple[str, str, str, str]:
    used = "in use" if number == entry.generation else ""
    finished = manifest.get("finished")
    built = time.strftime("%Y-%m-%d", time.localtime(finished)) if finished else ""
    return used, str(manifest.get("version") or "?"), str(manifest.get("python") or ""), built
