"""OME-TIFF: planes in the order t, c, z, compressed; BigTIFF where 4 GB may not suffice."""

from __future__ import annotations

import contextlib
import itertools
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from envmanager.writing import putting
from envmanager.writing.layout import Layout, Place
from envmanager.writing.spool import Spool
from envmanager.writing.writer import SeriesWriter

_CLASSIC_BYTES = 2**32 - 2**25  # offsets have 32 bits; the rest is for tags and their values
_AT_ONCE_BYTES = 2**24  # compressed in one pass of several threads


class OmeTiffWriter(SeriesWriter):
    """The type of labels is known when the last one is there, so planes wait in a spool until then.

    A series that comes in one block is written at once.
    """

    def __init__(self, path: Path, layout: Layout, compression: str) -> None:
        self._compression = None if compression == "none" else compression
        self._spool: Spool | None = None
        super().__init__(path, layout)

    def _take(self, block: np.ndarray, at: Place) -> None:
        if (1, *block.shape) == self.layout.shape:
            self._leave()
            block = self._stored(block)
            self._save(block.reshape(-1, *block.shape[2:]), block.dtype)
            return
        if self._spool is None:
            self._written[:] = False  # had all come in one block, it would be gone
            self._spool = Spool(putting.beside(self.path, "spool"))
        t, c, z = at
        for place in np.ndindex(block.shape[:2]):
            self._spool.put((t, c + place[0], z + place[1]), self._stored(block[place]))

    def _complete(self) -> None:
        if self._spool is not None:
            times, channels, slices = map(range, self.layout.places)
            order = itertools.product(times, channels, slices)
            self._save(map(self._spool.get, order), self._spool.dtype())

    def _leave(self) -> None:
        if self._spool is not None:
            with contextlib.suppress(OSError):  # a full disk: what it holds is not needed
                self._spool.remove()
            self._spool = None

    def _stored(self, pixels: np.ndarray) -> np.ndarray:
        """Return labels as uint16 where they fit, else as int32; OME has no bool."""
        if not self.layout.is_labels:
            return pixels.astype(np.uint8) if pixels.dtype.kind == "b" else pixels
        narrow = pixels.min(initial=0) >= 0 and pixels.max(initial=0) <= np.iinfo(np.uint16).max
        return pixels.astype(np.uint16 if narrow else np.int32)

    def _save(self, planes: Iterable[np.ndarray], dtype: np.dtype) -> None:
        import tifffile

        layout = self.layout
        raw = dtype.itemsize * int(np.prod(layout.shape))
        with tifffile.TiffWriter(self.place, bigtiff=raw > _CLASSIC_BYTES, ome=True) as file:
            file.write(
                _of_type(planes, dtype),
                shape=layout.shape,
                dtype=dtype,
                photometric="minisblack",  # three channels are no RGB image
                compression=self._compression,
                buffersize=_AT_ONCE_BYTES,
                metadata=_metadata(layout, self.path),
                **_resolution(layout),
            )


def _of_type(planes: Iterable[np.ndarray], dtype: np.dtype) -> Iterator[np.ndarray]:
    return (np.ascontiguousarray(plane, dtype) for plane in planes)


def _metadata(layout: Layout, path: Path) -> dict[str, Any]:
    # The name's, not one of chance: the same pixels make the same file, byte by byte.
    identity = uuid.uuid5(uuid.NAMESPACE_URL, path.name)
    told: dict[str, Any] = {"axes": "TCZYX", "Name": path.name, "UUID": str(identity)}
    if size := layout.pixel_size:
        for axis, length in (("X", size.x), ("Y", size.y), ("Z", size.z)):
            if length:
                told |= {f"PhysicalSize{axis}": length, f"PhysicalSize{axis}Unit": "µm"}
    channel: dict[str, list[Any]] = {}
    if any(layout.channel_names):
        channel["Name"] = list(layout.channel_names)
    if layout.channel_colors and all(layout.channel_colors):
        channel["Color"] = [_signed(*color) for color in layout.channel_colors if color]
    return told | ({"Channel": channel} if channel else {})


def _signed(red: int, green: int, blue: int) -> int:
    """Return a colour as OME has it: a signed number of 32 bits, opacity in the last 8."""
    return int(np.uint32(red << 24 | green << 16 | blue << 8 | 255).astype(np.int32))


def _resolution(layout: Layout) -> dict[str, Any]:
    """Return the pixels per centimetre, which programs read that know no OME."""
    size = layout.pixel_size
    if size is None:
        return {}
    return {"resolution": (1e4 / size.x, 1e4 / size.y), "resolutionunit": "CENTIMETER"}
