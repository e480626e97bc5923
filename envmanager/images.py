"""Reads microscope images (TIFF, ND2, PNG ...), writes label masks, draws outlines."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from envmanager.data import files
from envmanager.errors import ImageError

if TYPE_CHECKING:
    from tifffile import TiffPageSeries

_TIFF = (".tif", ".tiff", ".btf", ".lsm")
_PICTURE = (".png", ".jpg", ".jpeg", ".bmp")
# What file formats call their axes, and what we call them. Plain multi-page TIFFs have no names
# for their pages (tifffile: I, Q); taken as a z-stack, as ImageJ does.
_AXES = {"S": "c", "C": "c", "Z": "z", "I": "z", "Q": "z", "Y": "y", "X": "x"}
_SERIES = {"T": "time points", "P": "positions", "M": "mosaic tiles", "V": "views", "R": "scans"}
_MASK = (".tif", ".tiff", ".png", ".npy")
# What a slide scanner adds to its image; no positions.
_EXTRAS = ("thumbnail", "label", "macro", "map")
_MINISWHITE, _PALETTE = 0, 3
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
    try:
        return _read(path)
    except ImageError:
        raise
    except MemoryError as error:
        raise ImageError(
            f"{path.name} does not fit into memory.",
            "Save a part of it as a file of its own, or close other programs.",
        ) from error
    except Exception as error:  # the readers raise whatever a damaged file leads them to
        raise _unreadable(path, error) from error


def _read(path: Path) -> Image:
    if not path.is_file():
        raise ImageError(f"There is no image file {path}.", "Check the name and the folder.")
    reader = _readers().get(path.suffix.lower())
    if reader is None:
        raise ImageError(
            f"{path.name} is of no known image format.",
            f"Known: {', '.join(sorted(_readers()))}.",
        )
    pixels, axes = reader(path)
    pixels, axes = _arrange(path, pixels, axes)
    return Image(path, _usable(path, pixels), axes)


def _unreadable(path: Path, error: Exception) -> ImageError:
    if isinstance(error, PermissionError):
        return ImageError(
            f"{path.name} may not be read.", "Check the permissions of the file and its folder."
        )
    # Pillow's errors about damaged files are OSErrors too, but without a number.
    if isinstance(error, OSError) and error.errno:
        return ImageError(
            f"{path.name} cannot be read: {error.strerror}.",
            _hint(error, "Check the drive, or copy the file to this computer."),
        )
    return ImageError(
        f"{path.name} cannot be read: {error or type(error).__name__}.",
        "The file is damaged or not what its name says; export it again as TIFF.",
    )


def _hint(error: OSError, otherwise: str) -> str:
    """Return the next step after what the system refused."""
    if error.errno == errno.ENAMETOOLONG:
        return "Choose a shorter name."
    if error.errno == errno.ENOSPC:
        return "Free some space, or choose another drive."
    return otherwise


def _readers() -> dict[str, Callable[[Path], tuple[np.ndarray, str]]]:
    readers = dict.fromkeys(_TIFF, _read_tiff) | dict.fromkeys(_PICTURE, _read_picture)
    return {**readers, ".nd2": _read_nd2, ".npy": _read_npy}


def _read_tiff(path: Path) -> tuple[np.ndarray, str]:
    import tifffile

    with tifffile.TiffFile(path) as file:
        if not file.series:
            raise ImageError(f"{path.name} holds no image.", "Export it again.")
        _refuse_several(path, file.series)
        series = file.series[0]
        _arrangement(path, series.axes, series.shape)  # before a long series is read in vain
        return _as_seen(series)


def _refuse_several(path: Path, series: Sequence[TiffPageSeries]) -> None:
    first = series[0]
    images = [first, *(s for s in series[1:] if s.kind == first.kind and not _aside(s, first))]
    if len(images) > 1:
        alike = all(s.shape == first.shape for s in images)
        raise ImageError(
            f"{path.name} holds {len(images)} {'positions' if alike else 'images'}.",
            "Save the one that you want as a file of its own.",
        )


def _aside(series: TiffPageSeries, first: TiffPageSeries) -> bool:
    """Return whether a series only accompanies the first: a level of its pyramid, a thumbnail."""
    if series.keyframe.is_reduced or series.name.lower() in _EXTRAS:
        return True
    if first.kind == "ome" or series.shape == first.shape:
        return False  # OME names its images: each is one of its own, whatever its size
    # Some writers do not mark the levels of a pyramid: the same picture, half the size or less.
    large, small = first.keyframe, series.keyframe
    height = large.imagelength / small.imagelength
    width = large.imagewidth / small.imagewidth
    # Levels are rounded to whole pixels.
    slack = 1 + 2 / min(small.imagelength, small.imagewidth)
    return height > 1.5 and max(height, width) <= min(height, width) * slack


def _as_seen(series: TiffPageSeries) -> tuple[np.ndarray, str]:
    """Return pixels of which larger is brighter; a palette's numbers become its colours."""
    pixels, axes, page = series.asarray(), series.axes, series.keyframe
    if page.photometric == _MINISWHITE and pixels.dtype.kind in "bi":
        return ~pixels, axes  # of whole numbers -1 - value: the negative ones have to fit as well
    if page.photometric == _MINISWHITE and pixels.dtype.kind == "u":
        # 4 or 12 bits lie in a larger type, whose largest value they never reach.
        return pixels.dtype.type(2**page.bitspersample - 1) - pixels, axes
    if page.photometric == _PALETTE and page.colormap is not None and not {*"SC"} & {*axes}:
        # 16 bits as the standard says; some programs write 8.
        shift = 8 if page.colormap.max(initial=0) > 255 else 0
        return (page.colormap >> shift).astype(np.uint8).T[pixels], axes + "S"
    return pixels, axes


