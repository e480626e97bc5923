"""The home page: search, cards, and beside them a sheet or the details of the chosen module."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import Qt, QUrl
from PySide6.QtGui import QDesktopServices
from PySide6.QtWidgets import (
    QAbstractButton,
    QApplication,
    QFileDialog,
    QLineEdit,
    QMenu,
    QSplitter,
    QToolButton,
    QVBoxLayout,
)

from app.background import ENGINE
from app.context import Context
from app.pages.modules import facts, hints, rights
from app.pages.modules.card import ModuleCard
from app.pages.page import Page
from app.store import Snapshot
from app.theme import SPACE
from app.widgets import build
from app.widgets.scrolling import scrolled

if TYPE_CHECKING:
    from app.pages.modules.sheet import Sheet
    from app.pages.modules.steps import Step
    from envmanager.environments.inventory import ModuleStatus

_SEARCH_PX = 240
_CARDS_PX, _SIDE_PX = 600, 430


class ModulesPage(Page):
    """A card per module; what the user decides is asked beside the cards.

    The sheets are imported when one is opened: they load the engine, which the first paint of the
    window does not wait for.
    """

    def __init__(self, context: Context) -> None:
        super().__init__(context, "Modules")
        self.cards: dict[str, ModuleCard] = {}
        self.chosen = ""
        self.side: Sheet | None = None
        self.search = QLineEdit()
        self.more = build.tool("Modules of your own", tip="Add or make a module of your own")
        self._hint = hints.Hint(context, "First steps", hints.FIRST_STEPS)
        self.shared_hint = hints.SharedHint(context)
        self._empty = build.label("No module matches.", "muted")
        self._reading = build.label("Looking at what is installed ...", "muted")
        self._fill_head()
        self._lay_out()
        context.store.changed.connect(self._show)
        context.background.tasks_changed.connect(self._follow_tasks)
        context.theme.changed.connect(self._redraw)
        if context.store.snapshot:
            self._show(context.store.snapshot)

    def _fill_head(self) -> None:
        self.search.setPlaceholderText("Search")
        self.search.setAccessibleName("Search modules")
        self.search.setClearButtonEnabled(True)
        self.search.setFixedWidth(_SEARCH_PX)
        self.search.textChanged.connect(self._filter)
        menu = QMenu(self)
        menu.addAction("Add a module ...", self._choose_file)
        menu.addAction("Add module folder ...", self._choose_folder)
        menu.addAction("New module ...", self.make_new)
        self.more.setMenu(menu)
        self.more.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self.context.set_icon(self.more, "add")
        self.head.addWidget(self.search)
        self.head.addWidget(self.more)

    def _lay_out(self) -> None:
        self._list = QVBoxLayout()
        self._list.setContentsMargins(0, 0, SPACE, 0)
        self._list.setSpacing(SPACE + 4)
        self._list.setAlignment(Qt.AlignmentFlag.AlignTop)
        above = (self._hint, self.shared_hint, self._reading, self._empty)
        for widget in above:
            self._list.addWidget(widget)
        self._above = len(above)
        self._empty.hide()
        self._splitter = QSplitter(Qt.Orientation.Horizontal)
        self._splitter.setChildrenCollapsible(False)
        self._splitter.setHandleWidth(SPACE)
        self._splitter.setStyleSheet("QSplitter::handle { background: transparent; }")
        self._splitter.addWidget(scrolled(self._list))
        self.body.addWidget(self._splitter)

    def visit(self, **hints: Any) -> None:
        """Choose the module that another page names, begin a step, or offer to add a folder."""
        from app.pages.modules import steps

        if module := str(hints.get("module") or ""):
            step = hints.get("step")
            if isinstance(step, str):
                step = steps.by_key(step)
            if step:
                self.do(module, step, to=hints.get("to"))
            else:
                self.choose(module)
        if folder := hints.get("add"):
            self.offer(Path(folder))

    # ---- the cards ------------------------------------------------------------------------------

    def _show(self, snapshot: Snapshot) -> None:
        self._reading.hide()
        for name in [name for name in self.cards if snapshot.module(name) is None]:
            self.cards.pop(name).deleteLater()
        for status in snapshot.modules:
            declared = snapshot.declarations.get(status.name)
            summary = declared.summary if declared else ""
            own, may = facts.is_own(snapshot, status), rights.of(snapshot, status)
            if card := self.cards.get(status.name):
                if (card.status, card.summary, card.own, card.may) != (status, summary, own, may):
                    card.show_status(status, summary, own, may)
            else:
                self._add_card(ModuleCard(status, summary, own, may, self.context))
        self.shared_hint.show_snapshot(snapshot)
        self._hint.setVisible(all(status.generation is None for status in snapshot.modules))
        self._follow_tasks()
        self._filter(self.search.text())
        if self.side and (chosen := snapshot.module(self.side.module)):
            self.side.show_status(chosen)

    def _add_card(self, card: ModuleCard) -> None:
        card.asked.connect(self.do)
        card.chosen.connect(self.choose)
        self.cards[card.status.name] = card
        names = sorted(self.cards)
        self._list.insertWidget(self._above + names.index(card.status.name), card)

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
        under_way = {
            task.module: task
            for task in reversed(self.context.background.under_way())
            if task.lane == ENGINE
        }
        for name, card in self.cards.items():
            card.follow(under_way.get(name))

    def _redraw(self) -> None:
        for card in self.cards.values():
            card.show_status(card.status, card.summary, card.own, card.may)

    # ---- what is beside the cards ---------------------------------------------------------------

    def choose(self, name: str) -> None:
        """Show the details of a module."""
        from app.pages.modules.details import Details

        if isinstance(self.side, Details) and self.side.module == name:
            return
        if status := self.status(name):
            self.open(Details(self.context, status))

    def open(self, sheet: Sheet) -> None:
        """Show a sheet in the place of the one before."""
        sizes = self._splitter.sizes()
        had_side = self.side is not None
        by_keyboard = isinstance(QApplication.focusWidget(), QAbstractButton | ModuleCard)
        self.close_side()
        self.side, self.chosen = sheet, sheet.module
        sheet.closed.connect(self.close_side)
        self._splitter.addWidget(sheet)
        if by_keyboard:
            sheet.close_button.setFocus(Qt.FocusReason.OtherFocusReason)
        self._splitter.setSizes(sizes if had_side else [_CARDS_PX, _SIDE_PX])
        self._splitter.setStretchFactor(0, 3)
        self._splitter.setStretchFactor(1, 2)
        for name, card in self.cards.items():
            card.set_chosen(name == sheet.module)

    def close_side(self) -> None:
        """Leave the cards alone."""
        if self.side:
            self.side.end()
            focus = QApplication.focusWidget()
            if focus and self.side.isAncestorOf(focus):
                self.setFocus()  # Tab goes on from here, and not from the first button of all
            self.side.hide()
            self.side.setParent(self)  # out of the splitter; without a parent it were Python's
            self.side.deleteLater()
        self.side, self.chosen = None, ""
        for card in self.cards.values():
            card.set_chosen(False)

    def status(self, name: str) -> ModuleStatus | None:
        """Return what is known of a module."""
        snapshot = self.context.store.snapshot
        return snapshot.module(name) if snapshot else None

    def do(self, name: str, step: Step, to: int | None = None) -> None:
        """Begin a step with a module: at once, or with a sheet that asks."""
        from app.pages.modules.doing import Doing

        if status := self.status(name):
            Doing(self, status).begin(step, to)

    # ---- modules of the user's own --------------------------------------------------------------

    def _choose_folder(self) -> None:
        title = "Folder of a module"
        if folder := QFileDialog.getExistingDirectory(self, title):
            self.offer(Path(folder))

    def _choose_file(self) -> None:
        kinds = "Modules and bundles (*.ga3module *.ga3bundle);;All files (*)"
        chosen, _ = QFileDialog.getOpenFileName(self, "File of a module", "", kinds)
        if chosen:
            self.offer(Path(chosen))

    def offer(self, source: Path) -> None:
        """Show what a module's folder or file holds, and offer to add it."""
        from app.pages.modules import bundle, doing

        if source.is_dir():
            doing.offer_folder(self, source)
        elif source.suffix.lower() == bundle.SUFFIX:
            bundle.offer(self, source)
        else:
            doing.offer_file(self, source)

    def make_new(self) -> None:
        """Ask for the name of a new module."""
        from app.pages.modules import doing

        doing.offer_new(self)

    def open_folder(self, folder: Path) -> None:
        """Show a folder in the system's file manager."""
        QDesktopServices.openUrl(QUrl.fromLocalFile(str(folder)))
