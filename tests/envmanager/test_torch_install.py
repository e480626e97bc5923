"""Installing a module with the real torch under several names of backends, and its kernel.

The wheel is the CPU build that pip's own find-links name on a machine of the developers; served as
``cu130`` it stands for a CUDA build that cannot compute.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from envmanager.data.paths import base_python, uv_binary
from envmanager.data.settings import Settings
from envmanager.environments import inventory
from envmanager.environments.lifecycle import Environments
from envmanager.events import Notice, Stage
from envmanager.machine import hardware
from ga3_nodes import client
from tests.envmanager.conftest import TEST, TOML, write_module
from tests.envmanager.test_backends import AMPERE, NONE, machine
from tests.local_index import LocalIndex

pytestmark = pytest.mark.slow
TORCH = "2.13.0"
PYPROJECT = f"""
[project]
name = "ga3-module-tiny"
version = "1.0.0"
requires-python = ">=3.11,<3.12"
dependencies = ["numpy", "torch=={TORCH}"]
"""
WORKER = """
import os
import numpy as np
import torch

def segment(image, *, axes="", threshold=100.0):
    device = torch.device(os.environ["GA3ENV_DEVICE"])
    pixels = torch.from_numpy(image.astype("float32")).to(device)
    return (pixels > threshold).to(torch.int32).cpu().numpy()
"""


@pytest.fixture(scope="session")
def torch_wheel() -> Path:
    """Return a CPU wheel of torch for Python 3.11, where a folder of wheels is named to us."""
    places = [os.environ.get("GA3ENV_TEST_WHEELS", ""), os.environ.get("PIP_FIND_LINKS", "")]
    asked = [base_python(), "-m", "pip", "config", "get", "global.find-links"]
    places += subprocess.run(asked, capture_output=True, text=True, check=False).stdout.split()
    for place in filter(None, places):
        for wheel in Path(place).glob(f"torch-{TORCH}+cpu-cp311-*.whl"):
            return wheel
    pytest.skip("no CPU wheel of torch is here, and the ordinary index has none for Linux")


@pytest.fixture(scope="session")
def torch_lock(torch_wheel, tmp_path_factory) -> str:
    """Return a lock with torch's hashes of the ordinary index, as a module's author makes it."""
    folder = tmp_path_factory.mktemp("torch lock")
    (folder / "pyproject.toml").write_text(PYPROJECT, "utf-8")
    command = [uv_binary(), "pip", "compile", "pyproject.toml", "-o", "out.txt", "-q"]
    arguments = ["--universal", "--generate-hashes", "--no-header", "--no-annotate"]
    subprocess.run([*command, *arguments], cwd=folder, check=True)
    return (folder / "out.txt").read_text("utf-8")


@pytest.fixture
def index(torch_wheel):
    with LocalIndex({name: [torch_wheel] for name in ("cpu", "cu126", "cu130")}) as server:
        yield server


@pytest.fixture
def deep(data_folder, torch_lock):
    """Put a module with torch among the user's modules."""
    toml = TOML.replace('["numpy"]', '["numpy", "torch"]')
    folder = write_module(data_folder / "modules" / "tiny", torch_lock, toml=toml, worker=WORKER)
    (folder / "pyproject.toml").write_text(PYPROJECT, "utf-8")
    (folder / "test_worker.py").write_text(TEST, "utf-8")
    return folder


@pytest.fixture
def engine(environments, index):
    return Environments(environments.data, Settings(torch_index=f"http://{index.host}"))


def _mask():
    image = np.array([[1, 200]], np.uint16)
    return client.call("tiny", "segment", {"image": image})["labels"].tolist()


def _manifest(engine):
    return inventory.installed(engine.data, "tiny")[1]


def test_a_machine_without_a_gpu_gets_the_cpu_build(engine, deep, monkeypatch, data_folder):
    monkeypatch.setattr(hardware, "gpus", lambda: NONE)
    events = []
    engine.install("tiny", report=events.append)
    manifest = _manifest(engine)
    assert (manifest["backend"], manifest["device"]) == ("cpu", "cpu")
    assert manifest["kernel"]["torch"] == f"{TORCH}+cpu"
    assert manifest["kernel"]["cuda"] is None
    assert "CPU build" in manifest["backend_why"]
    assert not [name for name in manifest["packages"] if name.startswith(("nvidia", "triton"))]
    assert [e for e in events if isinstance(e, Notice)] == []
    assert "device" in [event.name for event in events if isinstance(event, Stage)]
    trusted = json.loads((data_folder / "trusted.json").read_text("utf-8"))
    assert trusted == manifest["trusted"]
    assert engine.verify("tiny") == []
    assert _mask() == [[0, 1]]
    assert engine.install("tiny").new is False
    assert engine.install("tiny", backend="auto").new is False
    plan = engine.plan_update("tiny", backend="cpu")
    assert (plan.needed, plan.changes, plan.backend) == (False, [], "cpu")


def test_a_gpu_that_does_not_compute_is_a_loud_fall_back(engine, deep, monkeypatch):
    """The build that is served as cu130 has no CUDA: as with a broken driver or a wrong wheel."""
    monkeypatch.setattr(hardware, "gpus", lambda: machine(AMPERE))
    events = []
    engine.install("tiny", report=events.append)
    (notice,) = [event.text for event in events if isinstance(event, Notice)]
    assert "cuda:0 does not compute, so the CPU is used" in notice
    manifest = _manifest(engine)
    assert (manifest["backend"], manifest["device"]) == ("cu130", "cpu")
    assert manifest["device_problem"] == notice
    status = inventory.status(engine.data, "tiny")
    assert (status.state, status.device, status.backend) == ("ready", "cpu", "cu130")
    assert status.problems == [notice]
    assert _mask() == [[0, 1]]  # it works, on the CPU
    # Another backend is another generation; back again is another one.
    again = engine.install("tiny", backend="cpu")
    assert (again.new, again.generation) == (True, 2)
    assert inventory.status(engine.data, "tiny").problems == []
    assert engine.update("tiny").new is False  # "cpu" was asked for and stays


@pytest.mark.gpu
def test_a_real_gpu_computes(environments, deep):
    """Needs a machine with an NVIDIA GPU and a reachable index of PyTorch's builds."""
    found = hardware.gpus()
    if not found.gpus:
        pytest.skip(f"no GPU: {found.reason}")
    environments.install("tiny")
    manifest = _manifest(environments)
    assert manifest["device"].startswith("cuda:"), manifest["device_problem"]
    assert manifest["kernel"]["name"] == found.gpus[int(manifest["device"][5:])].name
    assert _mask() == [[0, 1]]
