"""Series written to real files and read again, by us and by the field's libraries."""

from __future__ import annotations

import itertools
import json

import imagecodecs
import numpy as np
import ome_types
import pytest
import tifffile
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from zarr.storage import LocalStore

from envmanager.errors import ImageError
from envmanager.reading.metadata import GREEN, RED, PixelSize
from envmanager.reading.series import open_series
from envmanager.writing import check_path, open_writer
from envmanager.writing import ome_tiff as tiff_writing
from envmanager.writing.ome_zarr import halved
from tests.envmanager.writing.support import (
    KINDS,
    NAMES,
    NEW,
    SIZE,
    layout_of,
    random_pixels,
    same_pixels,
    write,
    write_at_once,
)

# ---- round trips --------------------------------------------------------------------------------


@pytest.mark.windows
@pytest.mark.parametrize("name", ["é a.tif", "a.tiff", "a.ome.tif", "a.zarr", "a.ome.zarr"])
@pytest.mark.parametrize("shape", [(2, 2, 3, 37, 41), (1, 1, 1, 5, 6), (3, 1, 1, 5, 6)])
def test_an_image_comes_back_with_size_and_channels(tmp_path, name, shape):
    pixels = random_pixels(*shape)
    path = write(tmp_path / name, pixels)
    same_pixels(path, pixels)
    series = open_series(path)
    assert series.dtype == pixels.dtype
    assert series.pixel_size == SIZE
    assert [c.name for c in series.channels] == list(NAMES if shape[1] == 2 else [""])


@pytest.mark.parametrize("name", ["a.tif", "a.zarr"])
def test_colours_come_back(tmp_path, name):
    pixels = random_pixels(1, 2, 1, 5, 6)
    series = open_series(write(tmp_path / name, pixels, channel_colors=(RED, GREEN)))
    assert [c.color for c in series.channels] == [RED, GREEN]


@pytest.mark.parametrize("name", ["a.tif", "a.zarr"])
@pytest.mark.parametrize("size", [None, PixelSize(0.25, 0.25)], ids=["none", "no-z"])
def test_what_is_not_known_of_the_size_stays_unknown(tmp_path, name, size):
    assert (
        open_series(write(tmp_path / name, random_pixels(1, 1, 2, 5, 6), size=size)).pixel_size
        == size
    )


_SHAPES = st.tuples(*[st.integers(1, 3)] * 3, *[st.integers(2, 9)] * 2)
_NAME = st.sampled_from(["a.tif", "a.zarr", "a.npy"])
_DTYPE = st.sampled_from(["u1", "i1", "u2", "i2", "u4", "i4", "f4", "f8", "?"])


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(name=_NAME, shape=_SHAPES, dtype=_DTYPE, order=st.randoms(use_true_random=False))
def test_blocks_come_in_any_order_and_of_any_type(tmp_path, name, shape, dtype, order):
    raw = np.random.default_rng(1).integers(0, 256, (*shape[:-1], shape[-1] * 8), np.uint8)
    pixels = (raw[..., ::8] > 127) if dtype == "?" else raw.view(dtype)[..., : shape[-1]]
    pixels = np.nan_to_num(pixels) if pixels.dtype.kind == "f" else pixels
    path = tmp_path / name
    write(path, pixels, lambda places: order.sample(places, len(places)))
    if name == "a.npy":
        np.testing.assert_array_equal(np.load(path).reshape(shape), pixels)
    else:
        same_pixels(path, pixels)
    # A TIFF of bool would be packed; the others keep their type.
    expected = np.dtype("u1") if (name, dtype) == ("a.tif", "?") else pixels.dtype
    assert open_series(path).dtype == expected


@pytest.mark.parametrize("whole", [True, False], ids=["at-once", "in-planes"])
@pytest.mark.parametrize(("largest", "dtype"), [(65_535, np.uint16), (65_536, np.int32)])
def test_labels_of_a_tiff_take_the_room_that_they_need(tmp_path, whole, largest, dtype):
    labels = random_pixels(1, 1, 3, 20, 30, dtype=np.int32)
    labels[0, 0, 1, 2, 3] = largest
    path = (write_at_once if whole else write)(tmp_path / "a.tif", labels, labels=True)
    same_pixels(path, labels)
    assert open_series(path).dtype == dtype


@pytest.mark.parametrize("dtype", [np.uint8, np.uint32, np.int64, bool])
@pytest.mark.parametrize("name", ["a.tif", "a.zarr", "a.npy"])
def test_labels_come_in_any_whole_numbers(tmp_path, name, dtype):
    labels = (random_pixels(2, 1, 1, 20, 30) % 7).astype(dtype)
    path = write(tmp_path / name, labels, labels=True)
    same_pixels(path, labels)
    assert open_series(path).dtype == (np.uint16 if name == "a.tif" else np.int32)


