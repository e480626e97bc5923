"""The Modules page: each state of a module, and the whole life of one, by its widgets."""

from __future__ import annotations

import hashlib

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QAbstractButton, QTableWidget

from app.pages.modules import steps
from app.pages.modules.details import VERSIONS, WORKERS, Details
from app.widgets.text import Text
from envmanager.disk import Prediction
from envmanager.environments.planning import InstallPlan
from ga3_nodes import client
from tests import programs
from tests.app.conftest import PATIENCE_MS
from tests.envmanager.conftest import TOML, WORKER, write_module
from tests.envmanager.test_in_use import WRITER
from tests.file_server import Fault, FileServer
from tests.support import ECHO_DECLARATION, ECHO_WORKER, PROJECT, publish

WEIGHTS = """
[weights.small]
title = "Small: for tests"
default = true
license = "CC0"
files = [{{ name = "small.bin", url = "{url}" }}]
"""


@pytest.fixture
def page(app, qtbot):
    """Return a function that shows the page, and returns it when the modules are read."""

    def show():
        app.show()
        qtbot.waitUntil(lambda: app.store.snapshot is not None, timeout=PATIENCE_MS)
        return app.window._pages["modules"]

    return show


@pytest.fixture
def soon(qtbot):
    """Return a function that waits until something is true."""
    return lambda condition: qtbot.waitUntil(condition, timeout=PATIENCE_MS)


@pytest.fixture
def started():
    """Hold programs that are ended with the test."""
    processes = []
    yield processes
    for process in processes:
        programs.end(process)


def _click(qtbot, inside, text):
    """Press the button with a text, as soon as it can be pressed."""
    qtbot.waitUntil(lambda: _can_click(inside, text), timeout=PATIENCE_MS)
    button = next(b for b in inside.findChildren(QAbstractButton) if _fits(b, text))
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def _can_click(inside, text):
    return any(_fits(button, text) for button in inside.findChildren(QAbstractButton))


def _fits(button, text):
    return button.text() == text and button.isVisible() and button.isEnabled()


def _said(inside):
    return "\n".join(text.toPlainText() for text in inside.findChildren(Text))


def _cells(table):
    rows = range(table.rowCount())
    return [[table.item(row, c).text() for c in range(table.columnCount())] for row in rows]


def _menu(card):
    return [action.data() for action in card.menu.actions() if action.data()]


def test_the_first_run_says_what_to_do_and_search_finds(page, qtbot):
    found = page()
    assert found._hint.isVisible()
    assert {card.told for card in found.cards.values()} == {"Not installed"}
    assert {card.main.text() for card in found.cards.values()} == {"Install"}
    found.search.setText("nuclei network")
    shown = [name for name, card in found.cards.items() if card.isVisible()]
    assert "stardist" in shown
    assert "classic" not in shown
    found.search.setText("no such thing")
    assert found._empty.isVisible()


@pytest.mark.slow
def test_the_life_of_a_module_by_its_card(page, qtbot, soon, app, tiny, environments):
    found = page()
    card, bar = found.cards["tiny"], app.window.messages
    assert card._own.isVisible()
    qtbot.mouseClick(card.main, Qt.MouseButton.LeftButton)
    soon(lambda: _can_click(found.side, "Install"))
    (table,) = found.side.findChildren(QTableWidget)
    assert "numpy" in [row[0] for row in _cells(table)]
    _click(qtbot, found.side, "Install")
    assert card.main.text() == "Cancel"
    assert isinstance(found.side, Details)
    soon(lambda: "is ready" in bar.text)
    soon(lambda: card.told == "Ready")
    assert (card.main.text(), bar._action.text()) == ("Try it", "Try it")
    assert not found._hint.isVisible()
    soon(lambda: "Publishing the environment" in found.side.log.toPlainText())
    packages = [_cells(table) for table in found.side.findChildren(QTableWidget)]
    assert "numpy" in [row[0] for row in packages[0]]

    (tiny / "worker.py").write_text(WORKER + "\nCHANGED = 1\n", "utf-8")
    app.store.refresh()
    soon(lambda: card.told == "Update available")
    qtbot.mouseClick(card.main, Qt.MouseButton.LeftButton)
    soon(lambda: _can_click(found.side, "Update"))
    assert "own files changed" in _said(found.side)
    _click(qtbot, found.side, "Update")
    soon(lambda: card.told == "Ready" and card.status.generation == 2)
    found.side.show_tab(VERSIONS)
    soon(lambda: _can_click(found.side, "Roll back to this"))
    _click(qtbot, found.side, "Roll back to this")
    soon(lambda: "in use again" in bar.text and card.status.generation == 1)
    assert "rollback" not in _menu(card) or card.status.generations == [1, 2]

    found.do("tiny", steps.REMOVE)
    (table,) = found.side.findChildren(QTableWidget)
    assert _cells(table)[0][0].startswith("Environment, 2 versions")
    _click(qtbot, found.side, "Remove")
    soon(lambda: card.told == "Not installed" and "are free again" in bar.text)


