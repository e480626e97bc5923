"""A module whose function takes weights, and what publishes it without an install."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from envmanager.data.paths import DataFolder
from envmanager.environments.generations import source_sha256
from envmanager.modules import catalog
from envmanager.weights.store import Store
from tests import support
from tests.envmanager.conftest import PYPROJECT
from tests.file_server import FileServer

CYTO, SIZE, NUCLEI = os.urandom(300_000), os.urandom(5_000), os.urandom(200_000)
WORKER = """
import os
import numpy as np

def segment(image, *, model="", axes=""):
    print(os.environ["CELLS_PATH"], os.environ["GA3ENV_WEIGHTS"], os.environ["HF_HUB_OFFLINE"])
    with open(model, "rb") as file:
        return np.full(image.shape, len(file.read()), np.int32)
"""
TEST = """
import os
import worker

def test_the_folder_is_told():
    assert os.path.isabs(os.environ["CELLS_PATH"])
    assert os.environ["CELLS_PATH"] == os.environ["GA3ENV_WEIGHTS"]
"""
TOML = """
schema = 1
name = "cells"
title = "Cells"
version = "1.0.0"
summary = "Says how long its weights are."
[environment]
imports = ["numpy"]
[worker.env]
CELLS_PATH = "{{weights}}"
[weights.cyto3]
title = "Cells of all kinds"
default = true
license = "BSD-3-Clause"
source = "https://example.org/cyto3"
files = [
    {{ name = "cyto3", url = "{url}/cyto3", size = 290000 }},
    {{ name = "size.npy", url = "{url}/size.npy" }},
]
[weights.nuclei]
title = "Nuclei"
license = "unknown: ask the authors"
note = "For DAPI."
files = [
    {{ name = "nuclei", url = "{url}/nuclei" }},
    {{ name = "size.npy", url = "{url}/size.npy" }},
]
[weights.zipped]
title = "A folder"
license = "MIT"
files = [{{ name = "zipped", url = "{url}/zipped.zip", unpack = true }}]
[weights_by_id]
title = "Zoo"
url = "{url}/zoo/{{id}}"
page = "https://example.org/{{id}}"
file = "{{id}}.zip"
license = "each its own"
[functions.segment]
title = "Segment"
[functions.segment.inputs.image]
axes = ["yx"]
[functions.segment.outputs.labels]
kind = "labels"
[functions.segment.parameters.model]
type = "weights"
default = "cyto3"
label = "Model"
"""


def write_module(root: Path, url: str, lock: str = "") -> Path:
    """Put the module among the user's modules; return its folder."""
    folder = root / "modules" / "cells"
    folder.mkdir(parents=True)
    files = {"module.toml": TOML.format(url=url), "pyproject.toml": PYPROJECT, "worker.py": WORKER}
    files |= {"test_worker.py": TEST, "requirements.lock": lock}
    for name, text in files.items():
        (folder / name).write_text(text, "utf-8")
    return folder


@pytest.fixture
def cells(data_folder, file_server: FileServer, monkeypatch) -> Store:
    """Return the weights of the module, whose files are served; nothing is published."""
    for name in ("HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    for name, content in (("cyto3", CYTO), ("size.npy", SIZE), ("nuclei", NUCLEI)):
        file_server.put(name, content)
    module = catalog.load(write_module(data_folder, file_server.url))
    return Store(DataFolder(data_folder), module)


@pytest.fixture
def published(cells) -> Store:
    """Publish the module, with the interpreter of the tests."""
    module, root = cells.module, cells.data.root
    folder = support.publish(root, module.declaration(), WORKER, title="Cells", env=module.env)
    manifest = {
        "source_sha256": source_sha256(module),
        "env": module.env,
        "backend": "cpu",
        "disk": {"own": 1, "shared": 2},
        "python": "3",
        "selftest": "passed",
    }
    (folder / "manifest.json").write_text(json.dumps(manifest), "utf-8")
    return cells
