"""Quality of the defaults of `classic`: F1 on synthetic images, or on one image with its truth.

`PYTHON classic_quality.py [FIRST_SEED [SEEDS]]` or `PYTHON classic_quality.py IMAGE.tif TRUTH.tif`,
where PYTHON is the interpreter of the module's environment (scikit-image brings tifffile).
The defaults were chosen on other images of this kind; the seeds 101 to 104 only measure.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage as ndi
from tifffile import imread

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "modules" / "classic"))
import worker

SCENES: dict[str, dict[str, Any]] = {
    "plain": {"count": 50},
    "plain, uint8": {"count": 50, "dtype": np.uint8, "height": (60, 150), "offset": 5},
    "offset 1000": {"count": 50, "offset": 1000},
    "dim beside bright": {"count": 60, "height": (30, 1500), "offset": 100},
    "dim beside bright, blurred": {"count": 60, "height": (40, 3000), "blur": 2, "touching": 0.4},
    "uneven background": {"count": 50, "uneven": 0.5, "height": (100, 300)},
    "very uneven background": {"count": 50, "uneven": 1.2, "height": (100, 300), "offset": 100},
    "noisy": {"count": 40, "height": (30, 80), "read_noise": 12, "ground": 30},
    "very noisy": {
        "count": 30,
        "height": (30, 60),
        "read_noise": 20,
        "ground": 40,
        "diameter": (15, 60),
    },
    "small": {"count": 200, "diameter": (10, 16), "height": (80, 300)},
    "large": {"count": 25, "diameter": (40, 60)},
    "touching": {"count": 70, "touching": 0.75, "diameter": (20, 35)},
    "clusters": {"count": 110, "touching": 0.85, "diameter": (15, 30)},
    "dense": {"count": 260, "touching": 0.5, "diameter": (20, 35), "gap": 1, "height": (150, 300)},
    "dense, large": {
        "count": 150,
        "touching": 0.5,
        "diameter": (35, 55),
        "gap": 1,
        "height": (150, 300),
    },
    "dense, dim beside bright": {
        "count": 220,
        "touching": 0.5,
        "diameter": (20, 35),
        "height": (60, 900),
    },
    "few": {"count": 4, "diameter": (15, 60)},
    "out of focus": {"count": 40, "blur": 4, "diameter": (20, 60)},
    "few photons": {
        "count": 50,
        "height": (6, 20),
        "ground": 1,
        "read_noise": 1,
        "diameter": (15, 60),
    },
    "textured": {"count": 40, "texture": 0.3, "diameter": (20, 60), "blur": 2},
    "elongated": {"count": 40, "aspect": (1.7, 2.6), "diameter": (14, 50)},
    "2048 x 2048": {"count": 900, "side": 2048, "uneven": 0.4, "offset": 100, "height": (80, 600)},
    "no object": {"count": 0},
    "no object, uneven": {"count": 0, "uneven": 1.0},
    "no object, 2048 x 2048": {"count": 0, "side": 2048, "offset": 1000},
}


def ellipse(centre: tuple, axes: tuple, angle: float, side: int) -> np.ndarray:
    """Flat indices of the pixels of an ellipse in a square image."""
    reach = int(max(axes)) + 2
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    y, x = y + round(centre[0]), x + round(centre[1])
    dy, dx = y - centre[0], x - centre[1]
    along = dx * np.cos(angle) + dy * np.sin(angle)
    across = dy * np.cos(angle) - dx * np.sin(angle)
    inside = (along / axes[0]) ** 2 + (across / axes[1]) ** 2 <= 1
    inside &= (y >= 0) & (x >= 0) & (y < side) & (x < side)
    return (y * side + x)[inside]


def place(
    rng: np.random.Generator,
    side: int,
    count: int,
    diameter: tuple,
    height: tuple,
    touching: float,
    gap: float,
    aspect: tuple,
) -> tuple[np.ndarray, np.ndarray]:
    """Truth labels and light of ellipses, some of them touching an earlier one."""
    truth, light = np.zeros(side * side, np.int32), np.zeros(side * side)
    placed: list[tuple[float, float, float]] = []
    for _ in range(40 * count):
        if len(placed) == count:
            break
        size, ratio = np.exp(rng.uniform(*np.log(diameter))), np.sqrt(rng.uniform(*aspect))
        axes, angle = (size / 2 * ratio, size / 2 / ratio), rng.uniform(0, np.pi)
        beside = bool(placed) and rng.random() < touching
        y, x = rng.uniform(0, side, 2)
        if beside:
            y, x, other = placed[rng.integers(len(placed))]
            step, way = (other + size) / 2 * rng.uniform(0.9, 1.05), rng.uniform(0, 2 * np.pi)
            y, x = y + step * np.sin(way), x + step * np.cos(way)
        pixels = ellipse((y, x), axes, angle, side)
        around = ellipse((y, x), (axes[0] + gap, axes[1] + gap), angle, side)
        taken = (truth[pixels] > 0).sum() > 0.12 * pixels.size if beside else truth[around].any()
        if taken or pixels.size < np.pi / 16 * size**2:
            continue
        placed.append((y, x, size))
        truth[pixels[truth[pixels] == 0]] = len(placed)
        light[pixels] = np.maximum(light[pixels], np.exp(rng.uniform(*np.log(height))))
    return truth.reshape(side, side), light.reshape(side, side)


def scene(
    seed: int,
    *,
    count: int,
    side: int = 512,
    diameter: tuple = (10, 60),
    height: tuple = (100, 400),
    touching: float = 0.3,
    gap: float = 3,
    aspect: tuple = (1, 1.7),
    blur: float = 1.5,
    texture: float = 0.1,
    ground: float = 20,
    uneven: float = 0,
    read_noise: float = 3,
    offset: float = 0,
    dtype: type = np.uint16,
) -> tuple[np.ndarray, np.ndarray]:
    """Image and truth: blurred ellipses on a ground, with shot noise and read noise."""
    rng = np.random.default_rng(seed)
    truth, light = place(rng, side, count, diameter, height, touching, gap, aspect)
    grain = ndi.gaussian_filter(rng.standard_normal(light.shape), 3)
    light = light * np.clip(1 + texture * grain / grain.std(), 0.3, 2)
    y, x = np.mgrid[:side, :side] / side
    cy, cx = rng.uniform(0, 1, 2)
    shade = np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / 0.35) + 0.4 * x
    photons = ndi.gaussian_filter(light, blur) + ground + uneven * np.mean(height) * shade
    counts = rng.poisson(photons) + rng.normal(offset, read_noise, photons.shape)
    return np.clip(np.round(counts), 0, np.iinfo(dtype).max).astype(dtype), truth


def f1_score(truth: np.ndarray, labels: np.ndarray, overlap: float = 0.5) -> float:
    """F1 of objects, matched where intersection / union exceeds `overlap` (at least 0.5)."""
    names, true = np.unique(truth, return_inverse=True)
    true = true.reshape(truth.shape) + (names[0] != 0)
    rows, columns = int(true.max()) + 1, int(labels.max()) + 1
    common = np.bincount((true * columns + labels).ravel(), minlength=rows * columns)
    common = common.reshape(rows, columns)
    union = common.sum(1)[1:, None] + common.sum(0)[None, 1:] - common[1:, 1:]
    found = int((common[1:, 1:] > overlap * union).sum())
    return 2 * found / (rows + columns - 2) if rows + columns > 2 else 1.0


def report(name: str, pairs: list[tuple[np.ndarray, np.ndarray]]) -> float:
    """Print one line and return the mean F1."""
    scores, objects, found, slowest = [], 0, 0, 0.0
    for image, truth in pairs:
        start = time.perf_counter()
        labels = worker.segment(image)
        slowest = max(slowest, time.perf_counter() - start)
        scores.append((f1_score(truth, labels), f1_score(truth, labels, 0.7)))
        objects, found = objects + np.unique(truth[truth > 0]).size, found + int(labels.max())
    mean = np.mean(scores, axis=0)
    print(
        f"{name:28s} F1 {mean[0]:.3f} (worst {min(scores)[0]:.3f}), at IoU 0.7 {mean[1]:.3f}, "
        f"objects {objects}, found {found}, {slowest:.2f} s"
    )
    return float(mean[0])


def main(arguments: list[str]) -> None:
    """Measure one image with its truth, or the synthetic scenes."""
    if len(arguments) == 2 and not arguments[0].isdigit():
        report(arguments[0], [(imread(arguments[0]), imread(arguments[1]))])
        return
    first, seeds = ([int(text) for text in arguments] + [101, 4][len(arguments) :])[:2]
    means = [
        (report(name, [scene(first + i, **options) for i in range(seeds)]), options["count"])
        for name, options in SCENES.items()
    ]
    print(f"mean F1 of the scenes with objects: {np.mean([f for f, count in means if count]):.3f}")


if __name__ == "__main__":
    main(sys.argv[1:])