@pytest.mark.slow
def test_what_is_damaged_says_why_and_is_repaired(page, qtbot, soon, app, installed):
    folder = installed.data.generation("tiny", 1)
    next(folder.glob(".venv/**/numpy/_globals.py")).unlink()
    found = page()
    card, bar = found.cards["tiny"], app.window.messages
    found.do("tiny", steps.VERIFY)
    soon(lambda: "_globals.py" in bar.text)
    assert bar._action.text() == "Repair"
    _click(qtbot, bar, "Repair")
    soon(lambda: "is mended" in bar.text and card.told == "Ready")

    (installed.data.generation("tiny", 2) / "manifest.json").unlink()
    app.store.refresh()
    soon(lambda: card.told.startswith("Broken: A part of"))
    assert str(folder.parent) in card.told
    assert card.main.text() == "Install"
    assert card.width() <= card.parentWidget().width()


def test_weights_that_are_missing_are_fetched_imported_and_removed(
    page, qtbot, soon, app, data_folder, tmp_path
):
    with FileServer() as server:
        content = bytes(range(256)) * 4000
        url = server.put("small.bin", content, Fault(bytes_per_s=400_000))
        toml = TOML + WEIGHTS.format(url=url)
        write_module(data_folder / "modules" / "tiny", "", toml=toml)
        found = page()
        found.do("tiny", steps.WEIGHTS)
        row = found.side.rows["small"]
        assert row._state.text() == "Needed"
        _click(qtbot, row, "Download")
        soon(lambda: row._bar.isVisible() and "of 1.0 MB" in row._told.text())
        soon(lambda: found.side.rows["small"].found.present)
    target = data_folder / "weights" / "tiny" / "small.bin"
    assert hashlib.sha256(target.read_bytes()).digest() == hashlib.sha256(content).digest()

    mine = tmp_path / "trained by me.pt"
    mine.write_bytes(b"weights")
    found.side.offer(mine)
    found.side.name.setText("bad name!")
    _click(qtbot, found.side, "Import")
    soon(lambda: "bad name" in app.window.messages.text)
    found.side.name.setText("mine")
    _click(qtbot, found.side, "Import")
    soon(lambda: "mine" in found.side.rows)
    assert found.side.rows["mine"]._state.text() == "Your own"

    target.write_bytes(b"cut")
    app.store.refresh()
    soon(lambda: found.side.rows["small"]._state.text() == "Damaged")
    soon(lambda: _can_click(found.side.rows["small"], "Download again"))
    qtbot.mouseClick(found.side.rows["small"].remove, Qt.MouseButton.LeftButton)
    soon(lambda: found.side.rows["small"]._state.text() == "Needed")
    assert not target.exists()


@pytest.mark.slow
def test_an_installed_module_without_its_weights_asks_for_them(page, soon, app, tiny, installed):
    toml = TOML + WEIGHTS.format(url="http://127.0.0.1:9/small.bin")
    (tiny / "module.toml").write_text(toml, "utf-8")
    found = page()
    soon(lambda: found.cards["tiny"].told == "Weights missing: Small: for tests")
    assert found.cards["tiny"].main.text() == "Get weights"
    found.do("tiny", steps.by_key("repair"))
    soon(lambda: "is whole" in app.window.messages.text)


def test_a_module_that_another_program_changes_says_who(page, soon, app, echo, started):
    found = page()
    card = found.cards["echo"]
    started.append(programs.python(WRITER, echo))
    assert started[0].stdout.readline().strip() == "held"
    app.store.refresh()
    soon(lambda: card.told.startswith("Being updated by "))
    assert f"PID {started[0].pid}" in card.told
    assert not card.main.isVisible()
    assert not any(a.isEnabled() for a in card.menu.actions() if a.data() == "install")
    programs.end(started[0])
    app.store.refresh()
    soon(lambda: not card.told.startswith("Being updated"))


