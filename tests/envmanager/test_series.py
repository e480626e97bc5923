"""Series: times, slices, positions and channels of real files, each plane read when asked for."""

from __future__ import annotations

from pathlib import Path

import nd2
import numpy as np
import pytest
import tifffile

from envmanager import images
from envmanager.errors import ImageError
from envmanager.reading.metadata import BLUE, GREEN, RED, Channel, PixelSize
from envmanager.reading.series import open_series

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
T, Z, C, Y, X = 3, 4, 2, 5, 6
PIXELS = np.arange(T * Z * C * Y * X, dtype=np.uint16).reshape(T, Z, C, Y, X)


def _written(path, array, **options):
    tifffile.imwrite(path, array, photometric="minisblack", **options)
    return path


OME = {"ome": True, "metadata": {"axes": "TZCYX"}}
IMAGEJ = {"imagej": True, "metadata": {"axes": "TZCYX"}}


@pytest.mark.parametrize(
    ("order", "options"),
    [
        pytest.param("TZCYX", OME, id="ome"),
        pytest.param("TZCYX", OME | {"compression": "zlib"}, id="ome-compressed"),
        pytest.param("TZCYX", OME | {"tile": (16, 16)}, id="ome-tiled"),
        pytest.param("TZCYX", IMAGEJ, id="imagej"),
        pytest.param("TZCYX", IMAGEJ | {"compression": "zlib"}, id="imagej-compressed"),
        pytest.param("CTZYX", {"metadata": {"axes": "CTZYX"}}, id="channels-first"),
        pytest.param("TZYXC", {"metadata": {"axes": "TZYXC"}}, id="channels-last"),
        pytest.param("TCYXZ", {"metadata": {"axes": "TCYXZ"}}, id="slices-last"),
    ],
)
def test_each_plane_and_stack_is_what_was_written(tmp_path, order, options):
    array = PIXELS.transpose(["TZCYX".index(axis) for axis in order])
    series = open_series(_written(tmp_path / "ü x.tif", array, **options))
    found = (series.times, series.slices, series.positions, series.channels_count)
    assert (*found, series.height, series.width) == (T, Z, 1, C, Y, X)
    for t in range(T):
        stack = series.stack(t)
        np.testing.assert_array_equal(stack, PIXELS[t].transpose(0, 2, 3, 1))
        assert stack.dtype == series.dtype == np.uint16
        for z in range(Z):
            np.testing.assert_array_equal(series.plane(t, z), stack[z])


def test_a_plane_reads_little_of_a_large_file(tmp_path, monkeypatch):
    path = tmp_path / "x.tif"
    _written(path, np.zeros((50, 100, 100), np.uint16), imagej=True, metadata={"axes": "TYX"})
    series = open_series(path)
    counted = []
    read_array = tifffile.FileHandle.read_array

    def count(self, dtype, size=-1, *args, **kwargs):
        counted.append(size)
        return read_array(self, dtype, size, *args, **kwargs)

    monkeypatch.setattr(tifffile.FileHandle, "read_array", count)
    series.plane(t=40)
    assert counted == [100 * 100]


def test_the_images_of_an_ome_are_positions(tmp_path):
    path = tmp_path / "x.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as file:
        for number in range(3):
            file.write(
                PIXELS[number], photometric="minisblack", metadata={"axes": "ZCYX"} | _size(number)
            )
    series = open_series(path)
    assert (series.positions, series.slices) == (3, Z)
    for number in range(3):
        np.testing.assert_array_equal(
            series.plane(0, 1, number), np.moveaxis(PIXELS[number, 1], 0, -1)
        )
    assert series.pixel_size == PixelSize(0.25, 0.25)


def _size(number):
    value = 0.25 + number
    return {"PhysicalSizeX": value, "PhysicalSizeXUnit": "µm", "PhysicalSizeY": value * 1000,
            "PhysicalSizeYUnit": "nm"}  # fmt: skip


def test_an_ome_tells_channels_and_sizes(tmp_path):
    told = {
        "axes": "ZCYX",
        "PhysicalSizeX": 65.0, "PhysicalSizeXUnit": "nm",
        "PhysicalSizeY": 65.0, "PhysicalSizeYUnit": "nm",
        "PhysicalSizeZ": 0.3, "PhysicalSizeZUnit": "µm",
        "Channel": {"Name": ["DAPI", "GFP"], "Color": [65535, 16711935]},
    }  # fmt: skip
    series = open_series(_written(tmp_path / "x.ome.tif", PIXELS[0], ome=True, metadata=told))
    size = series.pixel_size
    assert (size.y, size.x, size.z) == pytest.approx((0.065, 0.065, 0.3))
    assert size.volume == pytest.approx(0.065 * 0.065 * 0.3)
    assert series.channels == (Channel("DAPI", BLUE), Channel("GFP", GREEN))


