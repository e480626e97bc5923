"""Segmentation without a neural network: background, threshold, split, clean-up."""

from __future__ import annotations

import numpy as np
from scipy import ndimage as ndi
from skimage.color import rgb2hed
from skimage.filters import threshold_li, threshold_otsu, threshold_triangle
from skimage.measure import block_reduce, label
from skimage.morphology import local_maxima
from skimage.segmentation import watershed
from skimage.transform import resize

RANKS = {"yx": 2, "yxc": 3, "zyx": 3, "zyxc": 4}
STAINS = ("hematoxylin", "eosin", "dab")
GLOBAL_THRESHOLDS = {"otsu": threshold_otsu, "li": threshold_li, "triangle": threshold_triangle}
CHOICES = {
    "channel": ("intensity", "1", "2", "3", "4", *STAINS),
    "objects": ("bright", "dark"),
    "threshold": ("automatic", *GLOBAL_THRESHOLDS, "local"),
}
SMALLEST_SIDE = 8
PIXEL_FLOOR = 3.0  # a pixel counts from this many background deviations
OBJECT_FLOOR = 4.0  # an object counts from this many, so that noise alone gives none ...
CHANCE = 12.0  # ... plus this / diameter in px: small bumps arise by chance more easily
CLIPPINGS = 3  # more of them would swallow the faint objects of a bright-field image
CLEARLY_BRIGHT = 10.0  # times the pixel floor
BRIGHTNESS_WEIGHT = 0.3  # of log brightness beside log distance when touching objects are split
ROUNDS = 2  # the second round splits the tighter outlines that the first one found


def segment(
    image: np.ndarray,
    *,
    axes: str = "",
    channel: str = "intensity",
    objects: str = "bright",
    smoothing: float = 1.2,
    background: float = 75.0,
    threshold: str = "automatic",
    threshold_factor: float = 1.0,
    split: float = 0.92,
    min_diameter: float = 5.0,
    max_diameter: float = 0.0,
    fill_holes: bool = True,
    exclude_border: bool = False,
    z_spacing: float = 1.0,
) -> np.ndarray:
    """Label the objects of an image, an RGB image or a z-stack.

    Parameters
    ----------
    image : ndarray
        Any real dtype, axes as in `axes`. It is never written to.
    axes : {"", "yx", "yxc", "zyx", "zyxc"}
        Order of the axes. Empty: rank 2 is yx, rank 3 is yxc where the last axis is 3 or 4 long,
        else zyx, rank 4 is zyxc.
    channel : str
        "intensity" (mean of the components), "1" to "4", or a stain of an RGB image:
        "hematoxylin", "eosin", "dab" (Ruifrok and Johnston 2001).
    objects : {"bright", "dark"}
        Brighter or darker than the ground.
    smoothing : float
        Sigma of the Gaussian filter, px.
    background : float
        Radius of the morphological opening that estimates the background, px; 0 = even background.
    threshold : {"automatic", "otsu", "li", "triangle", "local"}
        "automatic" finds objects by Otsu (1979) on a logarithmic scale and outlines each at half
        of its own height.
    threshold_factor : float
        Multiplies the threshold, and the half height of "automatic".
    split : float
        Touching objects are cut where the neck is narrower than this fraction of the smaller
        one's width; 0 = no splitting.
    min_diameter, max_diameter : float
        Limits of the equivalent diameter, px; 0 = no limit.
    fill_holes : bool
        Fill the holes that lie inside one object.
    exclude_border : bool
        Remove objects that touch the edge of the image in y or x.
    z_spacing : float
        Distance of two planes divided by the pixel size.

    Returns
    -------
    ndarray of int32
        Labels 1..n, 0 = background, shape of the image without its component axis.

    Raises
    ------
    ValueError
        The image or a parameter does not fit; the message says why.
    """
    _check_choices(channel=channel, objects=objects, threshold=threshold)
    _check_numbers(smoothing, background, threshold_factor, split, z_spacing)
    gray = _gray(image, _resolved_axes(image, axes), channel)
    if np.ptp(gray) == 0:
        return np.zeros(gray.shape, np.int32)
    sampling = (z_spacing, 1.0, 1.0)[-gray.ndim :]
    smooth = ndi.gaussian_filter(-gray if objects == "dark" else gray, _px(smoothing, sampling))
    signal, noise = _signal(smooth, background)
    mask = signal > threshold_factor * _threshold(signal, noise, threshold, background)
    half = 0.5 * threshold_factor if threshold == "automatic" else 0.0
    for _ in range(ROUNDS):
        if fill_holes:
            mask = _fill_small_holes(mask, 2 * min_diameter, sampling)
        labels = _outlined(_split(mask, signal, split, sampling), signal, noise, half, sampling)
        mask = labels > 0
    if fill_holes:
        labels = _fill_enclosed_holes(labels)
    return _cleaned(labels, min_diameter, max_diameter, exclude_border, sampling)


