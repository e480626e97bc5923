"""The same faults with the real packages of `classic`, from the registry."""

from __future__ import annotations

import time

import numpy as np
import pytest

from ga3_nodes import client
from tests.envmanager.conftest import copy_root
from tests.faults import bench as benches
from tests.faults.bench import Bench

pytestmark = pytest.mark.slow
MODULE = "classic"
STAGES = 7  # prepare, resolve, install, check, warm-up, self-test, publish


@pytest.fixture
def real(world, data_folder, monkeypatch):
    """Return a bench on an empty data folder that asks the registry."""
    monkeypatch.delenv("UV_CACHE_DIR", raising=False)
    one = Bench(data_folder, world.wheels)
    yield one
    client.close()


def _objects() -> int:
    """Count three squares in a worker that is started anew."""
    image = np.full((96, 128), 100, np.uint16)
    for y, x in ((20, 20), (60, 40), (30, 90)):
        image[y : y + 20, x : x + 20] = 4000
    client.close()
    labels = client.call(MODULE, "segment", {"image": image}, {"min_diameter": 5.0})["labels"]
    return len(np.unique(labels)) - 1


def test_an_install_is_killed_at_each_stage(real, tried):
    for stage in range(STAGES):
        command = real.start("install", MODULE)
        assert command.wait_for_stage(stage), command.said
        time.sleep(0.1)
        left = command.kill(all_of_it=stage % 2 == 1)
        if left is not None:
            tried("SIGKILL of install with real packages")
        benches.gone(left or [])
    real.run("install", MODULE)
    assert _objects() == 3
    assert real.run("verify", MODULE)["ok"]
    real.is_green()
    assert len([p for p in (real.root / "envs" / MODULE).iterdir() if p.name.isdecimal()]) == 1


def test_a_repair_is_killed(real, classic_root, shared_uv_cache, tried):
    real.environment["UV_CACHE_DIR"] = str(shared_uv_cache)
    copy_root(classic_root, real.root)
    venv = real.root / "envs" / MODULE / "1" / ".venv"
    next(venv.glob("**/skimage/__init__.py")).unlink()
    for stage in (2, 5, 9):
        command = real.start("repair", MODULE)
        if command.wait_for_stage(stage):
            tried("SIGKILL of repair with real packages")
        benches.gone(command.kill() or [])
    assert real.run("repair", MODULE)["new"]
    assert real.run("verify", MODULE)["ok"]
    assert _objects() == 3
    real.is_green()