def test_imagej_tells_colours_and_sizes(tmp_path):
    ramp = np.arange(256, dtype=np.uint8)
    red, green = (np.stack([ramp if i == n else ramp * 0 for i in range(3)]) for n in (0, 1))
    path = tmp_path / "x.tif"
    told = {"axes": "ZCYX", "spacing": 0.5, "unit": "um", "mode": "composite", "LUTs": [red, green]}
    _written(path, PIXELS[0], imagej=True, resolution=(4.0, 4.0), metadata=told)
    series = open_series(path)
    assert series.pixel_size == PixelSize(0.25, 0.25, 0.5)
    assert [channel.color for channel in series.channels] == [RED, GREEN]


@pytest.mark.parametrize(
    ("per_cm", "unit", "told"),
    [(20_000.0, "CENTIMETER", 0.5), (28.35, "CENTIMETER", None), (20_000.0, "INCH", None)],
    ids=["microscope", "screen", "printer"],
)
def test_the_resolution_of_a_plain_tiff(tmp_path, per_cm, unit, told):
    path = _written(
        tmp_path / "x.tif", PIXELS[0, 0, 0], resolution=(per_cm, per_cm), resolutionunit=unit
    )
    size = open_series(path).pixel_size
    assert (size.x if size else None) == (pytest.approx(told) if told else None)


@pytest.mark.skipif(not DATA.is_dir(), reason="no folder with real images beside the project")
def test_an_nd2_of_nis_tells_its_pixel_size():
    series = open_series(DATA / "nuclei_agnor_rgb.nd2")
    assert series.is_rgb
    assert [channel.name for channel in series.channels] == ["Red", "Green", "Blue"]
    assert series.pixel_size.x == pytest.approx(0.12592)
    with nd2.ND2File(series.path) as file:
        np.testing.assert_array_equal(series.plane(), file.asarray())
    series.path.open("rb").close()


class FakeNd2:
    """An ND2 with the loops that no file of ours has; frames tell their number."""

    sizes = {"T": 3, "P": 2, "Z": 4, "C": 2, "Y": 5, "X": 6}  # noqa: RUF012
    dtype = np.dtype(np.uint16)
    metadata = None

    class _rdr:  # noqa: N801
        _frame_offsets = dict.fromkeys(range(20))  # of 24

    def __init__(self, path):
        self.is_open = True

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def open(self):
        self.is_open = True

    def close(self):
        self.is_open = False

    def read_frame(self, number):
        assert self.is_open
        return np.stack([np.full((5, 6), 10 * number + c, np.uint16) for c in range(2)])


def test_the_loops_of_an_nd2_are_found_and_a_stopped_acquisition_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(nd2, "ND2File", FakeNd2)
    (tmp_path / "x.nd2").write_text("")
    series = open_series(tmp_path / "x.nd2")
    assert (series.times, series.slices, series.positions, series.channels_count) == (3, 4, 2, 2)
    assert series.plane(t=1, z=3, p=1)[0, 0].tolist() == [150, 151]
    assert series.stack(t=1, p=0)[:, 0, 0, 1].tolist() == [81, 91, 101, 111]
    with pytest.raises(ImageError, match="acquisition was stopped"):
        series.plane(t=2, z=0, p=1)


def test_the_file_is_not_held_open(tmp_path):
    path = _written(tmp_path / "x.tif", PIXELS, **OME)
    series = open_series(path)
    series.plane()
    path.rename(tmp_path / "y.tif")  # Windows refuses this for an open file
    with pytest.raises(ImageError, match="cannot be read"):
        series.plane()


def test_a_file_that_changed_is_not_taken_for_the_old_one(tmp_path):
    path = _written(tmp_path / "x.tif", PIXELS, **OME)
    series = open_series(path)
    _written(path, PIXELS[:2], **OME)
    with pytest.raises(ImageError, match="changed by another program"):
        series.plane()


def test_a_plane_that_is_not_there_is_told(tmp_path):
    series = open_series(_written(tmp_path / "x.tif", PIXELS, **OME))
    with pytest.raises(ImageError, match="no time 4"):
        series.plane(t=3)


def test_planes_are_read_by_several_threads(tmp_path):
    from concurrent.futures import ThreadPoolExecutor

    series = open_series(_written(tmp_path / "x.tif", PIXELS, **OME, compression="zlib"))
    places = [(t, z) for t in range(T) for z in range(Z)] * 5
    with ThreadPoolExecutor(8) as pool:
        planes = list(pool.map(lambda place: series.plane(*place), places))
    for (t, z), plane in zip(places, planes, strict=True):
        np.testing.assert_array_equal(plane, np.moveaxis(PIXELS[t, z], 0, -1))


def test_a_part_of_a_plane_becomes_an_image(tmp_path):
    series = open_series(_written(tmp_path / "x.tif", PIXELS, **OME))
    plane = images.of_series(series, t=1, z=2, region=(1, 4, 2, 6))
    assert plane.axes == "yxc"
    np.testing.assert_array_equal(plane.pixels, np.moveaxis(PIXELS[1, 2], 0, -1)[1:4, 2:6])
    assert images.of_series(series, t=1).axes == "zyxc"
