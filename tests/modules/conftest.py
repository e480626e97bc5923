"""What the tests of the shipped modules share: one install of each, and the library by hand."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from envmanager.data.paths import DataFolder
from envmanager.data.settings import Settings
from envmanager.environments import inventory
from envmanager.environments.lifecycle import Environments
from ga3_nodes import home
from ga3_nodes.spawn import worker_environment
from tests.conftest import end_workers
from tests.envmanager.test_torch_install import torch_wheel  # noqa: F401 - a fixture
from tests.modules.training import TRAIN, training_set
from tests.sharing import once
from tests.support import PROJECT

DATA = PROJECT.parent / "shared" / "data"
_TIMEOUT_S = 500
# Two test processes with two threads each would wait for one another on two cores.
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
# What a script by hand starts with: `arrays` (its inputs), `given` (plain values), `out` (results).
_PROLOGUE = """
import json, sys
import numpy as np
_folder = sys.argv[1]
arrays = dict(np.load(_folder + "/in.npz"))
given = json.loads(sys.argv[2])
out = {}
"""
_EPILOGUE = """
np.savez(_folder + "/out.npz", **out)
"""


@dataclass(frozen=True)
class Installed:
    """A module that the engine has installed, in a data folder that all its tests share."""

    data: DataFolder
    entry: home.ModuleEntry


@pytest.fixture(scope="session")
def torch_settings(torch_wheel) -> Settings:  # noqa: F811
    """Return settings with which torch comes from the folder of wheels; skip where there is none.

    The wheel is for Python 3.11 only, so modules with torch get that one.
    """
    return Settings(find_links=(str(torch_wheel.parent),), python="3.11")


@pytest.fixture(scope="session")
def module_cache(tmp_path_factory) -> Path:
    """Return a cache of downloads that all processes of a test run share."""
    return once(tmp_path_factory, "modules uv cache", lambda _: None)


@pytest.fixture(scope="session")
def _modules_root(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("Daten é")


@pytest.fixture
def installed(_modules_root, module_cache, monkeypatch) -> Iterator[Callable[..., Installed]]:
    """Return a function that installs a module in the one data folder of all these tests.

    ``installed(name, settings, env=None)`` installs at its first call in this process only; `env`
    is added to the environment variables of the module's workers. Workers end with the test; the
    environments and the imported weights stay for the next one.
    """
    root = _modules_root
    monkeypatch.setenv("UV_CACHE_DIR", str(module_cache))

    def use(name: str, settings: Settings, env: dict[str, str] | None = None) -> Installed:
        monkeypatch.setenv("GA3ENV_HOME", str(root))
        if inventory.published(DataFolder(root), name) is None:
            _write(root / "settings.toml", settings)  # for the command line
            Environments(DataFolder(root), settings).install(name)
            add_variables(root / "config.json", name, env or {})
        return Installed(DataFolder(root), home.published(name))

    yield use
    end_workers(root)


@pytest.fixture
def cellpose(installed, torch_settings) -> Installed:
    """Return Cellpose, installed."""
    return installed("cellpose", torch_settings, env=ONE_THREAD)


@pytest.fixture
def trained(request, by_hand, tmp_path_factory) -> Path:
    """Return a folder with a model and its size net, ``size_trained.npy``, trained once for all."""

    def make(folder: Path) -> None:
        cellpose = request.getfixturevalue("cellpose")  # installed for this only
        by_hand(cellpose.entry, TRAIN, training_set(), folder=str(folder), name="trained")

    return once(tmp_path_factory, "trained cellpose", make)


def add_variables(config: Path, name: str, env: dict[str, str]) -> None:
    """Give the workers of an installed module more environment variables."""
    content = json.loads(config.read_text("utf-8"))
    content["modules"][name]["env"] |= env
    config.write_text(json.dumps(content), "utf-8")


def _write(path: Path, settings: Settings) -> None:
    links = ", ".join(json.dumps(place) for place in settings.find_links)
    path.write_text(f"find_links = [{links}]\npython = {json.dumps(settings.python)}\n", "utf-8")


@pytest.fixture
def by_hand(tmp_path) -> Callable[..., dict[str, np.ndarray]]:
    """Return a function that runs a script with the library only, in a module's own Python.

    ``by_hand(entry, script, arrays, **given)``: the script finds its inputs in the dicts `arrays`
    and `given`, and puts arrays into `out`, which is returned. The process has the environment
    variables of the module's workers, so as many threads too.
    """

    def run(
        entry: home.ModuleEntry, script: str, arrays: dict[str, np.ndarray], **given: object
    ) -> dict[str, np.ndarray]:
        folder = tmp_path / "by hand"
        folder.mkdir(exist_ok=True)
        np.savez(folder / "in.npz", **arrays)
        source = folder / "script.py"
        source.write_text(_PROLOGUE + script + _EPILOGUE, "utf-8")
        done = subprocess.run(
            [entry.python, "-X", "utf8", source, folder, json.dumps(given)],
            cwd=folder,
            env=worker_environment(entry.env),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            timeout=_TIMEOUT_S,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        with np.load(folder / "out.npz") as found:
            return dict(found)

    return run


def f1(truth: np.ndarray, labels: np.ndarray) -> float:
    """Return F1 of objects that match with an intersection over union above 0.5."""
    common = np.zeros((truth.max() + 1, labels.max() + 1), np.int64)
    np.add.at(common, (truth, labels), 1)
    union = common.sum(1, keepdims=True) + common.sum(0, keepdims=True) - common
    matched = int((common[1:, 1:] > 0.5 * union[1:, 1:]).sum())
    objects = np.unique(truth[truth > 0]).size + np.unique(labels[labels > 0]).size
    return 2 * matched / objects


def needs_data(name: str) -> Path:
    """Return a real image beside the project; skip where the folder is missing."""
    if not (DATA / name).is_file():
        pytest.skip("no folder with real images beside the project")
    return DATA / name
