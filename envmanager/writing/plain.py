"""Formats of one array: .npy for any series, PNG for one plane. Neither keeps the pixel size."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import numpy as np

from envmanager.errors import ImageError
from envmanager.writing.layout import Layout, Place
from envmanager.writing.writer import SeriesWriter


class NpyWriter(SeriesWriter):
    """(y, x) of one plane, (z, y, x) of one stack, else (t, c, z, y, x). Labels are int32."""

    def __init__(self, path: Path, layout: Layout) -> None:
        self._file: BinaryIO | None = None
        self._dtype = np.dtype(np.int32) if layout.is_labels else layout.dtype
        super().__init__(path, layout)

    def _begin(self) -> None:
        self._file = self.place.open("wb")
        header = {"descr": np.lib.format.dtype_to_descr(self._dtype), "fortran_order": False}
        np.lib.format.write_array_header_1_0(self._file, header | {"shape": self._shape()})
        self._start = self._file.tell()

    def _shape(self) -> tuple[int, ...]:
        shape = self.layout.shape
        if self.layout.planes == 1:
            return shape[3:]
        return shape if shape[:2] != (1, 1) else shape[2:]

    def _take(self, block: np.ndarray, at: Place) -> None:
        # No mapping into memory: on a full disk it would end the process.
        assert self._file is not None
        plane_bytes = self.layout.height * self.layout.width * self._dtype.itemsize
        for c, z in np.ndindex(block.shape[:2]):
            place = at[0], at[1] + c, at[2] + z
            number = int(np.ravel_multi_index(place, self.layout.places))
            self._file.seek(self._start + number * plane_bytes)
            self._file.write(np.ascontiguousarray(block[c, z], self._dtype).data)

    def _complete(self) -> None:
        assert self._file is not None
        self._file.close()

    def _leave(self) -> None:
        if self._file is not None:
            try:
                self._file.close()
            except OSError:  # a full disk: what it holds is not needed
                pass


class PngWriter(SeriesWriter):
    """One plane in memory: grey, or the three colours of a picture. Labels are uint16."""

    def _begin(self) -> None:
        super()._begin()
        dtype = np.dtype(np.uint16) if self.layout.is_labels else self.layout.dtype
        shape = self.layout.height, self.layout.width, self.layout.channels
        self._pixels = np.zeros(shape, np.uint8 if dtype.kind == "b" else dtype)

    def _take(self, block: np.ndarray, at: Place) -> None:
        largest = int(np.iinfo(self._pixels.dtype).max)
        if block.min(initial=0) < 0 or block.max(initial=0) > largest:
            raise ImageError(
                f"{self.path.name} cannot hold more than {largest:,} objects.", "Use .tif."
            )
        self._pixels[..., at[1] : at[1] + block.shape[0]] = np.moveaxis(block[:, 0], 0, -1)

    def _complete(self) -> None:
        import imagecodecs

        pixels = self._pixels[..., 0] if self.layout.channels == 1 else self._pixels
        self.place.write_bytes(imagecodecs.png_encode(np.ascontiguousarray(pixels)))
