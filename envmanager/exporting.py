"""What people take along from a result: a table of objects as CSV, and ROIs for ImageJ."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from envmanager import contours, images
from envmanager.errors import ImageError
from envmanager.images import Region
from envmanager.reading.metadata import PixelSize
from envmanager.reading.series import Series, open_series

if TYPE_CHECKING:
    from roifile import ImagejRoi

Table = Mapping[str, Sequence[Any] | np.ndarray]
_AT_ONCE = 1 << 22  # pixels; sums are of float64, which shall not be as large as the image
_MOVE_TO, _LINE_TO, _CLOSE = 0.0, 1.0, 4.0  # java.awt.geom.PathIterator, as ImageJ stores paths
_LARGEST_ROI = 60535  # px; ImageJ reads larger ones as negative numbers (RoiDecoder.java)


@dataclass(frozen=True)
class Sizes:
    """The objects of a mask, and how many pixels each has."""

    ids: np.ndarray
    counts: np.ndarray


def sizes(labels: np.ndarray) -> Sizes:
    """Count the pixels of each object.

    Parameters
    ----------
    labels : ndarray of int
        Of any rank, none negative; 0 is background.
    """
    ids, _, counts = _numbered(labels)
    return Sizes(ids, counts)


def objects(
    labels: np.ndarray,
    *,
    pixels: np.ndarray | None = None,
    channels: Sequence[str] = (),
    pixel_size: PixelSize | None = None,
    corner: tuple[int, int] = (0, 0),
) -> dict[str, np.ndarray]:
    """Measure each object.

    Parameters
    ----------
    labels : ndarray of int
        (y, x) or (z, y, x); 0 is background.
    pixels : ndarray, optional
        The image of the same pixels: (y, x, c) or (z, y, x, c).
    channels : sequence of str
        The names of its channels; one without a name is called by its number.
    pixel_size : PixelSize, optional
        Adds columns in micrometres.
    corner : tuple of int
        y, x of the first pixel of `labels` in the image.

    Returns
    -------
    dict of ndarray
        Columns by name. Places are those of pixel centres: the first pixel lies at 0. The bounding
        box begins at a pixel and is so many pixels wide.
    """
    ids, numbered, counts = _numbered(labels)
    sums = _Sums(ids.size, labels.ndim, 0 if pixels is None else pixels.shape[-1])
    sums.add_all(numbered.reshape(labels.shape), pixels)
    start = (0, *corner)[-labels.ndim :]
    centers = sums.places / np.maximum(counts, 1)[:, None] + start
    first, size = sums.first + start, sums.last - sums.first + 1
    table: dict[str, np.ndarray] = {"id": ids}
    table |= _extent(counts, pixel_size, volume=labels.ndim == 3)
    names = "zyx"[-labels.ndim :]
    order = [names.index(axis) for axis in "xyz" if axis in names]
    for i in order:
        table[f"{names[i]}_px"] = centers[:, i]
    um = {"z": pixel_size.z, "y": pixel_size.y, "x": pixel_size.x} if pixel_size else {}
    for i in order:
        if per := um.get(names[i]):
            table[f"{names[i]}_um"] = centers[:, i] * per
    for i in order:
        table[f"bbox_{names[i]}_px"] = first[:, i]
    for i in order:
        length = {"x": "width", "y": "height", "z": "depth"}[names[i]]
        table[f"bbox_{length}_px"] = size[:, i]
    for number, total in enumerate(sums.intensities.T):
        table[_free(table, _mean_name(channels, number))] = total / np.maximum(counts, 1)
    return table


def _extent(
    counts: np.ndarray, pixel_size: PixelSize | None, *, volume: bool
) -> dict[str, np.ndarray]:
    if not volume:
        um2 = {"area_um2": counts * pixel_size.area} if pixel_size else {}
        return {"area_px": counts, **um2}
    per = pixel_size.volume if pixel_size else None
    return {"volume_px": counts, **({"volume_um3": counts * per} if per else {})}


def _mean_name(channels: Sequence[str], number: int) -> str:
    name = channels[number] if number < len(channels) else ""
    return f"mean {name or f'channel {number + 1}'}"


def _free(table: Mapping[str, Any], name: str) -> str:
    """Return a name that no other column has: two channels may have the same."""
    number, found = 2, name
    while found in table:
        number, found = number + 1, f"{name} ({number})"
    return found


def _numbered(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the labels in use, each pixel's place among them from 1 (flat), and their pixels."""
    flat = labels.reshape(-1)
    if int(flat.max(initial=0)) > max(flat.size, 1 << 16):  # tables by label would be longer
        ids, numbers, counts = np.unique(flat, return_inverse=True, return_counts=True)
        skip = int(ids[:1].sum() == 0)
        return ids[skip:], numbers + 1 - skip, counts[skip:]
    counts = np.zeros(int(flat.max(initial=0)) + 1, np.int64)
    for start in range(0, flat.size, _AT_ONCE):
        found = np.bincount(flat[start : start + _AT_ONCE])
        counts[: found.size] += found
    counts[0] = 0
    ids = np.flatnonzero(counts)
    places = np.zeros(counts.size, np.int32)
    places[ids] = np.arange(1, ids.size + 1)
    return ids, places[flat], counts[ids]


