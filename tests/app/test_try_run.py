"""The page *Try it*: runs and what they show, comparison, and the nuclei of a sample."""

from __future__ import annotations

import time

import numpy as np
import pytest
import tifffile

from app.pages.try_it.page import TryPage
from tests.app.conftest import PATIENCE_MS
from tests.app.on_try_it import choose_area, choose_function, open_image, run, show
from tests.app.toy_module import pixels
from tests.envmanager.conftest import copy_root
from tests.support import PROJECT


@pytest.fixture
def page(try_page) -> TryPage:
    return try_page


def test_a_run_shows_its_objects(page, qtbot, calibrated):
    open_image(page, qtbot, calibrated)
    stages = []
    page.column.bar.start.click()
    task = page.column.task
    task.changed.connect(lambda: stages.append(page.column.bar.told))
    qtbot.waitUntil(lambda: page.column.task is None, timeout=PATIENCE_MS)
    assert any(stage.startswith("Starting toy") for stage in stages)
    card = page.results.card
    assert card.headline.text() == "3 objects"
    assert "on the CPU" in card.facts.text()
    run_shown = page.results.shown
    np.testing.assert_array_equal(run_shown.trial.mask > 0, pixels() > 50)
    overlay = page.images.overlays["A"].labels
    np.testing.assert_array_equal(overlay.pixels, run_shown.trial.mask)
    assert card.histogram.isVisible()
    assert "median 25 µm²" in card.histogram.toolTip()  # 100 px of 0.25 µm²
    assert task not in page.context.background.tasks  # its result is not kept twice


def test_parameters_and_notes(page, qtbot, calibrated):
    open_image(page, qtbot, calibrated)
    page.column.form.set_values({"threshold": 150.0, "mode": "note"})
    run(page, qtbot)
    assert page.results.card.headline.text() == "2 objects"
    assert page.results.card.notes.text() == "A part of it was left out."
    assert page.results.shown.parameters["threshold"] == 150.0


def test_a_refusal_of_the_module_is_told(app, page, qtbot, calibrated):
    open_image(page, qtbot, calibrated)
    page.column.form.set_values({"mode": "fail"})
    run(page, qtbot)
    assert "The image is too dark." in app.window.messages.text
    assert page.results.card.isHidden()


def test_cancel_ends_the_run_and_the_next_one_works(page, qtbot, calibrated):
    open_image(page, qtbot, calibrated)
    page.column.form.set_values({"mode": "sleep"})
    page.column.bar.start.click()
    qtbot.waitUntil(lambda: "step" in page.column.bar.told, timeout=PATIENCE_MS)
    assert not page.column.bar.start.isVisible()
    began = time.monotonic()
    page.column.bar.cancel.click()
    qtbot.waitUntil(lambda: page.column.task is None, timeout=PATIENCE_MS)
    assert time.monotonic() - began < 30  # it would sleep for a minute
    assert page.column.bar.start.isVisible()
    assert page.results.card.isHidden()
    page.column.form.reset()
    run(page, qtbot)
    assert page.results.card.headline.text() == "3 objects"


def test_only_the_visible_part_is_run(page, qtbot, calibrated):
    open_image(page, qtbot, calibrated)
    canvas = page.images.canvas
    canvas.set_zoom(40.0)
    region = page.images.visible_region()
    assert region[1] - region[0] < 40
    choose_area(page, "The visible part")
    run(page, qtbot)
    shown = page.results.shown
    y0, y1, x0, x1 = shown.region
    np.testing.assert_array_equal(shown.trial.mask > 0, pixels()[y0:y1, x0:x1] > 50)
    layer = page.images.overlays["A"].labels
    assert (layer.top, layer.left) == (y0, x0)


