"""The viewer: tiles in sight, contrast, masks of many objects, zoom and pan, linked canvases."""

from __future__ import annotations

import gc

import numpy as np
import pytest
from PySide6.QtCore import QPoint, QPointF, QSizeF, Qt
from PySide6.QtGui import QColor

from app.viewer import coloring, scale_bar, statistics
from app.viewer.canvas import Canvas
from app.viewer.coloring import Shade
from app.viewer.contrast_bar import ContrastBar
from app.viewer.display import first_display
from app.viewer.image_layer import ImageLayer
from app.viewer.label_layer import LabelLayer
from app.viewer.layer import Tile
from app.viewer.pyramid import TILE, Pyramid
from tests.app.conftest import PATIENCE_MS

GRAY = Shade(0, 255)


def _ramp(height, width, channels=1):
    """Return pixels (y, x, c) whose values tell their place."""
    y, x = np.mgrid[:height, :width]
    return np.stack([(y * 7 + x * 3 + c * 50) % 256 for c in range(channels)], -1).astype(np.uint8)


# ---- no widget -----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.float32, np.int64])
def test_a_level_is_the_mean_of_four_pixels(dtype):
    pixels = np.random.default_rng(0).integers(0, 120, (1203, 777, 2)).astype(dtype)
    pyramid = Pyramid(pixels)
    assert pyramid.levels == 3
    pyramid.build_next()
    found = pyramid.tile(1, 0, 0)[:, :256, :256]
    four = [pixels[a:512:2, b:512:2].astype(float) for a in (0, 1) for b in (0, 1)]
    expected = np.moveaxis(sum(four) / 4, -1, 0)
    assert found.dtype == dtype
    assert np.abs(found - expected).max() < 1
    assert pyramid.tile(1, 1, 0).shape == (2, 602 - TILE, 389)


def test_a_level_that_is_not_built_is_sampled():
    pixels = _ramp(2000, 1500)
    pyramid = Pyramid(pixels)
    np.testing.assert_array_equal(pyramid.tile(2, 0, 0)[0], pixels[::4, ::4, 0])
    assert pyramid.tile(0, 3, 2).shape == (1, 2000 - 3 * TILE, 1500 - 2 * TILE)


def test_channels_are_added_and_do_not_overflow():
    planes = np.array([[[0, 100, 255]], [[0, 200, 255]]], np.uint16)
    shades = (Shade(0, 200, (255, 0, 0)), Shade(100, 200, (255, 255, 0)))
    assert coloring.compose(planes, shades)[0].tolist() == [
        [0, 0, 0, 255],
        [0, 255, 255, 255],  # blue, green, red: 128 and 255 of red are not 127
        [0, 255, 255, 255],
    ]
    hidden = (shades[0], Shade(100, 200, (255, 255, 0), visible=False))
    assert coloring.compose(planes, hidden)[0, :, 2].tolist() == [0, 128, 255]


@pytest.mark.parametrize("dtype", [np.float32, np.int16, np.uint32, np.float64])
def test_other_types_are_shaded_too(dtype):
    planes = np.array([[[-5, 0, 50, 100, 120]]]).astype(dtype)
    if dtype == np.uint32:
        planes[0, 0, 0] = 0
    found = coloring.compose(planes, (Shade(0, 100),))[0, :, 0]
    assert np.abs(found - np.array([0.0, 0, 128, 255, 255])).max() <= 1


def test_the_same_object_has_the_same_colour_beyond_65535():
    labels = np.array([[0, 7, 70_000, 2**31 - 1]], np.int32)
    found = coloring.paint_labels(np.pad(labels, 1), outlines=False)[0]
    assert found[0] == 0
    assert len({*found.tolist()}) == 4
    assert all(value >> 24 == 255 for value in found[1:].tolist())
    red, green, blue = coloring.label_color(70_000)
    assert int(found[2]) & 0xFFFFFF == red << 16 | green << 8 | blue


def test_neighbouring_numbers_have_colours_that_differ():
    colors = np.array([coloring.label_color(label) for label in range(1, 400)], float)
    assert np.abs(np.diff(colors, axis=0)).sum(axis=1).min() > 100


