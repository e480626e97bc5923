"""OME-Zarr in its versions, as others write it: planes, sizes, channels, positions, damage."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import zarr
from zarr.storage import LocalStore

from envmanager import images
from envmanager.errors import ImageError
from envmanager.reading.metadata import GREEN, Channel, PixelSize
from envmanager.reading.series import open_series

T, C, Z, Y, X = 2, 3, 4, 5, 6
PIXELS = np.arange(T * C * Z * Y * X, dtype=np.uint16).reshape(T, C, Z, Y, X)
KINDS = {"t": "time", "c": "channel", "z": "space", "y": "space", "x": "space"}
OMERO = {"channels": [{"label": f"dye {n}", "color": "00FF00"} for n in range(C)]}


def ngff(path: Path, pixels=PIXELS, axes="tczyx", version="0.4", told=...) -> Path:
    """Write an OME-Zarr of two levels; `told` replaces what it says of its axes."""
    units = {"z": "nanometer", "y": "micrometer", "x": "millimeter"}
    described = [
        {"name": name, "type": KINDS[name]} | ({"unit": units[name]} if name in units else {})
        for name in axes
    ]
    sizes = {"z": 500.0, "y": 0.25, "x": 0.000125}
    scale = [sizes.get(name, 1.0) for name in axes]
    multiscale = {
        "axes": described if told is ... else told,
        "datasets": [
            {"path": "full", "coordinateTransformations": [{"type": "scale", "scale": scale}]},
            {"path": "half", "coordinateTransformations": [{"type": "scale", "scale": scale}]},
        ],
        "coordinateTransformations": [{"type": "scale", "scale": [2.0] * len(axes)}],
    }
    if version == "0.4":
        attributes = {"multiscales": [multiscale | {"version": version}], "omero": OMERO}
    else:
        multiscales = {"version": version, "multiscales": [multiscale], "omero": OMERO}
        attributes = {"ome": multiscales}
    form = 2 if version == "0.4" else 3
    group = zarr.create_group(LocalStore(path), zarr_format=form, attributes=attributes)
    chunks = (1,) * (pixels.ndim - 2) + (3, 4)
    group.create_array("full", data=pixels, chunks=chunks)
    group.create_array("half", data=pixels[..., ::2, ::2], chunks=chunks)
    return path


def same_planes(path: Path, pixels=PIXELS) -> None:
    series = open_series(path)
    found = (series.times, series.channels_count, series.slices, series.height, series.width)
    assert found == pixels.shape
    assert series.dtype == pixels.dtype
    for t in range(series.times):
        np.testing.assert_array_equal(series.stack(t), pixels[t].transpose(1, 2, 3, 0))
        for z in range(series.slices):
            np.testing.assert_array_equal(series.plane(t, z), np.moveaxis(pixels[t, :, z], 0, -1))


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_each_version_gives_planes_sizes_and_channels(tmp_path, version):
    path = ngff(tmp_path / "bild ä.ome.zarr", version=version)
    same_planes(path)
    series = open_series(path)
    assert series.pixel_size == PixelSize(0.5, 0.25, 1.0)
    assert series.channels == tuple(Channel(f"dye {n}", GREEN) for n in range(C))


@pytest.mark.parametrize(
    ("axes", "read"), [("yx", "yx"), ("zyx", "zyx"), ("cyx", "yxc"), ("czyx", "zyxc")]
)
def test_fewer_axes_make_an_image(tmp_path, axes, read):
    pixels = PIXELS[tuple(slice(None) if name in axes else 0 for name in "tczyx")]
    image = images.read(ngff(tmp_path / "x.zarr", pixels, axes))
    assert image.axes == read
    order = ["tczyx".replace("t", "")[i] for i in range(4) if "czyx"[i] in axes]
    np.testing.assert_array_equal(image.pixels, pixels.transpose([order.index(a) for a in read]))


@pytest.mark.parametrize(
    "axes",
    [
        pytest.param(None, id="untold-as-in-0.1"),
        pytest.param(["t", "c", "z", "y", "x"], id="names-as-in-0.3"),
        pytest.param(
            [{"name": "frame", "type": "time"}, {"name": "dye", "type": "channel"}]
            + [{"name": name, "type": "space"} for name in ("depth", "row", "column")],
            id="other-names",
        ),
        pytest.param([{"name": n} for n in "TCZYX"], id="no-types"),
    ],
)
def test_axes_are_told_in_many_ways(tmp_path, axes):
    path = ngff(tmp_path / "x.zarr", told=axes)
    same_planes(path)
    assert open_series(path).pixel_size is None  # no unit, no size


def test_an_axis_that_we_do_not_have_is_refused_unless_it_is_one_long(tmp_path):
    axes = [{"name": "angle", "type": "angle"}, *({"name": n, "type": KINDS[n]} for n in "czyx")]
    with pytest.raises(ImageError, match="2 images along"):
        open_series(ngff(tmp_path / "x.zarr", told=axes))
    one = ngff(tmp_path / "y.zarr", PIXELS[:1], told=axes)
    np.testing.assert_array_equal(open_series(one).stack(), PIXELS[0].transpose(1, 2, 3, 0))


def test_other_byte_orders_and_shards_are_read(tmp_path):
    same_planes(ngff(tmp_path / "x.zarr", PIXELS.astype(">u2")))
    path = ngff(tmp_path / "y.zarr", version="0.5")
    shutil.rmtree(path / "full")
    zarr.create_array(
        LocalStore(path / "full"), data=PIXELS, chunks=(1, 1, 1, 3, 3), shards=(1, 3, 4, 6, 6)
    )
    same_planes(path)


def test_only_the_wanted_chunks_are_loaded(tmp_path):
    path = ngff(tmp_path / "x.zarr")
    chunks = [p for p in (path / "full").rglob("*") if p.is_file() and not p.name.startswith(".z")]
    assert len(chunks) == T * C * Z * 4
    for chunk in chunks:
        at = chunk.relative_to(path / "full").as_posix().replace("/", ".").split(".")
        if (at[0], at[2]) != ("1", "2"):
            chunk.write_bytes(b"damaged")
    series = open_series(path)
    np.testing.assert_array_equal(series.plane(1, 2), np.moveaxis(PIXELS[1, :, 2], 0, -1))
    with pytest.raises(ImageError, match=r"x\.zarr cannot be read"):
        series.plane(1, 1)


# ---- several images -----------------------------------------------------------------------------


@pytest.mark.parametrize("told", [True, False])
def test_the_images_of_bioformats2raw_are_positions(tmp_path, told):
    path = tmp_path / "x.zarr"
    zarr.create_group(
        LocalStore(path), zarr_format=2, attributes={"bioformats2raw.layout": 3} if told else {}
    )
    for number in range(11):
        ngff(path / str(number), PIXELS[:, :1] + 1000 * number)
    order = [10, 0] if told else list(range(11))
    if told:
        zarr.create_group(
            LocalStore(path / "OME"), zarr_format=2, attributes={"series": list(map(str, order))}
        )
    series = open_series(path)
    assert series.positions == len(order)
    for p, number in enumerate(order):
        assert series.plane(1, 2, p)[0, 0, 0] == PIXELS[1, 0, 2, 0, 0] + 1000 * number
    single = open_series(path / "3")  # a folder inside needs no suffix
    assert single.plane()[0, 0, 0] == 3000


def test_images_of_different_shapes_are_refused(tmp_path):
    path = tmp_path / "x.zarr"
    zarr.create_group(LocalStore(path), zarr_format=2)
    ngff(path / "0")
    ngff(path / "1", PIXELS[..., :-1])
    with pytest.raises(ImageError, match="2 images of different shapes") as caught:
        open_series(path)
    assert str(path / "0") in caught.value.hint


def test_a_plate_is_refused_with_what_to_open(tmp_path):
    zarr.create_group(LocalStore(tmp_path / "x.zarr"), zarr_format=2, attributes={"plate": {}})
    with pytest.raises(ImageError, match="plate of many images"):
        open_series(tmp_path / "x.zarr")


# ---- plain arrays -------------------------------------------------------------------------------


@pytest.mark.parametrize("form", [2, 3])
def test_a_plain_array_is_taken_like_a_npy(tmp_path, form):
    zarr.create_array(LocalStore(tmp_path / "x.zarr"), data=PIXELS[0, 0], zarr_format=form)
    image = images.read(tmp_path / "x.zarr")
    assert image.axes == "zyx"
    np.testing.assert_array_equal(image.pixels, PIXELS[0, 0])


def test_a_plain_array_may_name_its_axes(tmp_path):
    zarr.create_array(
        LocalStore(tmp_path / "x.zarr"), data=PIXELS[0], dimension_names=("c", "z", "y", "x")
    )
    np.testing.assert_array_equal(
        open_series(tmp_path / "x.zarr").stack(), PIXELS[0].transpose(1, 2, 3, 0)
    )


# ---- damage -------------------------------------------------------------------------------------


def _attributes(path: Path, change) -> None:
    told = json.loads((path / ".zattrs").read_text("utf-8"))
    change(told["multiscales"][0])
    (path / ".zattrs").write_text(json.dumps(told), "utf-8")


DAMAGES = {
    "no-json": lambda p: (p / ".zattrs").write_text("{", "utf-8"),
    "no-object": lambda p: (p / ".zattrs").write_text("[]", "utf-8"),
    "no-bytes": lambda p: (p / ".zattrs").write_bytes(b""),
    "no-utf8": lambda p: (p / ".zattrs").write_bytes(b"\xff\xfe"),
    "no-datasets": lambda p: _attributes(p, lambda m: m.pop("datasets")),
    "empty-datasets": lambda p: _attributes(p, lambda m: m.update(datasets=[])),
    "axes-of-another-shape": lambda p: _attributes(p, lambda m: m["axes"].pop()),
    "short-scale": lambda p: _attributes(
        p, lambda m: m.update(coordinateTransformations=[{"type": "scale", "scale": [1.0]}])
    ),
    "no-level": lambda p: shutil.rmtree(p / "full"),
    "no-array": lambda p: (p / "full" / ".zarray").unlink(),
    "bad-array": lambda p: (p / "full" / ".zarray").write_text("{}", "utf-8"),
    "unknown-codec": lambda p: (p / "full" / ".zarray").write_text(
        (p / "full" / ".zarray").read_text("utf-8").replace('"id": "', '"id": "no'), "utf-8"
    ),
    "no-description": lambda p: (p / ".zattrs").unlink(),
    "empty-folder": lambda p: (shutil.rmtree(p), p.mkdir()),
    "not-there": shutil.rmtree,
    "a-file": lambda p: (shutil.rmtree(p), p.write_bytes(b"PK")),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_folder_is_told_with_a_next_step(tmp_path, damage):
    path = ngff(tmp_path / "x.zarr")
    damage(path)
    with pytest.raises(ImageError, match=r"x\.zarr") as caught:
        open_series(path).plane()
    assert caught.value.hint


def test_a_folder_that_is_no_zarr_is_no_image(tmp_path):
    with pytest.raises(ImageError, match="no image file"):
        open_series(tmp_path)


def test_a_folder_that_changed_is_not_taken_for_the_old_one(tmp_path):
    path = ngff(tmp_path / "x.zarr")
    series = open_series(path)
    shutil.rmtree(path)
    ngff(path, PIXELS[:, :2])
    with pytest.raises(ImageError, match="changed by another program"):
        series.plane()
    shutil.rmtree(path)
    with pytest.raises(ImageError, match=r"x\.zarr cannot be read"):
        series.plane()
