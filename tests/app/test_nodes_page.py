"""The GA3 nodes page: choices, the script, how-to, the check, and what stands in the way."""

from __future__ import annotations

import ast
import json
import sys
from pathlib import Path

import pytest
from PySide6.QtCore import QSettings
from PySide6.QtGui import QColor, QGuiApplication
from PySide6.QtWidgets import QAbstractButton, QComboBox, QLineEdit

from app.pages.modules import steps
from app.pages.nodes import NodesPage
from app.pages.nodes.highlighter import PythonHighlighter
from app.pages.nodes.page import CHECK, GUIDE, SCRIPT
from envmanager import nodes
from envmanager.connection import LINKS
from envmanager.machine.windows import Nis
from tests.app.conftest import PATIENCE_MS
from tests.lab_module import (
    classic_installed,  # noqa: F401
    publish_lab,
    write_lab,
)


@pytest.fixture
def soon(qtbot):
    return lambda condition: qtbot.waitUntil(condition, timeout=PATIENCE_MS)


@pytest.fixture
def lab(data_folder):
    if sys.platform != "win32":
        (data_folder / "settings.toml").write_text(f"nis_python = '{sys.prefix}'\n", "utf-8")
    return publish_lab(data_folder)


@pytest.fixture
def show(app, soon):
    def shown(**hints) -> NodesPage:
        app.show("nodes")
        app.window.show_page("nodes", **{"module": "lab", **hints})
        page = app.window._pages["nodes"]
        soon(lambda: "NAME" in text(page) and page.wish.module.name == "lab")
        return page

    return shown


def text(page) -> str:
    return page.script.toPlainText()


def assigned(page, name: str):
    for node in ast.parse(text(page)).body:
        if isinstance(node, ast.Assign) and node.targets[0].id == name:
            return ast.literal_eval(node.value)
    return None


def choose(combo, value) -> None:
    combo.setCurrentIndex(combo.findData(value))
    combo.activated.emit(combo.currentIndex())


def row_buttons(page) -> dict[str, str]:
    return {name: row.button.text() for name, row in page.check.rows.items() if row.button.text()}


# ---- the script ----------------------------------------------------------------------------------


def test_the_script_is_that_of_the_engine_and_follows_every_choice(lab, show, soon):
    page = show()
    assert text(page) == nodes.script(lab, {})
    page.form.set_values({"threshold": 1234.5})
    soon(lambda: assigned(page, "PARAMETERS")["threshold"] == 1234.5)
    choose(page.looks.nis, 7)
    soon(lambda: "def run(inp, out, par, ctx)" in text(page))
    page.looks.name.setText("My cells")
    soon(lambda: assigned(page, "NAME") == "My cells")
    choose(page.looks.binary, "uint8")
    soon(lambda: "makeUInt8()" in text(page))
    page.looks.color.buttons["#00C8FF"].click()
    soon(lambda: '"#00C8FF"' in text(page))
    choose(page.choice.function, "measure")
    soon(lambda: '"table": out[1]' in text(page))
    assert page.looks.channel.isVisibleTo(page)
    assert not page.looks.binary.isVisibleTo(page)
    choose(page.looks.channel, "uint16")
    soon(lambda: "makeUInt16()" in text(page))


def test_another_colour_takes_the_place_of_the_last_one(lab, show, soon, monkeypatch):
    page = show()
    for color in ("#102030", "#405060"):
        monkeypatch.setattr(page.looks.color, "pick", lambda color=color: color)
        page.looks.color.other.click()
        soon(lambda color=color: color in text(page))
    assert len(page.looks.color.buttons) == len(nodes.COLORS) + 1
    page.looks.color.buttons["#FFDC00"].click()
    soon(lambda: "#FFDC00" in text(page))


def test_try_it_hands_over_exactly_its_parameters(lab, show, soon):
    values = {"threshold": 77.25, "mode": "rgb"}
    page = show(function="segment", parameters=values)
    soon(lambda: assigned(page, "PARAMETERS") == values)
    assert page.origin.isVisibleTo(page)
    page.form.rows["threshold"].reset()
    soon(lambda: assigned(page, "PARAMETERS")["threshold"] == 2000.0)
    assert not page.origin.isVisibleTo(page)  # they are no longer those


