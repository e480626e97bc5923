"""Images to try a module on: computed ones, and the sample in an installed environment."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from envmanager import demo
from envmanager.data import files
from envmanager.data.paths import DataFolder
from envmanager.errors import GA3EnvError, ImageError
from ga3_nodes import home

_SEED = 20  # each computed sample is the same on every computer
_BLUE, _GREEN = 65535, 16711935  # as OME writes colours: red, green, blue, opacity


@dataclass(frozen=True)
class Sample:
    """An image that can be opened without having one."""

    name: str
    title: str


NUCLEI = Sample("nuclei", "Fluorescent cells, computed (2 channels)")
SERIES = Sample("series", "Nuclei in depth and time, computed (5 times, 9 slices)")
TISSUE = Sample("tissue", "Stained tissue, from the module Classic")


def available() -> tuple[Sample, ...]:
    """Return the samples that `path` can give now."""
    try:
        demo.sample(home.published(demo.MODULE).folder)
    except GA3EnvError:
        return NUCLEI, SERIES
    return NUCLEI, SERIES, TISSUE


def path(data: DataFolder, name: str) -> Path:
    """Return the file of a sample; a computed one is written at first use.

    Raises
    ------
    GA3EnvError
        There is no such sample, or it cannot be written.
    """
    if name == TISSUE.name:
        return demo.sample(home.published(demo.MODULE).folder)
    makers = {NUCLEI.name: _nuclei, SERIES.name: _series}
    if name not in makers:
        raise GA3EnvError(f"There is no sample {name!r}.", f"There are {', '.join(makers)}.")
    place = data.root / "samples" / f"{name}.ome.tif"
    if not place.is_file():
        pixels, told = makers[name]()
        try:
            files.write_whole(place, lambda part: _write(part, pixels, told))
        except OSError as error:
            raise ImageError(
                f"{place} cannot be written: {error.strerror or error}.",
                "Free some space, or look at the permissions of the data folder.",
            ) from error
    return place


def _write(place: Path, pixels: np.ndarray, told: dict[str, Any]) -> None:
    import tifffile

    tifffile.imwrite(
        place, pixels, ome=True, photometric="minisblack", compression="zlib", metadata=told
    )


def _nuclei() -> tuple[np.ndarray, dict[str, Any]]:
    """Return (c, y, x): nuclei, and the cells around them."""
    rng = np.random.default_rng(_SEED)
    nuclei = np.zeros((1024, 1024), np.float32)
    cells = np.zeros_like(nuclei)
    for y, x in _apart(rng, 1024, 62.0):
        radius, light = rng.uniform(13, 19), rng.uniform(900, 2600)
        shape = rng.uniform(0.75, 1.0), rng.uniform(0, np.pi)
        _add(nuclei, y, x, radius, light, shape)
        _add(cells, y, x, radius * 1.7, light * 0.6, shape)
    return np.stack([_camera(rng, nuclei), _camera(rng, cells)]), _told(
        "CYX", 0.325, ["Nuclei", "Cells"], [_BLUE, _GREEN]
    )


def _series() -> tuple[np.ndarray, dict[str, Any]]:
    """Return (t, z, y, x): nuclei that drift; each is sharp and bright in its own slices."""
    rng = np.random.default_rng(_SEED)
    pixels = np.zeros((5, 9, 320, 320), np.float32)
    for y, x in _apart(rng, 320, 50.0):
        radius, light, depth = rng.uniform(11, 15), rng.uniform(900, 2400), rng.uniform(1.5, 6.5)
        drift, shape = rng.normal(0, 3, 2), (rng.uniform(0.75, 1.0), rng.uniform(0, np.pi))
        for t, z in np.ndindex(pixels.shape[:2]):
            here = np.sqrt(max(0.0, 1 - ((z - depth) / 3.5) ** 2))
            if here > 0.2:
                place = y + t * drift[0], x + t * drift[1]
                _add(pixels[t, z], *place, radius * here, light * here, shape)
    told = _told("TZYX", 0.65, ["Nuclei"], [_GREEN])
    told |= {"PhysicalSizeZ": 2.0, "PhysicalSizeZUnit": "µm"}
    return np.stack([_camera(rng, volume) for volume in pixels]), told


def _apart(rng: np.random.Generator, size: int, distance: float) -> list[tuple[float, float]]:
    """Return places that do not lie in a grid and keep a distance."""
    places: list[tuple[float, float]] = []
    for y, x in rng.uniform(0, size, (size * size // 400, 2)):
        if all((y - a) ** 2 + (x - b) ** 2 > distance**2 * 0.6 for a, b in places):
            places.append((float(y), float(x)))
    return places


def _add(
    plane: np.ndarray, y: float, x: float, radius: float, light: float, shape: tuple[float, float]
) -> None:
    """Add an ellipse with a soft edge; `shape` is its shorter axis over the longer, and its angle.

    Where two overlap the brighter one is seen.
    """
    reach = int(radius * 1.5) + 2
    rows = slice(max(0, int(y) - reach), max(0, int(y) + reach))
    columns = slice(max(0, int(x) - reach), max(0, int(x) + reach))
    part = plane[rows, columns]
    if not part.size:
        return
    v = np.arange(part.shape[0])[:, None] + rows.start - y
    u = np.arange(part.shape[1])[None] + columns.start - x
    ratio, angle = shape
    along = u * np.cos(angle) + v * np.sin(angle)
    across = (v * np.cos(angle) - u * np.sin(angle)) / ratio
    inside = 1 / (1 + np.exp((np.hypot(along, across) - radius) / 1.2))
    np.maximum(part, (light * inside).astype(np.float32), out=part)


def _camera(rng: np.random.Generator, light: np.ndarray) -> np.ndarray:
    """Return what a camera makes of it: shot noise, an offset of 100, 16 bits."""
    seen = 100 + rng.poisson(light * 0.4 + 12) / 0.4 + rng.normal(0, 6, light.shape)
    return np.clip(seen, 0, 65535).astype(np.uint16)


def _told(axes: str, um: float, names: list[str], colors: list[int]) -> dict[str, Any]:
    """Return what the OME tells."""
    return {
        "axes": axes,
        "PhysicalSizeX": um,
        "PhysicalSizeXUnit": "µm",
        "PhysicalSizeY": um,
        "PhysicalSizeYUnit": "µm",
        "Channel": {"Name": names, "Color": colors},
    }
