"""The frame: navigation, keys, messages, what is dropped, the end, light and dark."""

from __future__ import annotations

import threading

import pytest
from PySide6.QtCore import QMimeData, QPoint, QPointF, Qt, QUrl
from PySide6.QtGui import QDropEvent, QGuiApplication
from PySide6.QtWidgets import QAbstractButton, QApplication, QLabel, QTableView, QTableWidget

from app.background import WAITING
from app.theme import DARK, LIGHT
from app.window import PAGES
from envmanager.errors import GA3EnvError
from envmanager.events import Items, Stage
from tests.app.conftest import PATIENCE_MS
from tests.support import PROJECT

OF_QT = ("ScrollLeftButton", "ScrollRightButton", "qt_toolbar_ext_button")  # Qt's own


@pytest.fixture
def window(app, qtbot):
    app.show()
    qtbot.waitUntil(lambda: app.store.snapshot is not None, timeout=PATIENCE_MS)
    return app.window


@pytest.fixture
def held(app):
    """Return a function that starts a task; all of them go on when the test ends."""
    go_on = threading.Event()

    def start(title, **options):
        def work(report, cancel):
            report(Stage("wait", "Waiting"))
            report(Items(2, 5))
            while not go_on.wait(0.01):
                cancel.check()
            return title

        return app.background.start(title, work, **options)

    yield start
    go_on.set()


def _drop(window, path):
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(path))])
    action, button, no = Qt.DropAction.CopyAction, Qt.MouseButton.LeftButton, Qt.KeyboardModifier
    event = QDropEvent(QPointF(5, 5), action, data, button, no.NoModifier)
    window.dropEvent(event)


def test_all_pages_open_by_keys_and_have_names(window, qtbot):
    for number, entry in enumerate(PAGES, 1):
        key = Qt.Key(Qt.Key.Key_0 + number)
        qtbot.keyClick(window, key, Qt.KeyboardModifier.ControlModifier)
        assert window.page == entry.key
        _check_names(window)
    window.show_page("about")
    qtbot.waitUntil(lambda: bool(window.findChildren(QLabel, "title")), timeout=PATIENCE_MS)
    _check_names(window)


def _check_names(window):
    """All that can be pressed says what it is, also without seeing it."""
    nameless = [
        f"{button!r} {button.objectName()} {button.toolTip()} in {button.parent()!r}"
        for button in window.findChildren(QAbstractButton)
        if button.isVisible()
        and not (button.text() or button.accessibleName())
        and button.objectName() not in OF_QT
        and not isinstance(button.parent(), QTableView)
    ]
    assert not nameless, nameless


def test_no_button_has_the_focus_at_the_start_and_none_takes_it_by_a_click(window, qtbot):
    focus = QApplication.focusWidget()
    assert not isinstance(focus, QAbstractButton)
    button = window._buttons["system"]
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
    assert window.page == "system"
    assert not button.hasFocus()
    assert button.focusPolicy() == Qt.FocusPolicy.TabFocus


def test_an_error_says_what_to_do_and_can_be_copied(window, qtbot):
    done = []
    error = GA3EnvError("The disk is full.", "Free some space.", details={"log_tail": "uv: 28"})
    window.tell_error(error, action="Try again", run=lambda: done.append(1))
    bar = window.messages
    assert bar.text == "The disk is full.\nFree some space."
    assert not bar._details.isVisible()
    qtbot.mouseClick(bar._copy, Qt.MouseButton.LeftButton)
    assert "uv: 28" in QGuiApplication.clipboard().text()
    qtbot.mouseClick(bar._fold, Qt.MouseButton.LeftButton)
    assert bar._details.isVisible()
    qtbot.mouseClick(bar._action, Qt.MouseButton.LeftButton)
    assert (done, bar.text) == ([1], "")


def test_tasks_wait_for_each_other_and_one_that_waits_can_be_cancelled_at_once(
    window, qtbot, app, held
):
    first, second = held("Install one", module="a"), held("Install two", module="b")
    qtbot.waitUntil(lambda: first.items is not None, timeout=PATIENCE_MS)
    assert second.state == WAITING
    rows = list(window.activity._rows.values())
    assert [row.task for row in rows] == [first, second]
    assert "2 of 5" in rows[0]._told.text()
    with qtbot.waitSignal(second.cancelled, timeout=PATIENCE_MS):
        qtbot.mouseClick(rows[1].cancel, Qt.MouseButton.LeftButton)
    assert not first.is_over
    assert list(window.activity._rows) == [first]
    first.cancel()
    qtbot.waitUntil(lambda: not window.activity.isVisible(), timeout=PATIENCE_MS)


def test_closing_asks_once_while_something_runs(window, qtbot, held):
    task = held("Install one")
    assert not window.close()
    assert "Install one" in window.messages.text
    assert window.isVisible()
    assert not task.is_over
    assert window.close()


def test_an_image_opens_on_try_it_and_a_folder_is_offered_as_a_module(window, qtbot, tmp_path):
    _drop(window, PROJECT / "modules" / "classic")
    page = window._pages["modules"]
    assert window.page == "modules"
    assert page.side.folder.name == "classic"
    image = tmp_path / "missing.tif"
    _drop(window, image)
    assert window.page == "try"
    assert not window.open_path(tmp_path / "notes.txt")


def test_a_pipeline_opens_on_batch(window, qtbot):
    pipeline = PROJECT / "docs" / "examples" / "nuclei.yaml"
    _drop(window, pipeline)
    assert window.page == "batch"
    shown = window._pages["batch"].findChildren(QLabel)
    qtbot.waitUntil(
        lambda: any(label.text() == pipeline.name for label in shown), timeout=PATIENCE_MS
    )


def test_light_and_dark_follow_the_system_while_the_app_runs(window, qtbot, app):
    hints = QGuiApplication.styleHints()
    window.show_page("about")
    assert app.theme.colors is LIGHT
    light = window.grab().toImage().pixelColor(QPoint(600, 700))
    hints.colorSchemeChanged.emit(Qt.ColorScheme.Dark)
    assert app.theme.colors is DARK
    dark = window.grab().toImage().pixelColor(QPoint(600, 700))
    assert dark.lightness() < 60 < 200 < light.lightness()
    hints.colorSchemeChanged.emit(Qt.ColorScheme.Light)
    assert app.theme.colors is LIGHT


def test_about_tells_version_and_licences(window, qtbot):
    window.show_page("about")
    page = window._pages["about"]
    qtbot.waitUntil(lambda: bool(page.text.toPlainText()), timeout=PATIENCE_MS)
    assert "MIT License" in page.text.toPlainText()
    (libraries,) = page.findChildren(QTableWidget)
    rows = [
        [libraries.item(row, column).text() for column in range(3)]
        for row in range(libraries.rowCount())
    ]
    assert all(all(row) for row in rows), "each has a name, a version and a licence"
    assert "LGPL" in next(row[2] for row in rows if row[0].startswith("PySide6"))
