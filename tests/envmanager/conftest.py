"""A tiny module that real uv installs: its only dependency is numpy."""

from __future__ import annotations

import os
import shutil
import subprocess
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from envmanager.data.paths import DataFolder, uv_binary
from envmanager.data.settings import Settings
from envmanager.environments.lifecycle import Environments
from envmanager.modules.own import OwnModules
from tests.sharing import once

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
# Fits the module, and is installed by nobody.
LOCK = f"numpy==2.2.0 \\\n    --hash=sha256:{'0' * 64}\n    # via ga3-module-tiny\n"


@pytest.fixture(scope="session")
def tiny_lock(tmp_path_factory) -> str:
    """Return the lock of the tiny module, made by uv from the registry."""
    return (once(tmp_path_factory, "tiny lock", _lock) / "out.txt").read_text("utf-8")


def _lock(folder: Path) -> None:
    (folder / "pyproject.toml").write_text(PYPROJECT, "utf-8")
    arguments = ["--universal", "--generate-hashes", "--no-header", "--no-annotate", "-q"]
    subprocess.run(
        [uv_binary(), "pip", "compile", "pyproject.toml", "-o", "out.txt", *arguments],
        cwd=folder,
        check=True,
    )


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


@pytest.fixture
def environments(data_folder, shared_uv_cache, monkeypatch) -> Environments:
    """Return the engine for the test's data folder."""
    monkeypatch.setenv("UV_CACHE_DIR", str(shared_uv_cache))
    return Environments(DataFolder(data_folder), Settings())


@pytest.fixture(scope="session")
def tiny_root(tmp_path_factory, tiny_lock, shared_uv_cache) -> Path:
    """Return a data folder with the tiny module installed: to be copied, and never changed."""

    def make(root: Path) -> None:
        write_module(root / "modules" / "tiny", tiny_lock)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("GA3ENV_HOME", str(root))
            patch.setenv("UV_CACHE_DIR", str(shared_uv_cache))
            Environments(DataFolder(root), Settings()).install("tiny")

    return once(tmp_path_factory, "tiny root", make)


@pytest.fixture
def installed(environments, tiny_root) -> Environments:
    """Return the engine where the tiny module is installed already: a test that begins there."""
    copy_root(tiny_root, environments.data.root)
    return environments


def copy_root(source: Path, target: Path, copy_package: Callable[..., object] = os.link) -> None:
    """Copy a data folder; the packages are linked, as uv links them from its cache."""

    def copy(file: str, place: str) -> None:
        (copy_package if "site-packages" in Path(file).parts else shutil.copy2)(file, place)

    shutil.copytree(source, target, symlinks=True, copy_function=copy, dirs_exist_ok=True)


@pytest.fixture
def data(data_folder) -> DataFolder:
    """Return the test's data folder as the engine has it."""
    return DataFolder(data_folder)


@pytest.fixture
def own(data) -> OwnModules:
    """Return the user's own modules."""
    return OwnModules(data, Settings())


@pytest.fixture
def folder(tmp_path) -> Path:
    """Return a module somewhere on the disk, in a folder of another name."""
    return write_module(tmp_path / "von Kollegin ü" / "tiny-main", LOCK)