def test_outlines_leave_the_inside_free():
    labels = np.zeros((9, 9), np.int32)
    labels[2:7, 2:5] = 1
    labels[2:7, 5:8] = 2
    found = coloring.paint_labels(np.pad(labels, 1), outlines=True) > 0
    inside = np.zeros((9, 9), bool)
    inside[3:6, 3:4] = inside[3:6, 6:7] = True
    np.testing.assert_array_equal(found, (labels > 0) & ~inside)


@pytest.mark.parametrize("largest", [300, 2**31 - 1])
def test_objects_are_measured_whatever_their_numbers(largest):
    labels = np.zeros((50, 60), np.int32)
    labels[:10, :7] = 3
    labels[20:22, :5] = largest
    sizes = coloring.object_sizes(labels)
    assert (sizes[3], sizes[largest]) == (70, 10)


def test_automatic_contrast_ignores_the_brightest_few():
    pixels = np.full((1000, 1000, 1), 200, np.uint16)
    pixels[:, ::2] = 1000
    pixels[0, :3] = 60_000
    (found,) = statistics.of(Pyramid(pixels))
    assert found.percentiles(*statistics.AUTO) == (200, 1000)


def test_a_plane_of_background_can_be_shown():
    pixels = np.full((100, 100, 1), 7, np.uint16)
    (found,) = statistics.of(Pyramid(pixels))
    low, high = found.percentiles(*statistics.AUTO)
    assert low == 7
    assert high > low


@pytest.mark.parametrize(
    ("um", "text"), [(0.325, "50 µm"), (0.001, "100 nm"), (20.0, "2 mm"), (1.0, "100 µm")]
)
def test_a_scale_bar_is_round_and_has_its_length(um, text):
    found = scale_bar.bar(um)
    assert found.text == text
    unit = {"nm": 1e-3, "µm": 1, "mm": 1e3}[text.split()[1]]
    assert found.pixels * um == pytest.approx(float(text.split()[0]) * unit)
    assert found.pixels <= 160


