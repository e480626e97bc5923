"""The app on Windows: offscreen, and with the real windows and fonts where the bench has a screen.

`./run test --windows` runs this file twice under Wine: with the other tests, and then with Qt's
own `windows` plugin on a virtual screen, of which it keeps the pictures.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication, QImage, QScreen
from PySide6.QtWidgets import QAbstractButton

from app.theme import DARK, LIGHT
from app.window import ABOUT, PAGES
from tests import programs
from tests.app.conftest import PATIENCE_MS
from tests.support import PROJECT

pytestmark = [
    pytest.mark.windows,
    pytest.mark.skipif(sys.platform != "win32", reason="Linux has tests of its own for each part"),
]
SCREENSHOTS = os.environ.get("GA3ENV_SCREENSHOTS", "")
on_a_screen = pytest.mark.skipif(not SCREENSHOTS, reason="the step with a screen runs it")
TITLE = "GA3 Environment Manager"
CONSOLES = ("ConsoleWindowClass", "WineConsoleClass", "CASCADIA_HOSTING_WINDOW_CLASS")


@pytest.fixture
def window(app, qtbot):
    app.show()
    qtbot.waitUntil(lambda: app.store.snapshot is not None, timeout=PATIENCE_MS)
    return app.window


def _grab(window, name: str) -> QImage:
    """Return what is seen: of the screen where there is one, and keep that picture."""
    if not SCREENSHOTS:
        return window.grab().toImage()
    return _picture(window.screen(), name)


def _picture(screen: QScreen, name: str) -> QImage:
    seen = screen.grabWindow(0)
    assert seen.save(str(Path(SCREENSHOTS) / f"{name}.png"))
    return seen.toImage()


def _colours(image: QImage) -> set[int]:
    """Return the colours of every third pixel."""
    small = image.convertToFormat(QImage.Format.Format_RGB32)
    return {
        small.pixel(x, y) for x in range(0, small.width(), 3) for y in range(0, small.height(), 3)
    }


def test_each_page_is_seen_in_light_and_in_dark(window, qtbot, app):
    plugin = QGuiApplication.platformName()
    assert plugin == ("windows" if SCREENSHOTS else "offscreen")
    hints = QGuiApplication.styleHints()
    for scheme, colors in ((Qt.ColorScheme.Light, LIGHT), (Qt.ColorScheme.Dark, DARK)):
        hints.colorSchemeChanged.emit(scheme)
        seen = []
        dark_on_a_screen = SCREENSHOTS and colors is DARK
        for entry in (ABOUT,) if dark_on_a_screen else (*PAGES, ABOUT):
            window.show_page(entry.key)
            if SCREENSHOTS:
                qtbot.wait(300)  # nobody tells when it is on the screen
            image = _grab(window, f"{entry.key}-{scheme.name.lower()}")
            found = _colours(image)
            assert len(found) > 20, f"{entry.key} is blank"
            assert int(colors.window[1:], 16) | 0xFF000000 in found
            assert all(image != other for other in seen), f"{entry.key} looks like another page"
            seen.append(image)
    assert not window.messages.text
    assert app.theme.colors is DARK


def _press(qtbot, inside, text: str) -> None:
    def fitting() -> list[QAbstractButton]:
        buttons = inside.findChildren(QAbstractButton)
        return [b for b in buttons if b.text() == text and b.isVisible() and b.isEnabled()]

    qtbot.waitUntil(lambda: bool(fitting()), timeout=PATIENCE_MS)
    qtbot.mouseClick(fitting()[0], Qt.MouseButton.LeftButton)


@on_a_screen
@pytest.mark.slow
def test_a_module_is_installed_from_its_card_and_no_console_is_seen(
    environments, tiny, window, qtbot
):
    page = window._pages["modules"]
    card = page.cards["tiny"]
    with _Watch() as watch:
        qtbot.mouseClick(card.main, Qt.MouseButton.LeftButton)
        _press(qtbot, page.side, "Install")
        qtbot.waitUntil(lambda: card.told == "Ready", timeout=2 * PATIENCE_MS)
    assert "is ready" in window.messages.text
    assert card.main.text() == "Try it"
    _grab(window, "installed")
    assert not watch.consoles
    assert TITLE in watch.titles


@on_a_screen
def test_a_console_would_have_been_seen():
    """Show that the test above can fail."""
    with _Watch() as watch:
        code = "import time; time.sleep(2)"
        subprocess.run([sys.executable, "-c", code], creationflags=subprocess.CREATE_NEW_CONSOLE)
    assert watch.consoles


@pytest.mark.skipif(bool(SCREENSHOTS), reason="has run without a screen")
def test_the_app_starts_without_streams(data_folder):
    """As a shortcut starts it; it ends by itself once it is painted."""
    assert _start_without_streams("-m", "app", "--time").wait(PATIENCE_MS / 1000) == 0


@on_a_screen
def test_the_app_starts_without_a_console_and_ends_with_its_window(qapp, data_folder):
    user, close = ctypes.windll.user32, 0x10  # WM_CLOSE
    with _Watch() as watch:
        process = _start_without_streams("-m", "app")
        programs.until(lambda: TITLE in watch.titles)
        _picture(QGuiApplication.primaryScreen(), "started")
        assert user.PostMessageW(ctypes.c_void_p(user.FindWindowW(None, TITLE)), close, 0, 0)
        assert process.wait(PATIENCE_MS / 1000) == 0
    assert not watch.consoles


@pytest.mark.skipif(bool(SCREENSHOTS), reason="has run without a screen")
def test_the_command_line_works_without_streams(echo, tmp_path):
    """`sys.stdout` is None in pythonw: what is done is done, and what fails has its exit code."""
    import numpy as np
    import tifffile

    image, mask = tmp_path / "ein bild é.tif", tmp_path / "maske.tif"
    tifffile.imwrite(image, np.arange(30, dtype=np.uint16).reshape(5, 6))
    words = ["-m", "envmanager", "segment", "echo", image, "-o", mask, "-p", "threshold=20"]
    assert _start_without_streams(*words).wait(PATIENCE_MS / 1000) == 0
    assert np.count_nonzero(tifffile.imread(mask)) == 9
    gone = [*words[:4], tmp_path / "gone.tif", *words[5:]]
    assert _start_without_streams(*gone).wait(PATIENCE_MS / 1000) == 1


def _start_without_streams(*words: object) -> subprocess.Popen[bytes]:
    pythonw = Path(sys.executable).with_name("pythonw.exe")
    arguments = [str(pythonw), *map(str, words)]
    return subprocess.Popen(
        arguments,
        cwd=PROJECT,
        env=os.environ | {"PYTHONPATH": str(PROJECT)},
        creationflags=subprocess.DETACHED_PROCESS,
    )


class _Watch:
    """Looks again and again which windows are seen, until the end of the ``with``."""

    def __init__(self) -> None:
        self.titles: set[str] = set()
        self.classes: set[str] = set()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)

    @property
    def consoles(self) -> set[str]:
        return self.classes.intersection(CONSOLES)

    def __enter__(self) -> _Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        user = ctypes.windll.user32
        text = ctypes.create_unicode_buffer(256)

        @ctypes.WINFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
        def each(handle: int, _: object) -> int:
            if user.IsWindowVisible(ctypes.c_void_p(handle)):
                for ask, known in (
                    (
                        user.InternalGetWindowText,
                        self.titles,
                    ),  # asks no thread that may wait for us
                    (user.GetClassNameW, self.classes),
                ):
                    ask(ctypes.c_void_p(handle), text, len(text))
                    known.add(text.value)
            return 1

        while not self._over.is_set():
            user.EnumWindows(each, None)
            time.sleep(0.03)
