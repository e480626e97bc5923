"""Small pictures of a batch's results: which file they show, and how."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile

from app.pages.batch import pictures
from app.pages.batch.pictures import SIDE, Sources
from envmanager.images import OUTLINE
from envmanager.pipelines.plan import Save, Selection
from envmanager.pipelines.records import ImageRecord
from tests.app.toy_module import pixels


def rgb(picture) -> np.ndarray:
    """Return (y, x, 3)."""
    height, width = picture.height(), picture.width()
    memory = np.frombuffer(picture.constBits(), np.uint8).reshape(height, width, 4)
    return memory[..., 2::-1].copy()  # the memory ends with the picture


@pytest.fixture
def image(tmp_path):
    """Write an image (5 slices, the blobs in the middle one) and its labels."""

    def write(**selected):
        empty = np.zeros_like(pixels())
        whole = np.stack([empty, empty, pixels(), empty, empty])
        path, labels = tmp_path / "a.tif", tmp_path / "a_labels.tif"
        tifffile.imwrite(path, whole, metadata={"axes": "ZYX"}, imagej=True)
        tifffile.imwrite(labels, (whole > 50).astype(np.uint16), metadata={"axes": "ZYX"})
        save = Save(
            name="Save", function="save_tczyx_image", inputs={"labels": (1, "labels")},
            path=str(tmp_path / "%STEM%_labels.tif"),
        )  # fmt: skip
        stems = {str(path): "a", str(tmp_path / "other.tif"): "other"}
        record = ImageRecord(input=str(path), state="done")
        return Sources(Selection(**selected), stems, save, is_labels=True), record

    return write


def test_the_middle_slice_is_shown_with_the_outlines_of_its_objects(image):
    sources, record = image()
    picture = sources.picture(record)
    assert (picture.width(), picture.height()) == (SIDE, SIDE * 40 // 64)
    shown = rgb(picture)
    yellow = (shown == OUTLINE).all(axis=-1)
    _, x = np.nonzero(yellow)
    scale = SIDE / 64
    assert abs(x.min() - 3 * scale) < 3  # the first blob begins at column 3
    assert abs(x.max() - 55 * scale) < 3
    assert not yellow[int(7.5 * scale), int(30 * scale)]  # not inside, nor where there is none
    inside = shown[int(15 * scale), int(52.5 * scale)]
    assert inside.tolist() == [255, 255, 255]


def test_labels_of_another_size_are_left_out(image, tmp_path):
    sources, record = image()
    tifffile.imwrite(tmp_path / "a_labels.tif", np.ones((5, 20, 30), np.uint16))
    assert not (rgb(sources.picture(record)) == OUTLINE).all(axis=-1).any()


def test_only_the_chosen_slices_are_shown(image, tmp_path):
    sources, record = image(slices=(1, 2))
    tifffile.imwrite(
        tmp_path / "a_labels.tif", np.zeros((2, 40, 64), np.uint16), metadata={"axes": "ZYX"}
    )
    shown = rgb(sources.picture(record))
    assert not shown.any()  # there is nothing in these


def test_what_cannot_be_read_has_no_picture(image, tmp_path):
    sources, record = image()
    (tmp_path / "a_labels.tif").unlink()
    assert sources.picture(record) is None
    (tmp_path / "a.tif").write_bytes(b"")
    assert sources.picture(record) is None


def test_a_plane_that_is_too_large_is_not_read(image, monkeypatch):
    sources, record = image()
    monkeypatch.setattr(pictures, "_LARGEST", 100)
    assert sources.picture(record) is None


def test_a_large_colour_image_becomes_small_and_keeps_its_colours(tmp_path):
    path = tmp_path / "stained.tif"
    whole = np.zeros((1500, 3000, 3), np.uint8)
    whole[..., 0], whole[:, 1500:, 1] = 200, 100
    tifffile.imwrite(path, whole, photometric="rgb")
    sources = Sources(Selection(), {str(path): "stained"}, None, is_labels=False)
    picture = sources.picture(ImageRecord(input=str(path), state="done"))
    assert (picture.width(), picture.height()) == (SIDE, SIDE // 2)
    shown = rgb(picture)
    assert shown[50, 20].tolist() == [200, 0, 0]
    assert shown[50, 200].tolist() == [200, 100, 0]
