"""Star-convex objects such as nuclei, with StarDist (Schmidt et al. 2018, Weigert et al. 2020).

A model is a folder that the caller names; nothing is ever downloaded. All runs on the CPU.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

# Else Keras follows a file in the user's home, which may ask for an order of axes that StarDist
# cannot use, and writes that file where it is not there.
os.environ["KERAS_HOME"] = str(Path(sys.prefix) / "keras")

from csbdeep.utils import normalize_mi_ma
from stardist.models import StarDist2D, StarDist3D

KINDS = {2: StarDist2D, 3: StarDist3D}
AXES = {2: ("yx", "yxc"), 3: ("zyx", "zyxc")}
SMALLEST_SIDE = 16  # px in y and x: the networks look at the image at up to 1/16 of its size
# px; the network needs 0.4 GB for one in 2-D (1.4 GB where its grid is 1), and 2 GB in 3-D.
TILE = {2: {"y": 1024, "x": 1024}, 3: {"z": 64, "y": 256, "x": 256}}
SMALLEST_TILE = 64  # px in y and x
MOST_LOADED = 2  # models

Progress = Callable[..., object]
Note = Callable[[str], object]


def segment(
    image: np.ndarray,
    *,
    axes: str = "",
    model: str = "2D_versatile_fluo",
    channel: int = 0,
    prob_threshold: float = 0.0,
    nms_threshold: float = 0.0,
    percentile_low: float = 1.0,
    percentile_high: float = 99.8,
    normalize_together: bool = False,
    scale: float = 1.0,
    tiles: int = 0,
    min_size: int = 0,
    exclude_border: bool = False,
    progress: Progress | None = None,
    note: Note | None = None,
) -> np.ndarray:
    """Label the objects of a 2-D image.

    Parameters
    ----------
    image : ndarray
        Any real dtype, (y, x) or (y, x, component). It is never written to.
    axes : {"", "yx", "yxc"}
    model : str
        Full path of the folder of a StarDist model: ``config.json``, weights in HDF5, and
        ``thresholds.json`` where the model has thresholds of its own.
    channel : int
        The component that a model of one component looks at, from 1; 0 is the mean of all.
    prob_threshold : float
        Least probability of an object's centre, 0 to 1; 0 = the model's own.
    nms_threshold : float
        Overlap from which two candidates are taken for one object, 0 to 1; 0 = the model's own.
    percentile_low, percentile_high : float
        The percentiles of the image that become 0 and 1 for the network.
    normalize_together : bool
        One pair of percentiles for all components; else each component has its own.
    scale : float
        The image is resized by this factor for the network, and the objects back.
    tiles : int
        Number of tiles along y and along x; 0 = as few as the memory of `TILE` allows.
    min_size : int
        Smaller objects are removed, px.
    exclude_border : bool
        Remove objects that touch the edge of the image in y or x.

    Returns
    -------
    ndarray of int32
        Labels 1..n, 0 = background, (y, x).

    Raises
    ------
    ValueError
        The image, the model or a parameter does not fit; the message says why.
    """
    return _segmented(
        image,
        _order(image, axes, 2),
        _model(model, 2),
        channel=channel,
        thresholds=(prob_threshold, nms_threshold),
        percentiles=(percentile_low, percentile_high),
        together=normalize_together,
        scales={"y": scale, "x": scale},
        tiles=tiles,
        kept=(min_size, exclude_border),
        progress=progress,
        note=note,
    )


def segment_3d(
    image: np.ndarray,
    *,
    axes: str = "",
    model: str = "3D_demo",
    channel: int = 0,
    prob_threshold: float = 0.0,
    nms_threshold: float = 0.0,
    percentile_low: float = 1.0,
    percentile_high: float = 99.8,
    normalize_together: bool = False,
    scale: float = 1.0,
    scale_z: float = 1.0,
    tiles: int = 0,
    min_size: int = 0,
    exclude_border: bool = False,
    progress: Progress | None = None,
    note: Note | None = None,
) -> np.ndarray:
    """Label the objects of a z-stack.

    Parameters
    ----------
    image : ndarray
        Any real dtype, (z, y, x) or (z, y, x, component). It is never written to.
    axes : {"", "zyx", "zyxc"}
    scale, scale_z : float
        The stack is resized by these factors in y and x, and in z.
    min_size : int
        Smaller objects are removed, voxels.

    The other parameters are those of `segment`.

    Returns
    -------
    ndarray of int32
        Labels 1..n, 0 = background, (z, y, x).

    Raises
    ------
    ValueError
        The image, the model or a parameter does not fit; the message says why.
    """
    return _segmented(
        image,
        _order(image, axes, 3),
        _model(model, 3),
        channel=channel,
        thresholds=(prob_threshold, nms_threshold),
        percentiles=(percentile_low, percentile_high),
        together=normalize_together,
        scales={"z": scale_z, "y": scale, "x": scale},
        tiles=tiles,
        kept=(min_size, exclude_border),
        progress=progress,
        note=note,
    )


def _segmented(
    image: np.ndarray,
    order: str,
    model: _Model,
    *,
    channel: int,
    thresholds: tuple[float, float],
    percentiles: tuple[float, float],
    together: bool,
    scales: dict[str, float],
    tiles: int,
    kept: tuple[int, bool],
    progress: Progress | None,
    note: Note | None,
) -> np.ndarray:
    _check_numbers(thresholds, percentiles, scales)
    pixels, order = _components(image, order, model, channel, note)
    lowest, highest = pixels.min(), pixels.max()
    if not (np.isfinite(lowest) and np.isfinite(highest)):
        raise ValueError("The image holds values that are not finite numbers (NaN or infinite).")
    if lowest == highest:
        if note:
            note("All pixels of the image are alike: there is nothing to segment.")
        shape = [length for length, axis in zip(pixels.shape, order, strict=True) if axis != "c"]
        return np.zeros(shape, np.int32)
    pixels = _normalized(pixels, order, percentiles, together)
    used = _thresholds(model, *thresholds, note)
    labels = _predicted(model, pixels, order, used, scales, tiles, progress)
    return _kept(labels, *kept)


def _check_numbers(
    thresholds: tuple[float, float], percentiles: tuple[float, float], scales: dict[str, float]
) -> None:
    if not all(0 <= value < 1 for value in thresholds):
        raise ValueError("The thresholds must lie between 0 (the model's own) and 1.")
    if not 0 <= percentiles[0] < percentiles[1] <= 100:
        raise ValueError("The lower percentile must lie below the upper one, both from 0 to 100.")
    if min(scales.values()) <= 0:
        raise ValueError("The scale must be above zero.")


def _order(image: np.ndarray, axes: str, dimensions: int) -> str:
    """Return the order of the image's axes."""
    rank = np.ndim(image)
    order = axes or {len(known): known for known in AXES[dimensions]}.get(rank, "")
    if order not in AXES[dimensions] or len(order) != rank:
        found = f"the axes {', '.join(axes)}" if len(axes) == rank else f"{rank} axes"
        raise ValueError(
            f"The image has {found}, but {', '.join(AXES[dimensions][0])}, and perhaps components, "
            "are needed."
        )
    if image.dtype.kind not in "buif":
        raise ValueError("The image must hold whole or real numbers.")
    if 0 in image.shape:
        raise ValueError("The image is empty.")
    height, width = (image.shape[order.index(axis)] for axis in "yx")
    if min(height, width) < SMALLEST_SIDE:
        raise ValueError(
            f"The image is {width} x {height} pixels, but at least "
            f"{SMALLEST_SIDE} x {SMALLEST_SIDE} are needed."
        )
    return order


