"""All about one module: what it is, its packages, its versions, its workers, its log."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from PySide6.QtCore import QTimer
from PySide6.QtGui import QFontDatabase
from PySide6.QtWidgets import QPlainTextEdit, QTabWidget, QVBoxLayout, QWidget

from app import words
from app.background import Task
from app.context import Context
from app.pages.modules import detail_facts, facts, rights, work
from app.pages.modules.detail_facts import VERSIONS, Installed, Running
from app.pages.modules.rights import Rights
from app.pages.modules.sheet import Sheet, add_facts, clear
from app.pages.modules.steps import Step
from app.pages.modules.version_row import VersionRow
from app.theme import SPACE
from app.widgets import build
from app.widgets.scrolling import scrolled
from app.widgets.tables import table
from app.widgets.text import Text
from envmanager import workers
from envmanager.data.paths import DataFolder
from envmanager.environments.inventory import ModuleStatus

_FOLLOW_MS = 1000
_LINES = 400  # of a task's log
OVERVIEW, PACKAGES, WORKERS, LOG = "Overview", "Packages", "Workers", "Log"


class Details(Sheet):
    """The tabs about one module; the log follows what happens.

    What an install made is read when another one is published; workers and log are read again
    each second, but only while their tab is in sight.
    """

    def __init__(self, context: Context, status: ModuleStatus) -> None:
        self.tabs = QTabWidget()
        super().__init__(context, status.name, status.title)
        self._root = Path(status.root)
        self._status: ModuleStatus | None = None
        self._running: Running | None = None
        self._places: dict[str, QVBoxLayout] = {}
        self.log = QPlainTextEdit()
        self._fill_tabs(status.title)
        self._again = QTimer(self)
        self._again.setInterval(_FOLLOW_MS)
        self._again.timeout.connect(self._ask_running)
        self._again.start()
        self.tabs.currentChanged.connect(self._ask_running)
        self.show_status(status)

    def _holder(self) -> QWidget:
        return self.tabs

    def _fill_tabs(self, title: str) -> None:
        self.tabs.setDocumentMode(True)
        self.tabs.tabBar().setDrawBase(False)
        self.tabs.setUsesScrollButtons(True)
        for name in (OVERVIEW, PACKAGES, VERSIONS, WORKERS):
            place = QVBoxLayout()
            place.setContentsMargins(0, SPACE + 4, SPACE, 0)
            place.setSpacing(SPACE)
            self._places[name] = place
            self.tabs.addTab(scrolled(place), name)
        self.log.setReadOnly(True)
        self.log.setAccessibleName(f"Log of {title}")
        self.log.setFont(QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont))
        self.tabs.addTab(self.log, LOG)

    def show_tab(self, name: str) -> None:
        """Turn to a tab."""
        titles = [self.tabs.tabText(number) for number in range(self.tabs.count())]
        self.tabs.setCurrentIndex(titles.index(name))

    def show_status(self, status: ModuleStatus) -> None:
        """Show another state of the same module."""
        old, self._status, self._root = self._status, status, Path(status.root)
        if status != old:
            self._show_overview(status)
        if old is None or _made(old) != _made(status):
            self.context.background.ask(
                partial(detail_facts.installed, DataFolder(self._root), self.module),
                self._show_installed,
                owner=self,
                only_latest="installed",
            )
        self._ask_running()

    def _show_overview(self, status: ModuleStatus) -> None:
        snapshot = self.context.store.snapshot
        declared = snapshot.declarations.get(status.name) if snapshot else None
        place = self._emptied(OVERVIEW)
        if declared:
            place.addWidget(Text(declared.summary))
        for problem in status.problems:
            text = Text(problem)
            build.set_tone(text, "danger" if status.state == "broken" else "warning")
            place.addWidget(text)
        may = self._rights()
        if may.refusal:
            place.addWidget(Text(may.refusal, "muted"))
        manifest = status.manifest or {}
        add_facts(
            place,
            {
                "State": words.STATES[status.state][0],
                "Version": status.installed_version or status.version,
                "Belongs to": f"All accounts, in {status.root}" if may.shared else "",
                "Computes on": facts.device(status) if status.device else "",
                "Why": str(manifest.get("backend_why") or ""),
                "Disk": facts.disk(status.disk),
                "Pinned": ", ".join(f"build {pin.text}" for pin in status.pins),
                "In use by": facts.names(status.in_use_by),
                "Python": str(manifest.get("python") or ""),
                "Self-test": facts.tested(status),
                "Licence": declared.license if declared else "",
                "Home page": declared.homepage if declared else "",
                "Cite": declared.citation if declared else "",
            },
        )
        place.addStretch(1)

    # ---- what an install made -------------------------------------------------------------------

    def _show_installed(self, found: Installed) -> None:
        place = self._emptied(PACKAGES)
        if found.packages:
            made = table(("Package", "Version"), found.packages)
            made.setAccessibleName("Packages")
            place.addWidget(made, 1)
        else:
            self._add_nothing(place, "Nothing is installed yet.")
        place = self._emptied(VERSIONS)
        may = self._rights()
        if may.refusal and found.versions:
            place.addWidget(Text(may.refusal, "muted"))
        for version in found.versions:
            row = VersionRow(self.context, version, may)
            row.asked.connect(self._do)
            place.addWidget(row)
        if not found.versions:
            self._add_nothing(place, "Nothing is installed yet.")
        place.addStretch(1)

    def _rights(self) -> Rights:
        status = self._status
        return rights.of(self.context.store.snapshot, status) if status else rights.ALL

    def _do(self, step: Step, number: int) -> None:
        self.context.shell.show_page("modules", module=self.module, step=step.key, to=number)

    # ---- what runs ------------------------------------------------------------------------------

    def _ask_running(self) -> None:
        tab = self.tabs.tabText(self.tabs.currentIndex())
        task = self._task()
        if tab == LOG and task and not task.is_over:
            self._show_log("\n".join(task.log[-_LINES:]))
        elif tab in (WORKERS, LOG) and self.isVisible():
            self.context.background.ask(
                partial(detail_facts.running, DataFolder(self._root), self.module),
                self._show_running,
                owner=self,
                only_latest="running",
            )

    def _show_running(self, found: Running) -> None:
        old, self._running = self._running, found
        if old is None or found.workers != old.workers:
            self._show_workers(found.workers)
        task = self._task()
        if task is None or task.is_over:
            told = "\n".join(task.log[-_LINES:]) if task else ""
            self._show_log("\n\n".join(filter(None, (told, found.log))))

    def _show_workers(self, found: tuple[workers.Worker, ...]) -> None:
        place = self._emptied(WORKERS)
        for worker in found:
            clients = facts.names(worker.clients) or "nobody at present"
            idle = "computes now" if worker.busy else f"idle for {words.duration(worker.idle_s)}"
            add_facts(
                place,
                {
                    "Process": f"PID {worker.pid}",
                    "State": idle if worker.responding else "does not answer",
                    "Computes on": worker.device,
                    "Used by": clients,
                },
            )
        if found:
            place.addWidget(
                build.button("Stop", self._stop, tip="End it after the call that it runs")
            )
        else:
            text = "No worker runs. The first call starts one, and later calls find it ready."
            self._add_nothing(place, text)
        place.addStretch(1)

    def _stop(self) -> None:
        self.context.background.ask(
            partial(work.stop_workers, self.module),
            self._stopped,
            self.context.shell.tell_error,
            owner=self,
        )

    def _stopped(self, done: workers.Stopped) -> None:
        if done.still_running:
            text = "The worker still computes. It ends after this call; System can end it now."
            self.context.shell.tell(text, tone="warning")
        self.context.store.refresh()
        self._ask_running()

    def _show_log(self, text: str) -> None:
        old = self.log.toPlainText()
        if text == old:
            return
        bar = self.log.verticalScrollBar()
        place, at_end = bar.value(), bar.value() >= bar.maximum() - 4
        if old and text.startswith(old + "\n"):
            self.log.appendPlainText(text[len(old) + 1 :])
        else:
            self.log.setPlainText(text)
        bar.setValue(bar.maximum() if at_end else place)

    def _task(self) -> Task[Any] | None:
        """Return the work on this module: what is under way, else what ended last."""
        own = [task for task in self.context.background.tasks if task.module == self.module]
        return next((task for task in own if not task.is_over), own[-1] if own else None)

    def _emptied(self, tab: str) -> QVBoxLayout:
        clear(self._places[tab])
        return self._places[tab]

    def _add_nothing(self, place: QVBoxLayout, text: str) -> None:
        place.addWidget(build.label(text, "muted", wrap=True))


def _made(status: ModuleStatus) -> tuple[Any, ...]:
    finished = (status.manifest or {}).get("finished")
    place = status.root, status.may_change
    return place, status.generation, status.generations, status.pins, finished
