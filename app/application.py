"""Puts the application together, and takes it apart at the end."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from PySide6.QtCore import QCoreApplication, Qt, QTimer
from PySide6.QtWidgets import QApplication

from app import icons
from app.background import Background
from app.garbage import Garbage
from app.single import SingleInstance
from app.store import Store
from app.theme import Theme
from app.window import MainWindow
from envmanager.errors import GA3EnvError
from ga3_nodes import __version__

NAME = "GA3 Environment Manager"
_UNSEEN_MS = 1000
_OPENS = (
    "It opens images, pipelines (.yaml, .ga3pipeline), modules and bundles (.ga3module, "
    ".ga3bundle) and folders of modules."
)


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
        self._garbage = Garbage()
        self.theme = Theme(self.qt)
        self.background = Background()
        self.store = Store(self.background)
        self.window = MainWindow(self.theme, self.background, self.store)

    def show(self, page: str = "modules") -> None:
        """Show the window, and begin to read what it shows."""
        self.window.show_page(page)
        self.window.painted.connect(self.store.begin)
        QTimer.singleShot(_UNSEEN_MS, self.store.begin)  # a minimised window is not painted
        self.store.changed.connect(self.window.load_pages, Qt.ConnectionType.SingleShotConnection)
        self.window.show()

    def open(self, arguments: Sequence[str]) -> None:
        """Open the images, pipelines and module folders that a start names."""
        for argument in arguments:
            path = Path(argument).absolute()
            if not self.window.open_path(path):
                self.window.tell(f"The app cannot open {path.name}. {_OPENS}", tone="warning")

    def come_forward(self, arguments: list[str]) -> None:
        """Do what a second start asks for."""
        self.open(arguments)
        window = self.window
        window.setWindowState(window.windowState() & ~Qt.WindowState.WindowMinimized)
        window.raise_()
        window.activateWindow()

    def shut_down(self) -> None:
        """End all work; the workers of modules live on."""
        self.background.shut_down()
        self.theme.end()
        self._garbage.end()


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


def run(arguments: Sequence[str], first_paint: Callable[[], object] | None = None) -> int:
    """Run the app until its window is closed; return the exit code.

    Parameters
    ----------
    arguments : sequence of str
        Images, pipelines and module folders to open.
    first_paint : callable, optional
        Is called when the window is seen.
    """
    qt = application()
    single = SingleInstance()
    if not single.claim([str(Path(argument).absolute()) for argument in arguments]):
        return 0
    app = Application()
    single.called.connect(app.come_forward)
    app.show()
    app.open(arguments)
    if first_paint:
        app.window.painted.connect(first_paint)
    try:
        return qt.exec()
    finally:
        single.release()
        app.shut_down()
