"""A module that installs in a second from wheels of the tests' own: no registry is asked.

Its mask tells which version computed it: 1 for 1.0.0, 2 for 2.0.0, 3 for 3.0.0.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.envmanager.conftest import write_module
from tests.wheels import make_wheel, noise, repack, requirement

NAME = "mini"
VERSIONS = (1, 2, 3)
IMAGE = np.array([[0, 50], [150, 250]], np.uint16)
BLOCK = 2_000_000  # bytes of mini-core, so that its download takes a while where it shall

_TOML = """
schema = 1
name = "mini"
title = "Mini"
version = "{version}.0.0"
summary = "Labels what is bright with the number of its version."
[environment]
imports = ["numpy", "mini_core", "mini_label"]
[functions.segment]
title = "Segment"
[functions.segment.inputs.image]
axes = ["yx"]
[functions.segment.outputs.labels]
kind = "labels"
[functions.segment.parameters.wait]
type = "float"
default = 0.0
min = 0.0
label = "Seconds to wait for a file called enough"
"""
_PYPROJECT = """
[project]
name = "ga3-module-mini"
version = "{version}.0.0"
requires-python = ">=3.10"
dependencies = ["numpy", "mini-label=={version}.0"]
"""
_WORKER = """
import time
from pathlib import Path

import mini_label

ENOUGH = Path(__file__).with_name("enough")

def segment(image, *, axes="", wait=0.0):
    end = time.monotonic() + wait
    while time.monotonic() < end and not ENOUGH.exists():
        time.sleep(0.05)
    return mini_label.label(image)
"""
_TEST = """
import numpy as np
import worker

def test_labels():
    assert (worker.segment(np.array([[1, 200]])) > 0).tolist() == [[False, True]]
"""
_LABEL = """
import numpy as np
import mini_core

def label(image):
    return (image > 100).astype(np.int32) * mini_core.NUMBER
"""


def mask(version: int) -> list[list[int]]:
    """Return what `IMAGE` becomes with one version of the module."""
    return [[0, 0], [version, version]]


@dataclass(frozen=True)
class Wheels:
    """All wheels of all versions; `files` by the version of the module."""

    numpy: Path
    packaging: Path
    files: dict[int, tuple[Path, Path]]

    @property
    def all(self) -> list[Path]:
        """What the index serves."""
        return [self.numpy, self.packaging, *(path for two in self.files.values() for path in two)]

    def write_module(self, modules: Path, version: int) -> Path:
        """Write the module's folder, or another version of it over that folder."""
        folder = write_module(
            modules / NAME,
            requirement(self.numpy, *self.files[version]),
            toml=_TOML.format(version=version),
            worker=_WORKER,
            test=_TEST,
        )
        (folder / "pyproject.toml").write_text(_PYPROJECT.format(version=version), "utf-8")
        return folder


def make_wheels(folder: Path) -> Wheels:
    """Make the wheels; numpy, which each worker needs, from the one that runs the tests."""
    site_packages = Path(np.__file__).parent.parent
    return Wheels(
        numpy=repack(site_packages, "numpy", folder),
        # What doctor looks for in an index.
        packaging=make_wheel(folder, "packaging", "25.0", {"packaging/__init__.py": ""}),
        files={version: _pair(folder, version) for version in VERSIONS},
    )


def _pair(folder: Path, version: int) -> tuple[Path, Path]:
    block = noise(BLOCK, seed=version)
    core = {"mini_core/__init__.py": f"NUMBER = {version}\n", "mini_core/block.bin": block}
    return (
        make_wheel(folder, "mini-core", f"{version}.0", core),
        make_wheel(
            folder,
            "mini-label",
            f"{version}.0",
            {"mini_label.py": _LABEL},
            requires=[f"mini-core=={version}.0", "numpy"],
        ),
    )
