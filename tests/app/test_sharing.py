"""Modules as files, pins, comparisons and methods texts, by the widgets of the Modules page."""

from __future__ import annotations

import json

import pytest
from PySide6.QtCore import QMimeData, QPoint, Qt, QUrl
from PySide6.QtGui import QDropEvent, QGuiApplication
from PySide6.QtWidgets import QTableWidget

from app.pages.modules import steps
from app.pages.modules.detail_facts import VERSIONS
from app.pages.modules.details import Details
from app.pages.modules.methods import MethodsSheet
from app.pages.modules.shared_file import AddFileSheet, ExportSheet
from app.pages.modules.version_row import VersionRow
from app.pages.modules.versions import CompareSheet, PinSheet
from envmanager.data.paths import DataFolder
from envmanager.environments import inventory
from envmanager.modules import catalog
from envmanager.sharing import packing
from envmanager.weights import importing
from envmanager.weights.store import Store
from tests.app.conftest import PATIENCE_MS
from tests.app.test_modules import _can_click, _cells, _click, _menu, _said
from tests.envmanager.conftest import LOCK, TOML, WORKER, write_module

MODEL = """
[functions.segment.parameters.model]
type = "weights"
default = ""
label = "Model"
"""


@pytest.fixture
def data(data_folder):
    return DataFolder(data_folder)


@pytest.fixture
def page(app, soon):
    """Return a function that shows the page, and returns it when the modules are read."""

    def show():
        app.show()
        soon(lambda: app.store.snapshot is not None)
        return app.window._pages["modules"]

    return show


@pytest.fixture
def soon(qtbot):
    """Return a function that waits until something is true."""
    return lambda condition: qtbot.waitUntil(lambda: bool(condition()), timeout=PATIENCE_MS)


def _drop(window, path):
    mime = QMimeData()
    mime.setUrls([QUrl.fromLocalFile(str(path))])
    window.dropEvent(
        QDropEvent(
            QPoint(5, 5),
            Qt.DropAction.CopyAction,
            mime,
            Qt.MouseButton.LeftButton,
            Qt.KeyboardModifier.NoModifier,
        )
    )


def test_a_module_is_exported_with_its_author_and_weights(page, qtbot, soon, app, data, tmp_path):
    worker = WORKER.replace("threshold=100.0", 'threshold=100.0, model=""')
    write_module(data.user_modules / "tiny", LOCK, toml=TOML + MODEL, worker=worker)
    mine = tmp_path / "mine.pt"
    mine.write_bytes(b"weights")
    importing.add(Store(data, catalog.find("tiny", data)), mine, "mine")
    found = page()
    assert "export" in _menu(found.cards["tiny"])
    assert "export" not in _menu(found.cards["classic"])
    found.do("tiny", steps.EXPORT)
    sheet = found.side
    assert isinstance(sheet, ExportSheet)
    soon(lambda: sheet.weights)
    assert "worker.py" in _said(sheet)
    assert not _can_click(sheet, "Export ..."), "nobody to ask"
    sheet.author.setText("Ada")
    assert _can_click(sheet, "Export ...")
    sheet.weights["mine"].setChecked(True)
    sheet.export(tmp_path / "t.ga3module")
    soon(lambda: "is in" in app.window.messages.text)
    assert (tmp_path / "t.ga3module").is_file()
    found.do("tiny", steps.EXPORT)
    soon(lambda: found.side.author.text() == "Ada")


