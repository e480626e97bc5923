"""The file formats: each gives the part of its pixels that is asked for.

A file is opened for each reading and closed after it, so that other programs can replace or
delete it at any time; what was learnt about its structure is kept.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from envmanager.errors import ImageError
from envmanager.reading.metadata import Told, of_nd2

if TYPE_CHECKING:
    from nd2 import ND2File


class Source(Protocol):
    """Pixels with named axes.

    Attributes
    ----------
    axes : str
        The format's own letters, one for each number in `shape`; none occurs twice.
    told : Told
        What the file tells about its pixels.
    """

    axes: str
    shape: tuple[int, ...]
    dtype: np.dtype
    told: Told

    def read(self, at: Mapping[str, int]) -> np.ndarray:
        """Return the pixels at these places; the axes that are not named stay, in their order."""


class ArraySource:
    """Pixels that are in memory."""

    def __init__(self, pixels: np.ndarray, axes: str) -> None:
        self.axes, self.shape, self.dtype = axes, pixels.shape, pixels.dtype
        self.told = Told()
        self._pixels = pixels.view()
        self._pixels.flags.writeable = False

    def read(self, at: Mapping[str, int]) -> np.ndarray:
        """Return a view that cannot be written to."""
        return pick(self._pixels, self.axes, at)


class NpySource:
    """A .npy file; only what is asked for is read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        pixels = self._pixels()
        self.shape, self.dtype = pixels.shape, pixels.dtype
        self.axes = unnamed_axes(path, self.shape)
        self.told = Told()

    def _pixels(self) -> np.ndarray:
        try:
            return np.asarray(np.load(self._path, mmap_mode="r", allow_pickle=False))
        except ValueError:  # an empty array cannot be mapped; another fails here again
            return np.asarray(np.load(self._path, allow_pickle=False))

    def read(self, at: Mapping[str, int]) -> np.ndarray:
        """Return a copy."""
        return pick(self._pixels(), self.axes, at).copy()


class Nd2Source:
    """An ND2 of NIS-Elements, frame by frame; a frame holds all channels."""

    def __init__(self, path: Path) -> None:
        import nd2

        self._path = path
        with nd2.ND2File(path) as file:
            sizes = dict(file.sizes)
            self.dtype = np.dtype(file.dtype)
            self.told = of_nd2(file)
        self._file = file
        frame = [axis for axis in "CYXS" if axis in sizes]
        self._loops = {axis: n for axis, n in sizes.items() if axis not in frame}
        self._frame = "".join(frame)
        self._frame_shape = tuple(sizes[axis] for axis in frame)
        self.axes = "".join(self._loops) + self._frame
        self.shape = (*self._loops.values(), *self._frame_shape)

    def read(self, at: Mapping[str, int]) -> np.ndarray:
        """Return a copy; a frame that was not taken is refused."""
        shape, numbers = places(self._loops, at)
        with self._opened() as file:
            frames = [self._read_frame(file, number) for number in numbers]
        pixels = frames[0][None] if len(frames) == 1 else np.stack(frames)
        pixels = pixels.reshape(shape + self._frame_shape)
        left = "".join(axis for axis in self._loops if axis not in at) + self._frame
        return pick(pixels, left, at)

    @contextmanager
    def _opened(self) -> Iterator[ND2File]:
        self._file.open()
        try:
            yield self._file
        finally:
            self._file.close()

    def _read_frame(self, file: ND2File, number: int) -> np.ndarray:
        # nd2 gives zeros for a frame of an acquisition that was stopped; only its reader knows.
        known = getattr(getattr(file, "_rdr", None), "_frame_offsets", None)
        if known is not None and number not in known:
            raise ImageError(
                f"{self._path.name} holds no image there: the acquisition was stopped before.",
                "Choose an earlier time, slice or position.",
            )
        frame = file.read_frame(number)
        return np.array(frame).reshape(self._frame_shape)  # a copy: the file's mapping ends


def picture(path: Path) -> ArraySource:
    """Return a PNG, JPEG or BMP, decoded as a whole."""
    from PIL import Image as Picture

    if _is_deep_png(path):
        return _deep_png(path)
    # A microscope's image may be large; Pillow takes such ones for attacks on web servers.
    Picture.MAX_IMAGE_PIXELS = None
    with Picture.open(path) as opened:
        mode = {"1": "L", "LA": "L"}.get(opened.mode, "RGB")
        plain = opened.mode in ("L", "RGB", "F", "I", "I;16", "I;16B")
        pixels = np.asarray(opened if plain else opened.convert(mode))
    return ArraySource(pixels, "YX" if pixels.ndim == 2 else "YXS")


def _is_deep_png(path: Path) -> bool:
    """Return whether a PNG has several channels of 16 bits, of which Pillow keeps only 8."""
    with path.open("rb") as file:
        head = file.read(26)
    # The header chunk comes first, at fixed places: bits per channel, then the kind of colour.
    return head[:8] == b"\x89PNG\r\n\x1a\n" and head[24:25] == b"\x10" and head[25] in (2, 4, 6)


def _deep_png(path: Path) -> ArraySource:
    import imagecodecs

    pixels = imagecodecs.png_decode(path.read_bytes())
    if pixels.shape[2] < 3:  # grey and opacity
        return ArraySource(pixels[..., 0], "YX")
    return ArraySource(pixels[..., :3], "YXS")


def unnamed_axes(path: Path, shape: tuple[int, ...]) -> str:
    """Return the axes of an array that does not name them.

    Raises
    ------
    ImageError
        Nobody could tell them from the shape.
    """
    if len(shape) == 3:
        return "YXS" if shape[2] in (3, 4) else "ZYX"
    axes = {2: "YX", 4: "ZYXS", 5: "TCZYX"}.get(len(shape))
    if axes is None:
        raise ImageError(
            f"{path.name} has the shape {shape}.",
            "An image has y and x, and may have z and channels; one of five axes has all: t, c, z,"
            " y, x.",
        )
    return axes


def pick(pixels: np.ndarray, axes: str, at: Mapping[str, int]) -> np.ndarray:
    """Return the pixels at these places; axes that `at` does not name stay."""
    return pixels[tuple(at.get(axis, slice(None)) for axis in axes)]


def places(loops: Mapping[str, int], at: Mapping[str, int]) -> tuple[tuple[int, ...], list[int]]:
    """Return the lengths of the loops that stay, and the numbers of the pages in their order."""
    wanted = [[at[axis]] if axis in at else range(n) for axis, n in loops.items()]
    lengths = tuple(loops.values())
    numbers = [
        int(np.ravel_multi_index(one, lengths)) if one else 0 for one in itertools.product(*wanted)
    ]
    return tuple(n for axis, n in loops.items() if axis not in at), numbers
