"""Puts the application together, and takes it apart at the end."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from PySide6.QtCore import QCoreApplication, Qt
from PySide6.QtWidgets import QApplication

from app import icons
from app.background import Background
from app.single import SingleInstance
from app.store import Store
from app.theme import Theme
from app.window import MainWindow
from envmanager.errors import GA3EnvError
from ga3_nodes import __version__

NAME = "GA3 Environment Manager"


def application() -> QApplication:
    """Return the one `QApplication`, made where there is none."""
    QCoreApplication.setOrganizationName("GA3EnvManager")
    QCoreApplication.setApplicationName(NAME)
    QCoreApplication.setApplicationVersion(__version__)
    made = QApplication.instance() or QApplication(sys.argv[:1])
    assert isinstance(made, QApplication)
    made.setWindowIcon(icons.application())
    made.setDesktopFileName("ga3-environment-manager")
    return made


class Application:
    """The parts of the running app."""

    def __init__(self) -> None:
        self.qt = application()
        self.theme = Theme(self.qt)
        self.background = Background()
        self.store = Store(self.background)
        self.window = MainWindow(self.theme, self.background, self.store)

    def show(self, page: str = "modules") -> None:
        """Show the window, and begin to read what it shows."""
        self.window.show_page(page)
        self.window.show()
        self.store.begin()

    def come_forward(self, arguments: list[str]) -> None:
        """Do what a second start asks for."""
        window = self.window
        window.setWindowState(window.windowState() & ~Qt.WindowState.WindowMinimized)
        window.raise_()
        window.activateWindow()

    def shut_down(self) -> None:
        """End all work; the workers of modules live on."""
        self.background.shut_down()


def check_display() -> None:
    """Refuse to start where there is no screen: Qt would end the process without a word.

    Raises
    ------
    GA3EnvError
        What to do instead.
    """
    screens = ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM")
    if sys.platform.startswith("linux") and not any(os.environ.get(name) for name in screens):
        raise GA3EnvError(
            "There is no screen to show the app on.",
            "Everything works on the command line too: ./run --help",
            code="no_display",
        )


def run(arguments: Sequence[str]) -> int:
    """Run the app until its window is closed; return the exit code."""
    qt = application()
    single = SingleInstance()
    if not single.claim(list(arguments)):
        return 0
    app = Application()
    single.called.connect(app.come_forward)
    app.show()
    try:
        return qt.exec()
    finally:
        single.release()
        app.shut_down()