@dataclass(frozen=True)
class _Model:
    """A loaded model; `own` holds the thresholds that it brings, of ``prob`` and ``nms``."""

    name: str
    network: StarDist2D | StarDist3D
    own: frozenset[str]


_loaded: OrderedDict[tuple[Any, ...], _Model] = OrderedDict()  # the one used last is at the end


def _model(path: str, dimensions: int) -> _Model:
    """Return the model of a folder, loaded once as long as its files stay as they are."""
    folder = _model_folder(Path(path))
    config = _json(folder / "config.json", folder.name)
    _check_dimensions(folder.name, config, dimensions)
    weights = [file for end in ("*.h5", "*.hdf5") for file in folder.glob(end)]
    if not weights:  # StarDist would only warn, and compute with random numbers
        raise ValueError(f"The model {folder.name} has no weights: a file .h5 or .hdf5 is missing.")
    own = frozenset()
    if (folder / "thresholds.json").is_file():
        thresholds = _json(folder / "thresholds.json", folder.name)
        own = frozenset(name for name in ("prob", "nms") if _is_threshold(thresholds.get(name)))
    key = (folder, *sorted(map(_version, [*weights, *folder.glob("*.json")])))
    if key not in _loaded:
        _loaded[key] = _Model(folder.name, _load(folder, dimensions), own)
        if len(_loaded) > MOST_LOADED:
            _loaded.popitem(last=False)
    _loaded.move_to_end(key)
    return _loaded[key]


