"""The module `toy` of the app's tests, and the image that it works on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import tifffile

from tests.support import publish

DECLARATION = {
    "name": "toy",
    "version": "1.0.0",
    "functions": {
        "segment": {
            "title": "Find blobs",
            "summary": "Labels what is bright.",
            "inputs": {"image": {"axes": ["yx", "zyx"]}},
            "outputs": {"labels": {"kind": "labels"}},
            "parameters": {
                "threshold": {
                    "type": "float", "default": 50.0, "min": 0.0, "max": 1e5, "label": "Threshold",
                },
                "spacing": {"type": "float", "default": 1.0, "label": "Z step", "only_3d": True},
                "mode": {
                    "type": "choice", "default": "plain", "label": "Mode",
                    "choices": [{"value": v} for v in ("plain", "sleep", "fail", "note")],
                },
            },
        },
        "measure": {
            "title": "Measure blobs",
            "inputs": {
                "image": {"axes": ["yx"]}, "labels": {"kind": "labels", "axes": ["yx"]},
            },
            "outputs": {"blobs": {
                "kind": "table", "columns": [{"name": "mean", "type": "float", "unit": "grey"}],
            }},
            "parameters": {},
        },
        "invert": {
            "title": "Invert",
            "inputs": {"image": {"axes": ["yx", "yxc"]}},
            "outputs": {"inverted": {"kind": "image"}},
            "parameters": {},
        },
        "volumes": {
            "title": "Volumes",
            "inputs": {"image": {"axes": ["zyx"]}},
            "outputs": {"labels": {"kind": "labels"}},
            "parameters": {},
        },
    },
}  # fmt: skip
WORKER = """
import time
import numpy as np

def segment(image, *, axes="", threshold=50.0, spacing=1.0, mode="plain", progress=None, note=None):
    if mode == "sleep":
        for step in range(600):
            progress(step / 600, f"step {step}")
            time.sleep(0.1)
    if mode == "fail":
        raise ValueError("The image is too dark.")
    if mode == "note":
        note("A part of it was left out.")
    columns = np.cumsum((image > threshold).any(axis=-2), axis=-1)  # blobs lie side by side
    starts = np.diff((image > threshold).any(axis=tuple(range(image.ndim - 1))).astype(int),
                     prepend=0) == 1
    return (np.cumsum(starts) * (image > threshold)).astype(np.int32)

def measure(image, labels):
    return {"mean": [float(image[labels == n].mean()) for n in range(1, labels.max() + 1)]}

def invert(image):
    return 1000 - image

def volumes(image):
    return (image > 50).astype(np.int32)
"""
# Where the blobs are: rows, columns, brightness.
BLOBS = (((2, 6), (3, 8), 100), ((10, 30), (20, 40), 200), ((5, 25), (50, 55), 300))


def pixels() -> np.ndarray:
    image = np.zeros((40, 64), np.uint16)
    for (y0, y1), (x0, x1), value in BLOBS:
        image[y0:y1, x0:x1] = value
    return image


def publish_toy(root: Path) -> None:
    """Publish the module in a data folder."""
    folder = publish(root, DECLARATION, WORKER)
    manifest = {"backend": "cpu", "disk": {"own": 1, "shared": 0}}
    (folder / "manifest.json").write_text(json.dumps(manifest), "utf-8")


def write_calibrated(path: Path) -> None:
    """Write the image with pixels of 0.5 µm."""
    told = {"axes": "YX", "PhysicalSizeX": 0.5, "PhysicalSizeXUnit": "µm",
            "PhysicalSizeY": 0.5, "PhysicalSizeYUnit": "µm"}  # fmt: skip
    tifffile.imwrite(path, pixels(), ome=True, photometric="minisblack", metadata=told)
