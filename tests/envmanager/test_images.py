"""Reading what microscopes write, refusing what cannot be used, writing masks whole or not."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import imagecodecs
import nd2
import numpy as np
import pytest
import tifffile
from PIL import Image as Picture

from envmanager import images
from envmanager.errors import ImageError

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
GREY = np.arange(30, dtype=np.uint16).reshape(5, 6)
RGB = np.arange(90, dtype=np.uint8).reshape(5, 6, 3)


def _tiff(path, array, **options):
    tifffile.imwrite(path, array, **options)
    return path


@pytest.mark.parametrize(
    ("array", "options", "axes", "shape"),
    [
        pytest.param(GREY, {}, "yx", (5, 6), id="plain"),
        pytest.param(GREY, {"compression": "lzw"}, "yx", (5, 6), id="lzw"),
        pytest.param(RGB, {"photometric": "rgb"}, "yxc", (5, 6, 3), id="rgb"),
        pytest.param(
            np.stack([GREY] * 4), {"imagej": True, "metadata": {"axes": "ZYX"}}, "zyx", (4, 5, 6),
            id="imagej-stack",
        ),
        pytest.param(
            np.stack([GREY] * 2), {"ome": True, "metadata": {"axes": "CYX"}}, "yxc", (5, 6, 2),
            id="ome-channels",
        ),
        pytest.param(
            np.stack([np.stack([GREY] * 2)] * 3),
            {"ome": True, "metadata": {"axes": "ZCYX"}},
            "zyxc",
            (3, 5, 6, 2),
            id="ome-stack-of-channels",
        ),
        pytest.param(
            GREY[None, None], {"ome": True, "metadata": {"axes": "TZYX"}}, "yx", (5, 6),
            id="axes-of-length-one",
        ),
        pytest.param(np.stack([GREY] * 4), {"photometric": "minisblack"}, "zyx", (4, 5, 6),
                     id="plain-pages"),
    ],
)  # fmt: skip
def test_a_tiff_is_read_with_its_axes_in_our_order(tmp_path, array, options, axes, shape):
    image = images.read(_tiff(tmp_path / "bild ä.tif", array, **options))
    assert (image.axes, image.pixels.shape, image.pixels.dtype) == (axes, shape, array.dtype)


@pytest.mark.parametrize(("array", "axes"), [(GREY, "yx"), (RGB, "yxc")])
def test_a_png_is_read(tmp_path, array, axes):
    Picture.fromarray(array).save(tmp_path / "x.png")
    image = images.read(tmp_path / "x.png")
    assert image.axes == axes
    np.testing.assert_array_equal(image.pixels, array)


@pytest.mark.parametrize(
    ("channels", "axes", "kept"),
    [(2, "yx", (5, 6)), (3, "yxc", (5, 6, 3)), (4, "yxc", (5, 6, 3))],
)
def test_a_png_of_16_bits_keeps_them_and_loses_its_opacity(tmp_path, channels, axes, kept):
    array = np.random.default_rng(0).integers(0, 65535, (5, 6, channels)).astype(np.uint16)
    (tmp_path / "x.png").write_bytes(imagecodecs.png_encode(array))
    image = images.read(tmp_path / "x.png")
    assert (image.axes, image.pixels.dtype) == (axes, np.uint16)
    expected = array[..., 0] if axes == "yx" else array[..., :3]
    assert image.pixels.shape == kept
    np.testing.assert_array_equal(image.pixels, expected)


def test_a_large_picture_is_no_bomb(tmp_path, monkeypatch):
    monkeypatch.setattr(Picture, "MAX_IMAGE_PIXELS", 10)
    Picture.fromarray(RGB).save(tmp_path / "x.png")
    assert images.read(tmp_path / "x.png").pixels.shape == RGB.shape


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, bool])
def test_a_tiff_whose_white_is_zero_is_turned_round(tmp_path, dtype):
    array = (GREY - (10 if dtype == np.int16 else 0)).astype(dtype)
    image = images.read(_tiff(tmp_path / "x.tif", array, photometric="miniswhite"))
    white = -1 if dtype == np.int16 else True if dtype is bool else np.iinfo(dtype).max
    assert image.pixels.dtype == dtype
    np.testing.assert_array_equal(image.pixels, white - array.astype(int))


def test_four_bits_are_turned_round_within_four_bits(tmp_path):
    array = (GREY % 16).astype(np.uint8)
    path = _tiff(tmp_path / "x.tif", array, photometric="miniswhite", bitspersample=4)
    np.testing.assert_array_equal(images.read(path).pixels, 15 - array)


@pytest.mark.parametrize("factor", [257, 1], ids=["16-bit-map", "8-bit-map"])
@pytest.mark.parametrize("pages", [1, 3])
def test_a_palette_tiff_becomes_its_colours(tmp_path, factor, pages):
    colours = np.random.default_rng(0).integers(0, 256, (3, 256)).astype(np.uint16)
    array = np.squeeze(np.stack([GREY.astype(np.uint8)] * pages))
    path = _tiff(
        tmp_path / "x.tif", array, photometric="palette", colormap=colours * np.uint16(factor)
    )
    image = images.read(path)
    assert (image.axes, image.pixels.dtype) == ("yxc" if pages == 1 else "zyxc", np.uint8)
    np.testing.assert_array_equal(image.pixels, colours.T[array])


def _series(path, arrays, *, subifds=0, **options):
    with tifffile.TiffWriter(path, ome=path.name.endswith(".ome.tif")) as file:
        file.write(arrays[0], photometric="minisblack", subifds=subifds)
        for array in arrays[1:]:
            file.write(array, photometric="minisblack", **options)
    return path


@pytest.mark.parametrize(
    ("name", "arrays", "told"),
    [
        ("x.ome.tif", [GREY] * 3, "holds 3 positions."),
        ("x.ome.tif", [np.stack([GREY] * 3)] * 2, "holds 2 positions."),
        ("x.ome.tif", [GREY, GREY[:3]], "holds 2 images."),
        ("x.tif", [GREY] * 3, "holds 3 positions."),
        ("x.tif", [GREY, GREY[:3]], "holds 2 images."),
    ],
)
def test_several_positions_are_refused(tmp_path, name, arrays, told):
    with pytest.raises(ImageError) as caught:
        images.read(_series(tmp_path / name, arrays))
    assert told in caught.value.message
    assert "pipeline" not in caught.value.hint


LARGE = np.zeros((255, 300), np.uint16)
LEVELS = [LARGE, LARGE[::2, ::2], LARGE[::4, ::4]]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        pytest.param("x.ome.tif", {"subifds": 2, "subfiletype": 1}, id="ome"),
        pytest.param("x.tif", {"subfiletype": 1}, id="marked"),
        pytest.param("x.tif", {}, id="not-marked"),
    ],
)
def test_the_levels_of_a_pyramid_are_no_positions(tmp_path, name, options):
    path = _series(tmp_path / name, LEVELS, **options)
    assert images.read(path).pixels.shape == LARGE.shape


def test_the_levels_of_a_pyramid_in_colour_planes_are_no_positions(tmp_path):
    planes = np.zeros((3, 255, 300), np.uint8)
    with tifffile.TiffWriter(tmp_path / "x.tif") as file:
        for step in (1, 2):
            file.write(planes[:, ::step, ::step], photometric="rgb", planarconfig="separate")
    assert images.read(tmp_path / "x.tif").pixels.shape == (255, 300, 3)


def _must_not_read(*_):
    raise AssertionError("the pixels were read")


def test_a_time_series_is_refused_before_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(tifffile.TiffPageSeries, "asarray", _must_not_read)
    array = np.stack([GREY] * 3)
    path = _tiff(tmp_path / "x.tif", array, imagej=True, metadata={"axes": "TYX"})
    with pytest.raises(ImageError, match="3 time points"):
        images.read(path)


def test_an_nd2_of_positions_is_refused_before_it_is_read(tmp_path, monkeypatch):
    class Several:
        sizes = {"P": 7, "Y": 100_000, "X": 100_000}  # noqa: RUF012
        dtype, metadata = np.uint16, None
        asarray = read_frame = _must_not_read

        def __init__(self, path):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

    monkeypatch.setattr(nd2, "ND2File", Several)
    with pytest.raises(ImageError, match="7 positions"):
        images.read(_text(tmp_path / "x.nd2", ""))


@pytest.mark.parametrize(
    ("error", "message", "hint"),
    [
        (MemoryError(), "does not fit into memory", "a part"),
        (PermissionError(errno.EACCES, "Permission denied"), "may not be read", "permissions"),
        (OSError(errno.EIO, "Input/output error"), "Input/output error.", "drive"),
    ],
)
def test_the_reason_why_a_file_is_not_read(tmp_path, monkeypatch, error, message, hint):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(tifffile, "TiffFile", fail)
    with pytest.raises(ImageError) as caught:
        images.read(_text(tmp_path / "x.tif", ""))
    assert message in caught.value.message
    assert hint in caught.value.hint
    assert "damaged" not in caught.value.hint


@pytest.mark.skipif(os.name == "nt", reason="Windows has other limits and reasons")
def test_a_name_that_is_too_long_is_told_as_such(tmp_path):
    path = tmp_path / ("x" * 300 + ".tif")
    for use in (images.read, lambda path: images.write_labels(path, LABELS)):
        with pytest.raises(ImageError) as caught:
            use(path)
        assert os.strerror(errno.ENAMETOOLONG) in caught.value.message
        assert "shorter" in caught.value.hint
        assert "space" not in caught.value.hint


@pytest.mark.skipif(not DATA.is_dir(), reason="no folder with real images beside the project")
def test_an_nd2_of_nis_is_read():
    image = images.read(DATA / "nuclei_agnor_rgb.nd2")
    assert (image.axes, image.pixels.shape, image.pixels.dtype) == ("yxc", (548, 752, 3), np.uint8)


def _not_finite():
    array = GREY.astype(np.float32)
    array[0, 0] = np.nan
    array[1, 1] = np.inf
    return array


@pytest.mark.parametrize(
    ("make", "message"),
    [
        pytest.param(lambda p: p / "no.tif", "no image file", id="missing"),
        pytest.param(lambda p: p, "no image file", id="folder"),
        pytest.param(lambda p: _text(p / "x.tif", "hello"), "cannot be read", id="not-a-tiff"),
        pytest.param(lambda p: _text(p / "x.tif", ""), "cannot be read", id="zero-bytes"),
        pytest.param(lambda p: _text(p / "x.png", "hello"), "cannot be read", id="not-a-png"),
        pytest.param(lambda p: _text(p / "x.nd2", "hello"), "cannot be read", id="not-an-nd2"),
        pytest.param(lambda p: _text(p / "x.docx", ""), "no known image format", id="word"),
        pytest.param(lambda p: _truncated(p / "x.tif"), "cannot be read", id="truncated"),
        pytest.param(
            lambda p: _tiff(p / "x.tif", np.zeros((2, 3, 4, 5, 6), np.uint8), ome=True,
                            metadata={"axes": "TZCYX"}),
            "2 time points", id="five-axes",
        ),
        pytest.param(
            lambda p: _tiff(p / "x.tif", np.stack([GREY] * 3), imagej=True,
                            metadata={"axes": "TYX"}),
            "3 time points", id="time-series",
        ),
        pytest.param(lambda p: _tiff(p / "x.tif", _not_finite()), "2 values that are not numbers",
                     id="nan"),
        pytest.param(lambda p: _npy(p / "x.npy", np.zeros((0, 5))), "is empty", id="empty"),
        pytest.param(lambda p: _npy(p / "x.npy", np.zeros((2, 2), "c16")), "complex", id="complex"),
        pytest.param(lambda p: _npy(p / "x.npy", np.zeros(7)), "x.npy", id="one-axis"),
        pytest.param(lambda p: _npy(p / "x.npy", np.zeros((2,) * 5)), "x.npy", id="five-axes-npy"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_told_in_one_sentence(tmp_path, make, message):
    with pytest.raises(ImageError) as caught:
        images.read(make(tmp_path))
    assert message in caught.value.message
    assert caught.value.hint


def _text(path, text):
    path.write_text(text, "utf-8")
    return path


def _npy(path, array):
    np.save(path, array)
    return path


def _truncated(path):
    _tiff(path, np.random.default_rng(0).integers(0, 255, (200, 200)).astype(np.uint8))
    path.write_bytes(path.read_bytes()[:20000])
    return path


LABELS = np.array([[0, 0, 3], [70, 70, 3]], np.int32)


@pytest.mark.parametrize("name", ["a.tif", "a.png", "a.npy"])
def test_a_mask_comes_back_as_it_was(tmp_path, name):
    path = tmp_path / "neu ö" / name
    images.write_labels(path, LABELS)
    np.testing.assert_array_equal(images.read(path).pixels, LABELS)
    assert [p.name for p in path.parent.iterdir()] == [name]


@pytest.mark.parametrize("shape", [(3, 5, 6), (5, 6, 3), (4, 4, 4), (5, 3), (1, 1)])
def test_a_mask_is_never_taken_for_a_colour_image(tmp_path, shape):
    labels = np.arange(np.prod(shape), dtype=np.int32).reshape(shape)
    images.write_labels(tmp_path / "a.tif", labels)
    np.testing.assert_array_equal(images.read(tmp_path / "a.tif").pixels, labels)


def test_what_a_killed_writer_left_is_removed(tmp_path):
    (tmp_path / "a[1].tif.999999999.tmp").write_text("half")
    (tmp_path / "other.tmp").write_text("not ours")
    images.write_labels(tmp_path / "a[1].tif", LABELS)
    names = {path.name for path in tmp_path.iterdir()}
    assert names >= {"a[1].tif", "other.tmp"}
    assert "a[1].tif.999999999.tmp" not in names


def test_more_labels_than_uint16_can_hold(tmp_path):
    labels = np.arange(70_000, dtype=np.int32).reshape(7, 10_000)
    images.write_labels(tmp_path / "a.tif", labels)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "a.tif"), labels)
    with pytest.raises(ImageError, match="65,535"):
        images.write_labels(tmp_path / "a.png", labels)


@pytest.mark.parametrize("name", ["a.jpg", "a"])
def test_a_format_that_would_damage_a_mask_is_refused(tmp_path, name):
    with pytest.raises(ImageError, match="cannot be saved"):
        images.write_labels(tmp_path / name, LABELS)


@pytest.mark.parametrize(
    ("name", "axes", "message"),
    [
        ("a.jpg", "yx", "cannot be saved"),
        ("a", "yx", "cannot be saved"),
        ("a.png", "zyx", "z-stack"),
        ("a.png", "zyxc", "z-stack"),
    ],
)
def test_a_mask_file_is_refused_by_its_name(name, axes, message):
    with pytest.raises(ImageError, match=message):
        images.check_mask_path(Path(name), axes)


@pytest.mark.parametrize(
    ("name", "axes"), [("a.TIF", "zyx"), ("a.npy", "zyxc"), ("a.png", "yxc"), ("a.png", "yx")]
)
def test_a_mask_file_that_fits(name, axes):
    images.check_mask_path(Path(name), axes)


@pytest.mark.skipif(os.name == "nt", reason="the path is a POSIX one")
def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ImageError, match="cannot be written"):
        images.write_labels(tmp_path / "file" / "a.tif", LABELS)


def test_objects_are_counted_by_label():
    assert images.count_objects(LABELS) == 2
    assert images.count_objects(np.zeros((3, 3), np.int32)) == 0
    assert images.count_objects(np.ones((3, 3), np.int32)) == 1


@pytest.mark.parametrize(
    ("pixels", "axes"),
    [
        (GREY, "yx"),
        (RGB, "yxc"),
        (np.stack([GREY] * 3), "zyx"),
        (np.stack([GREY] * 2, -1), "yxc"),
        (np.full((5, 6), 7.0), "yx"),
    ],
)
def test_an_overlay_shows_outlines(tmp_path, pixels, axes):
    labels = np.zeros((5, 6), np.int32)
    labels[1:4, 1:4] = 1
    mask = np.stack([labels] * 3) if "z" in axes else labels
    images.write_overlay(tmp_path / "o.png", images.Image(Path("x"), pixels, axes), mask)
    shown = np.asarray(Picture.open(tmp_path / "o.png"))
    assert tuple(shown[1, 1]) == images.OUTLINE
    assert tuple(shown[2, 2]) != images.OUTLINE
    assert tuple(shown[0, 0]) != images.OUTLINE