def _model_folder(path: Path) -> Path:
    """Return the folder that holds ``config.json``: the one named, or the only one in it."""
    if not path.exists():
        raise ValueError(f"The model {path} does not exist.")
    if not path.is_dir():
        raise ValueError(
            f"{path.name} is a single file, but a StarDist model is a folder with config.json and "
            "weights."
        )
    inside = [path, *sorted(part for part in path.iterdir() if part.is_dir())]
    folders = [folder for folder in inside if (folder / "config.json").is_file()]
    if not folders:
        raise ValueError(f"{path.name} is no StarDist model: it has no config.json.")
    if folders[0] != path and len(folders) > 1:
        raise ValueError(f"{path.name} holds several models; choose the folder of one.")
    return folders[0]


def _json(path: Path, model: str) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"The model {model} is damaged: {path.name} cannot be read.") from error
    if not isinstance(content, dict):
        raise ValueError(f"The model {model} is damaged: {path.name} holds something else.")
    return content


def _check_dimensions(name: str, config: dict[str, Any], dimensions: int) -> None:
    found = config.get("n_dim")
    if found not in KINDS or not isinstance(config.get("n_channel_in"), int):
        raise ValueError(f"{name} is no StarDist model: config.json is of another program.")
    if found != dimensions:
        made = {2: "2-D images", 3: "z-stacks"}
        raise ValueError(
            f"The model {name} is made for {made[found]}, but this function is for "
            f"{made[dimensions]}; choose another model."
        )


def _is_threshold(value: object) -> bool:
    return isinstance(value, int | float) and 0 < value < 1


def _version(file: Path) -> tuple[str, int, int]:
    found = file.stat()
    return file.name, found.st_mtime_ns, found.st_size


def _load(folder: Path, dimensions: int) -> StarDist2D | StarDist3D:
    try:
        return KINDS[dimensions](None, name=folder.name, basedir=str(folder.parent))
    except MemoryError:
        raise
    except Exception as error:
        reason = str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
        raise ValueError(
            f"The model {folder.name} cannot be loaded; its files are damaged, or do not belong "
            f"together ({reason})."
        ) from error


def _components(
    image: np.ndarray, order: str, model: _Model, channel: int, note: Note | None
) -> tuple[np.ndarray, str]:
    """Return the components that the model looks at, and the order of their axes."""
    plain = {"b": np.dtype(np.uint8), "e": np.dtype(np.float32)}  # bool and float16
    image = np.asarray(
        image, plain.get(image.dtype.char.replace("?", "b"), image.dtype.newbyteorder("="))
    )
    count = image.shape[-1] if order.endswith("c") else 1
    wanted = model.network.config.n_channel_in
    if wanted > 1:
        if count != wanted:
            kind = "RGB images (3 components)" if wanted == 3 else f"{wanted} components"
            raise ValueError(f"The model {model.name} needs {kind}; this image has {count}.")
        if channel:
            raise ValueError(
                f"The model {model.name} looks at all {wanted} components: choose no channel."
            )
        return image, order
    if channel > count:
        raise ValueError(f"Component {channel} is not there: the image has {count} component(s).")
    if not order.endswith("c"):
        return image, order
    if channel or count == 1:
        return image[..., max(channel, 1) - 1], order[:-1]
    if note:
        note(f"The mean of the {count} components was used; choose one with the parameter channel.")
    return image.mean(axis=-1, dtype=np.float32), order[:-1]


