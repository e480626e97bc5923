"""The settings page changes ``settings.toml`` for real, and moves the data folder."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QWheelEvent
from PySide6.QtWidgets import QCheckBox, QComboBox

from app.pages.settings import data_panel
from app.pages.settings.titles import GROUPS
from envmanager import cli
from envmanager.data import settings
from envmanager.data.settings import NAMES, Settings
from envmanager.events import Stage
from ga3_nodes import home
from tests.app.conftest import PATIENCE_MS

LEFT = Qt.MouseButton.LeftButton


@pytest.fixture(autouse=True)
def no_leftovers_of_other_tests():
    """Delete Qt objects of earlier tests in this thread: Python else does it in any."""
    gc.collect()


@pytest.fixture
def file(data_folder, monkeypatch):
    monkeypatch.delenv("UV_CACHE_DIR", raising=False)
    return data_folder / "settings.toml"


@pytest.fixture
def page(app, qtbot, file):
    """Return the page, as it is shown first."""
    app.window.show()
    app.window.show_page("settings")
    made = app.window._pages["settings"]
    qtbot.waitUntil(lambda: bool(made.data.root.text()), timeout=PATIENCE_MS)
    return made


def kept(qtbot, file, name, value):
    """Wait until the file holds a value."""
    qtbot.waitUntil(lambda: getattr(settings.load(file), name) == value, timeout=PATIENCE_MS)


def enter(qtbot, row, text):
    row.control.setFocus()
    row.control.selectAll()
    qtbot.keyClicks(row.control, text)
    qtbot.keyClick(row.control, Qt.Key.Key_Return)


def test_every_setting_has_a_row_with_a_name_for_screen_readers(page):
    assert set(page.rows) == set(NAMES)
    assert sorted(page.rows) == sorted(name for names in GROUPS.values() for name in names)
    for row in page.rows.values():
        assert row.control.accessibleName()
        assert not row.reset.isVisible()  # all is as by default


def test_a_checkbox_is_kept_and_reset(qtbot, page, file):
    row = page.rows["offline"]
    row.control.setFocus()
    qtbot.keyClick(row.control, Qt.Key.Key_Space)
    kept(qtbot, file, "offline", True)
    qtbot.waitUntil(row.reset.isVisible, timeout=PATIENCE_MS)
    qtbot.mouseClick(row.reset, LEFT)
    kept(qtbot, file, "offline", False)
    qtbot.waitUntil(lambda: not row.reset.isVisible(), timeout=PATIENCE_MS)
    assert isinstance(row.control, QCheckBox)
    assert not row.control.isChecked()
    assert "offline" not in file.read_text("utf-8")


def test_a_choice_is_kept_and_the_wheel_leaves_it(qtbot, page, file):
    row = page.rows["python_source"]
    assert isinstance(row.control, QComboBox)
    assert row.control.currentText() == "This computer, else downloaded"
    row.control.setFocus()
    qtbot.keyClick(row.control, Qt.Key.Key_Down)
    kept(qtbot, file, "python_source", "system")
    place = row.control.rect().center().toPointF()
    away = row.control.mapToGlobal(place)
    turn = row.control.mapToGlobal(place).toPoint() - away.toPoint()
    turn.setY(-120)
    none, begin = Qt.MouseButton.NoButton, Qt.ScrollPhase.NoScrollPhase
    keys = Qt.KeyboardModifier.NoModifier
    wheel = QWheelEvent(place, away, turn, turn, none, keys, begin, False)
    row.control.wheelEvent(wheel)
    assert row.control.currentData() == "system"
    assert not wheel.isAccepted()


def test_a_number_is_kept(qtbot, page, file):
    enter(qtbot, page.rows["generations_kept"], "4")
    kept(qtbot, file, "generations_kept", 4)


def test_a_text_is_kept_with_the_users_comments(qtbot, page, file):
    file.write_text("# our lab\noffline = true\n", "utf-8")
    enter(qtbot, page.rows["proxy"], "http://proxy.lab:8080")
    kept(qtbot, file, "proxy", "http://proxy.lab:8080")
    assert "# our lab" in file.read_text("utf-8")


def test_a_list_is_kept_and_a_chosen_folder_added(qtbot, page, file, tmp_path, monkeypatch):
    row, more = page.rows["find_links"], str(tmp_path / "räder")
    Path(more).mkdir()
    enter(qtbot, row, f"{tmp_path} ; https://x.lab/wheels")
    kept(qtbot, file, "find_links", (str(tmp_path), "https://x.lab/wheels"))
    monkeypatch.setattr(row, "choose_place", lambda: more)
    qtbot.keyClick(row.control, Qt.Key.Key_O, Qt.KeyboardModifier.ControlModifier)
    kept(qtbot, file, "find_links", (str(tmp_path), "https://x.lab/wheels", more))


@pytest.mark.parametrize(
    ("name", "typed", "told"),
    [
        ("proxy", "proxy.lab:8080", "It takes an address that begins with http://"),
        ("generations_kept", "51", "It takes a whole number from 0 to 50."),
        ("idle_timeout_s", "soon", "It takes a whole number from 0 to 604800 seconds"),
        ("certificates", "/not/there.pem", "cannot be read"),
    ],
)
def test_a_wrong_value_is_told_and_stays_as_typed(qtbot, page, file, name, typed, told):
    row = page.rows[name]
    enter(qtbot, row, typed)
    qtbot.waitUntil(row.wrong.isVisible, timeout=PATIENCE_MS)
    assert told in row.wrong.text()
    assert row.control.text() == typed
    assert settings.load(file) == Settings()
    default = getattr(Settings(), name)
    row.control.setText(str(default))
    row.control.editingFinished.emit()
    assert not row.wrong.isVisible()


def test_quick_changes_are_all_kept_in_their_order(qtbot, page, file):
    for _ in range(5):
        page.rows["offline"].control.click()
        page.rows["auto_install"].control.click()
    kept(qtbot, file, "auto_install", True)
    qtbot.waitUntil(lambda: not page._changes, timeout=PATIENCE_MS)
    assert settings.load(file) == Settings(offline=True, auto_install=True)
    assert page.rows["offline"].control.isChecked()


def test_what_the_command_line_changes_is_seen_at_the_next_visit(qtbot, app, page, capsys):
    assert cli.main(["settings", "generations_kept", "7"]) == 0
    app.window.show_page("system")
    app.window.show_page("settings")
    row = page.rows["generations_kept"]
    qtbot.waitUntil(lambda: row.control.text() == "7", timeout=PATIENCE_MS)
    assert row.reset.isVisible()


def test_a_password_is_not_shown_and_not_lost(qtbot, app, page, file):
    settings.change(file, "index_url", ["https://bob:p@ss@mirror.lab/simple"])
    page.visit()
    row = page.rows["index_url"]
    shown = "https://bob:***@mirror.lab/simple"
    qtbot.waitUntil(lambda: row.control.text() == shown, timeout=PATIENCE_MS)
    enter(qtbot, row, "https://bob:***@mirror.lab/other")
    kept(qtbot, file, "index_url", "https://bob:p@ss@mirror.lab/other")
    qtbot.waitUntil(lambda: not page._changes, timeout=PATIENCE_MS)
    assert row.control.text() == "https://bob:***@mirror.lab/other"


def test_a_broken_file_is_told_and_not_overwritten(qtbot, app, page, file):
    file.write_text("offline = ", "utf-8")
    page.visit()
    qtbot.waitUntil(lambda: "settings.toml" in app.window.messages.text, timeout=PATIENCE_MS)
    assert not page.rows["offline"].control.isEnabled()
    file.write_text("offline = true", "utf-8")
    page.visit()
    qtbot.waitUntil(page.rows["offline"].control.isChecked, timeout=PATIENCE_MS)
    assert page.rows["offline"].control.isEnabled()


# ---- the data folder ----------------------------------------------------------------------------


def test_the_data_folder_moves(qtbot, app, page, file, tmp_path, monkeypatch):
    settings.change(file, "generations_kept", ["9"])
    (file.parent / "logs").mkdir(exist_ok=True)
    (file.parent / "logs" / "app.log").write_text("x" * 1000, "utf-8")
    target = tmp_path / "großer Datenträger"
    monkeypatch.setattr(page.data, "choose_place", lambda: str(target))
    assert page.data.root.text() == str(file.parent)
    qtbot.mouseClick(page.data.move_button, LEFT)
    assert not page.data.move_button.isEnabled()
    assert page.data.progress is not None
    qtbot.waitUntil(lambda: page.data.root.text() == str(target), timeout=PATIENCE_MS)
    assert home.located(file.parent) == target
    assert settings.load(target / "settings.toml").generations_kept == 9
    assert str(target) in app.window.messages.text
    assert page.data.progress is None
    assert page.data.move_button.isEnabled()


def test_a_move_is_cancelled(qtbot, app, page, file, tmp_path, monkeypatch):
    whole = data_panel._move

    def waiting_for_the_user(folder, report, cancel):
        def slow(event):
            report(event)
            if isinstance(event, Stage):
                cancel._event.wait(30)

        return whole(folder, slow, cancel)

    (file.parent / "logs").mkdir(exist_ok=True)
    (file.parent / "logs" / "app.log").write_text("x" * 1000, "utf-8")
    monkeypatch.setattr(data_panel, "_move", waiting_for_the_user)
    target = tmp_path / "new"
    task = page.data.move_to(target)
    qtbot.waitUntil(lambda: task.stage is not None, timeout=PATIENCE_MS)
    qtbot.mouseClick(page.data.progress.cancel, LEFT)
    qtbot.waitUntil(lambda: task.is_over, timeout=PATIENCE_MS)
    assert task.state == "cancelled"
    assert not target.exists()
    assert (file.parent / "logs" / "app.log").read_text("utf-8") == "x" * 1000
    assert "stays where it was" in app.window.messages.text
    assert page.data.root.text() == str(file.parent)


def test_a_folder_that_cannot_be_used_is_refused(qtbot, app, page, file, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    page.data.move_to(tmp_path / "full")
    qtbot.waitUntil(lambda: "is not empty" in app.window.messages.text, timeout=PATIENCE_MS)
    assert page.data.root.text() == str(file.parent)
