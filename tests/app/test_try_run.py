"""The page *Try it*: choosing, running, results, comparison, export, and the way to the node."""

from __future__ import annotations

import csv
import json
import time
from pathlib import Path

import numpy as np
import pytest
import roifile
import tifffile
from PIL import Image as Picture
from PySide6.QtCore import QEvent, QEventLoop, QObject
from PySide6.QtWidgets import QApplication, QPushButton

from app.pages.try_it import exports
from app.pages.try_it.page import TryPage
from envmanager import presets
from envmanager.data.paths import DataFolder
from envmanager.data.settings import Settings
from envmanager.environments.lifecycle import Environments
from envmanager.presets import Preset
from envmanager.weights.store import SetState
from tests.support import PROJECT, publish

PATIENCE_MS = 60_000
DECLARATION = {
    "name": "toy",
    "version": "1.0.0",
    "functions": {
        "segment": {
            "title": "Find blobs",
            "summary": "Labels what is bright.",
            "inputs": {"image": {"axes": ["yx", "zyx"]}},
            "outputs": {"labels": {"kind": "labels"}},
            "parameters": {
                "threshold": {
                    "type": "float", "default": 50.0, "min": 0.0, "max": 1e5, "label": "Threshold",
                },
                "spacing": {"type": "float", "default": 1.0, "label": "Z step", "only_3d": True},
                "mode": {
                    "type": "choice", "default": "plain", "label": "Mode",
                    "choices": [{"value": v} for v in ("plain", "sleep", "fail", "note")],
                },
            },
        },
        "measure": {
            "title": "Measure blobs",
            "inputs": {
                "image": {"axes": ["yx"]}, "labels": {"kind": "labels", "axes": ["yx"]},
            },
            "outputs": {"blobs": {
                "kind": "table", "columns": [{"name": "mean", "type": "float", "unit": "grey"}],
            }},
            "parameters": {},
        },
        "invert": {
            "title": "Invert",
            "inputs": {"image": {"axes": ["yx", "yxc"]}},
            "outputs": {"inverted": {"kind": "image"}},
            "parameters": {},
        },
        "volumes": {
            "title": "Volumes",
            "inputs": {"image": {"axes": ["zyx"]}},
            "outputs": {"labels": {"kind": "labels"}},
            "parameters": {},
        },
    },
}  # fmt: skip
WORKER = """
import time
import numpy as np

def segment(image, *, axes="", threshold=50.0, spacing=1.0, mode="plain", progress=None, note=None):
    if mode == "sleep":
        for step in range(600):
            progress(step / 600, f"step {step}")
            time.sleep(0.1)
    if mode == "fail":
        raise ValueError("The image is too dark.")
    if mode == "note":
        note("A part of it was left out.")
    columns = np.cumsum((image > threshold).any(axis=-2), axis=-1)  # blobs lie side by side
    starts = np.diff((image > threshold).any(axis=tuple(range(image.ndim - 1))).astype(int),
                     prepend=0) == 1
    return (np.cumsum(starts) * (image > threshold)).astype(np.int32)

def measure(image, labels):
    return {"mean": [float(image[labels == n].mean()) for n in range(1, labels.max() + 1)]}

def invert(image):
    return 1000 - image

def volumes(image):
    return (image > 50).astype(np.int32)
"""
# Where the blobs are: rows, columns, brightness.
BLOBS = (((2, 6), (3, 8), 100), ((10, 30), (20, 40), 200), ((5, 25), (50, 55), 300))


def pixels() -> np.ndarray:
    image = np.zeros((40, 64), np.uint16)
    for (y0, y1), (x0, x1), value in BLOBS:
        image[y0:y1, x0:x1] = value
    return image


@pytest.fixture
def toy(data_folder) -> Path:
    folder = publish(data_folder, DECLARATION, WORKER)
    manifest = {"backend": "cpu", "disk": {"own": 1, "shared": 0}}
    (folder / "manifest.json").write_text(json.dumps(manifest), "utf-8")
    return data_folder


def show(app, qtbot, **hints) -> TryPage:
    app.show("try")
    app.window.resize(1280, 720)
    app.window.show_page("try", **hints)
    page = app.window._pages["try"]
    qtbot.waitUntil(lambda: bool(app.store.snapshot), timeout=PATIENCE_MS)
    return page


@pytest.fixture
def page(app, qtbot, toy) -> TryPage:
    made = show(app, qtbot, module="toy")
    qtbot.waitUntil(lambda: made.column.function == "segment", timeout=PATIENCE_MS)
    return made


@pytest.fixture
def calibrated(tmp_path) -> Path:
    path = tmp_path / "blobs ü.ome.tif"
    told = {"axes": "YX", "PhysicalSizeX": 0.5, "PhysicalSizeXUnit": "µm",
            "PhysicalSizeY": 0.5, "PhysicalSizeYUnit": "µm"}  # fmt: skip
    tifffile.imwrite(path, pixels(), ome=True, photometric="minisblack", metadata=told)
    return path