def _check_choices(**chosen: str) -> None:
    for name, value in chosen.items():
        if value not in CHOICES[name]:
            known = ", ".join(CHOICES[name])
            raise ValueError(f"{name} is {value!r}, but it must be one of: {known}.")


def _check_numbers(
    smoothing: float, background: float, factor: float, split: float, z_spacing: float
) -> None:
    if not (smoothing >= 0 and background >= 0):
        raise ValueError("Smoothing and background radius cannot be negative.")
    if not (factor > 0 and z_spacing > 0):
        raise ValueError("The threshold factor and the z spacing must be above zero.")
    if not 0 <= split <= 1:
        raise ValueError("The split ratio must lie between 0 (do not split) and 1.")


def _resolved_axes(image: np.ndarray, axes: str) -> str:
    rank = np.ndim(image)
    if rank not in (2, 3, 4):
        raise ValueError(f"The image has {rank} axes, but 2 (y, x) to 4 (z, y, x, c) are needed.")
    if not axes:
        rgb = image.shape[-1] in (3, 4)
        axes = {2: "yx", 3: "yxc" if rgb else "zyx", 4: "zyxc"}[rank]
    if axes not in RANKS:
        raise ValueError(f"The axes {axes!r} are not known; use one of: {', '.join(RANKS)}.")
    if RANKS[axes] != rank:
        raise ValueError(f"The image has {rank} axes, which does not fit {axes!r}.")
    if 0 in image.shape:
        raise ValueError("The image is empty.")
    height, width = (image.shape[axes.index(axis)] for axis in "yx")
    if min(height, width) < SMALLEST_SIDE:
        raise ValueError(
            f"The image is {width} x {height} pixels, but at least "
            f"{SMALLEST_SIDE} x {SMALLEST_SIDE} are needed."
        )
    return axes


def _gray(image: np.ndarray, axes: str, channel: str) -> np.ndarray:
    """One float32 value per pixel: the chosen component, their mean, or a stain."""
    if np.asarray(image).dtype.kind not in "buif":
        raise ValueError("The image must hold whole or real numbers.")
    with np.errstate(over="ignore"):  # what float32 cannot hold is reported below
        values = np.asarray(image, np.float32)
    if not np.isfinite(values).all():
        raise ValueError("The image holds values that are not finite numbers (NaN or infinite).")
    if "c" not in axes:
        values = values[..., np.newaxis]
    count = values.shape[-1]
    if channel == "intensity":
        return values.mean(axis=-1)
    if channel in STAINS:
        if count != 3:
            raise ValueError(f"A stain needs an RGB image; this one has {count} component(s).")
        white = 255 if image.dtype == np.uint8 else max(float(values.max()), 1e-6)
        return rgb2hed(np.clip(values / white, 0, 1))[..., STAINS.index(channel)].astype(np.float32)
    if int(channel) > count:
        raise ValueError(f"Component {channel} is not there: the image has {count} component(s).")
    return values[..., int(channel) - 1]


def _px(length: float, sampling: tuple[float, ...]) -> list[float]:
    return [length / step for step in sampling]


