"""A module for tests of pipelines: it thresholds, blurs, measures, and fails as it is told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from envmanager.data.paths import DataFolder
from envmanager.data.settings import Settings
from envmanager.environments.lifecycle import Environments
from envmanager.pipelines import document, plan, running
from envmanager.pipelines.plan import Plan
from tests.sharing import once

TOML = """
schema = 1
name = "tiny"
title = "Tiny"
version = "1.0.0"
summary = "Labels what is brighter than a threshold."
[environment]
imports = ["numpy"]

[functions.segment]
title = "Segment"
[functions.segment.inputs.image]
axes = ["yx", "zyx", "yxc", "zyxc"]
[functions.segment.outputs.labels]
kind = "labels"
[functions.segment.parameters.threshold]
type = "float"
default = 100.0
min = 0.0
label = "Threshold"
[functions.segment.parameters.crash]
type = "text"
default = ""
label = "While it exists, the worker ends; it deletes a file first, and no folder"
[functions.segment.parameters.wait]
type = "float"
default = 0.0
label = "Seconds"

[functions.plane]
title = "One plane, one channel"
[functions.plane.inputs.image]
axes = ["yx"]
[functions.plane.outputs.labels]
kind = "labels"

[functions.double]
title = "Twice the values"
[functions.double.inputs.image]
axes = ["yx", "zyx", "yxc", "zyxc"]
[functions.double.outputs.image]
kind = "image"

[functions.measure]
title = "Mean of each object"
[functions.measure.inputs.image]
axes = ["yx"]
[functions.measure.inputs.labels]
kind = "labels"
axes = ["yx"]
[functions.measure.outputs.objects]
kind = "table"
"""
WORKER = """
import os
import pathlib
import time

import numpy as np


def segment(image, *, axes="", threshold=100.0, crash="", wait=0.0):
    time.sleep(wait)
    place = pathlib.Path(crash)
    if crash and place.exists() and image.max() > 4000:
        if place.is_file():
            place.unlink()
        os._exit(3)
    pixels = image.max(axis=-1) if axes.endswith("c") else image
    return (pixels > threshold).astype(np.int32) * int(image.max())


def plane(image, *, axes=""):
    assert image.ndim == 2
    return (image > image.mean()).astype(np.int32)


def double(image):
    return {"image": image.astype(np.float32) * 2}


def measure(image, labels):
    ids = [int(i) for i in np.unique(labels) if i]
    return {"objects": {"id": ids, "mean": [float(image[labels == i].mean()) for i in ids]}}
"""
TEST = """
import numpy as np
import worker

def test_threshold():
    assert worker.segment(np.array([[1, 200]])).tolist() == [[0, 200]]
"""
STEPS = """
pipeline_name: Test
steps:
  - name: Load
    module: bioimage_pipeline_utils
    function: load_tczyx_image
    inputs: {{path: "%INPUT_DIR%/*.tif"}}
    outputs: [images]
  - name: Segment
    module: tiny
    inputs: {{image: steps.Load.outputs.images{parameters}}}
    outputs: [masks]
  - name: Save
    module: bioimage_pipeline_utils
    function: save_tczyx_image
    inputs: {{labels: steps.Segment.outputs.masks, path: "%OUTPUT_DIR%/masks.tif"}}
"""


@pytest.fixture(scope="session")
def pipeline_root(tmp_path_factory, tiny_lock, shared_uv_cache) -> Path:
    """Return a data folder with the module installed: to be copied, and never changed."""

    from tests.envmanager.conftest import write_module

    def make(root: Path) -> None:
        write_module(root / "modules" / "tiny", tiny_lock, toml=TOML, worker=WORKER, test=TEST)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("GA3ENV_HOME", str(root))
            patch.setenv("UV_CACHE_DIR", str(shared_uv_cache))
            Environments(DataFolder(root), Settings()).install("tiny")

    return once(tmp_path_factory, "pipeline root", make)


class Imaging:
    """A folder of images, and pipelines over it."""

    def __init__(self, data: DataFolder, folder: Path) -> None:
        self.data = data
        self.images, self.results = folder / "Bilder 1", folder / "Ergebnisse ä"
        self.images.mkdir()

    def add(self, name: str, value: int, shape: tuple[int, int] = (20, 30)) -> np.ndarray:
        """Add an image with one bright corner, and return it."""
        pixels = np.full(shape, 10, np.uint16)
        pixels[:5, :7] = value
        tifffile.imwrite(self.images / name, pixels)
        return pixels

    def plan(self, text: str = "", **parameters: object) -> Plan:
        """Check a pipeline: `text`, or the usual one with parameters of its second step."""
        told = "".join(f", {name}: {value!r}" for name, value in parameters.items())
        text = text or STEPS.format(parameters=told)
        place = self.images.parent / "pipeline.yaml"
        place.write_text(text, "utf-8")
        given = {"INPUT_DIR": str(self.images), "OUTPUT_DIR": str(self.results)}
        return plan.check(document.load(place), given, self.data)

    def run(self, text: str = "", **parameters: object) -> running.Summary:
        """Run such a pipeline."""
        return running.run(self.plan(text, **parameters), self.results)

    def mask(self, name: str) -> np.ndarray:
        """Return the pixels of a result."""
        return tifffile.imread(self.results / name)

    def litter(self) -> list[Path]:
        """Return the temporary files that are left."""
        return [path for path in self.results.rglob("*") if ".tmp" in path.name]


@pytest.fixture
def imaging(data_folder, pipeline_root, tmp_path) -> Imaging:
    """Return a lab with an installed module and no image yet."""
    from tests.envmanager.conftest import copy_root

    copy_root(pipeline_root, data_folder)
    folder = tmp_path / "images"
    folder.mkdir()
    return Imaging(DataFolder(data_folder), folder)