def _normalized(
    pixels: np.ndarray, order: str, percentiles: tuple[float, float], together: bool
) -> np.ndarray:
    """Return float32 with the percentiles at 0 and 1, as ``csbdeep.utils.normalize`` does it."""
    spatial = tuple(place for place, axis in enumerate(order) if axis != "c")
    over = None if together else spatial
    low, high = np.percentile(pixels, percentiles, axis=over, keepdims=True)
    varied = pixels.max(axis=over, keepdims=True) > pixels.min(axis=over, keepdims=True)
    if np.any((high <= low) & varied):  # a division by nearly zero
        raise ValueError(
            f"The percentiles {percentiles[0]:g} and {percentiles[1]:g} of the image are the same "
            "value: too few pixels differ from the others; raise the upper percentile."
        )
    with np.errstate(over="ignore", invalid="ignore"):
        normalized = normalize_mi_ma(pixels, low, high)
    if not np.isfinite(normalized).all():
        raise ValueError("The image holds numbers that are too large to compute with.")
    return normalized


def _thresholds(model: _Model, prob: float, nms: float, note: Note | None) -> tuple[float, float]:
    usual = model.network.thresholds
    chosen = {name for name, value in (("prob", prob), ("nms", nms)) if value}
    if note and not (chosen | model.own) >= {"prob", "nms"}:
        note(
            f"The model {model.name} has no thresholds of its own; StarDist's usual ones were used "
            f"(probability {prob or usual.prob:g}, overlap {nms or usual.nms:g})."
        )
    return prob or usual.prob, nms or usual.nms


def _predicted(
    model: _Model,
    pixels: np.ndarray,
    order: str,
    thresholds: tuple[float, float],
    scales: dict[str, float],
    tiles: int,
    progress: Progress | None,
) -> np.ndarray:
    """Return what ``predict_instances`` finds."""
    factors = tuple(scales.get(axis, 1.0) for axis in order)
    shape = [round(length * factor) for length, factor in zip(pixels.shape, factors, strict=True)]
    if min(shape[order.index(axis)] for axis in "yx") < SMALLEST_SIDE or min(shape) < 1:
        raise ValueError("The image becomes too small by this scale; choose a larger one.")
    if progress:
        progress(0.0, "network")
    labels, _ = model.network.predict_instances(
        pixels,
        axes=order.upper(),
        prob_thresh=thresholds[0],
        nms_thresh=thresholds[1],
        scale=None if set(factors) == {1.0} else factors,
        n_tiles=_tiles(shape, order, tiles),
        show_tile_progress=_told(progress),
    )
    return labels.astype(np.int32, copy=False)


def _tiles(shape: Iterable[int], order: str, count: int) -> tuple[int, ...]:
    """Return the number of tiles along each axis."""
    edges = TILE[len(order.replace("c", ""))]

    def along(axis: str, length: int) -> int:
        if axis == "c" or (count and axis == "z"):
            return 1
        if count:
            return min(count, max(1, length // SMALLEST_TILE))
        return math.ceil(length / edges[axis])

    return tuple(along(axis, length) for axis, length in zip(order, shape, strict=True))


def _told(progress: Progress | None) -> Callable[..., Iterator[Any]]:
    """Return what takes the place of tqdm: it tells the progress, and lets a cancel through."""

    def over(parts: Iterable[Any], *, total: int, disable: bool) -> Iterator[Any]:
        del disable
        for done, part in enumerate(parts):
            if progress:
                progress(done / total, f"tile {done + 1} of {total}")
            yield part

    return over


def _kept(labels: np.ndarray, min_size: int, exclude_border: bool) -> np.ndarray:
    """Remove small objects and those at the border, and number the others anew."""
    if not (min_size or exclude_border):
        return labels
    sizes = np.bincount(labels.ravel())
    keep = sizes >= max(min_size, 1)
    keep[0] = False
    if exclude_border:
        for edge in (labels[..., 0, :], labels[..., -1, :], labels[..., 0], labels[..., -1]):
            keep[np.unique(edge)] = False
    return np.where(keep, np.cumsum(keep), 0).astype(np.int32)[labels]
