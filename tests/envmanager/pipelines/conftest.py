"""Pipeline files, and a published module that they can call."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from envmanager.data.paths import SHIPPED_MODULES, DataFolder
from envmanager.errors import PipelineError
from envmanager.modules import catalog
from envmanager.pipelines import document, plan
from envmanager.pipelines.plan import Plan
from tests.support import publish

REFERENCE = """\
pipeline_name: "Cellpose Segmentation (UV)"
description: "Segment cells using isolated Cellpose environment"
steps:
  - name: "Load Images"
    module: "bioimage_pipeline_utils"
    function: "load_tczyx_image"
    inputs:
      path: "%INPUT_DIR%/*.tif"
    outputs:
      - name: "images"
  - name: "Run Cellpose (External)"
    module: "ga3_cellpose_node"
    inputs:
      images: "steps.Load Images.outputs.images"
      model_type: "cyto3"
      diameter: 30
    outputs:
      - name: "masks"
  - name: "Save Results"
    module: "bioimage_pipeline_utils"
    function: "save_tczyx_image"
    inputs:
      image: "steps.Run Cellpose.outputs.masks"
      path: "%OUTPUT_DIR%/masks.tif"
"""
# A pipeline of three steps for the module `lab`; tests replace parts of it.
LOAD = """\
  - name: Load
    module: bioimage_pipeline_utils
    function: load_tczyx_image
    inputs: {path: "%INPUT_DIR%/*.tif"}
"""
RUN = """\
  - name: Find
    module: lab
    inputs:
      image: steps.Load.outputs.images
"""
SAVE = """\
  - name: Save
    module: bioimage_pipeline_utils
    function: save_tczyx_image
    inputs: {labels: steps.Find.outputs.labels, path: "%OUTPUT_DIR%/masks.tif"}
"""
LAB = {
    "name": "lab",
    "version": "1.0.0",
    "functions": {
        "segment": {
            "title": "Segment",
            "inputs": {"image": {"axes": ["yx", "yxc", "zyx"], "kind": "image"}},
            "outputs": {"labels": {"kind": "labels"}, "objects": {"kind": "table"}},
            "parameters": {
                "size": {"type": "float", "default": 0.0, "min": 0.0, "max": 100.0},
                "count": {"type": "int", "default": 1, "aliases": ["number", "n"]},
                "fill": {"type": "bool", "default": True},
                "channel": {
                    "type": "choice",
                    "default": "mean",
                    "choices": [{"value": "mean"}, {"value": "1"}, {"value": "2"}],
                },
                "title": {"type": "text", "default": ""},
            },
        },
        "measure": {
            "title": "Measure",
            "inputs": {
                "image": {"axes": ["yx"], "kind": "image"},
                "labels": {"axes": ["yx"], "kind": "labels"},
            },
            "outputs": {"table": {"kind": "table"}},
            "parameters": {},
        },
        "track": {
            "title": "Track",
            "inputs": {"image": {"axes": ["zyx"], "kind": "image"}},
            "outputs": {"labels": {"kind": "labels"}},
            "parameters": {},
        },
    },
}


def pipeline(*steps: str) -> str:
    """Return the text of a pipeline file."""
    return "pipeline_name: Test\nsteps:\n" + "".join(steps)


def step(
    name: str, function: str, /, module: str = "bioimage_pipeline_utils", **inputs: str
) -> str:
    """Return a step with these inputs, as they stand in the file."""
    lines = [f"  - name: {name}", f"    module: {module}", f"    function: {function}"]
    lines += ["    inputs:", *(f"      {key}: {value}" for key, value in inputs.items())]
    return "\n".join(lines) + "\n"


@pytest.fixture
def lab(data_folder) -> Path:
    """Publish a module by hand, of which no function is ever called."""
    publish(data_folder, LAB, "def segment(image): ...\ndef measure(image, labels): ...\n")
    return data_folder


@pytest.fixture
def images(tmp_path) -> Path:
    """Return a folder with two files of images' names, beside what is none."""
    folder = tmp_path / "Bilder [neu] ü"
    folder.mkdir()
    for name in ("a10.tif", "a2.TIF", "notes.txt", ".hidden.tif", "b.tif.123.tmp"):
        (folder / name).write_bytes(b"")
    return folder


Check = Callable[..., Plan]


@pytest.fixture
def check(tmp_path, data_folder, images) -> Check:
    """Return what checks the text of a pipeline file."""

    def run(text: str, /, **variables: str) -> Plan:
        path = tmp_path / "pipeline.yaml"
        path.write_text(textwrap.dedent(text), "utf-8")
        given = {"INPUT_DIR": str(images), "OUTPUT_DIR": str(tmp_path / "out"), **variables}
        return plan.check(document.load(path), given, DataFolder(data_folder))

    return run


@pytest.fixture
def problems(check) -> Callable[..., list[Mapping[str, Any]]]:
    """Return what gives all problems of a pipeline that must not pass."""

    def run(text: str, /, **variables: str) -> list[Mapping[str, Any]]:
        with pytest.raises(PipelineError) as caught:
            check(text, **variables)
        assert caught.value.code == "bad_pipeline"
        assert all(one["message"] and one["line"] > 0 for one in caught.value.details["problems"])
        return list(caught.value.details["problems"])

    return run


@pytest.fixture
def cellpose_toml() -> str:
    """Return the real declaration of Cellpose, of an environment that needs numpy only."""
    text = (SHIPPED_MODULES / "cellpose" / "module.toml").read_text("utf-8")
    assert 'imports = ["numpy", "torch", "cellpose"]' in text
    assert catalog.load(SHIPPED_MODULES / "cellpose").functions
    return text.replace('imports = ["numpy", "torch", "cellpose"]', 'imports = ["numpy"]')
