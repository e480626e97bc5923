"""The page *Try it* before a run: what stands in its way, presets, and the ways from and to it."""

from __future__ import annotations

import pytest
from PySide6.QtCore import QEvent, QEventLoop, QObject
from PySide6.QtWidgets import QApplication, QPushButton

from app.pages.try_it.page import TryPage
from envmanager import presets
from envmanager.data.paths import DataFolder
from envmanager.presets import Preset
from envmanager.weights.store import SetState
from tests.app.conftest import PATIENCE_MS
from tests.app.on_try_it import choose_function, open_image, show


@pytest.fixture
def page(try_page) -> TryPage:
    return try_page


def test_without_an_image_nothing_runs(page):
    assert page.column.bar.problem == "Open an image to run this on."
    assert not page.column.bar.start.isEnabled()
    assert page.results.card.isHidden()


def test_a_module_that_is_not_installed_leads_to_its_installation(app, qtbot, monkeypatch):
    page = show(app, qtbot, module="classic")
    qtbot.waitUntil(lambda: page.column.function == "segment", timeout=PATIENCE_MS)
    assert page.column.bar.problem == "Classic segmentation is not installed."
    assert "smoothing" in page.column.form.values()  # what it could do is seen before
    went = []
    monkeypatch.setattr(app.window, "show_page", lambda *args, **hints: went.append((args, hints)))
    page.column.bar.mend.click()
    ((where, hints),) = went
    assert (where, hints["module"], hints["step"].key) == (("modules",), "classic", "install")


def test_missing_weights_lead_to_their_download(app, qtbot, toy, calibrated):
    page = show(app, qtbot, module="toy")
    qtbot.waitUntil(lambda: page.column.function == "segment", timeout=PATIENCE_MS)
    open_image(page, qtbot, calibrated)
    model = {"type": "weights", "default": "big", "label": "Model",
             "choices": [{"value": "big", "label": "Big"}]}  # fmt: skip
    page.column.form.set_function({"model": model})
    assert page.column.bar.problem == "The model big is not downloaded yet."
    assert page.column.bar.mend.text() == "Get weights"
    present = SetState("big", "Big", True, 1, "MIT", "", True, False, "")
    page.column.form.set_sets([present])
    page.column.refresh()
    assert page.column.bar.problem == ""


def test_a_function_for_stacks_refuses_a_plane(page, qtbot, calibrated):
    open_image(page, qtbot, calibrated)
    choose_function(page, "volumes")
    assert page.column.bar.problem == "This needs a z-stack, and the image has one slice."
    choose_function(page, "measure")
    expected = "This measures objects. Run a function that finds them first."
    assert page.column.bar.problem == expected


def test_presets_are_saved_and_loaded(page, qtbot, data_folder):
    card = page.column.parameters
    page.column.form.set_values({"threshold": 77.0, "mode": "note"})
    card.ask_for_name()
    card.name.setText("Big ones")
    card._save_line.findChild(QPushButton).click()
    qtbot.waitUntil(lambda: card.names == ["Big ones"], timeout=PATIENCE_MS)
    kept = presets.load(DataFolder(data_folder), "toy", "Big ones")
    assert kept.parameters == {"threshold": 77.0, "spacing": 1.0, "mode": "note"}
    page.column.form.reset()
    card.load("Big ones")
    qtbot.waitUntil(lambda: page.column.form.values()["threshold"] == 77.0, timeout=PATIENCE_MS)


def test_a_preset_of_an_older_version_is_taken_as_far_as_it_goes(app, page, qtbot, data_folder):
    old = Preset("old", "toy", "segment", {"threshold": 3.0, "gone": 1, "mode": "no more"})
    presets.save(DataFolder(data_folder), old)
    page.column.parameters.load("old")
    qtbot.waitUntil(lambda: page.column.form.values()["threshold"] == 3.0, timeout=PATIENCE_MS)
    assert page.column.form.values()["mode"] == "plain"
    assert "gone, Mode" in app.window.messages.text


def test_hints_of_other_pages_are_taken_over(app, page, qtbot):
    values = {"threshold": 9.0, "mode": "note", "unknown": 1}
    app.window.show_page("try", module="toy", function="segment", parameters=values)
    qtbot.waitUntil(lambda: page.column.form.values()["threshold"] == 9.0, timeout=PATIENCE_MS)
    app.window.show_page("try", module="toy", function="invert")
    qtbot.waitUntil(lambda: page.column.function == "invert", timeout=PATIENCE_MS)


def test_the_node_gets_exactly_these_parameters(app, page, qtbot, monkeypatch):
    page.column.form.set_values({"threshold": 12.5})
    went = []
    monkeypatch.setattr(app.window, "show_page", lambda *args, **hints: went.append((args, hints)))
    page.column.bar.make_node.click()
    expected = {"threshold": 12.5, "spacing": 1.0, "mode": "plain"}
    assert went == [(("nodes",), {"module": "toy", "function": "segment", "parameters": expected})]


def test_the_column_comes_to_rest_at_every_height(app, qtbot):
    """A scroll bar that changes how texts wrap must not come and go without end."""
    page = show(app, qtbot, module="texture")
    qtbot.waitUntil(lambda: page.column.function == "segment", timeout=PATIENCE_MS)
    layouts = []
    page.column.choice.installEventFilter(watcher := _Counter(layouts))
    for height in range(640, 1000, 4):
        app.window.resize(1280, height)
        del layouts[:]
        for _ in range(5):
            QApplication.processEvents(QEventLoop.ProcessEventsFlag.AllEvents, 20)
        assert len(layouts) < 20, f"at {height} px"
    page.column.choice.removeEventFilter(watcher)


class _Counter(QObject):
    """Notes how often a widget gets another size."""

    def __init__(self, seen):
        super().__init__()
        self._seen = seen

    def eventFilter(self, watched, event):  # noqa: N802
        if event.type() == QEvent.Type.Resize:
            self._seen.append(event)
        return False
