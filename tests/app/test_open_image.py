"""The image part of the page *Try it*: opening, dropping, moving through a series, masks."""

from __future__ import annotations

import gc
import threading
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PySide6.QtCore import QMimeData, QPointF, Qt, QUrl
from PySide6.QtGui import QDropEvent

from app.pages.try_it import opening
from app.pages.try_it.opening import OpenButton
from envmanager import samples
from envmanager.reading.series import Series
from tests.app.conftest import PATIENCE_MS

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
SHAPE = (3, 4, 2, 60, 80)  # t, z, c, y, x
PIXELS = np.random.default_rng(0).integers(100, 4000, SHAPE).astype(np.uint16)
TOLD = {
    "axes": "TZCYX",
    "PhysicalSizeX": 0.5, "PhysicalSizeXUnit": "µm",
    "PhysicalSizeY": 0.5, "PhysicalSizeYUnit": "µm",
    "PhysicalSizeZ": 2.0, "PhysicalSizeZUnit": "µm",
    "Channel": {"Name": ["DAPI", "GFP"]},
}  # fmt: skip


@pytest.fixture(autouse=True)
def collect_in_this_thread():
    """Python ends objects of Qt in whichever thread collects garbage: let it be the GUI thread."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.fixture
def page(app, qtbot):
    app.window.show()
    app.window.show_page("try")
    return app.window._pages["try"]


@pytest.fixture
def images(page):
    return page.images


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "Bild ä.ome.tif"
    tifffile.imwrite(path, PIXELS, ome=True, photometric="minisblack", metadata=TOLD)
    return path


def _opened(qtbot, images, name):
    def is_open():
        current = images.current()
        return current is not None and current.series.path.name == name

    qtbot.waitUntil(is_open, timeout=PATIENCE_MS)


def _open(qtbot, images, path):
    images.open(path)
    _opened(qtbot, images, path.name)


def _intensities(images, y=5, x=7):
    return images.image_layer.value(y, x)


def test_an_image_is_opened_at_its_middle_slice(qtbot, images, path):
    assert images.current() is None
    assert images.visible_region() is None
    with qtbot.waitSignal(images.image_opened, timeout=PATIENCE_MS) as told:
        images.open(path)
    assert isinstance(told.args[0], Series)
    current = images.current()
    assert (current.t, current.z, current.p) == (0, 2, 0)
    assert _intensities(images) == tuple(PIXELS[0, 2, :, 5, 7].tolist())
    assert images.visible_region() == (0, 60, 0, 80)
    assert "0.5 µm" in images.status.text()
    assert images.contrast.display.names == ("DAPI", "GFP")


def test_sliders_go_through_time_and_depth_and_are_hidden_without(qtbot, images, path, tmp_path):
    _open(qtbot, images, path)
    assert images.sliders.slider("t").isVisible()
    assert not images.sliders.slider("p").isVisible()
    for t, z in ((1, 2), (1, 3), (2, 0)):
        images.sliders.go(t, z, 0)
        expected = tuple(PIXELS[t, z, :, 5, 7].tolist())
        qtbot.waitUntil(lambda v=expected: _intensities(images) == v, timeout=PATIENCE_MS)
    np.testing.assert_array_equal(images.current().plane(), np.moveaxis(PIXELS[2, 0], 0, -1))
    assert images.current().image(volume=True).pixels.shape == (4, 60, 80, 2)
    part = images.current().image(region=(10, 20, 30, 50))
    np.testing.assert_array_equal(part.pixels, np.moveaxis(PIXELS[2, 0], 0, -1)[10:20, 30:50])
    single = tmp_path / "one.png"
    _write_png(single)
    _open(qtbot, images, single)
    assert not images.sliders.isVisible()


def _write_png(path):
    from PIL import Image as Picture

    Picture.fromarray(np.full((20, 30), 77, np.uint8)).save(path)


def test_files_are_not_read_in_the_gui_thread(qtbot, images, path, monkeypatch):
    threads = []
    read = Series._read

    def record(self, *places):
        threads.append(threading.get_ident())
        return read(self, *places)

    monkeypatch.setattr(Series, "_read", record)
    _open(qtbot, images, path)
    images.sliders.go(2, 1, 0)
    expected = tuple(PIXELS[2, 1, :, 5, 7].tolist())
    qtbot.waitUntil(lambda: _intensities(images) == expected, timeout=PATIENCE_MS)
    assert threads
    assert threading.get_ident() not in threads


def test_what_cannot_be_read_is_told_and_the_image_before_stays(qtbot, images, path, tmp_path):
    _open(qtbot, images, path)
    (tmp_path / "broken.tif").write_text("hello")
    images.open(tmp_path / "broken.tif")
    qtbot.waitUntil(lambda: "broken.tif" in images.message.text, timeout=PATIENCE_MS)
    assert images.current().series.path == path
    assert str(tmp_path / "broken.tif") not in images.toolbar.opening.recent()
    _open(qtbot, images, path)
    qtbot.waitUntil(lambda: not images.message.text, timeout=PATIENCE_MS)


def test_a_plane_that_cannot_be_read_is_not_replaced_by_another(qtbot, images, tmp_path):
    pixels = np.ones((3, 10, 10), np.float32)
    pixels[0, 3, 3] = np.nan
    path = tmp_path / "x.tif"
    tifffile.imwrite(path, pixels, imagej=True, metadata={"axes": "ZYX"})
    _open(qtbot, images, path)
    images.sliders.go(0, 0, 0)
    qtbot.waitUntil(lambda: "not numbers" in images.message.text, timeout=PATIENCE_MS)
    assert images.image_layer.is_empty
    assert images.visible_region() is None
    images.sliders.go(0, 1, 0)
    qtbot.waitUntil(lambda: _intensities(images) == (1.0,), timeout=PATIENCE_MS)
    assert not images.message.text


def test_the_first_of_several_dropped_files_is_opened(qtbot, page, path):
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(path)), QUrl.fromLocalFile("/somewhere/second.nd2")])
    event = QDropEvent(
        QPointF(50, 50), Qt.DropAction.CopyAction, data,
        Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier,
    )  # fmt: skip
    page.dropEvent(event)
    _opened(qtbot, page.images, path.name)
    assert "second.nd2" in page.images.message.text


def test_another_page_can_ask_for_an_image(qtbot, app, page, path):
    app.window.show_page("try", image=str(path))
    _opened(qtbot, page.images, path.name)


def test_the_dialog_begins_where_it_was_and_images_are_remembered(
    qtbot, images, path, monkeypatch, tmp_path
):
    folders = []

    def choose(self, folder):
        folders.append(folder)
        return path

    monkeypatch.setattr(OpenButton, "choose_file", choose)
    images.toolbar.opening.click()
    _opened(qtbot, images, path.name)
    images.toolbar.opening.browse()
    assert folders == ["", str(tmp_path)]
    assert images.toolbar.opening.recent() == [str(path)]
    for number in range(10):
        images.toolbar.opening.remember(tmp_path / f"{number}.tif")
    images.toolbar.opening.remember(path)
    recent = images.toolbar.opening.recent()
    assert recent[:2] == [str(path), str(tmp_path / "9.tif")]
    assert len(recent) == opening._KEPT


def test_a_sample_is_in_the_menu_and_is_no_recent_image(qtbot, images):
    button = images.toolbar.opening
    menu = button.menu()
    menu.aboutToShow.emit()
    action = next(a for a in menu.actions() if a.text() == samples.NUCLEI.title)
    action.trigger()
    _opened(qtbot, images, "nuclei.ome.tif")
    assert images.current().series.channels_count == 2
    assert button.recent() == []


def test_a_mask_is_in_sight_only_at_its_place(qtbot, images, path):
    _open(qtbot, images, path)
    labels = np.zeros((20, 30), np.int32)
    labels[4:10, 5:15] = 70_000
    images.set_labels(labels, region=(10, 30, 20, 50))
    layer = images.overlays["A"].layer
    qtbot.waitUntil(lambda: layer.size(70_000) == 60, timeout=PATIENCE_MS)
    images.canvas.hovered.emit((15, 27))
    assert "Object 70000: 60 px, 15.0 µm²" in images.status.text()
    assert f"DAPI {PIXELS[0, 2, 0, 15, 27]}" in images.status.text()
    assert images.toolbar.opacity.isVisible()
    images.sliders.go(1, 2, 0)
    qtbot.waitUntil(lambda: layer.is_empty, timeout=PATIENCE_MS)
    images.sliders.go(0, 2, 0)
    qtbot.waitUntil(lambda: not layer.is_empty, timeout=PATIENCE_MS)
    images.set_labels(None)
    assert layer.is_empty
    assert not images.toolbar.opacity.isVisible()


def test_a_mask_of_all_slices_follows_them(qtbot, images, path):
    _open(qtbot, images, path)
    labels = np.zeros((4, 60, 80), np.int32)
    labels[1:3, :2, :5] = 8
    labels[3, 50:, :] = 9
    images.set_labels(labels)
    overlay = images.overlays["A"]
    qtbot.waitUntil(lambda: overlay.layer.size(8) == 20, timeout=PATIENCE_MS)
    images.canvas.hovered.emit((1, 1))
    assert "Object 8: 20 voxels, 10.0 µm³" in images.status.text()
    images.sliders.go(0, 3, 0)
    qtbot.waitUntil(lambda: overlay.layer.label(55, 3) == 9, timeout=PATIENCE_MS)
    assert overlay.layer.label(1, 1) == 0


def test_a_mask_that_comes_late_is_shown_where_it_belongs(qtbot, images, path):
    _open(qtbot, images, path)
    of = images.current()
    images.sliders.go(2, 2, 0)
    images.set_labels(np.ones((60, 80), np.int32), of=of)
    assert images.overlays["A"].layer.is_empty
    images.sliders.go(0, 2, 0)
    qtbot.waitUntil(lambda: not images.overlays["A"].layer.is_empty, timeout=PATIENCE_MS)


def test_two_masks_are_compared_side_by_side(qtbot, images, path):
    _open(qtbot, images, path)
    images.set_labels(np.full((60, 80), 1, np.int32))
    images.set_labels(np.full((60, 80), 2, np.int32), side="B")
    images.compare(True, ("Classic", "StarDist"))
    first, second = images.canvases.values()
    assert second.isVisible()
    assert second.caption == "StarDist"
    qtbot.waitUntil(lambda: abs(first.width() - second.width()) <= 2, timeout=PATIENCE_MS)
    first.set_zoom(9.0)
    assert second.zoom == 9.0
    second.hovered.emit((3, 3))
    assert "Object 2" in images.status.text()
    images.compare(False)
    assert not second.isVisible()


def test_how_masks_are_shown_is_set_by_code_and_by_the_user(qtbot, images, path):
    _open(qtbot, images, path)
    images.set_labels(np.ones((60, 80), np.int32))
    images.opacity = 0.25
    layer = images.overlays["A"].layer
    assert layer.opacity == 0.25
    images.set_outline(True)
    assert layer.outlines
    assert layer.opacity == 1.0  # outlines have their own
    images.toolbar.eye.click()
    assert layer.opacity == 0.0
    images.toolbar.eye.click()
    images.set_outline(False)
    assert images.opacity == 0.25


@pytest.mark.skipif(not DATA.is_dir(), reason="no folder with real images beside the project")
@pytest.mark.parametrize(
    ("name", "channels", "calibrated"),
    [("nuclei_agnor_rgb.nd2", ("Red", "Green", "Blue"), True), ("nuclei_fluo.tif", None, False)],
)
def test_real_images_are_opened(qtbot, images, name, channels, calibrated):
    _open(qtbot, images, DATA / name)
    assert images.contrast.display.names == (channels or ("Channel 1",))
    assert (images.canvas.um_per_pixel is not None) == calibrated
    images.canvas.grab()
    qtbot.waitUntil(images.image_layer.is_ready, timeout=PATIENCE_MS)
    picture = images.canvas.grab().toImage()
    assert len({picture.pixel(x, picture.height() // 2) for x in range(picture.width())}) > 50


def test_the_page_ends_without_trouble_while_it_reads(qtbot, app, page, path):
    page.images.open(path)
    page.deleteLater()
    app.window._pages.pop("try")
    done = []
    app.background.ask(lambda: None, done.append)
    qtbot.waitUntil(lambda: bool(done), timeout=PATIENCE_MS)
