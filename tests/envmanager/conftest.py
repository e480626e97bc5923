"""A tiny module that real uv installs: its only dependency is numpy."""

from __future__ import annotations

import subprocess
import textwrap
from pathlib import Path

import pytest

from envmanager.data.paths import DataFolder, uv_binary
from envmanager.data.settings import Settings
from envmanager.environments.lifecycle import Environments

TOML = """
schema = 1
name = "tiny"
title = "Tiny threshold"
version = "1.0.0"
summary = "Labels what is brighter than a threshold."
[environment]
imports = ["numpy"]
[functions.segment]
title = "Segment"
[functions.segment.inputs.image]
axes = ["yx", "zyx"]
[functions.segment.outputs.labels]
kind = "labels"
[functions.segment.parameters.threshold]
type = "float"
default = 100.0
min = 0.0
label = "Threshold"
"""
PYPROJECT = """
[project]
name = "ga3-module-tiny"
version = "1.0.0"
requires-python = ">=3.10"
dependencies = ["numpy"]
"""
WORKER = """
import numpy as np

def segment(image, *, axes="", threshold=100.0):
    return (image > threshold).astype(np.int32)
"""
TEST = """
import numpy as np
import worker

def test_threshold():
    assert worker.segment(np.array([[1, 200]])).tolist() == [[0, 1]]
"""


@pytest.fixture(scope="session")
def tiny_lock(tmp_path_factory) -> str:
    """Return the lock of the tiny module, made by uv from the registry."""
    folder = tmp_path_factory.mktemp("lock")
    (folder / "pyproject.toml").write_text(PYPROJECT, "utf-8")
    arguments = ["--universal", "--generate-hashes", "--no-header", "--no-annotate", "-q"]
    subprocess.run(
        [uv_binary(), "pip", "compile", "pyproject.toml", "-o", "out.txt", *arguments],
        cwd=folder,
        check=True,
    )
    return (folder / "out.txt").read_text("utf-8")


def write_module(folder: Path, lock: str, **changed: str) -> Path:
    """Write the tiny module's files; `changed` replaces a file's text, by its stem."""
    files = {
        "module.toml": changed.get("toml", TOML),
        "pyproject.toml": PYPROJECT,
        "requirements.lock": lock,
        "worker.py": changed.get("worker", WORKER),
        "test_worker.py": changed.get("test", TEST),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(textwrap.dedent(text), "utf-8")
    return folder


@pytest.fixture
def tiny(data_folder, tiny_lock) -> Path:
    """Put the tiny module among the user's modules."""
    return write_module(data_folder / "modules" / "tiny", tiny_lock)


@pytest.fixture(scope="session")
def shared_uv_cache(tmp_path_factory):
    """Share one cache of downloads between the tests of a run."""
    return tmp_path_factory.mktemp("uv cache")


@pytest.fixture
def environments(data_folder, shared_uv_cache, monkeypatch) -> Environments:
    """Return the engine for the test's data folder."""
    monkeypatch.setenv("UV_CACHE_DIR", str(shared_uv_cache))
    return Environments(DataFolder(data_folder), Settings())