def _signal(smooth: np.ndarray, radius: float) -> tuple[np.ndarray, float]:
    """Height above the background, and the background's standard deviation.

    The level is found by clipping (Bertin and Arnouts 1996), begun from the darker class, not from
    the median: in a dense image most pixels belong to objects.
    """
    signal = smooth - _background(smooth, radius) if radius else smooth
    sample = np.sort(signal, axis=None)[:: max(1, signal.size // 200_000)]
    lowest, highest = float(sample[0]), float(sample[-1])
    scale = max(float(np.median(sample)) - lowest, 1e-6 * (highest - lowest), 1e-12)
    logs = np.log1p((sample - lowest) / scale)
    cut = sample[np.searchsorted(logs, threshold_otsu(logs), "right") - 1]
    for _ in range(CLIPPINGS):
        level, lower = np.percentile(sample[: np.searchsorted(sample, cut, "right")], [50, 16])
        # objects and their halos lie above the level, so the spread is read below it
        noise = level - lower
        cut = level + PIXEL_FLOOR * noise
    # an image without noise still needs a floor, else rounding errors become objects
    return signal - np.float32(level), max(float(noise), 1e-3 * float(np.ptp(signal)))


def _background(smooth: np.ndarray, radius: float) -> np.ndarray:
    """Opening of each plane (as the rolling ball of Sternberg 1983), at a quarter of the size."""
    planes = smooth.ndim - 2
    height, width = smooth.shape[-2:]
    even = np.pad(smooth, [(0, 0)] * planes + [(0, -height % 4), (0, -width % 4)], mode="edge")
    small = block_reduce(even, (1,) * planes + (4, 4), np.mean)
    reach = max(1, round(radius / 4))
    small = ndi.grey_opening(small, (1,) * planes + (2 * reach + 1,) * 2)
    small = ndi.gaussian_filter(small, [0.0] * planes + [radius / 8] * 2)
    return resize(small, even.shape, order=1, mode="edge")[..., :height, :width]


def _threshold(signal: np.ndarray, noise: float, method: str, radius: float) -> float | np.ndarray:
    floor = PIXEL_FLOOR * noise
    if method == "automatic":
        # linear within the noise, logarithmic above it, and all that is clearly bright is alike:
        # bright objects cannot hide dim ones
        logs = np.arcsinh(np.minimum(signal / floor, CLEARLY_BRIGHT))
        return floor * max(float(np.sinh(threshold_otsu(logs))), 1.0)
    if method == "local":
        sigma = [0.0] * (signal.ndim - 2) + [(radius or 75.0) / 2] * 2
        return np.maximum(ndi.gaussian_filter(signal, sigma), noise)
    return float(GLOBAL_THRESHOLDS[method](signal))


def _split(
    mask: np.ndarray, signal: np.ndarray, ratio: float, sampling: tuple[float, ...]
) -> np.ndarray:
    """Watershed of the logarithm of distance and brightness, basins merged across wide necks.

    On the logarithm a basin's dynamic (Grimaud 1992) is the ratio of neck to width, whatever
    the object's size. A little brightness finds the dip between objects that overlap far.
    """
    if ratio == 0 or not mask.any():
        return ndi.label(mask)[0]
    distance = ndi.distance_transform_edt(mask, sampling)
    distance = ndi.gaussian_filter(distance, _px(1.0, sampling))
    relief = np.full(mask.shape, -1e3, np.float32)
    relief[mask] = np.log(np.maximum(distance[mask], 1e-3))
    relief[mask] += BRIGHTNESS_WEIGHT * np.log(np.maximum(signal[mask], 1e-6))
    tops = local_maxima(relief) & mask
    markers, count = ndi.label(tops, np.ones((3,) * mask.ndim))
    basins = watershed(-relief, markers, mask=mask)
    peaks = np.zeros(count + 1)
    peaks[markers[tops]] = relief[tops]
    return _merged(peaks, _saddles(basins, relief), -np.log(ratio))[basins]


def _saddles(basins: np.ndarray, relief: np.ndarray) -> list[tuple[int, int, float]]:
    """The highest pass between each two touching basins, highest first."""
    span = int(basins.max()) + 1
    pairs, heights = [], []
    for axis in range(basins.ndim):
        length = basins.shape[axis]
        here, there = (
            (slice(None),) * axis + (slice(start, start + length - 1),) for start in (0, 1)
        )
        meet = (basins[here] != basins[there]) & (basins[here] > 0) & (basins[there] > 0)
        one, other = basins[here][meet].astype(np.int64), basins[there][meet].astype(np.int64)
        pairs.append(np.minimum(one, other) * span + np.maximum(one, other))
        heights.append(np.minimum(relief[here][meet], relief[there][meet]))
    pair, height = np.concatenate(pairs), np.concatenate(heights)
    order = np.argsort(-height, kind="stable")
    first = np.sort(np.unique(pair[order], return_index=True)[1])
    pair, height = pair[order][first], height[order][first]
    return list(zip((pair // span).tolist(), (pair % span).tolist(), height.tolist(), strict=True))


def _merged(peaks: np.ndarray, saddles: list[tuple[int, int, float]], depth: float) -> np.ndarray:
    """For each basin the basin it belongs to, after merging across shallow passes."""
    owner = list(range(len(peaks)))

    def top(basin: int) -> int:
        while owner[basin] != basin:
            owner[basin] = owner[owner[basin]]
            basin = owner[basin]
        return basin

    for one, other, saddle in saddles:
        high, low = sorted((top(one), top(other)), key=lambda basin: (-peaks[basin], basin))
        if peaks[low] - saddle < depth:
            owner[low] = high
    return np.array([top(basin) for basin in owner], np.int32)


def _outlined(
    labels: np.ndarray, signal: np.ndarray, noise: float, half: float, sampling: tuple[float, ...]
) -> np.ndarray:
    """Drop what does not rise above the noise; cut each object at its own half height.

    A blurred edge lies at half height whatever the object's brightness; one threshold for all
    would swell the bright ones.
    """
    inside = labels > 0
    owner, value = labels[inside], signal[inside]
    size = np.bincount(owner)
    floor = noise * (OBJECT_FLOOR + CHANCE / np.maximum(_diameter(size, sampling), 1))
    mean = np.bincount(owner, value) / np.maximum(size, 1)
    upper = value > mean[owner]
    count = np.bincount(owner[upper], minlength=mean.size)
    height = np.bincount(owner[upper], value[upper], mean.size) / np.maximum(count, 1)
    height = np.where(count > 0, height, mean)  # an object of one value has no upper part
    keep = (height > floor)[owner] & (value > half * height[owner])
    outlined = np.zeros(labels.shape, np.int32)
    outlined[inside] = np.where(keep, owner, 0)
    return outlined


def _diameter(sizes: np.ndarray, sampling: tuple[float, ...]) -> np.ndarray:
    """Diameter of the circle (3-D: ball) with as many pixels."""
    if len(sampling) == 2:
        return 2 * np.sqrt(sizes / np.pi)
    return np.cbrt(6 * sizes * sampling[0] / np.pi)


def _fill_small_holes(mask: np.ndarray, limit: float, sampling: tuple[float, ...]) -> np.ndarray:
    """Fill only small holes: a large one may be the gap in a ring of objects."""
    holes = ndi.label(~mask)[0]
    small = _diameter(np.bincount(holes.ravel()), sampling) < limit
    return mask | small[holes]


def _fill_enclosed_holes(labels: np.ndarray) -> np.ndarray:
    """Fill each hole that has one single object around it."""
    holes, count = ndi.label(labels == 0)
    enclosed = np.ones(count + 1, bool)
    enclosed[0] = False
    enclosed[_at_edge(holes)] = False  # open to the outside
    inside = enclosed[holes]
    if not inside.any():
        return labels
    hole = holes[inside]
    number = np.arange(count + 1)
    highest = ndi.maximum(ndi.maximum_filter(labels, 3)[inside], hole, number)
    beyond = np.where(labels == 0, np.iinfo(np.int32).max, labels)
    lowest = ndi.minimum(ndi.minimum_filter(beyond, 3)[inside], hole, number)
    owner = np.where(highest == lowest, highest, 0).astype(np.int32)
    filled = labels.copy()
    filled[inside] = owner[hole]
    return filled


def _at_edge(labels: np.ndarray) -> np.ndarray:
    """Labels that touch the edge of the image in y or x."""
    edges = [np.take(labels, end, axis).ravel() for axis in (-2, -1) for end in (0, -1)]
    return np.unique(np.concatenate(edges))


def _cleaned(
    labels: np.ndarray,
    smallest: float,
    largest: float,
    exclude_border: bool,
    sampling: tuple[float, ...],
) -> np.ndarray:
    """Connected objects within the size limits, numbered 1..n."""
    labels = label(labels, connectivity=1)
    diameter = _diameter(np.bincount(labels.ravel()), sampling)
    keep = (diameter >= smallest) & ((diameter <= largest) | (largest == 0))
    keep[0] = False
    if exclude_border:
        keep[_at_edge(labels)] = False
    number = np.cumsum(keep, dtype=np.int32)
    return np.where(keep, number, 0).astype(np.int32)[labels]