@pytest.mark.parametrize("value", [2**31, -(2**31)])
def test_a_label_that_nobody_can_hold_is_refused(tmp_path, value):
    labels = np.full((1, 1, 1, 4, 4), value, np.int64)
    with pytest.raises(ImageError, match="cannot hold a label"):
        write(tmp_path / "a.tif", labels, labels=True)
    assert list(tmp_path.glob("a*")) == []


@pytest.mark.parametrize(
    ("dtype", "channels"), [(np.uint8, 1), (np.uint16, 1), (np.uint8, 3), (np.uint16, 3), (bool, 1)]
)
def test_a_plane_goes_into_a_png(tmp_path, dtype, channels):
    pixels = random_pixels(1, channels, 1, 20, 30, dtype=dtype)
    same_pixels(write(tmp_path / "a.png", pixels), pixels)
    labels = random_pixels(1, 1, 1, 20, 30, dtype=np.int32)
    path = write(tmp_path / "b.png", labels, labels=True)
    assert imagecodecs.png_decode(path.read_bytes()).dtype == np.uint16
    same_pixels(path, labels)
    with pytest.raises(ImageError, match="more than 65,535 objects"):
        write(tmp_path / "c.png", labels + 60_000, labels=True)


@pytest.mark.parametrize(
    ("shape", "kept"),
    [((1, 1, 1, 5, 6), (5, 6)), ((1, 1, 3, 5, 6), (3, 5, 6)), ((2, 1, 3, 5, 6), (2, 1, 3, 5, 6))],
)
def test_a_npy_has_the_axes_that_it_needs(tmp_path, shape, kept):
    path = write(tmp_path / "a.npy", random_pixels(*shape))
    assert np.load(path).shape == kept
    same_pixels(path, random_pixels(*shape))


# ---- what other programs see --------------------------------------------------------------------


@pytest.mark.parametrize("compression", ["zlib", "zstd", "lzw", "none"])
def test_others_read_the_ome_tiff(tmp_path, compression):
    pixels = random_pixels(2, 2, 3, 37, 41)
    path = write(tmp_path / "a.ome.tif", pixels, compression=compression)
    with tifffile.TiffFile(path) as file:
        (series,) = file.series
        assert (series.axes, series.kind, file.is_bigtiff) == ("TCZYX", "ome", False)
        np.testing.assert_array_equal(series.asarray(), pixels)
        assert file.pages[0].compression.name == {"zlib": "ADOBE_DEFLATE"}.get(
            compression, compression.upper()
        )
        text = file.ome_metadata
    (image,) = ome_types.from_xml(text).images
    told = image.pixels
    assert (told.size_t, told.size_c, told.size_z, told.size_y, told.size_x) == pixels.shape
    sizes = told.physical_size_y, told.physical_size_x, told.physical_size_z
    assert sizes == (0.1, 0.2, 0.5)
    assert {told.physical_size_x_unit.value, told.physical_size_z_unit.value} == {"µm"}
    assert [channel.name for channel in told.channels] == list(NAMES)


def test_a_large_tiff_is_a_bigtiff(tmp_path, monkeypatch):
    monkeypatch.setattr(tiff_writing, "_CLASSIC_BYTES", 1000)
    pixels = random_pixels(2, 1, 1, 20, 30)
    path = write(tmp_path / "a.tif", pixels)
    same_pixels(path, pixels)
    with tifffile.TiffFile(path) as file:
        assert file.is_bigtiff


@pytest.mark.parametrize("labels", [True, False])
def test_the_zarr_is_ngff_with_a_pyramid(tmp_path, labels):
    pixels = random_pixels(1, 1, 2, 2050, 9, dtype=np.int32 if labels else np.uint16)
    path = write(tmp_path / "a.ome.zarr", pixels, labels=labels)
    told = zarr.open_group(LocalStore(path, read_only=True), mode="r", zarr_format=2).attrs.asdict()
    assert ("image-label" in told, "omero" in told) == (labels, not labels)
    (image,) = told["multiscales"]
    assert image["version"] == "0.4"
    assert image["name"] == "a"
    assert "".join(axis["name"] for axis in image["axes"]) == "tczyx"
    levels = []
    for number, dataset in enumerate(image["datasets"]):
        array = zarr.open_array(LocalStore(path / dataset["path"], read_only=True), mode="r")
        assert max(array.chunks) <= 1024
        scale, *moved = dataset["coordinateTransformations"]
        assert scale["scale"] == [1, 1, 0.5, 0.1 * 2**number, 0.2 * 2**number]
        assert bool(moved) == (number > 0 and not labels)
        levels.append(array[:])
    assert [level.shape[3:] for level in levels] == [(2050, 9), (1025, 5), (513, 3)]
    np.testing.assert_array_equal(levels[0], pixels)
    for larger, smaller in itertools.pairwise(levels):
        expected = larger[..., ::2, ::2] if labels else [[[halved(p) for p in larger[0, 0]]]]
        np.testing.assert_array_equal(smaller, expected)
    if not labels:
        window = told["omero"]["channels"][0]["window"]
        assert (window["min"], window["max"]) == (pixels.min(), pixels.max())
    assert json.loads((path / "0" / ".zarray").read_text("utf-8"))["compressor"]["cname"] == "zstd"
    assert (path / "0" / "0" / "0" / "1" / "2" / "0").is_file()  # NGFF's separator


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
def test_half_is_the_mean_of_four(dtype):
    plane = np.array([[250, 251, 7], [252, 255, 9]]).astype(dtype) - dtype(130)
    expected = np.array([[252 - 130, 8 - 130]]).astype(np.float64)
    np.testing.assert_array_equal(halved(plane), expected.astype(np.int64).astype(dtype))


