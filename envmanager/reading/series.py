"""An image file as a series: times, slices, positions and channels, read when asked for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from envmanager.errors import ImageError
from envmanager.reading import metadata, ome_zarr, sources
from envmanager.reading.metadata import Channel, PixelSize
from envmanager.reading.problems import told
from envmanager.reading.sources import Source

TIFF = (".tif", ".tiff", ".btf", ".lsm")
PICTURE = (".png", ".jpg", ".jpeg", ".bmp")
ZARR = ".zarr"  # a folder
SUFFIXES = tuple(sorted((*TIFF, *PICTURE, ".nd2", ".npy", ZARR)))
# What file formats call their axes, and what we call them. Plain multi-page TIFFs have no names
# for their pages (tifffile: I, Q); taken as a z-stack, as ImageJ does.
_AXES = {"T": "t", "P": "p", "S": "c", "C": "c", "Z": "z", "I": "z", "Q": "z", "Y": "y", "X": "x"}
_OTHERS = {"M": "mosaic tiles", "V": "views", "R": "scans"}


class Series:
    """An open image file. It may be used by several threads; the file itself is not held open.

    Attributes
    ----------
    path : Path
    times, slices, positions, channels_count : int
        Lengths of the axes t, z, p and c; 1 where the file has none.
    height, width : int
        Of a plane, in pixels.
    dtype : dtype
        The file's own.
    pixel_size : PixelSize or None
        In micrometres; None where the file tells none.
    channels : tuple of Channel
        One for each channel.
    is_rgb : bool
        Whether the channels are the colours of one picture, as of a colour camera.
    """

    def __init__(self, path: Path, parts: Sequence[Source]) -> None:
        first = parts[0]
        _check_type(path, first)
        self.path = path
        self._parts = parts
        self._names = _arrangement(path, first.axes, first.shape)  # ours -> the format's
        sizes = dict(zip(first.axes, first.shape, strict=True))
        length = {ours: sizes[theirs] for ours, theirs in self._names.items()}
        self.times, self.slices = length.get("t", 1), length.get("z", 1)
        self.positions = length.get("p", 1) * len(parts)
        self.channels_count = length.get("c", 1)
        self.height, self.width = length["y"], length["x"]
        self.dtype = first.dtype
        self.pixel_size: PixelSize | None = first.told.pixel_size
        self.is_rgb = self._names.get("c") == "S" and self.channels_count in (3, 4)
        self.channels = self._channels(first)
        self._stamp = stamp(path)
        self._lock = threading.Lock()

    def plane(self, t: int = 0, z: int = 0, p: int = 0) -> np.ndarray:
        """Read one plane.

        Returns
        -------
        ndarray
            (y, x, c) in the file's own type. It may be a view that cannot be written to.

        Raises
        ------
        ImageError
            It cannot be read, is not there, holds NaN, or the file has changed since.
        """
        plane: np.ndarray = self._read(t, p, z)[0]
        return plane

    def stack(self, t: int = 0, p: int = 0) -> np.ndarray:
        """Read all slices of one time and position: (z, y, x, c); see `plane`."""
        return self._read(t, p, None)

    def _read(self, t: int, p: int, z: int | None) -> np.ndarray:
        self._check_places(t, p, z or 0)
        part, at_p = divmod(p, self.positions // len(self._parts))
        wanted = {"t": t, "p": at_p} | ({} if z is None else {"z": z})
        places = {self._names[ours]: n for ours, n in wanted.items() if ours in self._names}
        with told(self.path), self._lock:
            self._check_unchanged()
            pixels = self._parts[part].read(places)
            return _usable(self.path, self._ordered(pixels, places))

    def _check_places(self, t: int, p: int, z: int) -> None:
        for name, at, length in (
            ("time", t, self.times),
            ("position", p, self.positions),
            ("slice", z, self.slices),
        ):
            if not 0 <= at < length:
                raise ImageError(
                    f"{self.path.name} has no {name} {at + 1}.", f"Choose one of 1 to {length}."
                )

    def _ordered(self, pixels: np.ndarray, at: dict[str, int]) -> np.ndarray:
        """Bring what was read into the order z, y, x, c."""
        ours = {theirs: ours for ours, theirs in self._names.items()}
        keep = [i for i, axis in enumerate(self._left(at)) if axis in ours]
        pixels = pixels.reshape([pixels.shape[i] for i in keep])  # the others are of length 1
        axes = "".join(ours[self._left(at)[i]] for i in keep)
        for missing in (axis for axis in "zc" if axis not in axes):
            pixels, axes = pixels[..., np.newaxis], axes + missing
        return pixels.transpose([axes.index(axis) for axis in "zyxc"])

    def _left(self, at: dict[str, int]) -> str:
        return "".join(axis for axis in self._parts[0].axes if axis not in at)

    def _check_unchanged(self) -> None:
        if stamp(self.path) != self._stamp:
            raise ImageError(f"{self.path.name} was changed by another program.", "Open it again.")

    def _channels(self, source: Source) -> tuple[Channel, ...]:
        if self.is_rgb:
            return metadata.RGBA[: self.channels_count]
        found = source.told.channels
        if len(found) != self.channels_count:
            return (Channel(),) * self.channels_count
        return found


def open_series(path: Path) -> Series:
    """Open an image file, or a folder of Zarr; the pixels are read when they are asked for.

    Raises
    ------
    ImageError
        The file is missing, unreadable, of an unknown format, empty, or has axes beyond time,
        position, z, y, x and channel.
    """
    with told(path):
        if path.is_dir() and (path.suffix.lower() == ZARR or ome_zarr.is_zarr(path)):
            return Series(path, ome_zarr.sources(path))
        if not path.is_file():
            raise ImageError(f"There is no image file {path}.", "Check the name and the folder.")
        reader = _readers().get(path.suffix.lower())
        if reader is None:
            raise ImageError(
                f"{path.name} is of no known image format.", f"Known: {', '.join(SUFFIXES)}."
            )
        return Series(path, reader(path))


def _readers() -> dict[str, Callable[[Path], Sequence[Source]]]:
    return {
        **dict.fromkeys(TIFF, _tiff),
        **dict.fromkeys(PICTURE, lambda path: [sources.picture(path)]),
        ".nd2": lambda path: [sources.Nd2Source(path)],
        ".npy": lambda path: [sources.NpySource(path)],
        ZARR: _refuse_zarr_file,
    }


def _refuse_zarr_file(path: Path) -> Sequence[Source]:
    raise ImageError(
        f"{path.name} is a file: an OME-Zarr is a folder.", "Unpack it, or copy the whole folder."
    )


def _tiff(path: Path) -> Sequence[Source]:
    from envmanager.reading import tiff

    return tiff.sources(path)


def stamp(path: Path) -> tuple[int, int]:
    """Return the bytes and the time of change (ns) of an image file.

    Of a folder of Zarr those of the small files that describe it: its pixels lie in thousands.
    """
    if path.is_dir():
        return ome_zarr.stamp(path)
    found = path.stat()
    return found.st_size, found.st_mtime_ns


def _arrangement(path: Path, axes: str, shape: tuple[int, ...]) -> dict[str, str]:
    """Return the format's name for each of our axes; those of length 1 may be left out.

    Raises
    ------
    ImageError
        There is an axis that we do not know, one occurs twice, or y or x is missing.
    """
    names: dict[str, str] = {}
    kept = [(axis, n) for axis, n in zip(axes, shape, strict=True) if n != 1 or axis in "YX"]
    for axis, length in kept:
        if axis not in _AXES:
            raise ImageError(
                f"{path.name} holds {length} {_OTHERS.get(axis, 'images along ' + axis)}.",
                "Save the one that you want as a file of its own.",
            )
        names.setdefault(_AXES[axis], axis)
    if len(names) != len(kept) or not {"y", "x"} <= {*names}:
        raise ImageError(
            f"{path.name} has the axes {''.join(axis for axis, _ in kept)},"
            f" of shape {tuple(n for _, n in kept)}.",
            "An image has y and x, and may have time, position, z and channels, once each.",
        )
    return names


def _check_type(path: Path, source: Source) -> None:
    if 0 in source.shape:
        raise ImageError(f"{path.name} is empty: its shape is {source.shape}.", "Export it again.")
    if source.dtype.kind not in "buif":
        raise ImageError(
            f"{path.name} holds {source.dtype} values.", "Save it with whole or real numbers."
        )


def _usable(path: Path, pixels: np.ndarray) -> np.ndarray:
    if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
        count = int(pixels.size - np.isfinite(pixels).sum())
        raise ImageError(
            f"{path.name} holds {count} values that are not numbers (NaN or infinite).",
            "Replace them, for example by the background's value.",
        )
    return pixels
