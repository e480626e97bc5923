"""The home page: search, cards, and beside them a sheet or the details of the chosen module."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import Qt, QUrl
from PySide6.QtGui import QDesktopServices
from PySide6.QtWidgets import QLineEdit, QScrollArea, QSplitter, QVBoxLayout, QWidget

from app.background import Task, Work
from app.context import Context
from app.pages.modules import steps, work
from app.pages.modules.card import ModuleCard
from app.pages.modules.details import Details
from app.pages.modules.plans import InstallSheet, RemoveSheet, UpdateSheet
from app.pages.modules.sheet import Sheet
from app.pages.modules.steps import Step
from app.pages.modules.weights import WeightsSheet
from app.pages.page import Page
from app.store import Snapshot
from app.theme import SPACE
from app.widgets import build
from envmanager.environments.inventory import ModuleStatus
from envmanager.errors import GA3EnvError

_SEARCH_PX = 240
_CARDS_PX, _SIDE_PX = 620, 420
_HINT = (
    "Each module is a tool with an environment of its own, so that none can break another or "
    "NIS-Elements. Install one, try it on an image, then take its node to NIS-Elements."
)


class ModulesPage(Page):
    """A card per module; what the user decides is asked beside the cards."""

    def __init__(self, context: Context) -> None:
        super().__init__(context, "Modules")
        self.cards: dict[str, ModuleCard] = {}
        self.chosen = ""
        self._search = QLineEdit()
        self._search.setPlaceholderText("Search")
        self._search.setAccessibleName("Search modules")
        self._search.setClearButtonEnabled(True)
        self._search.setFixedWidth(_SEARCH_PX)
        self._search.textChanged.connect(self._filter)
        self.head.addWidget(self._search)
        self._hint = build.label(_HINT, "muted", wrap=True)
        self._empty = build.label("No module matches.", "muted")
        self.side: Sheet | None = None
        self._lay_out()
        context.store.changed.connect(self._show)
        context.background.tasks_changed.connect(self._follow_tasks)
        context.theme.changed.connect(self._redraw)
        if context.store.snapshot:
            self._show(context.store.snapshot)

    def _lay_out(self) -> None:
        inside = QWidget()
        inside.setObjectName("content")
        self._list = QVBoxLayout(inside)
        self._list.setContentsMargins(0, 0, SPACE, 0)
        self._list.setSpacing(SPACE + 4)
        self._list.setAlignment(Qt.AlignmentFlag.AlignTop)
        self._list.addWidget(self._hint)
        self._list.addWidget(self._empty)
        self._empty.hide()
        scroll = QScrollArea()
        scroll.setWidgetResizable(True)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setWidget(inside)
        self._splitter = QSplitter(Qt.Orientation.Horizontal)
        self._splitter.setChildrenCollapsible(False)
        self._splitter.setHandleWidth(SPACE)
        self._splitter.setStyleSheet("QSplitter::handle { background: transparent; }")
        self._splitter.addWidget(scroll)
        self.body.addWidget(self._splitter)

    def visit(self, **hints: Any) -> None:
        """Choose the module that another page names, and begin a step with it."""
        if module := hints.get("module"):
            self.choose(str(module))
            if step := hints.get("step"):
                self._do(str(module), step)

    # ---- the cards ------------------------------------------------------------------------------

    def _show(self, snapshot: Snapshot) -> None:
        for name in [name for name in self.cards if snapshot.module(name) is None]:
            self.cards.pop(name).deleteLater()
        for status in snapshot.modules:
            declared = snapshot.declarations.get(status.name)
            summary = declared.summary if declared else ""
            if status.name in self.cards:
                self.cards[status.name].show_status(status, summary)
            else:
                self._add_card(ModuleCard(status, summary, self.context))
        self._hint.setVisible(all(status.generation is None for status in snapshot.modules))
        self._follow_tasks()
        self._filter(self._search.text())
        if isinstance(self.side, Details) and (chosen := snapshot.module(self.side.module)):
            self.side.show_status(chosen)

    def _add_card(self, card: ModuleCard) -> None:
        card.asked.connect(self._do)
        card.chosen.connect(self.choose)
        self.cards[card.status.name] = card
        self._list.addWidget(card)

    def _filter(self, text: str) -> None:
        words = text.lower().split()
        found = False
        for card in self.cards.values():
            told = f"{card.status.name} {card.status.title} {card.summary}".lower()
            fits = all(word in told for word in words)
            card.setVisible(fits)
            found |= fits
        self._empty.setVisible(bool(words) and not found)

    def _follow_tasks(self) -> None:
        under_way = {task.module: task for task in reversed(self.context.background.under_way())}
        for name, card in self.cards.items():
            card.follow(under_way.get(name))

    def _redraw(self) -> None:
        for card in self.cards.values():
            card.show_status(card.status, card.summary)

    # ---- what is beside the cards ---------------------------------------------------------------

    def choose(self, name: str) -> None:
        """Show the details of a module."""
        if isinstance(self.side, Details) and self.side.module == name:
            return
        if status := self._status(name):
            self._open(Details(self.context, status))

    def _open(self, sheet: Sheet) -> None:
        self._close_side()
        self.side, self.chosen = sheet, sheet.module
        sheet.closed.connect(self._close_side)
        self._splitter.addWidget(sheet)
        self._splitter.setSizes([_CARDS_PX, _SIDE_PX])
        self._splitter.setStretchFactor(0, 3)
        self._splitter.setStretchFactor(1, 2)
        for name, card in self.cards.items():
            card.set_chosen(name == sheet.module)

    def _close_side(self) -> None:
        if self.side:
            self.side.hide()
            self.side.setParent(None)
            self.side.deleteLater()
        self.side, self.chosen = None, ""
        for card in self.cards.values():
            card.set_chosen(False)

    def _status(self, name: str) -> ModuleStatus | None:
        snapshot = self.context.store.snapshot
        return snapshot.module(name) if snapshot else None

    # ---- the steps ------------------------------------------------------------------------------

    def _do(self, name: str, step: Step) -> None:
        status = self._status(name)
        if status is None:
            return
        match step.key:
            case "install":
                install = InstallSheet(self.context, status)
                install.confirmed.connect(
                    lambda backend, weights: self._install(status, backend, weights)
                )
                self._open(install)
            case "update":
                update = UpdateSheet(self.context, status)
                update.confirmed.connect(lambda: self._start(status, step, work.update(name)))
                self._open(update)
            case "remove":
                remove = RemoveSheet(self.context, status)
                remove.confirmed.connect(
                    lambda wait: self._start(status, step, work.remove(name, when_free=wait))
                )
                self._open(remove)
            case "weights":
                self._open(WeightsSheet(self.context, status))
            case "try" | "nodes" | "node":
                page = "try" if step.key == "try" else "nodes"
                self.context.shell.show_page(page, module=name)
            case _:
                self._do_at_once(status, step)

    def _do_at_once(self, status: ModuleStatus, step: Step) -> None:
        name = status.name
        works: dict[str, Work[Any]] = {
            "verify": work.verify(name),
            "repair": work.repair(name),
            "rollback": work.rollback(name),
            "selftest": work.selftest(name),
        }
        if step.key in works:
            self._start(status, step, works[step.key])
        elif step.key == "keep":
            self.context.background.ask(
                lambda: work.keep(name), self._kept, self.context.shell.tell_error, owner=self
            )
        elif step.key == "log":
            self.choose(name)
            if isinstance(self.side, Details):
                self.side.show_log()
        elif step.key == "folder" and self.context.store.snapshot:
            folder = self.context.store.snapshot.root / "envs" / name / str(status.generation)
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(folder)))

    def _kept(self, _: None) -> None:
        self.context.store.refresh()

    def _install(self, status: ModuleStatus, backend: str, weights: bool) -> None:
        found = work.install(status.name, backend=backend, weights=weights)
        self._start(status, steps.INSTALL, found)

    def _start(self, status: ModuleStatus, step: Step, found: Work[Any]) -> Task[Any]:
        """Begin long work, and show the module's details while it runs."""
        title = f"{step.title} {status.title}"
        task = self.context.background.start(title, found, module=status.name)
        task.succeeded.connect(lambda result: self._tell(status, step, result))
        task.failed.connect(lambda error: self._failed(status, step, error))
        task.noticed.connect(self._notice)
        self._open(Details(self.context, status))
        return task

    def _tell(self, status: ModuleStatus, step: Step, result: Any) -> None:
        self.context.store.refresh()
        text, tone = _outcome(status.title, step.key, result)
        self.context.shell.tell(text, tone=tone)

    def _notice(self, text: str) -> None:
        self.context.shell.tell(text, tone="warning")

    def _failed(self, status: ModuleStatus, step: Step, error: GA3EnvError) -> None:
        self.context.store.refresh()
        self.context.shell.tell_error(
            error, action="Try again", run=lambda: self._do(status.name, step)
        )


def _outcome(title: str, key: str, result: Any) -> tuple[str, str]:
    """Say what a step has done, and in which tone."""
    match key:
        case "verify" if result:
            return "\n".join([*(p.message for p in result[:5]), f"Repair {title}."]), "warning"
        case "verify":
            return f"{title} is whole: every file, the imports and the tests.", "success"
        case "repair" if not result.new:
            return f"{title} is whole; nothing was changed.", "success"
        case "repair":
            return f"{title} is mended.", "success"
        case "selftest":
            return f"The self-test of {title} passed.", "success"
        case "remove" if result.deferred:
            return f"{title} is removed as soon as nobody uses it.", "info"
        case "remove":
            return f"{title} is removed.", "success"
        case "rollback":
            return f"{title} {result.version} is in use again.", "success"
    return f"{title} {result.version} is ready.", "success"
