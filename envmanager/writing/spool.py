"""Planes in a file, in any order, until all are there."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from envmanager.writing.layout import Place

_LEVEL = 1  # of Zstandard: label masks become a hundredth of their size at 1 GB/s and more


class Spool:
    """Takes planes of any type and gives them back; they are compressed one by one.

    A plane that comes again replaces the earlier one, whose bytes stay in the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("w+b")
        self._kept: dict[Place, tuple[int, int, np.dtype, tuple[int, ...]]] = {}

    def put(self, at: Place, plane: np.ndarray) -> None:
        """Keep a plane (y, x)."""
        import imagecodecs

        data = imagecodecs.zstd_encode(np.ascontiguousarray(plane).tobytes(), level=_LEVEL)
        start = self._file.seek(0, 2)
        self._file.write(data)
        self._kept[at] = start, len(data), plane.dtype, plane.shape

    def get(self, at: Place) -> np.ndarray:
        """Return a plane; it cannot be written to."""
        import imagecodecs

        start, length, dtype, shape = self._kept[at]
        self._file.seek(start)
        size = int(np.prod(shape)) * dtype.itemsize
        data = imagecodecs.zstd_decode(self._file.read(length), out=size)
        return np.frombuffer(data, dtype).reshape(shape)

    def dtype(self) -> np.dtype:
        """Return the type that holds all planes."""
        return np.result_type(*{dtype for _, _, dtype, _ in self._kept.values()})

    def remove(self) -> None:
        """Close the file and delete it."""
        self._file.close()
        self.path.unlink(missing_ok=True)