def test_a_dropped_file_shows_what_it_holds_before_it_is_added(
    page, qtbot, soon, app, data, tmp_path
):
    lab = DataFolder(tmp_path / "lab")
    write_module(lab.user_modules / "tiny", LOCK)
    file = packing.export(lab, "tiny", tmp_path / "t.ga3module", author="Ada").path
    found = page()
    _drop(app.window, file)
    soon(lambda: _can_click(found.side, "Add"))
    assert isinstance(found.side, AddFileSheet)
    said = _said(found.side)
    assert "will run on this computer" in said
    assert "Ada" in said
    (table,) = found.side.findChildren(QTableWidget)
    assert "worker.py" in [row[0] for row in _cells(table)]
    assert not data.user_modules.exists()
    _click(qtbot, found.side, "Add")
    soon(lambda: "tiny" in found.cards)
    assert app.window.messages._action.text() == "Install"

    _drop(app.window, file)
    soon(lambda: _can_click(found.side, "Take it in place of your tiny 1.0.0"))
    assert not _can_click(found.side, "Add")
    file.write_bytes(file.read_bytes()[:500])
    found.offer(file)
    soon(lambda: "damaged" in _said(found.side))
    assert not _can_click(found.side, "Add")


@pytest.mark.slow
def test_versions_are_pinned_compared_and_unpinned(page, qtbot, soon, app, installed, tiny):
    data = installed.data
    (tiny / "worker.py").write_text(f"{WORKER}\n# another\n", "utf-8")
    installed.update("tiny")
    found = page()
    card, bar = found.cards["tiny"], app.window.messages
    found.choose("tiny")
    found.side.show_tab(VERSIONS)
    soon(lambda: _can_click(found.side, "Compare ..."))
    _click(qtbot, found.side, "Compare ...")
    soon(lambda: found.side.findChildren(QTableWidget))
    assert isinstance(found.side, CompareSheet)
    assert _cells(found.side.findChildren(QTableWidget)[0]) == [["worker.py", "", "changed"]]
    _click(qtbot, found.side, "Close")
    assert isinstance(found.side, Details)

    soon(lambda: len(found.side.findChildren(VersionRow)) == 2)
    older = found.side.findChildren(VersionRow)[1]
    _click(qtbot, older, "Pin ...")
    assert isinstance(found.side, PinSheet)
    qtbot.keyClicks(found.side.note, "paper 2026")
    _click(qtbot, found.side, "Pin")
    soon(lambda: bar.text == "Build 1 (paper 2026) is pinned." and card.status.pins)
    assert [pin.text for pin in inventory.pins(data, "tiny")] == ["1 (paper 2026)"]
    soon(lambda: "Pinned: paper 2026" in _said(found.side))

    found.do("tiny", steps.REMOVE)
    assert "build 1 (paper 2026)" in _said(found.side)
    assert not _can_click(found.side, "Remove")
    found.side.pinned.setChecked(True)
    assert _can_click(found.side, "Remove")
    found.choose("tiny")
    found.side.show_tab(VERSIONS)
    soon(lambda: _can_click(found.side, "Unpin"))
    _click(qtbot, found.side, "Unpin")
    soon(lambda: bar.text.endswith("is no longer pinned.") and not card.status.pins)
    _click(qtbot, found.side, "Pin ...")
    qtbot.mouseClick(found.side.close_button, Qt.MouseButton.LeftButton)
    found.do("tiny", steps.REMOVE)
    assert found.side.pinned is None
    _click(qtbot, found.side, "Remove")
    soon(lambda: card.told == "Not installed")


@pytest.mark.slow
def test_a_methods_text_is_copied_and_saved(page, qtbot, soon, app, installed, tmp_path):
    found = page()
    assert "methods" in _menu(found.cards["tiny"])
    found.do("tiny", steps.METHODS)
    sheet = found.side
    assert isinstance(sheet, MethodsSheet)
    soon(lambda: _can_click(sheet, "Copy"))
    _click(qtbot, sheet, "Copy")
    assert "Tiny threshold (module tiny 1.0.0)" in QGuiApplication.clipboard().text()
    sheet.save(tmp_path / "m.json")
    soon(lambda: "m.json" in app.window.messages.text)
    assert json.loads((tmp_path / "m.json").read_text("utf-8"))["module"]["name"] == "tiny"
