"""The page *Batch*: folders, runs, results, failures, pipelines, and the way from Try it."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PySide6.QtCore import QMimeData, QPointF, Qt, QUrl
from PySide6.QtGui import QDesktopServices, QDropEvent
from PySide6.QtWidgets import QApplication

from app import words
from app.pages.batch.images_panel import IMAGES, RESULTS, TROUBLED
from app.pages.batch.page import BatchPage
from app.pages.batch.results_grid import KEPT, Result, ResultsModel
from envmanager import presets
from envmanager.data.paths import DataFolder
from envmanager.events import Items
from envmanager.presets import Preset
from tests.app.conftest import PATIENCE_MS
from tests.app.on_try_it import choose_function as choose_function_of_try
from tests.app.on_try_it import open_image
from tests.app.on_try_it import show as show_try
from tests.app.toy_module import pixels

COUNT = 3


@pytest.fixture
def page(app, qtbot, toy) -> BatchPage:
    app.show()
    app.window.resize(1280, 720)
    qtbot.waitUntil(lambda: bool(app.store.snapshot), timeout=PATIENCE_MS)
    app.window.show_page("batch", module="toy", function="segment", parameters={})
    made = app.window._pages["batch"]
    qtbot.waitUntil(lambda: made.column.chosen.function == "segment", timeout=PATIENCE_MS)
    return made


@pytest.fixture
def folder(tmp_path) -> Path:
    """A folder of images with 1, 2, 3 blobs; one cannot be read."""
    made = tmp_path / "Bilder [1] ü"
    made.mkdir()
    for number in range(COUNT):
        image = pixels()
        image[image > 100 * (number + 1)] = 0
        tifffile.imwrite(made / f"well {number + 1}.tif", image)
    (made / "broken.tif").write_bytes(b"no image")
    return made


def looked(page, qtbot) -> None:
    """Wait until all images were looked at."""
    rows = page.panel.images.rows
    assert page._soon.isActive() or rows
    qtbot.waitUntil(lambda: not page._soon.isActive(), timeout=PATIENCE_MS)
    qtbot.waitUntil(
        lambda: bool(page.panel.images.rows) and all(r.text for r in page.panel.images.rows),
        timeout=PATIENCE_MS,
    )


def take(page, qtbot, folder) -> None:
    page.folders.take_paths([folder])
    looked(page, qtbot)


def run(page, qtbot) -> None:
    assert page.column.bar.problem == ""
    page.column.bar.start.click()
    assert page.runner.task is not None
    qtbot.waitUntil(lambda: page.runner.task is None, timeout=PATIENCE_MS)
    qtbot.waitUntil(lambda: page.panel.grid.is_complete, timeout=PATIENCE_MS)


def states(page) -> dict[str, str]:
    return {row.name: row.text for row in page.panel.images.rows}


def drop(page, *paths) -> None:
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(path)) for path in paths])
    action, button, no = Qt.DropAction.CopyAction, Qt.MouseButton.LeftButton, Qt.KeyboardModifier
    page.dropEvent(QDropEvent(QPointF(5, 5), action, data, button, no.NoModifier))


def tab_text(page, tab) -> str:
    return page.panel.tabs.tabText(tab) if page.panel.tabs.isTabVisible(tab) else ""


# ---- what is found -------------------------------------------------------------------------------


def test_a_folder_is_wanted_first_and_can_be_dropped(page, qtbot, folder):
    assert page.column.bar.problem == "Choose a folder of images."
    assert not page.column.bar.start.isEnabled()
    assert page.panel.choose.isVisible()
    drop(page, folder)
    looked(page, qtbot)
    done = dict.fromkeys([f"well {n + 1}.tif" for n in range(COUNT)], "To do")
    assert states(page) == {"broken.tif": "Cannot be used"} | done
    assert page.panel.images.rows[1].size == "64 x 40"
    assert page.panel.images.rows[0].reason.startswith("broken.tif ")
    assert tab_text(page, TROUBLED) == "Cannot be used (1)"
    assert page.column.bar.problem == ""
    assert not (folder / "results").exists()  # looking writes nothing


def test_images_that_are_dropped_give_folder_and_pattern(page, qtbot, folder):
    drop(page, folder / "well 1.tif", folder / "well 2.tif")
    looked(page, qtbot)
    assert page.folders.input_dir == folder
    assert page.folders.pattern.currentText() == "*.tif"
    page.folders.pattern.setCurrentText("well [23].tif")
    qtbot.waitUntil(lambda: len(page.panel.images.rows) == 2, timeout=PATIENCE_MS)
    page.folders.pattern.setCurrentText("*.nd2")
    qtbot.waitUntil(lambda: not page.panel.images.rows, timeout=PATIENCE_MS)
    assert page.panel.nothing.text() == "No images"
    assert page.column.bar.problem == page.panel.why.text() != ""


def test_the_dialogs_choose_folders(page, qtbot, folder, tmp_path, monkeypatch):
    other = tmp_path / "elsewhere"
    answers = [folder, other]
    monkeypatch.setattr(page.folders, "choose_folder", lambda title, start: answers.pop(0))
    page.panel.choose.click()
    page.folders.browse_output()
    assert (page.folders.input_dir, page.folders.output_dir) == (folder, other)
    page.folders.output.clear()
    assert page.folders.output_dir == folder / "results"
    assert page.folders.output.placeholderText() == str(folder / "results")


def test_a_module_that_is_not_installed_shows_the_images_and_leads_to_its_installation(
    app, page, qtbot, folder, monkeypatch
):
    app.window.show_page("batch", module="classic", folder=folder)
    qtbot.waitUntil(lambda: page.column.chosen.function == "segment", timeout=PATIENCE_MS)
    qtbot.waitUntil(lambda: len(page.panel.images.rows) == COUNT + 1, timeout=PATIENCE_MS)
    assert page.column.bar.problem == "Classic segmentation is not installed."
    went = []
    monkeypatch.setattr(app.window, "show_page", lambda *args, **hints: went.append((args, hints)))
    page.column.bar.mend.click()
    ((where, hints),) = went
    assert (where, hints["module"], hints["step"].key) == (("modules",), "classic", "install")


def test_a_function_that_needs_objects_is_refused(page):
    page.column.chosen.choose("toy", "measure")
    page.column.chosen._choose_function("measure")
    assert page.column.bar.problem.startswith("This function takes what another step gives.")


# ---- runs ----------------------------------------------------------------------------------------


def test_a_run_shows_results_and_failures_and_is_not_repeated(
    page, qtbot, folder, monkeypatch, app
):
    opened = []
    monkeypatch.setattr(QDesktopServices, "openUrl", lambda url: opened.append(url.toLocalFile()))
    page.column.choice.beside["overlay"].setChecked(True)
    take(page, qtbot, folder)
    tabs = []
    page.panel.tabs.currentChanged.connect(tabs.append)
    run(page, qtbot)
    expected = {f"well {n}.tif": f"Done, {n} object{'s' * (n > 1)}" for n in (1, 2, 3)}
    assert states(page) == {"broken.tif": "Failed"} | expected
    results = page.panel.grid.results.results
    assert [result.text.split("\n")[0] for result in results] == [*expected]
    assert all(not result.picture.isNull() for result in results)
    assert tabs == [RESULTS, TROUBLED]  # first what comes, at the end what is to be mended
    assert tab_text(page, RESULTS) == "Results (3)"
    assert tab_text(page, TROUBLED) == "Failed (1)"
    why = page.panel.troubled.model()
    assert why.rowCount() == 1
    assert str(why.index(0, 1).data()).startswith("broken.tif ")
    assert page.column.summary.headline.text() == "3 done, 1 failed"
    assert page.column.summary.facts.text().startswith("6 objects in ")
    page.column.summary.opener.click()
    assert opened == [str(folder / "results")] or Path(opened[0]) == folder / "results"
    _check_files(folder / "results")
    _check_again(page, qtbot)


def _check_files(results: Path) -> None:
    np.testing.assert_array_equal(
        tifffile.imread(results / "well 3_labels.ome.tif") > 0, pixels() > 50
    )
    with (results / "well 2_objects.csv").open(encoding="utf-8-sig", newline="") as file:
        assert len([*csv.DictReader(file)]) == 2
    assert (results / "well 1_overlay.png").is_file()
    assert not [*results.glob("broken*")]


def _check_again(page, qtbot) -> None:
    """The next run leaves out what is done; on demand all is done again."""
    run(page, qtbot)
    assert page.column.summary.headline.text() == "3 done before, 1 failed"
    assert [*states(page).values()].count("Done before") == 3
    page.column.force.setChecked(True)
    looked(page, qtbot)
    qtbot.waitUntil(lambda: states(page)["well 1.tif"] == "To do", timeout=PATIENCE_MS)
    run(page, qtbot)
    assert page.column.summary.headline.text() == "3 done, 1 failed"


def test_what_the_module_refuses_is_told_for_each_image(page, qtbot, folder):
    page.column.parameters.form.set_values({"mode": "fail"})
    take(page, qtbot, folder)
    run(page, qtbot)
    assert page.column.summary.headline.text() == "0 done, 4 failed"
    reasons = {row.name: row.reason for row in page.panel.images.rows}
    assert all("The image is too dark." in reasons[f"well {n}.tif"] for n in (1, 2, 3))
    table = page.panel.all
    table.selectAll()
    qtbot.keyClick(table, Qt.Key.Key_C, Qt.KeyboardModifier.ControlModifier)
    assert QApplication.clipboard().text().count("The image is too dark.") == 3


def test_cancel_ends_the_run_and_the_next_one_works(page, qtbot, folder):
    take(page, qtbot, folder)
    page.column.parameters.form.set_values({"mode": "sleep"})
    page.column.bar.start.click()
    qtbot.waitUntil(lambda: "step" in page.column.bar.told, timeout=PATIENCE_MS)
    assert not page.folders.isEnabled()
    assert not page.open_button.isEnabled()
    page.column.bar.cancel.click()
    qtbot.waitUntil(lambda: page.runner.task is None, timeout=PATIENCE_MS)
    assert page.folders.isEnabled()
    assert states(page)["well 3.tif"] == "To do"
    assert page.column.summary.headline.text() == "Stopped: 0 of 4 are done"
    page.column.parameters.form.set_values({"mode": "plain"})
    run(page, qtbot)
    assert page.column.summary.headline.text() == "3 done, 1 failed"


def test_a_channel_is_taken_of_images_that_have_several(page, qtbot, tmp_path):
    both = np.stack([np.zeros_like(pixels()), pixels()])
    tifffile.imwrite(
        tmp_path / "two.ome.tif", both, photometric="minisblack",
        metadata={"axes": "CYX", "Channel": {"Name": ["Empty", "Blobs"]}},
    )  # fmt: skip
    page.folders.take_paths([tmp_path / "two.ome.tif"])
    looked(page, qtbot)
    channel = page.column.choice.channel
    assert [channel.itemText(i) for i in range(channel.count())] == [
        "All channels", "Empty", "Blobs",
    ]  # fmt: skip
    page.column.choice.choose_channel(2)
    run(page, qtbot)
    assert page.panel.images.rows[0].text == "Done, 3 objects"


# ---- presets, pipelines, other pages -------------------------------------------------------------


def test_a_preset_of_try_it_and_the_file_that_does_the_same(page, qtbot, folder, monkeypatch, toy):
    presets.save(DataFolder(toy), Preset("two", "toy", "segment", {"threshold": 150.0}))
    page.column.parameters.load("two")
    form = page.column.parameters.form
    qtbot.waitUntil(lambda: form.values()["threshold"] == 150.0, timeout=PATIENCE_MS)
    take(page, qtbot, folder)
    run(page, qtbot)
    assert states(page)["well 3.tif"] == "Done, 2 objects"
    file = folder.parent / "mine"
    monkeypatch.setattr(page, "choose_file", lambda suggested: file)
    page.save_button.click()
    written = file.with_suffix(".yaml")
    qtbot.waitUntil(written.is_file, timeout=PATIENCE_MS)
    monkeypatch.setattr(page, "choose_pipeline", lambda start: written)
    page.open_button.click()
    qtbot.waitUntil(lambda: page.column.document is not None, timeout=PATIENCE_MS)
    looked(page, qtbot)
    qtbot.waitUntil(lambda: states(page)["well 3.tif"] == "Done before", timeout=PATIENCE_MS)
    assert page.column.pipeline.isVisible()
    assert not page.column.parameters.isVisible()
    assert not page.save_button.isEnabled()
    page.column.pipeline.closed.emit()
    assert page.column.parameters.isVisible()


PIPELINE = """
pipeline_name: "Invert (toy)"
steps:
  - name: Load
    module: bioimage_pipeline_utils
    function: load_tczyx_image
    inputs: {path: "%INPUT_DIR%/%PLATE% *.tif"}
    outputs: [{name: images}]
  - name: Invert (External)
    module: ga3_toy_node
    function: invert
    inputs: {image: steps.Load.outputs.images}
    outputs: [{name: inverted}]
  - name: Save
    module: bioimage_pipeline_utils
    function: save_tczyx_image
    inputs: {image: steps.Invert.outputs.inverted, path: "%OUTPUT_DIR%/inverted.tif"}