def _read_nd2(path: Path) -> tuple[np.ndarray, str]:
    import nd2

    with nd2.ND2File(path) as file:
        axes = "".join(file.sizes)
        _arrangement(path, axes, tuple(file.sizes.values()))
        return file.asarray(), axes


def _read_picture(path: Path) -> tuple[np.ndarray, str]:
    from PIL import Image as Picture

    if _is_deep_png(path):
        return _read_deep_png(path)
    # A microscope's image may be large; Pillow takes such ones for attacks on web servers.
    Picture.MAX_IMAGE_PIXELS = None
    with Picture.open(path) as picture:
        mode = {"1": "L", "LA": "L"}.get(picture.mode, "RGB")
        plain = picture.mode in ("L", "RGB", "F", "I", "I;16", "I;16B")
        pixels = np.asarray(picture if plain else picture.convert(mode))
    return pixels, "YX" if pixels.ndim == 2 else "YXS"


def _is_deep_png(path: Path) -> bool:
    """Return whether a PNG has several channels of 16 bits, of which Pillow keeps only 8."""
    with path.open("rb") as file:
        head = file.read(26)
    # The header chunk comes first, at fixed places: bits per channel, then the kind of colour.
    return head[:8] == b"\x89PNG\r\n\x1a\n" and head[24:25] == b"\x10" and head[25] in (2, 4, 6)


def _read_deep_png(path: Path) -> tuple[np.ndarray, str]:
    import imagecodecs

    pixels = imagecodecs.png_decode(path.read_bytes())
    if pixels.shape[2] < 3:  # grey and opacity
        return pixels[..., 0], "YX"
    return pixels[..., :3], "YXS"


def _read_npy(path: Path) -> tuple[np.ndarray, str]:
    pixels = np.load(path, allow_pickle=False)
    if pixels.ndim == 3:
        return pixels, "YXS" if pixels.shape[2] in (3, 4) else "ZYX"
    return pixels, {2: "YX", 4: "ZYXS"}.get(pixels.ndim, "?" * pixels.ndim)


def _arrange(path: Path, pixels: np.ndarray, axes: str) -> tuple[np.ndarray, str]:
    """Drop axes of length 1 and bring the others into the order z, y, x, c."""
    keep, order = _arrangement(path, axes, pixels.shape)
    pixels = pixels.reshape([pixels.shape[i] for i in keep])
    ours = "".join(_AXES[axes[i]] for i in keep)
    return pixels.transpose([ours.index(axis) for axis in order]), order


def _arrangement(path: Path, axes: str, shape: tuple[int, ...]) -> tuple[list[int], str]:
    """Return which axes stay and their order in our names.

    Raises
    ------
    ImageError
        There are axes beyond z, y, x and channel, or y or x is missing.
    """
    keep = [i for i, (axis, n) in enumerate(zip(axes, shape, strict=True)) if _kept(axis, n)]
    for axis, length in ((axes[i], shape[i]) for i in keep):
        if axis not in _AXES:
            raise ImageError(
                f"{path.name} holds {length} {_SERIES.get(axis, 'images along ' + axis)}.",
                "Save the one that you want as a file of its own.",
            )
    ours = "".join(_AXES[axes[i]] for i in keep)
    order = "".join(axis for axis in "zyxc" if axis in ours)
    if sorted(order) != sorted(ours) or "y" not in ours or "x" not in ours:
        kept = "".join(axes[i] for i in keep)
        raise ImageError(
            f"{path.name} has the axes {kept}, of shape {tuple(shape[i] for i in keep)}.",
            "An image has y and x, and may have z and channels, once each.",
        )
    return keep, order


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
            _hint(error, "Choose a folder that you may write to."),
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
