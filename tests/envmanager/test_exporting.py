"""What people take along: borders, ROIs and the table of objects, against what is known."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import roifile
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image as Picture
from PIL import ImageDraw

from envmanager import cli, contours, exporting, images
from envmanager.errors import ImageError
from envmanager.reading.metadata import PixelSize

# A ring, what lies in its hole, two pixels that touch at a corner, and one label in two parts.
HARD = np.array(
    [
        [1, 1, 1, 1, 1, 0, 0, 3],
        [1, 0, 0, 0, 1, 0, 3, 0],
        [1, 0, 2, 0, 1, 0, 0, 0],
        [1, 0, 0, 1, 0, 0, 0, 4],
        [1, 1, 1, 1, 4, 4, 0, 4],
    ],
    np.int32,
)


def fill(loops: list[np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    """Fill by the even-odd rule at pixel centres, as ImageJ does: count the crossings to the left.

    A vertical edge between the corners y and y + n at x is crossed by the rows in between.
    """
    crossings = np.zeros((shape[0], shape[1] + 1), int)
    for loop in loops:
        for (x0, y0), (x1, y1) in zip(loop, np.roll(loop, -1, axis=0), strict=True):
            assert (x0 == x1) != (y0 == y1), "the border runs between pixels"
            if x0 == x1:
                crossings[min(y0, y1) : max(y0, y1), x0] += 1
    return np.cumsum(crossings, axis=1)[:, :-1] % 2 == 1


def filled(found: contours.Loops, shape: tuple[int, int]) -> np.ndarray:
    labels = np.zeros(shape, np.int64)
    for label, loops in found.items():
        inside = fill(loops, shape)
        assert not labels[inside].any(), "two objects overlap"
        labels[inside] = label
    return labels


def test_borders_of_rings_holes_and_parts_enclose_exactly_the_pixels():
    found = contours.trace(HARD)
    np.testing.assert_array_equal(filled(found, HARD.shape), HARD)
    assert [len(found[label]) for label in (1, 2, 3, 4)] == [2, 1, 1, 2]


@settings(max_examples=150, deadline=None)
@given(arrays.arrays(np.int32, st.tuples(st.integers(1, 9), st.integers(1, 9)),
                     elements=st.integers(0, 3)))  # fmt: skip
def test_borders_enclose_exactly_the_pixels(labels):
    np.testing.assert_array_equal(filled(contours.trace(labels), labels.shape), labels)


def test_a_border_has_no_needless_corners():
    (loop,) = contours.trace(np.ones((50, 70), np.int32))[1]
    assert sorted(map(tuple, loop.tolist())) == [(0, 0), (0, 50), (70, 0), (70, 50)]


@settings(max_examples=40, deadline=None)
@given(labels=arrays.arrays(np.uint16, (7, 11), elements=st.integers(0, 4)))
def test_rois_read_back_and_filled_are_the_mask(labels, tmp_path_factory):
    path = tmp_path_factory.mktemp("rois") / "RoiSet.zip"
    count = exporting.write_rois(path, labels, corner=(40_000, 3))
    rois = roifile.roiread(path) if count else []
    again = np.zeros_like(labels)
    for roi in rois:
        loops = [_open(loop) - (3, 40_000) for loop in roi.coordinates(multi=True)]
        again[fill([loop.astype(int) for loop in loops], labels.shape)] = int(roi.name)
    assert count == len(np.unique(labels[labels > 0]))
    np.testing.assert_array_equal(again, labels)


def _open(loop: np.ndarray) -> np.ndarray:
    """Return a loop without its first point at the end: composite ones have it there."""
    return loop[:-1] if (loop[0] == loop[-1]).all() else loop


def test_simple_rois_are_polygons_that_pillow_fills_alike(tmp_path):
    y, x = np.mgrid[:60, :80]
    labels = (((y - 30) ** 2 / 400 + (x - 40) ** 2 / 900) < 1).astype(np.int32) * 9
    exporting.write_rois(tmp_path / "a.zip", labels)
    (roi,) = roifile.roiread(tmp_path / "a.zip")
    assert (roi.name, roi.roitype, roi.composite) == ("0009", roifile.ROI_TYPE.TRACED, False)
    assert (roi.top, roi.left, roi.bottom, roi.right) == (11, 11, 50, 70)
    # Pillow fills between points at pixel centres: four times as fine, its edge is less than ours.
    big = Picture.new("1", (320, 240))
    ImageDraw.Draw(big).polygon([(4 * a, 4 * b) for a, b in roi.coordinates()], fill=1)
    np.testing.assert_array_equal(np.asarray(big)[2::4, 2::4], labels > 0)


def test_rois_of_a_stack_lie_in_their_slices(tmp_path):
    labels = np.zeros((3, 4, 5), np.int32)
    labels[1, 1:3, 1:3] = 7
    labels[2, 1:3, 1:4] = 7
    assert exporting.write_rois(tmp_path / "a.zip", labels) == 2
    rois = roifile.roiread(tmp_path / "a.zip")
    assert [(roi.name, roi.position) for roi in rois] == [("0007-z002", 2), ("0007-z003", 3)]


def test_an_image_that_is_too_large_for_rois_is_refused(tmp_path):
    with pytest.raises(ImageError, match="60,535"):
        exporting.write_rois(tmp_path / "a.zip", np.ones((1, 60_536), np.uint8))
    assert not (tmp_path / "a.zip").exists()


def test_objects_are_measured_in_pixels_and_micrometres():
    labels = np.zeros((6, 8), np.int32)
    labels[1:3, 2:6] = 5
    labels[5, 7] = 2
    pixels = np.stack([np.arange(48).reshape(6, 8), np.full((6, 8), 4.5)], axis=-1)
    table = exporting.objects(
        labels,
        pixels=pixels,
        channels=("DAPI", ""),
        pixel_size=PixelSize(0.5, 0.25),
        corner=(100, 10),
    )
    first = {name: column[0] for name, column in table.items()}
    second = {name: column[1] for name, column in table.items()}
    assert second == {
        "id": 5,
        "area_px": 8,
        "area_um2": 1.0,
        "x_px": 13.5,
        "y_px": 101.5,
        "x_um": 3.375,
        "y_um": 50.75,
        "bbox_x_px": 12,
        "bbox_y_px": 101,
        "bbox_width_px": 4,
        "bbox_height_px": 2,
        "mean DAPI": pixels[1:3, 2:6, 0].mean(),
        "mean channel 2": 4.5,
    }
    assert (first["id"], first["area_px"], first["mean DAPI"]) == (2, 1, 47)


def test_objects_of_a_stack_have_volumes():
    labels = np.zeros((4, 5, 6), np.uint16)
    labels[1:4, 2:4, 3] = 1
    table = exporting.objects(labels, pixel_size=PixelSize(0.5, 0.5, 2.0))
    found = {name: column[0] for name, column in table.items()}
    assert (found["volume_px"], found["volume_um3"], found["z_um"]) == (6, 3.0, 4.0)
    assert (found["bbox_z_px"], found["bbox_depth_px"]) == (1, 3)
    assert "area_px" not in found
    flat = exporting.objects(labels, pixel_size=PixelSize(0.5, 0.5))
    assert not {"volume_um3", "z_um"} & {*flat}  # the distance of slices is not known


@settings(max_examples=30, deadline=None)
@given(arrays.arrays(np.int32, (5, 7), elements=st.sampled_from([0, 1, 3, 2_000_000_000])))
def test_sparse_numbers_are_measured_as_any_others(labels):
    table = exporting.objects(labels, pixels=labels[..., np.newaxis].astype(np.float64))
    found = np.unique(labels[labels > 0])
    np.testing.assert_array_equal(table["id"], found)
    for i, label in enumerate(found):
        y, x = np.nonzero(labels == label)
        assert table["area_px"][i] == y.size
        assert table["y_px"][i] == pytest.approx(y.mean())
        assert table["bbox_width_px"][i] == np.ptp(x) + 1
        assert table["mean channel 1"][i] == label


def test_large_masks_are_measured_in_parts(monkeypatch):
    rng = np.random.default_rng(5)
    labels = rng.integers(0, 9, (40, 30)).astype(np.int32)
    pixels = rng.random((40, 30, 2)).astype(np.float32)
    whole = exporting.objects(labels, pixels=pixels)
    monkeypatch.setattr(exporting, "_AT_ONCE", 64)
    for name, column in exporting.objects(labels, pixels=pixels).items():
        np.testing.assert_allclose(column, whole[name], rtol=1e-12)


def test_no_objects_give_a_table_with_names_only(tmp_path):
    empty = np.zeros((4, 4), np.int32)
    exporting.write_table(tmp_path / "a.csv", exporting.objects(empty))
    assert (tmp_path / "a.csv").read_text("utf-8").splitlines() == [
        "id,area_px,x_px,y_px,bbox_x_px,bbox_y_px,bbox_width_px,bbox_height_px"
    ]
    assert exporting.write_rois(tmp_path / "a.zip", empty) == 0


def test_the_table_is_read_by_others_as_it_was(tmp_path):
    table = {"id": np.array([1, 70_000]), "mean, green": np.array([0.1, 1e-7]), "n": ["ä", "b"]}
    exporting.write_table(tmp_path / "ä.csv", table)
    with (tmp_path / "ä.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["mean, green"]) for row in rows] == [0.1, 1e-7]
    assert [row["id"] for row in rows] == ["1", "70000"]
    assert rows[0]["n"] == "ä"


def test_a_mask_of_a_part_is_written_in_the_place_of_the_whole(tmp_path):
    part = np.full((2, 3), 8, np.int32)
    whole = exporting.placed(part, (1, 3, 4, 7), (5, 9))
    images.write_labels(tmp_path / "a.tif", whole)
    again = tifffile.imread(tmp_path / "a.tif")
    assert again.shape == (5, 9)
    np.testing.assert_array_equal(again[1:3, 4:7], part)
    assert again.sum() == part.sum()


def test_the_command_line_writes_them_beside_the_mask(echo, tmp_path, capsys):
    image = np.zeros((20, 30), np.uint16)
    image[3:6, 4:9] = 1000
    told = {"axes": "YX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
    tifffile.imwrite(tmp_path / "a.ome.tif", image, ome=True, metadata=told)
    words = ["segment", "echo", tmp_path / "a.ome.tif", "-o", tmp_path / "mask.tif", "-p"]
    words += ["threshold=500", "--csv", "--rois", "--overlay", "--json"]
    assert cli.main(list(map(str, words))) == 0
    (row,) = json.loads(capsys.readouterr().out)["data"]["outputs"]
    expected = [tmp_path / name for name in ("mask.csv", "mask_rois.zip", "mask_overlay.png")]
    assert row["beside"] == list(map(str, expected))
    mask = tifffile.imread(tmp_path / "mask.tif")
    with expected[0].open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == row["objects"] == len(np.unique(mask)) - 1
    assert {float(one["mean channel 1"]) for one in rows} == {1000.0}
    assert {float(one["area_um2"]) for one in rows} == {0.25}
    assert len(roifile.roiread(expected[1])) == row["objects"]
    with Picture.open(expected[2]) as picture:
        assert picture.size == (30, 20)