# ---- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.jpg", "a.nd2", "a", "a.bmp", "a.zip"])
def test_an_unknown_format_is_refused(tmp_path, name):
    for labels, what in ((True, "A mask"), (False, "An image")):
        with pytest.raises(ImageError, match=what):
            check_path(tmp_path / name, labels)


def test_a_folder_of_other_files_is_not_replaced(tmp_path):
    for name in ("a.tif", "a.zarr"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "thesis.txt").write_text("", "utf-8")
        with pytest.raises(ImageError, match="is a folder"):
            check_path(tmp_path / name, False)
    (tmp_path / "empty.zarr").mkdir()
    same_pixels(write(tmp_path / "empty.zarr", NEW), NEW)


@pytest.mark.parametrize(
    ("name", "shape", "dtype", "message"),
    [
        ("a.png", (2, 1, 1, 5, 6), "u1", "cannot hold 2 times"),
        ("a.png", (1, 2, 1, 5, 6), "u1", "2 channels"),
        ("a.png", (1, 1, 2, 5, 6), "u1", "2 slices"),
        ("a.png", (1, 1, 1, 5, 6), "f4", "pixels of float32"),
        ("a.tif", (1, 1, 1, 5, 6), "i8", "pixels of int64"),
        ("a.tif", (1, 1, 1, 5, 6), "f2", "pixels of float16"),
        ("a.zarr", (1, 1, 1, 5, 6), "c8", "pixels of complex64"),
        ("a.npy", (1, 0, 1, 5, 6), "u1", "would be empty"),
    ],
)
def test_what_a_format_cannot_hold_is_refused_before_any_work(
    tmp_path, name, shape, dtype, message
):
    with pytest.raises(ImageError, match=message) as caught:
        open_writer(tmp_path / "new" / name, layout_of(np.zeros(shape, dtype), names=()))
    assert caught.value.hint
    assert not (tmp_path / "new").exists()


def test_names_and_compressions_are_checked(tmp_path):
    pixels = random_pixels(1, 3, 1, 5, 6)
    with pytest.raises(ImageError, match="2 channels are described of 3"):
        open_writer(tmp_path / "a.tif", layout_of(pixels, names=NAMES))
    with pytest.raises(ImageError, match="no compression 'zip'"):
        open_writer(tmp_path / "a.tif", layout_of(pixels), compression="zip")


@pytest.mark.parametrize(
    ("block", "at"),
    [
        (np.zeros((1, 1, 20, 31), "u2"), {}),
        (np.zeros((20, 30), "u2"), {}),
        (np.zeros((2, 1, 20, 30), "u2"), {}),
        (np.zeros((1, 1, 20, 30), "u2"), {"t": 3}),
        (np.zeros((1, 1, 20, 30), "u2"), {"t": -1}),
        (np.zeros((1, 1, 20, 30), "f4"), {}),
    ],
)
@pytest.mark.parametrize("name", KINDS)
def test_a_block_that_does_not_fit_is_refused(tmp_path, name, block, at):
    with (
        open_writer(tmp_path / name, layout_of(NEW)) as writer,
        pytest.raises(ImageError, match=r"does not fit|pixels of float32"),
    ):
        writer.write(block, **at)
    with (
        open_writer(tmp_path / name, layout_of(NEW, labels=True)) as writer,
        pytest.raises(ImageError, match=r"does not fit|holds labels"),
    ):
        writer.write(block, **at)


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ImageError, match="cannot be written"):
        open_writer(tmp_path / "file" / "a.tif", layout_of(NEW))
    with pytest.raises(ImageError, match="cannot be written") as caught:
        open_writer(tmp_path / f"{'a' * 250}.tif", layout_of(NEW))
    assert "shorter name" in caught.value.hint
    with pytest.raises(ImageError, match="cannot be written"):
        open_writer(tmp_path / f"{'a' * 300}.tif", layout_of(NEW))
