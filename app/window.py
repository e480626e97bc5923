"""The main window: navigation, pages that are made at their first visit, messages, activity."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from PySide6.QtCore import QSettings, QSize, Qt, QTimer, Signal
from PySide6.QtGui import (
    QCloseEvent,
    QDragEnterEvent,
    QDropEvent,
    QKeySequence,
    QPaintEvent,
    QShortcut,
    QShowEvent,
)
from PySide6.QtWidgets import (
    QButtonGroup,
    QFrame,
    QHBoxLayout,
    QMainWindow,
    QStackedWidget,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from app import icons
from app.background import Background
from app.context import Context
from app.pages.page import Page
from app.store import Store
from app.theme import SPACE, Theme
from app.widgets import build
from app.widgets.activity import Activity
from app.widgets.message_bar import MessageBar
from envmanager import pipelines
from envmanager.errors import GA3EnvError

_NAVIGATION_PX = 172
_SMALLEST = QSize(960, 640)
_USUAL = QSize(1240, 800)


@dataclass(frozen=True)
class Entry:
    """A page in the navigation; `place` is the module and class that make it."""

    key: str
    title: str
    icon: str
    place: tuple[str, str]


PAGES = (
    Entry("modules", "Modules", "modules", ("app.pages.modules", "ModulesPage")),
    Entry("try", "Try it", "try", ("app.pages.try_it", "TryPage")),
    Entry("batch", "Batch", "batch", ("app.pages.batch", "BatchPage")),
    Entry("nodes", "GA3 nodes", "node", ("app.pages.nodes", "NodesPage")),
    Entry("system", "System", "system", ("app.pages.system", "SystemPage")),
    Entry("settings", "Settings", "settings", ("app.pages.settings", "SettingsPage")),
)
ABOUT = Entry("about", "About", "info", ("app.pages.about", "AboutPage"))
_MODULES = (".ga3module", ".ga3bundle")  # what `export-module` and `bundle create` make
_IMAGES = (".tif", ".tiff", ".nd2", ".png", ".jpg", ".jpeg")


class MainWindow(QMainWindow):
    """The application's window; does for its pages what `context.Shell` says.

    An image that is dropped on it opens on Try it; a module is offered to be added.
    """

    painted = Signal()  # once: the user sees the window

    def __init__(self, theme: Theme, background: Background, store: Store) -> None:
        super().__init__()
        self.setWindowTitle("GA3 Environment Manager")
        self.setWindowIcon(icons.application())
        self.setMinimumSize(_SMALLEST)
        self.context = Context(background, store, theme, self)
        self.messages = MessageBar(self.context)
        self.activity = Activity(self.context)
        self._stack = QStackedWidget()
        self._pages: dict[str, Page] = {}
        self._buttons: dict[str, QToolButton] = {}
        self._asked_to_close = False
        self._is_painted = False
        self.setAcceptDrops(True)
        self._lay_out()
        self._place()
        refresh = QShortcut(QKeySequence(QKeySequence.StandardKey.Refresh), self)
        refresh.activated.connect(store.refresh)
        store.failed.connect(self.tell_error)

    # ---- the pages ------------------------------------------------------------------------------

    @property
    def page(self) -> str:
        """The key of the page that is shown."""
        return next((key for key, p in self._pages.items() if p is self._stack.currentWidget()), "")

    def show_page(self, page: str, **hints: Any) -> None:
        """Go to a page; it is made at its first visit."""
        if page not in self._pages:
            entry = next(entry for entry in (*PAGES, ABOUT) if entry.key == page)
            module, name = entry.place
            made: Page = getattr(importlib.import_module(module), name)(self.context)
            self._pages[page] = made
            self._stack.addWidget(made)
        old, new = self._stack.currentWidget(), self._pages[page]
        if old is not new and isinstance(old, Page):
            old.leave()
        self._buttons[page].setChecked(True)
        self._stack.setCurrentWidget(new)
        new.visit(**hints)

    def tell(
        self,
        text: str,
        *,
        tone: str = "info",
        details: str = "",
        action: str = "",
        run: Callable[[], object] | None = None,
    ) -> None:
        """Say something in the message bar."""
        self.messages.tell(text, tone=tone, details=details, action=action, run=run)

    def tell_error(
        self, error: GA3EnvError, *, action: str = "", run: Callable[[], object] | None = None
    ) -> None:
        """Show an error in the message bar."""
        self.messages.tell_error(error, action=action, run=run)

    def load_pages(self) -> None:
        """Load in the background what the pages import, before anybody visits them."""
        self.context.background.ask(_load_pages, lambda _: None)

    # ---- the frame ------------------------------------------------------------------------------

    def _lay_out(self) -> None:
        right = QVBoxLayout()
        right.setSpacing(0)
        message = QVBoxLayout()
        message.setContentsMargins(2 * SPACE, SPACE, 2 * SPACE, 0)
        message.addWidget(self.messages)
        right.addLayout(message)
        right.addWidget(self._stack, 1)
        right.addWidget(self.activity)
        central = QWidget()
        layout = QHBoxLayout(central)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(self._navigation())
        layout.addLayout(right, 1)
        self.setCentralWidget(central)

    def _navigation(self) -> QFrame:
        frame = build.frame("navigation", "Pages")
        frame.setFixedWidth(_NAVIGATION_PX)
        layout = QVBoxLayout(frame)
        layout.setContentsMargins(SPACE, 2 * SPACE, SPACE, 2 * SPACE)
        layout.setSpacing(2)
        group = QButtonGroup(self)
        for number, entry in enumerate(PAGES, 1):
            button = self._entry_button(entry, f"{entry.title} (Ctrl+{number})")
            shortcut = QShortcut(QKeySequence(f"Ctrl+{number}"), self)
            shortcut.activated.connect(partial(self.show_page, entry.key))
            group.addButton(button)
            layout.addWidget(button)
        layout.addStretch(1)
        about = self._entry_button(ABOUT, "Version, licence, and what it is made of")
        group.addButton(about)
        layout.addWidget(about)
        return frame

    def _entry_button(self, entry: Entry, tip: str) -> QToolButton:
        button = build.tool(entry.title, partial(self.show_page, entry.key), tip=tip)
        button.setText(entry.title)
        button.setCheckable(True)
        button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        button.setFixedWidth(_NAVIGATION_PX - 2 * SPACE)
        self.context.set_icon(button, entry.icon)
        self._buttons[entry.key] = button
        return button

    # ---- what is dropped, painted and closed ----------------------------------------------------

    def open_path(self, path: Path) -> bool:
        """Open an image on Try it, a pipeline on Batch, or offer to add a module.

        False for anything else.
        """
        if path.suffix.lower() in _IMAGES:
            self.show_page("try", image=path)
        elif path.is_dir() or path.suffix.lower() in _MODULES:
            self.show_page("modules", add=path)
        elif path.suffix.lower() in pipelines.SUFFIXES:
            self.show_page("batch", pipeline=path)
        else:
            return False
        return True

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:  # noqa: N802
        """Take images, pipelines, modules and folders."""
        known = (*_IMAGES, *pipelines.SUFFIXES, *_MODULES)
        if any(path.suffix.lower() in known or path.is_dir() for path in _dropped(event)):
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:  # noqa: N802
        """Open the first thing that can be opened."""
        event.acceptProposedAction()
        any(self.open_path(path) for path in _dropped(event))

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802
        """Tell of the first time, when all of the window is painted."""
        super().paintEvent(event)
        if not self._is_painted:
            self._is_painted = True
            QTimer.singleShot(0, self.painted.emit)

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802
        """Begin with no button in focus: Tab goes to the first one."""
        super().showEvent(event)
        self._stack.setFocus()

    def _place(self) -> None:
        """Be where the window was when it was closed the last time."""
        self.resize(_USUAL)
        if kept := QSettings().value("window/geometry"):
            self.restoreGeometry(kept)

    def closeEvent(self, event: QCloseEvent) -> None:  # noqa: N802
        """Ask once where something still runs; closing again cancels it."""
        under_way = self.context.background.under_way()
        if under_way and not self._asked_to_close:
            self._asked_to_close = True
            names = ", ".join(task.title for task in under_way)
            self.messages.tell(
                f"Still at work: {names}. Close the window again to cancel this and leave.",
                tone="warning",
                action="Cancel it and close",
                run=self.close,
            )
            event.ignore()
            return
        QSettings().setValue("window/geometry", self.saveGeometry())
        event.accept()


def _load_pages() -> None:
    for entry in PAGES:
        importlib.import_module(entry.place[0])


def _dropped(event: QDropEvent) -> list[Path]:
    return [Path(url.toLocalFile()) for url in event.mimeData().urls() if url.isLocalFile()]