# ---- on a canvas ---------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def collect_in_this_thread():
    """Python ends objects of Qt in whichever thread collects garbage: let it be the GUI thread."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.fixture
def shown(app, qtbot):
    """Return what makes a canvas that shows pixels and, if given, labels."""

    def make(pixels, labels=None, size=(600, 400)):
        image, mask = ImageLayer(app.background), LabelLayer(app.background)
        canvas = Canvas(app.theme)
        canvas.image, canvas.mask = image, mask  # they live as long as it does
        qtbot.addWidget(canvas)
        canvas.resize(*size)
        canvas.set_layers([image, mask])
        image.set_plane(Pyramid(pixels), (GRAY,) * pixels.shape[2])
        mask.set_labels(labels)
        canvas.show()
        return canvas

    return make


def _wait(qtbot, canvas):
    def ready():
        layers = (canvas.image, canvas.mask)
        return all(layer.is_empty or layer.is_ready() for layer in layers)

    canvas.grab()  # asks for the tiles, even where the window is not exposed yet
    qtbot.waitUntil(ready, timeout=PATIENCE_MS)
    return canvas.grab().toImage()


def _at(canvas, picture, y, x):
    """Return what is painted in the middle of a pixel."""
    place = canvas.view.to_canvas(x + 0.5, y + 0.5, QSizeF(canvas.size()))
    return QColor(picture.pixel(int(place.x()), int(place.y())))


def test_each_pixel_is_painted_at_its_place(qtbot, shown):
    pixels = _ramp(1300, 1700)
    canvas = shown(pixels)
    canvas.set_zoom(8.0)
    for y, x in ((0, 0), (511, 511), (512, 512), (1299, 1699), (600, 1030)):
        canvas.view.center = QPointF(x, y)
        picture = _wait(qtbot, canvas)
        for b, a in ((y, x), (max(0, y - 3), max(0, x - 5))):
            assert _at(canvas, picture, b, a).red() == pixels[b, a, 0]


def test_only_tiles_in_sight_are_made(qtbot, shown):
    canvas = shown(np.zeros((TILE * 8, TILE * 8, 1), np.uint8))
    canvas.set_zoom(1.0)
    made = []
    canvas.image.tile_ready.connect(made.append)
    _wait(qtbot, canvas)
    fine = {tile for tile in made if tile.level == 0}
    assert 0 < len(fine) <= 6  # 600 x 400 touches at most 3 x 2 tiles


def test_all_of_a_large_image_is_seen_before_it_is_averaged(qtbot, shown):
    pixels = np.zeros((TILE * 4, TILE * 4, 1), np.uint8)
    pixels[:, TILE * 2 :] = 200
    canvas = shown(pixels)
    picture = _wait(qtbot, canvas)
    assert _at(canvas, picture, 1000, 500).red() == 0
    assert _at(canvas, picture, 1000, 1500).red() == 200
    qtbot.waitUntil(lambda: canvas.image.stamp(Tile(2, 0, 0))[1] == 2, timeout=PATIENCE_MS)


def test_another_contrast_recolours_what_is_in_sight(qtbot, shown):
    canvas = shown(np.full((300, 300, 1), 50, np.uint8))
    assert _at(canvas, _wait(qtbot, canvas), 10, 10).red() == 50
    canvas.image.set_shades((Shade(0, 100, (0, 255, 0)),))
    found = _at(canvas, _wait(qtbot, canvas), 10, 10)
    assert (found.red(), found.green()) == (0, 128)


def test_another_plane_takes_the_place_of_the_first(qtbot, shown):
    canvas = shown(np.full((300, 300, 1), 50, np.uint8))
    canvas.set_zoom(3.0)
    _wait(qtbot, canvas)
    canvas.image.set_plane(Pyramid(np.full((300, 300, 1), 90, np.uint8)), (GRAY,))
    assert _at(canvas, _wait(qtbot, canvas), 150, 150).red() == 90
    assert canvas.zoom == 3.0


def test_labels_lie_at_their_place_and_let_the_image_through(qtbot, shown):
    labels = np.zeros((600, 700), np.int32)
    labels[500:520, 505:530] = 70_001  # across the edges of four tiles
    canvas = shown(np.full((1000, 1000, 1), 100, np.uint8))
    canvas.mask.set_labels(labels, top=40, left=30)
    canvas.mask.opacity = 0.5
    canvas.set_zoom(8.0)
    canvas.view.center = QPointF(545, 550)
    picture = _wait(qtbot, canvas)
    expected = [(100 + part) / 2 for part in coloring.label_color(70_001)]
    for y, x in ((540, 535), (559, 559), (551, 541), (552, 542)):
        found = _at(canvas, picture, y, x)
        assert (found.red(), found.green(), found.blue()) == pytest.approx(expected, abs=2)
    assert _at(canvas, picture, 539, 545).red() == 100
    assert canvas.mask.label(540, 535) == 70_001
    assert canvas.mask.label(539, 545) == 0
    canvas.mask.set_outlines(True)
    picture = _wait(qtbot, canvas)
    assert _at(canvas, picture, 550, 545).red() == 100
    assert _at(canvas, picture, 540, 545).green() == pytest.approx(expected[1], abs=2)
    assert _at(canvas, picture, 552, 545).red() == 100  # no line where tiles meet


def test_sizes_of_objects_come_from_the_background(qtbot, shown):
    labels = np.zeros((100, 100), np.int32)
    labels[:3, :4] = 9
    canvas = shown(np.zeros((100, 100, 1), np.uint8), labels)
    canvas.mask.count(labels)
    qtbot.waitUntil(lambda: canvas.mask.size(9) == 12, timeout=PATIENCE_MS)


def test_the_wheel_zooms_where_the_mouse_is(qtbot, shown):
    from PySide6.QtGui import QWheelEvent

    canvas = shown(_ramp(2000, 2000))
    point, size = QPointF(450, 90), QSizeF(canvas.size())
    before = canvas.view.to_image(point, size)
    no = Qt.KeyboardModifier.NoModifier
    event = QWheelEvent(
        point, point, QPoint(), QPoint(0, 240), Qt.MouseButton.NoButton, no,
        Qt.ScrollPhase.NoScrollPhase, False,
    )  # fmt: skip
    zoom = canvas.zoom
    canvas.wheelEvent(event)
    after = canvas.view.to_image(point, size)
    assert canvas.zoom > zoom * 1.2
    assert (after.x(), after.y()) == pytest.approx((before.x(), before.y()), abs=1e-6)


def test_keys_zoom_and_move(qtbot, shown):
    canvas = shown(_ramp(2000, 2000))
    fitted = canvas.zoom
    qtbot.keyClick(canvas, Qt.Key.Key_Plus)
    assert canvas.zoom > fitted
    qtbot.keyClick(canvas, Qt.Key.Key_1)
    assert canvas.zoom == 1.0
    center = canvas.view.center.x()
    qtbot.keyClick(canvas, Qt.Key.Key_Right)
    assert canvas.view.center.x() > center
    qtbot.keyClick(canvas, Qt.Key.Key_Minus)
    assert canvas.zoom < 1
    qtbot.keyClick(canvas, Qt.Key.Key_0)
    assert canvas.zoom == fitted
    assert canvas.visible_region() == (0, 2000, 0, 2000)


def test_dragging_moves_and_the_region_in_sight_is_told(qtbot, shown):
    canvas = shown(_ramp(2000, 3000))
    canvas.set_zoom(1.0)
    canvas.view.center = QPointF(1500, 1000)
    assert canvas.visible_region() == (800, 1200, 1200, 1800)
    qtbot.mousePress(canvas, Qt.MouseButton.LeftButton, pos=QPoint(300, 200))
    qtbot.mouseMove(canvas, QPoint(250, 220))
    qtbot.mouseRelease(canvas, Qt.MouseButton.LeftButton, pos=QPoint(250, 220))
    assert canvas.visible_region() == (780, 1180, 1250, 1850)
    canvas.view.move(QPointF(1e6, 1e6))
    assert canvas.visible_region() == (0, 200, 0, 300)


def test_linked_canvases_look_at_the_same_place(qtbot, shown):
    first, second = shown(_ramp(900, 900)), shown(_ramp(900, 900))
    second.link(first)
    first.set_zoom(2.0)
    assert second.zoom == 2.0
    second.view.move(QPointF(50, 0))
    assert first.visible_region() == second.visible_region()


def test_the_contrast_bar_sets_a_channel(qtbot, app):
    bar = ContrastBar(app)
    qtbot.addWidget(bar)
    pixels = np.random.default_rng(0).integers(100, 4000, (300, 300, 2)).astype(np.uint16)
    found = statistics.of(Pyramid(pixels))
    display = first_display(
        ["DAPI", ""], [(0, 0, 255), None], found, dtype=pixels.dtype, is_rgb=False
    )
    assert display.names == ("DAPI", "Channel 2")
    bar.show_display(display, found)
    bar.channels.setCurrentRow(1)
    bar.low.setText("500")
    bar.low.editingFinished.emit()
    assert bar.display.shades[1].low == 500
    assert bar.display.shades[0] == display.shades[0]
    bar.percentiles[1].setText("50")
    bar.percentiles[1].editingFinished.emit()
    assert bar.display.shades[1].high == pytest.approx(2050, rel=0.05)
    bar.channels.item(0).setCheckState(Qt.CheckState.Unchecked)
    assert [shade.visible for shade in bar.display.shown()] == [False, True]
    bar.gray.setChecked(True)
    assert bar.display.shown()[1].color == (255, 255, 255)
    bar.histogram.slider.setValue((1000, 2000))
    low, high = bar.display.shades[1].low, bar.display.shades[1].high
    assert (low, high) == pytest.approx((1050, 2000), abs=60)


def test_the_colours_of_a_picture_are_not_stretched():
    pixels = np.random.default_rng(0).integers(90, 140, (50, 50, 3)).astype(np.uint8)
    found = statistics.of(Pyramid(pixels))
    display = first_display(
        ["Red", "Green", "Blue"], [None] * 3, found, dtype=pixels.dtype, is_rgb=True
    )
    assert {(shade.low, shade.high) for shade in display.shades} == {(0.0, 255.0)}
