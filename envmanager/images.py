"""One image in memory: read whole, label masks written, outlines drawn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from envmanager.data import files
from envmanager.errors import ImageError
from envmanager.reading.problems import hint, told
from envmanager.reading.series import Series, open_series

_MASK = (".tif", ".tiff", ".png", ".npy")
OUTLINE = (255, 220, 0)
Region = tuple[int, int, int, int]  # y0, y1, x0, x1 in pixels; y1 and x1 are the first outside


@dataclass(frozen=True)
class Image:
    """An image and the order of its axes.

    Attributes
    ----------
    pixels : ndarray
        Of rank 2 to 4 in the order of `axes`, in the file's own dtype.
    axes : str
        ``"yx"``, ``"yxc"``, ``"zyx"`` or ``"zyxc"``.
    """

    path: Path
    pixels: np.ndarray
    axes: str


def read(path: Path) -> Image:
    """Read one image from a TIFF, ND2, PNG, JPEG, BMP or .npy file.

    Raises
    ------
    ImageError
        The file is missing, unreadable, empty, holds NaN, or has axes beyond z, y, x and channel.
    """
    series = open_series(path)
    for count, what in ((series.times, "time points"), (series.positions, "positions")):
        if count > 1:
            raise ImageError(
                f"{path.name} holds {count} {what}.",
                "Save the one that you want as a file of its own.",
            )
    return of_series(series)


def of_series(
    series: Series, *, t: int = 0, p: int = 0, z: int | None = None, region: Region | None = None
) -> Image:
    """Return one plane of a series, or all its slices where `z` is None.

    Parameters
    ----------
    region : tuple of int, optional
        The part of the plane that is wanted.

    Raises
    ------
    ImageError
        See `Series.plane`.
    """
    pixels = series.stack(t, p) if z is None else series.plane(t, z, p)[np.newaxis]
    if region:
        y0, y1, x0, x1 = region
        pixels = pixels[:, y0:y1, x0:x1]
    keep = [pixels.shape[0] > 1, True, True, pixels.shape[3] > 1]
    axes = "".join(axis for axis, kept in zip("zyxc", keep, strict=True) if kept)
    shape = [n for n, kept in zip(pixels.shape, keep, strict=True) if kept]
    with told(series.path):
        return Image(series.path, pixels.reshape(shape), axes)


def count_objects(labels: np.ndarray) -> int:
    """Return the number of different labels other than 0."""
    found = np.unique(labels)
    return int(found.size - (found[:1] == 0).sum())


def check_mask_path(path: Path, axes: str) -> None:
    """Refuse a file that cannot hold the mask of an image with these axes.

    Raises
    ------
    ImageError
        The format is unknown or would damage a mask, or a z-stack would go to a PNG.
    """
    suffix = path.suffix.lower()
    if suffix not in _MASK:
        raise ImageError(
            f"A mask cannot be saved as {path.name}.", "Use .tif, .png (2-D only) or .npy."
        )
    if suffix == ".png" and "z" in axes:
        raise ImageError(f"{path.name} cannot hold the mask of a z-stack.", "Use .tif.")


def write_labels(path: Path, labels: np.ndarray) -> None:
    """Write a label mask as .tif, .png or .npy: the whole file or none.

    Parameters
    ----------
    labels : ndarray of int32
        (y, x) or (z, y, x); 0 is background. TIFF and PNG hold them as uint16; a TIFF with more
        than 65,535 objects holds uint32.

    Raises
    ------
    ImageError
        The format is unknown, cannot hold the labels, or the file cannot be written.
    """
    suffix = path.suffix.lower()
    largest = int(labels.max(initial=0))
    check_mask_path(path, "yx" if labels.ndim == 2 else "zyx")
    if suffix == ".png" and largest > 65535:
        raise ImageError(f"{path.name} cannot hold more than 65,535 objects.", "Use .tif.")
    narrow = labels.astype(np.uint16 if largest <= 65535 else np.uint32)
    write_whole(path, lambda place: _write(place, suffix, narrow, labels))


def _write(place: Path, suffix: str, narrow: np.ndarray, labels: np.ndarray) -> None:
    if suffix == ".npy":
        with place.open("wb") as file:
            np.save(file, labels)
    elif suffix == ".png":
        from PIL import Image as Picture

        Picture.fromarray(narrow).save(place, "PNG")
    else:
        import tifffile

        # minisblack: a z-stack of three slices is no RGB image.
        tifffile.imwrite(
            place,
            narrow,
            photometric="minisblack",
            compression="zlib",
            metadata={"axes": "YX" if narrow.ndim == 2 else "ZYX"},
        )


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` make a file that is then put into its place.

    Raises
    ------
    ImageError
        The file cannot be written.
    """
    try:
        files.write_whole(path, write)
    except OSError as error:
        raise ImageError(
            f"{path} cannot be written: {error.strerror or error}.",
            hint(error, "Choose a folder that you may write to."),
        ) from error


def write_overlay(path: Path, image: Image, labels: np.ndarray) -> None:
    """Write a PNG of the image with the outlines of the objects; of a z-stack the middle slice."""
    from PIL import Image as Picture

    pixels = image.pixels
    if "z" in image.axes:
        middle = pixels.shape[0] // 2
        pixels, labels = pixels[middle], labels[middle]
    picture = _to_rgb(pixels)
    picture[_outlines(labels)] = OUTLINE
    write_whole(path, lambda place: Picture.fromarray(picture).save(place, "PNG"))


def _to_rgb(pixels: np.ndarray) -> np.ndarray:
    """Return uint8 (y, x, 3); colours stay as they are, one channel is stretched."""
    if pixels.ndim == 3 and pixels.shape[2] >= 3 and pixels.dtype == np.uint8:
        return pixels[..., :3].copy()
    grey = pixels.astype(np.float32)
    low, high = np.percentile(grey, (0.5, 99.8))
    stretched = (np.clip((grey - low) / max(high - low, 1e-9), 0, 1) * 255).astype(np.uint8)
    if stretched.ndim == 2:
        return np.stack([stretched] * 3, axis=-1)
    shown = np.zeros((*stretched.shape[:2], 3), np.uint8)
    count = min(3, stretched.shape[2])
    shown[..., :count] = stretched[..., :count]
    return shown


def _outlines(labels: np.ndarray) -> np.ndarray:
    """Return where an object's pixel has a neighbour of another label."""
    edge = np.zeros(labels.shape, bool)
    for axis in range(labels.ndim):
        first, second = np.moveaxis(labels, axis, 0)[:-1], np.moveaxis(labels, axis, 0)[1:]
        differs = first != second
        view = np.moveaxis(edge, axis, 0)
        view[:-1] |= differs & (first > 0)
        view[1:] |= differs & (second > 0)
    return edge
