"""Synthetic images of cells with their truth, and the cheap recipe that trains Cellpose on them."""

from __future__ import annotations

import numpy as np

NAMES = ("images", "labels")


def cells(
    seed: int, shape: tuple[int, int] = (160, 160), count: int = 40, noise: float = 25.0
) -> tuple[np.ndarray, np.ndarray]:
    """Return an image of bright, partly touching ellipses of 12 to 24 px, and its labels.

    Returns
    -------
    image : ndarray of uint16
        (y, x); brighter in the middle of a cell, blurred by about 1 px, on an uneven ground.
    labels : ndarray of int32
        (y, x), 1..n; cells of which less than 40 pixels are to be seen are left out of both.
    """
    random = np.random.default_rng(seed)
    grid = np.indices(shape).astype(np.float64)
    image = 200 + 0.3 * grid[0] + 40 * np.sin(grid[1] / 40)
    labels = np.zeros(shape, np.int32)
    number = 0
    for _ in range(count):
        centre = random.uniform(0, shape)
        axes = random.uniform(6, 12, 2)
        angle, light = random.uniform(0, np.pi), random.uniform(300, 1200)
        y, x = grid[0] - centre[0], grid[1] - centre[1]
        along, across = y * np.cos(angle) + x * np.sin(angle), x * np.cos(angle) - y * np.sin(angle)
        radius = np.hypot(along / axes[0], across / axes[1])
        inside = radius < 1
        if (labels[inside] > 0).mean() > 0.15 or (inside & (labels == 0)).sum() < 40:
            continue  # hardly to be told from its neighbour
        number += 1
        labels[inside & (labels == 0)] = number
        edge = np.clip((1 - radius) * axes.mean() / 2 + 0.5, 0, 1)
        image = np.maximum(image, 200 + light * edge * (1 - 0.4 * np.minimum(radius, 1) ** 2))
    image += random.normal(0, noise, shape)
    return image.round().clip(0, 65535).astype(np.uint16), labels


def stack(seed: int, shape: tuple[int, int, int]) -> np.ndarray:
    """Return a volume (z, y, x) of uint16: cells that are brightest in the middle."""
    image, _ = cells(seed, shape[1:], 12)
    light = np.hanning(shape[0] + 2)[1:-1, None, None]
    noise = np.random.default_rng(seed).normal(0, 5, shape)
    return (200 + (image - 200.0) * light + noise).round().clip(0, 65535).astype(np.uint16)


def training_set(count: int = 16) -> dict[str, np.ndarray]:
    """Return ``images`` and ``labels``, (n, y, x), for `TRAIN`."""
    pairs = [cells(seed) for seed in range(count)]
    return {name: np.stack([pair[i] for pair in pairs]) for i, name in enumerate(NAMES)}


# In the module's own Python; writes a model and its size net. The statistics of the batch
# normalisation follow so few steps only with a larger momentum than Cellpose's 0.05; what they end
# with is their mean over epochs in which nothing is learned any more.
TRAIN = """
from pathlib import Path
import torch
from cellpose import models, train

torch.manual_seed(0)
model = models.CellposeModel(gpu=False, pretrained_model=False, mkldnn=False)
pairs = {"train_data": list(arrays["images"]), "train_labels": list(arrays["labels"])}
for momentum, epochs, rate in ((0.2, 9, 0.008), (None, 2, 0.0)):
    for layer in model.net.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = momentum
            layer.num_batches_tracked.zero_()
    path, *_ = train.train_seg(
        model.net, **pairs, channels=[0, 0], n_epochs=epochs, learning_rate=rate, batch_size=4,
        bsize=64, min_train_masks=1, save_path=given["folder"], model_name=given["name"])
pairs = {name: part[:8] for name, part in pairs.items()}
train.train_size(model.net, path, **pairs, channels=[0, 0], n_epochs=2, batch_size=4, bsize=128)
Path(path).replace(Path(given["folder"]) / given["name"])
size = Path(str(path) + "_size.npy")
size.replace(Path(given["folder"]) / f"size_{given['name']}.npy")
"""
