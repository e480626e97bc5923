"""The main job, whole: what ``./run demo`` promises to a new user."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile

from tests.support import PROJECT

pytestmark = [pytest.mark.slow, pytest.mark.windows]
DATA = PROJECT.parent / "shared" / "data"


@pytest.fixture
def demo(shared_uv_cache, tmp_path):
    """Run ``demo --json`` in a process of its own; return its data."""

    def call(*arguments: object, exit_code: int = 0) -> dict:
        done = subprocess.run(
            [sys.executable, "-m", "envmanager", "demo", "--json", *map(str, arguments)],
            cwd=tmp_path,
            env=os.environ
            | {"PYTHONPATH": str(PROJECT), "UV_CACHE_DIR": str(shared_uv_cache), "PYTHONUTF8": "1"},
            capture_output=True,
            encoding="utf-8",
        )
        assert done.returncode == exit_code, done.stdout + done.stderr
        answer = json.loads(done.stdout)
        return answer["data"] if exit_code == 0 else answer["error"]

    return call


def test_the_demo_twice_then_on_an_own_image(demo, data_folder, tmp_path):
    first = demo()
    assert first["node_equals_cli"] is True
    assert first["objects"] > 50
    assert first["installed_now"] is True
    assert first["warm_call_s"] < first["first_call_s"]
    for key in ("overlay", "config", "labels", "node_script"):
        assert Path(first[key]).is_relative_to(data_folder)
        assert Path(first[key]).stat().st_size > 0
    assert tifffile.imread(first["labels"]).max() == first["objects"]

    second = demo("--nis", "7")
    assert second["installed_now"] is False
    assert second["worker_was_running"] is True
    assert second["objects"] == first["objects"]

    image = tmp_path / "eigenes bild.tif"
    pixels = np.zeros((3, 80, 90), np.float64)
    pixels[:, 20:40, 20:40] = pixels[:, 50:70, 50:70] = 1000
    tifffile.imwrite(image, pixels, photometric="minisblack", metadata={"axes": "ZYX"})
    own = demo("--image", image)
    assert own["node_equals_cli"] is True
    assert own["objects"] == 2

    bad = demo("--image", tmp_path / "no.tif", exit_code=1)
    assert bad["code"] == "image_unusable"
    left = [p.name for p in data_folder.rglob("*.tmp")] + [
        p.name for p in data_folder.glob("trash")
    ]
    assert left == []


STAGES = ["Preparing", "Resolving", "Downloading", "Importing", "Testing", "Publishing"]
STAGES += ["Segmenting", "Running the GA3 node"]


@pytest.mark.skipif(
    sys.platform == "win32", reason="kills take seconds there; Linux shows the same"
)
def test_a_demo_that_was_killed_in_any_stage_succeeds_the_next_time(
    demo, data_folder, shared_uv_cache
):
    for stage in STAGES:
        _kill_demo_at(stage, shared_uv_cache)
    done = demo()
    assert done["node_equals_cli"] is True
    assert [p.name for p in data_folder.rglob("*.tmp")] == []
    assert not (data_folder / "trash").exists()
    assert [p.name for p in (data_folder / "envs").iterdir()] == ["classic"]
    assert len(list((data_folder / "envs" / "classic").iterdir())) == 1


def _kill_demo_at(stage: str, uv_cache: Path) -> None:
    """Kill the demo as soon as it says that it has begun with a stage."""
    process = subprocess.Popen(
        [sys.executable, "-m", "envmanager", "demo"],
        env=os.environ | {"PYTHONPATH": str(PROJECT), "UV_CACHE_DIR": str(uv_cache)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    seen = []
    for line in process.stderr:
        seen.append(line)
        if line.startswith(stage):
            break
    process.kill()
    process.communicate()
    assert seen[-1].startswith(stage), seen