class _Sums:
    """Sums over the pixels of each object, taken a part of the image at a time."""

    def __init__(self, count: int, rank: int, channels: int) -> None:
        self._count = count
        self.places = np.zeros((count, rank))
        self.first = np.full((count, rank), np.iinfo(np.int64).max, np.int64)
        self.last = np.zeros((count, rank), np.int64)
        self.intensities = np.zeros((count, channels))

    def add_all(self, numbers: np.ndarray, pixels: np.ndarray | None) -> None:
        rows = max(1, _AT_ONCE // max(1, numbers[0].size)) if len(numbers) else 1
        for start in range(0, len(numbers), rows):
            part = slice(start, start + rows)
            self._add(numbers[part], start, None if pixels is None else pixels[part])

    def _add(self, numbers: np.ndarray, start: int, pixels: np.ndarray | None) -> None:
        inside = np.nonzero(numbers)
        own = numbers[inside] - 1
        for i, place in enumerate(inside):
            there = place + (start if i == 0 else 0)
            self.places[:, i] += np.bincount(own, weights=there, minlength=self._count)
            np.minimum.at(self.first[:, i], own, there)
            np.maximum.at(self.last[:, i], own, there)
        for channel in range(self.intensities.shape[1]):
            assert pixels is not None
            values = pixels[..., channel][inside]
            found = np.bincount(own, weights=values, minlength=self._count)
            self.intensities[:, channel] += found


# ---- files ---------------------------------------------------------------------------------------


def write_table(path: Path, table: Table) -> None:
    """Write columns as CSV: commas, decimal points, one line of names.

    Raises
    ------
    ImageError
        The file cannot be written.
    """

    def write(place: Path) -> None:
        with place.open("w", encoding="utf-8", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(table)
            rows.writerows(zip(*(map(_cell, column) for column in table.values()), strict=True))

    images.write_whole(path, write)


def _cell(value: Any) -> Any:
    return f"{value:.8g}" if isinstance(value, (float, np.floating)) else value


@dataclass(frozen=True)
class Wanted:
    """What shall be written beside a mask."""

    csv: bool = False
    rois: bool = False
    overlay: bool = False


def write_beside(mask: Path, image: Path, labels: np.ndarray, wanted: Wanted) -> list[Path]:
    """Write what is wanted of an image's mask under the mask's name; return the files.

    Raises
    ------
    ImageError
        The image cannot be read again, or a file cannot be written.
    """
    table, rois = mask.with_suffix(".csv"), mask.with_name(f"{mask.stem}_rois.zip")
    overlay = mask.with_name(f"{mask.stem}_overlay.png")
    written = []
    if wanted.csv:
        write_table(table, objects_of(open_series(image), labels))
        written.append(table)
    if wanted.rois:
        write_rois(rois, labels)
        written.append(rois)
    if wanted.overlay:
        images.write_overlay(overlay, images.read(image), labels)
        written.append(overlay)
    return written


def objects_of(
    series: Series,
    labels: np.ndarray,
    *,
    t: int = 0,
    z: int = 0,
    p: int = 0,
    region: Region | None = None,
) -> dict[str, np.ndarray]:
    """Measure the objects of a mask in the image that it is of; see `objects`.

    Parameters
    ----------
    t, z, p : int
        The plane; of a mask with slices all of them are taken.
    region : tuple of int, optional
        The part of the image that the mask is of.
    """
    pixels = series.stack(t, p) if labels.ndim == 3 else series.plane(t, z, p)
    y0, y1, x0, x1 = region or (0, series.height, 0, series.width)
    return objects(
        labels,
        pixels=pixels[..., y0:y1, x0:x1, :],
        channels=[channel.name for channel in series.channels],
        pixel_size=series.pixel_size,
        corner=(y0, x0),
    )


def write_rois(path: Path, labels: np.ndarray, corner: tuple[int, int] = (0, 0)) -> int:
    """Write a ZIP of ROIs for ImageJ's ROI Manager; return how many.

    Each object is one ROI, which encloses exactly its pixels; of a z-stack one for each slice.

    Parameters
    ----------
    labels : ndarray of int
        (y, x) or (z, y, x); 0 is background.
    corner : tuple of int
        y, x of the first pixel of `labels` in the image.

    Raises
    ------
    ImageError
        The image is larger than ImageJ's ROIs can tell, or the file cannot be written.
    """
    if max(n + at for n, at in zip(labels.shape[-2:], corner, strict=True)) > _LARGEST_ROI:
        raise ImageError(
            f"ROIs of ImageJ end at {_LARGEST_ROI:,} pixels; this image is larger.",
            "Export the mask as TIFF.",
        )
    import roifile

    rois = list(_rois(labels, corner))
    images.write_whole(path, lambda place: roifile.roiwrite(place, rois, mode="w"))
    return len(rois)


def _rois(labels: np.ndarray, corner: tuple[int, int]) -> Iterator[ImagejRoi]:
    slices = labels if labels.ndim == 3 else labels[np.newaxis]
    for z, plane in enumerate(slices):
        for label, loops in sorted(contours.trace(plane).items()):
            moved = [loop + corner[::-1] for loop in loops]
            if labels.ndim == 3:
                yield _roi(f"{label:04d}-z{z + 1:03d}", moved, z + 1)
            else:
                yield _roi(f"{label:04d}", moved, 0)


def _roi(name: str, loops: list[np.ndarray], position: int) -> ImagejRoi:
    """Return a ROI; `position` is the slice, from 1, or 0 for all."""
    from roifile import ROI_TYPE, ImagejRoi

    points = np.concatenate(loops)
    (left, top), (right, bottom) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    roi = ImagejRoi(name=name, top=top, left=left, bottom=bottom, right=right)
    roi.position = position
    if len(loops) == 1:
        roi.roitype = ROI_TYPE.TRACED
        roi.integer_coordinates = (points - (left, top)).astype(np.int32)
        roi.n_coordinates = len(points)
    else:  # holes, or parts: a path of absolute places
        path = np.concatenate([_path(loop) for loop in loops])
        roi.roitype = ROI_TYPE.RECT
        roi.multi_coordinates = path.astype(np.float32)
        roi.shape_roi_size = path.size
    return roi


def _path(loop: np.ndarray) -> np.ndarray:
    commands = np.full((len(loop), 1), _LINE_TO)
    commands[0] = _MOVE_TO
    return np.append(np.hstack([commands, loop]).reshape(-1), _CLOSE)


def placed(labels: np.ndarray, region: Region | None, shape: tuple[int, int]) -> np.ndarray:
    """Return a mask of the whole image, `shape` (y, x), from one of a part of it."""
    if region is None:
        return labels
    y0, y1, x0, x1 = region
    whole = np.zeros((*labels.shape[:-2], *shape), labels.dtype)
    whole[..., y0:y1, x0:x1] = labels
    return whole