"""


def test_a_pipeline_file_asks_for_its_variables_and_runs_as_it_is(page, qtbot, folder):
    file = folder.parent / "invert.ga3pipeline"
    file.write_text(PIPELINE, "utf-8")
    page.folders.take_paths([folder])
    drop(page, file)
    qtbot.waitUntil(lambda: "PLATE" in page.folders.values, timeout=PATIENCE_MS)
    assert page.column.bar.problem == "Enter a value for %PLATE%."
    page.folders.values["PLATE"].setText("well")
    looked(page, qtbot)
    assert len(page.panel.images.rows) == COUNT
    run(page, qtbot)
    assert page.column.summary.headline.text() == "3 done"
    found = tifffile.imread(folder / "results" / "well 1_inverted.tif")
    assert found.max() == 1000
    picture = page.panel.grid.results.results[0].picture
    assert not picture.isNull()  # of the image that was made


def test_all_that_is_wrong_with_a_pipeline_is_told_with_its_line(page, qtbot, folder):
    file = folder.parent / "bad.yaml"
    file.write_text(
        PIPELINE.replace("steps.Load", "steps.Laod").replace("invert\n", "x\n"), "utf-8"
    )
    page.folders.take_paths([folder])
    page.open_pipeline(file)
    qtbot.waitUntil(lambda: "PLATE" in page.folders.values, timeout=PATIENCE_MS)
    page.folders.values["PLATE"].setText("well")
    qtbot.waitUntil(lambda: "Line 11:" in page.panel.why.text(), timeout=PATIENCE_MS)
    assert "Line 12:" in page.panel.why.text()
    assert page.panel.nothing.text() == "The pipeline cannot run"
    assert not page.column.bar.start.isEnabled()


def test_a_file_that_is_no_pipeline_is_refused(app, page, qtbot, tmp_path):
    file = tmp_path / "no.yaml"
    file.write_text("a: [", "utf-8")
    page.open_pipeline(file)
    qtbot.waitUntil(lambda: "no.yaml, line" in app.window.messages.text, timeout=PATIENCE_MS)
    assert page.column.document is None


def test_try_it_hands_over_exactly_what_is_chosen(app, qtbot, toy, tmp_path):
    image = tmp_path / "two.ome.tif"
    both = np.stack([pixels(), pixels()])
    tifffile.imwrite(image, both, photometric="minisblack", metadata={"axes": "CYX"})
    trying = show_try(app, qtbot, module="toy")
    qtbot.waitUntil(lambda: trying.column.function == "segment", timeout=PATIENCE_MS)
    open_image(trying, qtbot, image)
    trying.column.form.set_values({"threshold": 77.0, "mode": "note"})
    channel = trying.column.choice.channels["image"]
    channel.setCurrentIndex(channel.findData(1))
    trying.column.bar.on_folder.click()
    page = app.window._pages["batch"]
    assert app.window.page == "batch"
    qtbot.waitUntil(
        lambda: page.column.parameters.form.values().get("threshold") == 77.0, timeout=PATIENCE_MS
    )
    batch = page.wish().batch
    assert (batch.module, batch.function, batch.selection) == ("toy", "segment", {"channels": 2})
    assert batch.parameters == trying.column.form.values()
    page.try_image(image)  # and back again
    assert app.window.page == "try"
    choose_function_of_try(trying, "invert")
    trying.column.bar.on_folder.click()
    qtbot.waitUntil(lambda: page.column.chosen.function == "invert", timeout=PATIENCE_MS)
    assert page.panel.tab == IMAGES


def test_rate_and_remaining_time_are_told(app):
    task = app.background.start("Batch", lambda report, cancel: None)
    told = {}
    for rate in (123.4, 5.52, 0.05):
        task.items = Items(10.5, 40, "a.tif", per_s=rate, remaining_s=90.0)
        task.state = "running"
        told[rate] = words.task(task)
    assert told[123.4] == "10 of 40   123 per second   2 min left   a.tif"
    assert "5.5 per second" in told[5.52]
    assert "3.0 per minute" in told[0.05]


def test_pictures_are_kept_up_to_a_number(qapp):
    model = ResultsModel()
    for number in range(KEPT + 10):
        model.add(Result(Path(str(number)), str(number), picture=None))  # type: ignore[arg-type]
    assert model.rowCount() == KEPT
    assert model.results[-1].text == str(KEPT + 9)
    assert model.results[0].text == "10"


def test_a_run_that_fails_as_a_whole_says_why(app, page, qtbot, folder):
    take(page, qtbot, folder)
    config = json.loads((app.store.snapshot.root / "config.json").read_text("utf-8"))
    del config["modules"]["toy"]
    (app.store.snapshot.root / "config.json").write_text(json.dumps(config), "utf-8")
    page.runner.run(page.wish())
    qtbot.waitUntil(lambda: page.runner.task is None, timeout=PATIENCE_MS)
    assert "toy" in app.window.messages.text
    assert not page.column.summary.isVisible()
