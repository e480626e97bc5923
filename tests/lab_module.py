"""A module of the catalog, published by hand: its functions work, refuse, crash or sleep."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from envmanager.data.paths import DataFolder
from envmanager.environments.generations import source_sha256
from envmanager.modules import catalog
from envmanager.modules.catalog import Module
from tests.envmanager.conftest import copy_root
from tests.support import publish

TOML = """
schema = 1
name = "lab"
title = "Lab"
version = "2.1.0"
summary = "Labels what is bright."
[environment]
imports = ["numpy"]
[weights.cyto3]
title = "Cells"
license = "MIT"
files = [ { name = "cyto3", url = "http://127.0.0.1:9/cyto3" } ]
[functions.segment]
title = "Find discs"
summary = "Labels every bright disc."
[functions.segment.inputs.image]
axes = ["yx", "yxc"]
[functions.segment.outputs.labels]
kind = "labels"
[functions.segment.parameters.threshold]
type = "float"
default = 2000.0
min = 0.0
max = 100000.0
label = "Threshold"
[functions.segment.parameters.mode]
type = "choice"
default = "plain"
label = "Mode"
choices = [
    { value = "plain" }, { value = "refuse" }, { value = "rgb" }, { value = "crash" },
    { value = "sleep" },
]
[functions.measure]
title = "Measure"
[functions.measure.inputs]
image = { axes = ["zyx"] }
objects = { axes = ["zyx"], kind = "labels" }
[functions.measure.outputs]
ratio = { kind = "image" }
table = { kind = "table", columns = [{ name = "id", type = "int" }] }
[functions.model]
title = "With weights"
[functions.model.inputs.image]
axes = ["yx"]
[functions.model.outputs.labels]
kind = "labels"
[functions.model.parameters.model]
type = "weights"
default = "cyto3"
label = "Model"
"""
WORKER = """
import os, time
import numpy as np

def segment(image, *, threshold=2000.0, mode="plain", axes=""):
    if mode == "refuse":
        raise ValueError("The image is too dark.")
    if mode == "rgb" and not axes.endswith("c"):
        raise ValueError("A stain needs an RGB image.")
    if mode == "crash":
        os._exit(7)
    if mode == "sleep":
        time.sleep(60)
    grey = image.max(axis=-1).astype(int) * 20 if axes.endswith("c") else image
    return np.where(grey > threshold, np.arange(grey.shape[1]) // 48 + 1, 0).astype(np.int32)

def measure(image, objects):
    assert image.shape == objects.shape and image.ndim == 3, (image.shape, objects.shape)
    found = np.unique(objects)[1:]
    return {"ratio": image / 2.0, "table": {"id": found}}

def model(image, *, model=""):
    return (image > 2000).astype(np.int32)
"""


def write_lab(root: Path) -> Module:
    """Put the module among the user's modules."""
    folder = root / "modules" / "lab"
    folder.mkdir(parents=True)
    files = {"module.toml": TOML, "worker.py": WORKER, "test_worker.py": "", "pyproject.toml": ""}
    for name, text in {**files, "requirements.lock": ""}.items():
        (folder / name).write_text(text, "utf-8")
    return catalog.load(folder)


def publish_lab(root: Path) -> Module:
    """Publish it, with the interpreter of the tests and the client of this checkout."""
    module = write_lab(root)
    folder = publish(root, module.declaration(), WORKER, title="Lab")
    manifest = {
        "source_sha256": source_sha256(module),
        "env": {},
        "backend": "cpu",
        "disk": {"own": 1, "shared": 2},
        "python": "3",
        "selftest": "passed",
    }
    (folder / "manifest.json").write_text(json.dumps(manifest), "utf-8")
    return module


@pytest.fixture(name="classic")
def classic_installed(data_folder, classic_root, shared_uv_cache, monkeypatch) -> Module:
    """Return `classic`, installed in the test's data folder."""
    monkeypatch.setenv("UV_CACHE_DIR", str(shared_uv_cache))
    copy_root(classic_root, data_folder)
    return catalog.find("classic", DataFolder(data_folder))
