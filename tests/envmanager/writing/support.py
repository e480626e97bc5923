"""Series of small random images, written by ours and compared with what was written."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np

from envmanager.reading.metadata import PixelSize
from envmanager.reading.series import open_series
from envmanager.writing import Layout, open_writer

SIZE = PixelSize(0.1, 0.2, 0.5)
NAMES = ("DAPI", "GFP é")


def layout_of(pixels, *, labels=False, size=SIZE, names=None, **other) -> Layout:
    if names is None:
        names = NAMES if pixels.shape[1] == len(NAMES) else ()
    return Layout(*pixels.shape, pixels.dtype, labels, size, names, **other)


def random_pixels(*shape, dtype=np.uint16, seed=0):
    made = np.random.default_rng(seed).integers(0, 60_000, shape)
    return made.astype(dtype)


def write(path, pixels, order=None, **options) -> Path:
    """Write plane by plane, the last one first unless an order is given."""
    compression = {"compression": options.pop("compression")} if "compression" in options else {}
    places = list(itertools.product(*map(range, pixels.shape[:3])))
    with open_writer(path, layout_of(pixels, **options), **compression) as writer:
        for t, c, z in order(places) if order else reversed(places):
            writer.write(pixels[t, c : c + 1, z : z + 1], t=t, c=c, z=z)
        writer.finish()
    assert [p.name for p in path.parent.iterdir() if p.name.endswith("tmp")] == []
    return path


def write_at_once(path, pixels, **options) -> Path:
    with open_writer(path, layout_of(pixels, **options)) as writer:
        writer.write(pixels[0])
        writer.finish()
    return path


def same_pixels(path, pixels) -> None:
    series = open_series(path)
    found = series.times, series.channels_count, series.slices, series.height, series.width
    assert found == pixels.shape
    for t in range(series.times):
        np.testing.assert_array_equal(series.stack(t), pixels[t].transpose(1, 2, 3, 0))


KINDS = ["a.tif", "a.zarr", "a.npy"]
OLD, NEW = random_pixels(2, 1, 2, 20, 30, seed=1), random_pixels(3, 1, 1, 20, 30, seed=2)
