"""Reads microscope images (TIFF, ND2, PNG ...), writes label masks, draws outlines."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from envmanager import files
from envmanager.errors import ImageError

_TIFF = (".tif", ".tiff", ".btf", ".lsm")
_PICTURE = (".png", ".jpg", ".jpeg", ".bmp")
# What file formats call their axes, and what we call them. Plain multi-page TIFFs have no names
# for their pages (tifffile: I, Q); taken as a z-stack, as ImageJ does.
_AXES = {"S": "c", "C": "c", "Z": "z", "I": "z", "Q": "z", "Y": "y", "X": "x"}
_SERIES = {"T": "time points", "P": "positions", "M": "mosaic tiles", "V": "views", "R": "scans"}
OUTLINE = (255, 220, 0)


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
    if not path.is_file():
        raise ImageError(f"There is no image file {path}.", "Check the name and the folder.")
    suffix = path.suffix.lower()
    reader = _readers().get(suffix)
    if reader is None:
        raise ImageError(
            f"{path.name} is of no known image format.",
            f"Known: {', '.join(sorted(_readers()))}.",
        )
    try:
        pixels, axes = reader(path)
    except ImageError:
        raise
    except Exception as error:  # the readers raise whatever a damaged file leads them to
        raise ImageError(
            f"{path.name} cannot be read: {error or type(error).__name__}.",
            "The file is damaged or not what its name says; export it again as TIFF.",
        ) from error
    pixels, axes = _arrange(path, pixels, axes)
    return Image(path, _usable(path, pixels), axes)


def _readers() -> dict[str, Callable[[Path], tuple[np.ndarray, str]]]:
    readers = dict.fromkeys(_TIFF, _read_tiff) | dict.fromkeys(_PICTURE, _read_picture)
    return {**readers, ".nd2": _read_nd2, ".npy": _read_npy}


def _read_tiff(path: Path) -> tuple[np.ndarray, str]:
    import tifffile

    with tifffile.TiffFile(path) as file:
        if not file.series:
            raise ImageError(f"{path.name} holds no image.", "Export it again.")
        series = file.series[0]
        return series.asarray(), series.axes


def _read_nd2(path: Path) -> tuple[np.ndarray, str]:
    import nd2

    with nd2.ND2File(path) as file:
        return file.asarray(), "".join(file.sizes)


def _read_picture(path: Path) -> tuple[np.ndarray, str]:
    from PIL import Image as Picture

    with Picture.open(path) as picture:
        mode = {"1": "L", "LA": "L"}.get(picture.mode, "RGB")
        plain = picture.mode in ("L", "RGB", "F", "I", "I;16", "I;16B")
        pixels = np.asarray(picture if plain else picture.convert(mode))
    return pixels, "YX" if pixels.ndim == 2 else "YXS"


def _read_npy(path: Path) -> tuple[np.ndarray, str]:
    pixels = np.load(path, allow_pickle=False)
    if pixels.ndim == 3:
        return pixels, "YXS" if pixels.shape[2] in (3, 4) else "ZYX"
    return pixels, {2: "YX", 4: "ZYXS"}.get(pixels.ndim, "?" * pixels.ndim)


def _arrange(path: Path, pixels: np.ndarray, axes: str) -> tuple[np.ndarray, str]:
    """Drop axes of length 1 and bring the others into the order z, y, x, c."""
    keep = [i for i, (axis, n) in enumerate(zip(axes, pixels.shape, strict=True)) if _kept(axis, n)]
    pixels = pixels.reshape([pixels.shape[i] for i in keep])
    axes = "".join(axes[i] for i in keep)
    for axis, length in zip(axes, pixels.shape, strict=True):
        if axis not in _AXES:
            raise ImageError(
                f"{path.name} holds {length} {_SERIES.get(axis, 'images along ' + axis)}.",
                "Save the one that you want as a file of its own, or use a pipeline.",
            )
    ours = "".join(_AXES[axis] for axis in axes)
    order = [axis for axis in "zyxc" if axis in ours]
    if sorted(order) != sorted(ours) or "y" not in ours or "x" not in ours:
        raise ImageError(
            f"{path.name} has the axes {axes}, of shape {pixels.shape}.",
            "An image has y and x, and may have z and channels, once each.",
        )
    return pixels.transpose([ours.index(axis) for axis in order]), "".join(order)


def _kept(axis: str, length: int) -> bool:
    return length != 1 or axis in "YX"


def _usable(path: Path, pixels: np.ndarray) -> np.ndarray:
    if pixels.size == 0:
        raise ImageError(f"{path.name} is empty: its shape is {pixels.shape}.", "Export it again.")
    if pixels.dtype.kind not in "buif":
        raise ImageError(
            f"{path.name} holds {pixels.dtype} values.", "Save it with whole or real numbers."
        )
    if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
        count = int(pixels.size - np.isfinite(pixels).sum())
        raise ImageError(
            f"{path.name} holds {count} values that are not numbers (NaN or infinite).",
            "Replace them, for example by the background's value.",
        )
    return pixels


def count_objects(labels: np.ndarray) -> int:
    """Return the number of different labels other than 0."""
    found = np.unique(labels)
    return int(found.size - (found[:1] == 0).sum())


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
    if suffix not in (".tif", ".tiff", ".png", ".npy"):
        raise ImageError(
            f"A mask cannot be saved as {path.name}.", "Use .tif, .png (2-D only) or .npy."
        )
    if suffix == ".png" and (labels.ndim != 2 or largest > 65535):
        raise ImageError(
            f"{path.name} cannot hold this mask (a z-stack, or more than 65,535 objects).",
            "Use .tif.",
        )
    narrow = labels.astype(np.uint16 if largest <= 65535 else np.uint32)
    _write_whole(path, lambda place: _write(place, suffix, narrow, labels))


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


def _write_whole(path: Path, write: Callable[[Path], object]) -> None:
    try:
        files.write_whole(path, write)
    except OSError as error:
        raise ImageError(
            f"{path} cannot be written: {error.strerror or error}.",
            "Choose a folder that you may write to, with enough space.",
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
    _write_whole(path, lambda place: Picture.fromarray(picture).save(place, "PNG"))


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