def open_image(page, qtbot, path: Path) -> None:
    with qtbot.waitSignal(page.images.image_opened, timeout=PATIENCE_MS):
        page.images.open(path)


def run(page, qtbot) -> None:
    assert page.column.bar.problem == ""
    page.column.bar.start.click()
    assert page.column.task is not None
    qtbot.waitUntil(lambda: page.column.task is None, timeout=PATIENCE_MS)


def choose_function(page, name: str) -> None:
    choice = page.column.choice.function
    choice.setCurrentIndex(choice.findData(name))
    choice.activated.emit(choice.currentIndex())


def choose_area(page, text: str) -> None:
    choice = page.column.choice.area
    choice.setCurrentIndex(choice.findText(text))
    choice.activated.emit(choice.currentIndex())


# ---- what stands in the way ----------------------------------------------------------------------


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


# ---- runs ----------------------------------------------------------------------------------------


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


# ---- files, presets, node ------------------------------------------------------------------------


@pytest.fixture
def save(page, qtbot, monkeypatch, tmp_path):
    """Save what is in sight; return the file."""

    def call(kind: exports.Export, name: str) -> Path:
        path = tmp_path / "saved ü" / name
        monkeypatch.setattr(page.results, "choose_file", lambda kind, suggested: path)
        page.results.export(kind)
        background = page.context.background
        qtbot.waitUntil(lambda: not background.under_way(), timeout=PATIENCE_MS)
        return path if path.suffix else path.with_suffix(kind.suffix)

    return call


def test_what_was_found_is_saved(app, page, qtbot, calibrated, save):
    open_image(page, qtbot, calibrated)
    page.images.canvas.set_zoom(40.0)
    choose_area(page, "The visible part")
    run(page, qtbot)
    shown = page.results.shown
    y0, y1, x0, x1 = shown.region
    whole = np.zeros((40, 64), np.uint16)
    whole[y0:y1, x0:x1] = shown.trial.mask
    np.testing.assert_array_equal(tifffile.imread(save(exports.MASK, "mask")), whole)
    assert "mask.tif" in app.window.messages.text
    with Picture.open(save(exports.OVERLAY, "overlay.png")) as picture:
        assert picture.size == (64, 40)
    with save(exports.OBJECTS, "objects.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        mine = whole == int(row["id"])
        y, x = np.nonzero(mine)
        assert float(row["area_um2"]) == mine.sum() * 0.25
        assert (float(row["x_px"]), float(row["y_px"])) == (x.mean(), y.mean())
        assert float(row["mean channel 1"]) == pixels()[mine].mean()
    rois = roifile.roiread(save(exports.ROIS, "rois.zip"))
    boxes = {(roi.top, roi.bottom, roi.left, roi.right) for roi in np.atleast_1d(rois)}
    expected = set()
    for label in np.unique(whole[whole > 0]):
        y, x = np.nonzero(whole == label)
        expected.add((y.min(), y.max() + 1, x.min(), x.max() + 1))
    assert rows
    assert boxes == expected


def test_the_image_itself_is_not_replaced(app, page, qtbot, calibrated, save, monkeypatch):
    open_image(page, qtbot, calibrated)
    run(page, qtbot)
    before = calibrated.read_bytes()
    monkeypatch.setattr(page.results, "choose_file", lambda kind, suggested: calibrated)
    page.results.export(exports.MASK)
    assert "would replace the image" in app.window.messages.text
    assert calibrated.read_bytes() == before


def test_a_file_that_cannot_be_written_is_told(app, page, qtbot, calibrated, save, tmp_path):
    open_image(page, qtbot, calibrated)
    run(page, qtbot)
    (tmp_path / "saved ü").write_text("a file where the folder should be")
    save(exports.MASK, "mask.tif")
    qtbot.waitUntil(lambda: "cannot be written" in app.window.messages.text, timeout=PATIENCE_MS)


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


@pytest.mark.slow
def test_classic_finds_the_nuclei_of_a_sample(
    app, qtbot, data_folder, shared_uv_cache, monkeypatch
):
    monkeypatch.setenv("UV_CACHE_DIR", str(shared_uv_cache))
    Environments(DataFolder(data_folder), Settings()).install("classic")
    page = show(app, qtbot, module="classic")
    qtbot.waitUntil(lambda: page.column.function == "segment", timeout=PATIENCE_MS)
    with qtbot.waitSignal(page.images.image_opened, timeout=PATIENCE_MS):
        page.images.toolbar.opening.open_sample("nuclei")
    run(page, qtbot)
    assert 240 <= page.results.shown.objects <= 300
    assert "µm²" in page.results.card.histogram.toolTip()
    assert page.results.card.headline.text().endswith(" objects")
    assert (PROJECT / "modules" / "classic").is_dir()
