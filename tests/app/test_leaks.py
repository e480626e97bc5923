"""No widget is left behind by pages, sheets, messages and a change of the scheme."""

from __future__ import annotations

import gc
from collections import Counter

from PySide6.QtCore import QCoreApplication, QEvent, Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QApplication

from app.background import Task
from app.pages.modules import steps
from app.window import ABOUT, PAGES
from tests.app.conftest import PATIENCE_MS
from tests.app.test_modules import WEIGHTS
from tests.envmanager.conftest import LOCK, TOML, write_module

TIMES = 20


def _settle(qtbot, app):
    """Wait for the answers under way, and let what was deleted go."""
    answered = []
    for _ in range(4):  # one for each thread: what was asked before has been answered then
        app.background.ask(lambda: None, answered.append)
    qtbot.waitUntil(lambda: len(answered) == 4, timeout=PATIENCE_MS)
    for _ in range(3):
        QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
        QApplication.processEvents()
        gc.collect()


def _widgets(qtbot, app):
    qtbot.waitUntil(lambda: not app.background.under_way(), timeout=PATIENCE_MS)
    _settle(qtbot, app)
    return Counter(type(widget).__name__ for widget in QApplication.allWidgets())


def _open_all(qtbot, app, page):
    for step in (steps.WEIGHTS, steps.REMOVE):
        page.do("tiny", step)
    page.make_new()
    page.offer(app.store.snapshot.root / "modules" / "tiny")
    page.choose("tiny")
    for name in ("Packages", "Versions", "Workers", "Log"):
        page.side.show_tab(name)
    _settle(qtbot, app)
    page.close_side()
    app.window.tell("Something", tone="warning", action="Do it")
    app.window.messages.hide()


def test_pages_and_sheets_leave_nothing_behind(app, qtbot, data_folder):
    toml = TOML + WEIGHTS.format(url="http://127.0.0.1:9/small.bin")
    write_module(data_folder / "modules" / "tiny", LOCK, toml=toml)
    app.show()
    qtbot.waitUntil(lambda: app.store.snapshot is not None, timeout=PATIENCE_MS)
    for entry in (*PAGES, ABOUT):
        app.window.show_page(entry.key)
    app.window.show_page("modules")
    page = app.window._pages["modules"]
    _open_all(qtbot, app, page)  # menus, caches of fonts and the like are made once
    before = _widgets(qtbot, app)
    for _ in range(TIMES):
        _open_all(qtbot, app, page)
    for entry in (*PAGES, ABOUT):
        app.window.show_page(entry.key)
    app.window.show_page("modules")
    after = _widgets(qtbot, app)
    assert after - before == Counter()


def test_drawings_follow_the_scheme_once_however_often_they_are_set(app, qtbot, data_folder):
    from app.context import _Follower

    app.show()
    qtbot.waitUntil(lambda: app.store.snapshot is not None, timeout=PATIENCE_MS)
    _settle(qtbot, app)
    before = len(app.window.findChildren(_Follower))
    for scheme in (Qt.ColorScheme.Dark, Qt.ColorScheme.Light) * 3:
        QGuiApplication.styleHints().colorSchemeChanged.emit(scheme)
    _settle(qtbot, app)
    assert len(app.window.findChildren(_Follower)) == before


def test_a_task_that_is_forgotten_is_gone(app, qtbot):
    app.background.start("Nothing", lambda report, cancel: None)
    qtbot.waitUntil(lambda: not app.background.under_way(), timeout=PATIENCE_MS)
    app.background.forget(app.background.tasks[0])
    _settle(qtbot, app)
    assert not app.background.findChildren(Task)