def test_copy_and_save_give_the_whole_text(app, lab, show, soon, tmp_path, monkeypatch):
    page = show()
    page.copy.click()
    soon(lambda: "on the clipboard" in app.window.messages.text)
    assert QGuiApplication.clipboard().text() == text(page)
    # What the script imports is of this app, whatever was there before.
    config = json.loads((app.store.snapshot.root / "config.json").read_text("utf-8"))
    assert config["client_dir"].startswith("client/")
    app.window.messages._action.click()
    assert page.tabs.currentIndex() == GUIDE
    asked = []
    target = tmp_path / "Skripte ü" / "node.py"
    target.parent.mkdir()
    monkeypatch.setattr(page, "choose_file", lambda name: asked.append(name) or target)
    page.save.click()
    soon(target.exists)
    soon(lambda: str(target) in app.window.messages.text)
    assert target.read_text("utf-8") == text(page)
    page.save.click()
    assert asked == ["lab_node_nis6.py", str(target.parent / "lab_node_nis6.py")]


def test_a_name_that_cannot_be_stops_copying_and_says_why(lab, show, soon):
    page = show()
    page.looks.name.setText("a\tb")
    soon(lambda: "one line of text" in page.notice.text)
    assert text(page) == ""
    assert not page.copy.isEnabled()
    assert not page.check.start.isEnabled()
    page.looks.name.setText("ab")
    soon(lambda: page.copy.isEnabled() and page.notice.text == "")


def test_the_script_is_coloured_and_can_only_be_read(app, lab, show, soon):
    page = show()
    assert page.script.isReadOnly()
    colors = app.theme.colors

    def color_of(word: str) -> str:
        at = text(page).index(word)
        block = page.script.document().findBlock(at)
        for part in block.layout().formats():
            if part.start <= at - block.position() < part.start + part.length:
                return part.format.foreground().color().name()
        return ""

    assert color_of("import limnode") == QColor(colors.accent).name()
    assert color_of("# Set up") == QColor(colors.muted).name()
    assert color_of('"""Find the') == QColor(colors.success).name()
    assert color_of("2000.0") == QColor(colors.warning).name()
    assert color_of("NAME =") == ""
    assert isinstance(page.script._highlighter, PythonHighlighter)


# ---- NIS and the how-to --------------------------------------------------------------------------


def test_the_newest_nis_decides_unless_the_user_has(lab, show, soon):
    page = show()
    soon(lambda: page.looks.found.isVisibleTo(page))
    found = [Nis(Path("C:/NIS-Elements"), "6.20.0.1", True), Nis(Path("C:/NIS 7"), "7.1.0.0", True)]
    page.looks.show_found(found)
    assert page.looks.version == 7
    assert "NIS-Elements 6.20.0.1, NIS 7 7.1.0.0" in page.looks.found.text()
    choose(page.looks.nis, 6)
    page.looks.show_found(found)
    assert page.looks.version == 6
    assert int(QSettings().value("nodes/nis")) == 6


def test_the_how_to_fits_version_and_function(lab, show, soon):
    page = show()
    page.tabs.setCurrentIndex(GUIDE)
    assert len(page.guide.titles) == 6
    assert "Let NIS run it itself" in page.guide.titles
    assert not page.guide.grab().isNull()  # every sketch is drawn
    choose(page.looks.nis, 7)
    soon(lambda: "Choose NIS's internal Python" in page.guide.titles)
    assert not page.guide.grab().isNull()
    page.tabs.setCurrentIndex(SCRIPT)
    assert page.stack.currentWidget() is page.script


# ---- the check -----------------------------------------------------------------------------------

needs_faked_nis = pytest.mark.skipif(sys.platform == "win32", reason="the Python of NIS is faked")


@needs_faked_nis
def test_the_check_shows_each_link_and_grows_old_with_the_script(lab, show, soon):
    page = show()
    page.tabs.setCurrentIndex(CHECK)
    page.check.start.click()
    assert page.check.cancel.isVisibleTo(page)
    soon(lambda: len(page.check.links) == len(LINKS) and page.check.start.isVisibleTo(page))
    assert all(link.ok for link in page.check.links)
    assert page.check.summary.text().startswith("The node works.")
    assert row_buttons(page) == {}
    page.check.copy.click()
    assert "ok  Result of a test image" in QGuiApplication.clipboard().text()
    page.form.set_values({"threshold": 5.0})
    soon(lambda: "has changed since" in page.check.summary.text())
    assert len(page.check.links) == len(LINKS)
    choose(page.choice.function, "measure")  # of which nothing was checked
    soon(lambda: page.check.links == [] and page.check.summary.text() == "")