def test_a_stack_is_run_as_a_whole_or_by_its_plane(page, qtbot, tmp_path):
    stack = np.stack([pixels() * factor for factor in (1, 0, 1)])
    tifffile.imwrite(tmp_path / "stack.tif", stack, metadata={"axes": "ZYX"}, imagej=True)
    open_image(page, qtbot, tmp_path / "stack.tif")
    spacing = page.column.form.rows["spacing"]
    assert spacing.isHidden()
    run(page, qtbot)  # the plane in the middle, which is dark
    assert page.results.card.headline.text() == "0 objects"
    choose_area(page, "All 3 slices")
    assert not spacing.isHidden()
    run(page, qtbot)
    assert page.results.shown.trial.mask.shape == stack.shape
    np.testing.assert_array_equal(page.results.shown.trial.mask > 0, stack > 50)


def test_a_channel_is_chosen_where_the_function_takes_one(page, qtbot, tmp_path):
    both = np.stack([pixels() // 10, pixels()])
    told = {"axes": "CYX", "Channel": {"Name": ["Dim", "Bright"]}}
    tifffile.imwrite(tmp_path / "two.ome.tif", both, ome=True, metadata=told)
    open_image(page, qtbot, tmp_path / "two.ome.tif")
    choice = page.column.choice.channels["image"]
    assert [choice.itemText(i) for i in range(choice.count())] == ["Dim", "Bright"]
    run(page, qtbot)
    assert page.results.card.headline.text() == "0 objects"
    choice.setCurrentIndex(1)
    run(page, qtbot)
    assert page.results.card.headline.text() == "3 objects"
    choose_function(page, "invert")
    choice = page.column.choice.channels["image"]
    assert choice.itemText(0) == "All channels"


def test_tables_and_images_are_shown(page, qtbot, calibrated):
    open_image(page, qtbot, calibrated)
    run(page, qtbot)
    choose_function(page, "measure")
    assert page.column.choice.area.currentText() == "The objects of the last run"
    run(page, qtbot)
    view = page.results.table.view
    assert page.results.table.isVisible()
    assert view.model().headerData(0, view.horizontalHeader().orientation()) == "mean (grey)"
    assert [view.model().index(row, 0).data() for row in range(3)] == ["100", "200", "300"]
    view.selectAll()
    assert view.selected_text() == "100\n200\n300"
    assert page.images.overlays["A"].labels is not None  # those that were measured
    choose_function(page, "invert")
    run(page, qtbot)
    layer = page.images.picture.layer
    qtbot.waitUntil(lambda: not layer.is_empty, timeout=PATIENCE_MS)
    assert layer.value(0, 0) == (1000,)
    assert not page.results.table.isVisible()


def test_two_runs_are_compared(page, qtbot, calibrated):
    open_image(page, qtbot, calibrated)
    run(page, qtbot)
    card = page.results.card
    card.keep_button.click()
    page.column.form.set_values({"threshold": 250.0})
    run(page, qtbot)
    assert card.comparison.rows == [("Threshold", "50", "250")]
    assert card.headline.text() == "1 object"
    card.comparison.buttons["both"].click()
    images = page.images
    assert images.canvases["B"].isVisible()
    assert images.canvases["A"].view is images.canvases["B"].view  # zoom and pan together
    counts = {side: len(np.unique(images.overlays[side].labels.pixels)) - 1 for side in "AB"}
    assert counts == {"A": 3, "B": 1}
    card.comparison.buttons["A"].click()
    assert card.headline.text() == "3 objects"
    assert not images.canvases["B"].isVisible()
    page.results.stop_comparing()
    assert card.headline.text() == "1 object"
    open_image(page, qtbot, calibrated)
    assert card.isHidden()
    assert images.overlays["A"].labels is None


@pytest.mark.slow
def test_classic_finds_the_nuclei_of_a_sample(app, qtbot, data_folder, classic_root):
    copy_root(classic_root, data_folder)
    page = show(app, qtbot, module="classic")
    qtbot.waitUntil(lambda: page.column.function == "segment", timeout=PATIENCE_MS)
    with qtbot.waitSignal(page.images.image_opened, timeout=PATIENCE_MS):
        page.images.toolbar.opening.open_sample("nuclei")
    run(page, qtbot)
    assert 240 <= page.results.shown.objects <= 300
    assert "µm²" in page.results.card.histogram.toolTip()
    assert page.results.card.headline.text().endswith(" objects")
    assert (PROJECT / "modules" / "classic").is_dir()
