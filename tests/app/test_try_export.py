"""The page *Try it*: what a run has found is saved as files."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import roifile
import tifffile
from PIL import Image as Picture

from app.pages.try_it import exports
from app.pages.try_it.page import TryPage
from tests.app.conftest import PATIENCE_MS
from tests.app.on_try_it import choose_area, open_image, run
from tests.app.toy_module import pixels


@pytest.fixture
def page(try_page) -> TryPage:
    return try_page


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
