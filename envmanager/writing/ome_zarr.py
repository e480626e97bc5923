"""OME-Zarr 0.4 in Zarr 2: chunks of one plane, with a pyramid of halves."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from envmanager.writing.layout import Layout, Place
from envmanager.writing.writer import SeriesWriter

if TYPE_CHECKING:
    from zarr import Array, Group

_CHUNK = 1024  # pixels along y and x; the smallest level is at most one chunk
_VERSION = "0.4"
_BLOSC: dict[str, Any] = {"id": "blosc", "cname": "zstd", "clevel": 5, "shuffle": 1, "blocksize": 0}
_UNIT = "micrometer"
# Of channels that have no colour: the order in which microscopists meet them; one alone is grey.
_COLORS = ("0000FF", "00FF00", "FF0000", "FF00FF", "00FFFF", "FFFF00")
_GREY = "FFFFFF"


class OmeZarrWriter(SeriesWriter):
    """Writes each plane, and its smaller levels, when it comes. Labels are int32."""

    def __init__(self, path: Path, layout: Layout, compression: str) -> None:
        self._compresses = compression != "none"
        super().__init__(path, layout)

    def _begin(self) -> None:
        import zarr
        from zarr.storage import LocalStore

        self._group: Group = zarr.create_group(LocalStore(self.place), zarr_format=2)
        self._levels: list[Array[Any]] = []
        shape = self.layout.shape
        while True:
            self._levels.append(self._level(shape))
            if max(shape[3:]) < _CHUNK:
                break
            shape = (*shape[:3], -(-shape[3] // 2), -(-shape[4] // 2))
        self._ranges = [(math.inf, -math.inf)] * self.layout.channels

    def _level(self, shape: tuple[int, ...]) -> Array[Any]:
        return self._group.create_array(
            str(len(self._levels)),
            shape=shape,
            dtype=np.dtype(np.int32) if self.layout.is_labels else self.layout.dtype,
            chunks=(1, 1, 1, min(shape[3], _CHUNK), min(shape[4], _CHUNK)),
            compressors=_BLOSC if self._compresses else None,
            chunk_key_encoding={"name": "v2", "separator": "/"},  # as NGFF wants it
            fill_value=0,
        )

    def _take(self, block: np.ndarray, at: Place) -> None:
        for c, z in np.ndindex(block.shape[:2]):
            place = at[0], at[1] + c, at[2] + z
            self._take_plane(block[c, z], place)

    def _take_plane(self, plane: np.ndarray, place: Place) -> None:
        if not self.layout.is_labels:
            low, high = self._ranges[place[1]]
            self._ranges[place[1]] = min(low, _edge(plane.min())), max(high, _edge(plane.max()))
        for number, level in enumerate(self._levels):
            if number:
                plane = plane[::2, ::2] if self.layout.is_labels else halved(plane)
            level[place] = plane.astype(level.dtype, copy=False)

    def _complete(self) -> None:
        self._group.attrs.update(self._attributes())

    def _attributes(self) -> dict[str, Any]:
        layout, name = self.layout, self.path.name.removesuffix(".zarr").removesuffix(".ome")
        space = {"type": "space"} | ({"unit": _UNIT} if layout.pixel_size else {})
        multiscale = {
            "version": _VERSION,
            "name": name,
            "type": "nearest" if layout.is_labels else "mean",
            "axes": [
                {"name": "t", "type": "time"},
                {"name": "c", "type": "channel"},
                # A distance of slices that is not known must not look like one.
                {"name": "z", **(space if _z(layout) else {"type": "space"})},
                {"name": "y", **space},
                {"name": "x", **space},
            ],
            "datasets": [
                {"path": str(number), "coordinateTransformations": self._changes(number)}
                for number in range(len(self._levels))
            ],
        }
        if layout.is_labels:
            return {"multiscales": [multiscale], "image-label": {"version": _VERSION}}
        return {"multiscales": [multiscale], "omero": self._omero(name)}

    def _changes(self, number: int) -> list[dict[str, Any]]:
        """Return the size of a level's pixels, and where the first one's centre is."""
        size, factor = self.layout.pixel_size, 2**number
        y, x = (size.y, size.x) if size else (1.0, 1.0)
        scale = {
            "type": "scale",
            "scale": [1.0, 1.0, _z(self.layout) or 1.0, y * factor, x * factor],
        }
        if self.layout.is_labels or not number:
            return [scale]
        shift = (factor - 1) / 2  # the mean of n pixels lies in their middle
        return [
            scale,
            {"type": "translation", "translation": [0.0, 0.0, 0.0, y * shift, x * shift]},
        ]

    def _omero(self, name: str) -> dict[str, Any]:
        channels = [self._channel(number) for number in range(self.layout.channels)]
        return {"version": _VERSION, "name": name, "channels": channels}

    def _channel(self, number: int) -> dict[str, Any]:
        layout, (low, high) = self.layout, self._ranges[number]
        alone = _GREY if layout.channels == 1 else _COLORS[number % len(_COLORS)]
        color = layout.color(number)
        return {
            "label": layout.name(number),
            "color": "{:02X}{:02X}{:02X}".format(*color) if color else alone,
            "active": True,
            "window": {"min": low, "max": high, "start": low, "end": high},
        }


def halved(plane: np.ndarray) -> np.ndarray:
    """Return the means of 2 x 2 pixels, rounded for whole numbers; an odd edge counts twice."""
    height, width = plane.shape
    padded = np.pad(plane, ((0, height % 2), (0, width % 2)), "edge")
    total = np.zeros((padded.shape[0] // 2, padded.shape[1] // 2), np.float64)
    for y in (0, 1):
        for x in (0, 1):
            total += padded[y::2, x::2]
    total /= 4
    return (total if plane.dtype.kind == "f" else np.rint(total)).astype(plane.dtype)


def _z(layout: Layout) -> float | None:
    return layout.pixel_size.z if layout.pixel_size else None


def _edge(value: Any) -> float:
    """Return a finite number: JSON has no other."""
    return float(np.nan_to_num(np.float64(value)))
