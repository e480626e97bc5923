"""A module whose functions give all that a node can take: binaries, a channel, a table."""

from __future__ import annotations

from pathlib import Path

from envmanager.modules import catalog

TOML = """
schema = 1
name = "lab"
title = "Lab"
version = "2.1.0"
summary = "Everything that a function may give."
[environment]
imports = ["numpy"]
[functions.analyse]
title = "Cells and nuclei"
slice_by_slice = false
[functions.analyse.inputs]
cytoplasm = { axes = ["yx", "zyx"] }
nucleus = { axes = ["yx", "zyx"] }
[functions.analyse.outputs]
cells = { kind = "labels" }
ratio = { kind = "image" }
[functions.analyse.outputs.objects]
kind = "table"
columns = [
    { name = "id", type = "int" },
    { name = "area", type = "float", unit = "µm²" },
    { name = "kind \\"x\\"", type = "string" },
]
[functions.plain]
title = "Plain"
slice_by_slice = true
[functions.plain.inputs]
image = { axes = ["yx"] }
[functions.plain.outputs]
labels = { kind = "labels" }
[functions.measure]
title = "Measure"
[functions.measure.inputs]
image = { axes = ["yx", "yxc"] }
objects = { axes = ["yx"], kind = "labels" }
[functions.measure.outputs]
objects = { kind = "table" }
"""
WORKER = """
import numpy as np

def analyse(cytoplasm, nucleus):
    cells = np.arange(1, cytoplasm.size + 1).reshape(cytoplasm.shape)
    ids = np.arange(cytoplasm.size)
    return {
        "cells": cells * (cytoplasm > 0),
        "ratio": cytoplasm / 2.0 + nucleus * 300.0,
        "objects": {"kind \\"x\\"": ["é"] * len(ids), "area": ids / 4, "id": ids},
    }

def plain(image):
    return np.arange(1, image.size + 1).reshape(image.shape)

def measure(image, objects):
    return {"n": [1]}
"""


def declared(root: Path) -> catalog.Module:
    """Make it one of the user's own modules, and return it as the catalog has it."""
    folder = root / "modules" / "lab"
    folder.mkdir(parents=True)
    (folder / "module.toml").write_text(TOML, "utf-8")
    return catalog.load(folder)
