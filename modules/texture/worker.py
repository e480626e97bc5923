"""Textured regions, and shape and texture of objects, with Mahotas (Coelho 2013).

Made to run inside NIS-Elements: pure functions of their arguments, which change nothing else.
"""

from __future__ import annotations

import mahotas
import numpy as np

SMALLEST_SIDE = 8  # pixels
CLEAR = 2.0  # what "automatic" finds has at least so much more contrast than the rest
SHAPE = ("id", "y", "x", "area", "perimeter", "roundness", "eccentricity", "mean")
TEXTURES = {"contrast": 1, "correlation": 2, "homogeneity": 4, "entropy": 8}  # Haralick's order
COLUMNS = (*SHAPE, *TEXTURES)


def segment(
    image: np.ndarray,
    *,
    axes: str = "",
    scale: float = 3.0,
    threshold: float = 0.0,
    min_area: int = 200,
) -> np.ndarray:
    """Label the regions with much local contrast.

    Parameters
    ----------
    image : ndarray
        (y, x) or (y, x, component); it is never written to.
    axes : {"", "yx", "yxc"}
    scale : float
        Sigma of the Gaussian neighbourhood, px.
    threshold : float
        Least standard deviation of the grey values around a pixel; 0 = by Otsu (1979) on a
        logarithmic scale, and nothing where no region stands out.
    min_area : int
        Smaller regions are removed, smaller gaps are filled; px.

    Returns
    -------
    ndarray of int32
        Labels 1..n, 0 = background, (y, x).

    Raises
    ------
    ValueError
        The image does not fit; the message says why.
    """
    deviation = _local_deviation(_gray(image, axes), scale)
    mask = deviation > (threshold or _threshold(deviation))
    mask = ~_without_small(~mask, min_area)
    return mahotas.label(_without_small(mask, min_area))[0].astype(np.int32)


def measure(image: np.ndarray, labels: np.ndarray, *, levels: int = 32) -> dict[str, dict]:
    """Measure each object.

    Parameters
    ----------
    levels : int
        Number of grey levels for the texture.

    Returns
    -------
    dict
        The table ``objects``, a dict of list: ``id, y, x, area, perimeter, roundness,
        eccentricity, mean`` and Haralick's (1973) ``contrast, correlation, homogeneity, entropy``,
        in px and grey values. Measures that an object is too small for are 0.

    Raises
    ------
    ValueError
        The label image does not fit; the message says why.
    """
    gray = _gray(image, "yx")
    if labels.shape != gray.shape:
        raise ValueError(f"The labels have the shape {labels.shape}, the image {gray.shape}.")
    if labels.dtype.kind not in "biu" or labels.min() < 0:
        raise ValueError("The labels must be whole numbers, none of them negative.")
    number, objects = np.unique(labels, return_inverse=True)
    objects = objects.reshape(labels.shape).astype(np.int32)
    if number[0] != 0:  # no background
        number, objects = np.concatenate(([0], number)), objects + 1
    grades = _grades(gray, objects > 0, levels)
    rows = []
    for i, (top, bottom, left, right) in enumerate(mahotas.labeled.bbox(objects)[1:], 1):
        box = (slice(top, bottom), slice(left, right))
        inside = objects[box] == i
        row = _measured(gray[box], inside, np.where(inside, grades[box], 0).astype(np.uint8))
        rows.append(
            {**row, "id": int(number[i]), "y": float(top + row["y"]), "x": float(left + row["x"])}
        )
    return {"objects": {name: [row[name] for row in rows] for name in COLUMNS}}


def _measured(gray: np.ndarray, inside: np.ndarray, grades: np.ndarray) -> dict[str, float]:
    y, x = np.nonzero(inside)
    perimeter = float(mahotas.labeled.perimeter(np.pad(inside, 1)))
    try:
        haralick = mahotas.features.haralick(grades, ignore_zeros=True, return_mean=True)
    except ValueError:  # no two neighbours in one of the directions
        haralick = np.zeros(13)
    found = {
        "y": y.mean(),
        "x": x.mean(),
        "area": y.size,
        "perimeter": perimeter,
        "roundness": 4 * np.pi * y.size / max(perimeter, 1.0) ** 2,
        "eccentricity": mahotas.features.eccentricity(inside) if y.size > 2 else 0.0,
        "mean": gray[inside].mean(),
        **{name: haralick[place] for name, place in TEXTURES.items()},
    }
    return {name: float(np.nan_to_num(value)) for name, value in found.items()}


def _grades(gray: np.ndarray, inside: np.ndarray, levels: int) -> np.ndarray:
    """Grey levels 1..levels, from the darkest to the brightest pixel of all objects."""
    if not inside.any():
        return np.ones(gray.shape, np.uint8)
    low, high = gray[inside].min(), gray[inside].max()
    steps = (gray - low) * (levels / max(high - low, 1e-12))
    return (1 + np.clip(steps, 0, levels - 1)).astype(np.uint8)


def _gray(image: np.ndarray, axes: str) -> np.ndarray:
    """One float64 value per pixel."""
    axes = axes or {2: "yx", 3: "yxc"}.get(np.ndim(image), "")
    if len(axes) != np.ndim(image) or axes not in ("yx", "yxc"):
        raise ValueError("The image must have the axes y, x or y, x, component.")
    if min(image.shape[:2]) < SMALLEST_SIDE:
        raise ValueError(f"At least {SMALLEST_SIDE} x {SMALLEST_SIDE} pixels are needed.")
    if np.asarray(image).dtype.kind not in "buif":
        raise ValueError("The image must hold whole or real numbers.")
    gray = np.asarray(image, np.float64)
    if axes == "yxc":
        gray = gray.mean(axis=-1)
    if not np.isfinite(gray).all():
        raise ValueError("The image holds values that are not finite numbers (NaN or infinite).")
    return gray


def _local_deviation(gray: np.ndarray, scale: float) -> np.ndarray:
    # about zero: the squares of large numbers would lose the small differences
    level = gray - gray.mean()
    mean = mahotas.gaussian_filter(level, scale)
    return np.sqrt(np.maximum(mahotas.gaussian_filter(level**2, scale) - mean**2, 0))


def _threshold(deviation: np.ndarray) -> float:
    """Half height between the two classes (Otsu, logarithmic); the highest where they are alike."""
    highest = float(deviation.max())
    if highest == 0:
        return 1.0
    logs = np.log(np.maximum(deviation, 1e-6 * highest))
    low, span = float(logs.min()), float(np.ptp(logs))
    if span == 0:
        return highest
    cut = mahotas.otsu(((logs - low) * (255 / span)).astype(np.uint8))
    threshold = float(np.exp(low + (cut + 1) * span / 255))
    above = deviation > threshold
    if not above.any():
        return highest
    rough, smooth = np.median(deviation[above]), np.median(deviation[~above])
    # an edge lies at half height: on the logarithm the outlines would be too wide
    return float(rough + smooth) / 2 if rough > CLEAR * smooth else highest


def _without_small(mask: np.ndarray, area: int) -> np.ndarray:
    regions = mahotas.label(mask)[0]
    small = np.bincount(regions.ravel()) < area
    return mask & ~small[regions]
