"""The main window: navigation, pages that are made at their first visit, messages, activity."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from PySide6.QtCore import QSettings, QSize, Qt
from PySide6.QtGui import QCloseEvent, QKeySequence, QShortcut
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
    Entry("nodes", "GA3 nodes", "node", ("app.pages.nodes", "NodesPage")),
    Entry("system", "System", "system", ("app.pages.system", "SystemPage")),
    Entry("settings", "Settings", "settings", ("app.pages.settings", "SettingsPage")),
)


class MainWindow(QMainWindow):
    """The application's window; does for its pages what `context.Shell` says."""

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
        self._lay_out()
        self._place()
        store.failed.connect(self.tell_error)

    # ---- the pages ------------------------------------------------------------------------------

    @property
    def page(self) -> str:
        """The key of the page that is shown."""
        return next((key for key, p in self._pages.items() if p is self._stack.currentWidget()), "")

    def show_page(self, page: str, **hints: Any) -> None:
        """Go to a page; it is made at its first visit."""
        if page not in self._pages:
            entry = next(entry for entry in PAGES if entry.key == page)
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

    def tell(self, text: str, *, tone: str = "info", details: str = "") -> None:
        """Say something in the message bar."""
        self.messages.tell(text, tone=tone, details=details)

    def tell_error(
        self, error: GA3EnvError, *, action: str = "", run: Callable[[], object] | None = None
    ) -> None:
        """Show an error in the message bar."""
        self.messages.tell_error(error, action=action, run=run)

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
            button = build.tool(entry.title, tip=f"{entry.title} (Ctrl+{number})")
            button.setText(entry.title)
            button.setCheckable(True)
            button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
            button.setFixedWidth(_NAVIGATION_PX - 2 * SPACE)
            self.context.set_icon(button, entry.icon)
            button.clicked.connect(lambda _=False, key=entry.key: self.show_page(key))
            shortcut = QShortcut(QKeySequence(f"Ctrl+{number}"), self)
            shortcut.activated.connect(lambda key=entry.key: self.show_page(key))
            group.addButton(button)
            layout.addWidget(button)
            self._buttons[entry.key] = button
        layout.addStretch(1)
        return frame

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