@needs_faked_nis
def test_a_broken_link_stops_the_check_and_offers_the_next_step(app, lab, show, soon, monkeypatch):
    page = show(parameters={"mode": "refuse"})
    soon(lambda: assigned(page, "PARAMETERS")["mode"] == "refuse")
    choose(page.looks.nis, 7)
    soon(lambda: page.wish.nis == 7 and "par, ctx" in text(page))
    page.check.start.click()
    soon(lambda: "does not work yet" in page.check.summary.text())
    assert "too dark" in page.check.links[-1].message
    assert row_buttons(page) == {"result": "Try it on an image"}
    went = []
    monkeypatch.setattr(app.window, "show_page", lambda *args, **hints: went.append((args, hints)))
    page.check.rows["result"].button.click()
    values = {"threshold": 2000.0, "mode": "refuse"}
    assert went == [(("try",), {"module": "lab", "function": "segment", "parameters": values})]


@needs_faked_nis
def test_a_check_can_be_cancelled(lab, show, soon):
    page = show(parameters={"mode": "sleep"})
    soon(lambda: assigned(page, "PARAMETERS")["mode"] == "sleep")
    page.check.start.click()
    soon(lambda: len(page.check.links) == len(LINKS) - 1)
    page.check.cancel.click()
    soon(lambda: "Stopped before" in page.check.summary.text())
    assert page.check.start.isEnabled()


# ---- what stands in the way ----------------------------------------------------------------------


def test_a_module_that_is_not_installed_is_offered(app, data_folder, show, soon, monkeypatch):
    write_lab(data_folder)
    page = show()
    assert "Lab is not installed yet" in page.notice.text
    page.check.start.click()
    soon(lambda: "does not work yet" in page.check.summary.text())
    assert row_buttons(page) == {"config": "Install"}
    went = []
    monkeypatch.setattr(app.window, "show_page", lambda *args, **hints: went.append((args, hints)))
    page.notice.button.click()
    page.check.rows["config"].button.click()
    assert went == [(("modules",), {"module": "lab", "step": steps.INSTALL})] * 2


def test_missing_weights_are_offered(app, lab, show, soon):
    page = show(function="model")
    assert "cyto3 is not downloaded" in page.notice.text
    page.check.start.click()
    soon(lambda: "does not work yet" in page.check.summary.text())
    assert row_buttons(page) == {"module": "Get weights"}
    page.notice.button.click()
    (task,) = [task for task in app.background.tasks if task.lane == "engine"]
    assert task.title == "Download cyto3 for Lab"
    task.cancel()  # nobody serves it here
    soon(lambda: task.is_over)


def test_a_damaged_module_is_offered_to_be_repaired(app, lab, show, soon, data_folder):
    page = show()
    assert page.notice.text == ""
    (data_folder / "envs" / "lab" / "1" / "manifest.json").unlink()
    app.store.refresh()
    soon(lambda: "Lab is damaged" in page.notice.text)
    assert page.notice.button.text() == "Repair"


def test_every_control_has_a_name(lab, show):
    page = show()
    for kind in (QAbstractButton, QComboBox, QLineEdit):
        for control in page.findChildren(kind):
            inside = control.objectName().startswith("qt_")  # Qt's own parts
            named = control.accessibleName() or getattr(control, "text", str)()
            assert inside or named or not control.isVisibleTo(page), control


@pytest.mark.slow
def test_classic_from_its_parameters_to_a_green_check(app, classic, soon):
    app.show("nodes")
    app.window.show_page("nodes", module="classic", parameters={"smoothing": 2.0})
    page = app.window._pages["nodes"]
    soon(lambda: '"smoothing": 2.0' in text(page))
    page.check.start.click()
    soon(lambda: len(page.check.links) == len(LINKS) and page.check._task is None)
    assert page.check.links[-1].message == "labels: 9 objects in 128 x 128 px, int32."