def test_who_uses_a_module_is_told_and_its_worker_is_stopped(page, qtbot, soon, app, echo, started):
    started.append(programs.caller("segment", mode="sleep"))
    found = page()
    card = found.cards["echo"]
    soon(lambda: _refreshed(app) and f"PID {started[0].pid}" in card._users.text())
    found.do("echo", steps.REMOVE)
    assert _can_click(found.side, "Remove when free")
    _click(qtbot, found.side, "Remove when free")
    soon(lambda: card.told == "Is removed once nobody uses it")
    assert card.main.text() == "Keep it"
    qtbot.mouseClick(card.main, Qt.MouseButton.LeftButton)
    soon(lambda: not card.told.startswith("Is removed"))

    programs.end(started[0])
    found.choose("echo")
    found.side.show_tab(WORKERS)
    soon(lambda: "Process: PID" in _names(found.side))


def _names(inside):
    return "\n".join(text.accessibleName() for text in inside.findChildren(Text))


def _refreshed(app):
    app.store.refresh()
    return True


def test_an_idle_worker_is_stopped_from_the_details(page, qtbot, soon, data_folder):
    publish(data_folder, ECHO_DECLARATION, ECHO_WORKER)
    client.start("echo")
    client.close()
    found = page()
    found.choose("echo")
    found.side.show_tab(WORKERS)
    soon(lambda: _can_click(found.side, "Stop"))
    _click(qtbot, found.side, "Stop")
    soon(lambda: not _can_click(found.side, "Stop"))


def test_a_folder_becomes_a_module_of_the_user(page, qtbot, soon, app, data_folder, tmp_path):
    found = page()
    found.offer(tmp_path)
    soon(lambda: "holds no module.toml" in _said(found.side))
    found.visit(add=PROJECT / "modules" / "classic")
    soon(lambda: "Classic segmentation" in _said(found.side))
    soon(lambda: _can_click(found.side, "Cancel"))
    assert not _can_click(found.side, "Add"), "it would hide the one that comes with the app"
    _click(qtbot, found.side, "Take it in place of Classic segmentation 1.0.0")
    _click(qtbot, found.side, "Add")
    soon(lambda: found.cards["classic"].own)
    assert (data_folder / "modules" / "classic" / "module.toml").is_file()
    assert app.window.messages._action.text() == "Install"
    assert {"source", "lock"} <= set(_menu(found.cards["classic"]))


@pytest.mark.slow
def test_a_new_module_is_made(page, qtbot, soon, environments):
    found = page()
    found.make_new()
    qtbot.keyClicks(found.side.title, "Yeast counter 2")
    assert found.side.name.text() == "yeast_counter_2"
    _click(qtbot, found.side, "Create")
    soon(lambda: "yeast_counter_2" in found.cards)
    assert found.cards["yeast_counter_2"]._own.isVisible()


def test_where_a_network_computes_is_shown_with_its_reason_and_can_be_changed(page, qtbot):
    found = page()
    found.do("cellpose", steps.INSTALL)
    sheet, asked = found.side, []
    sheet._ask = lambda: asked.append(sheet._backend)  # the index of PyTorch is not asked here
    space = Prediction(3_000_000, 9_000_000, 5_000_000, False, "It does not fit.", ("torch",))
    sheet._show(
        InstallPlan(
            name="cellpose",
            version="1.0.0",
            needed=True,
            python="3.12",
            python_missing=True,
            backend="cu126",
            why="CUDA 12.6 for the GTX 1080.",
            packages=[{"package": "torch", "version": "2.8.0", "bytes": 0}],
            space=space,
            backends=["cpu", "cu126", "cu130"],
        )
    )
    titles = [sheet.backend.itemText(row) for row in range(sheet.backend.count())]
    assert titles == ["Automatic", "CPU only", "CUDA 12.6", "CUDA 13.0"]
    said = _said(sheet)
    assert "CUDA 12.6 for the GTX 1080." in said
    assert "3.12 fetched too" in said
    assert "does not tell their size: torch" in said
    assert "It does not fit." in said
    assert "Cyto3" in said, "its weights are offered too"
    sheet.backend.setCurrentIndex(3)
    sheet.backend.activated.emit(3)
    assert asked == ["cu130"]


def test_a_plan_that_fails_can_be_tried_again(page, qtbot, soon, app, data_folder, monkeypatch):
    monkeypatch.delenv("UV_CACHE_DIR", raising=False)
    (data_folder / "settings.toml").write_text("offline = true\n", "utf-8")
    found = page()
    found.do("stardist", steps.INSTALL)
    soon(lambda: _can_click(found.side, "Try again"))
    assert "could not resolve" in _said(found.side)
