"""One-shot mode: a module's function with files, without a worker."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.windows


PROJECT = Path(__file__).resolve().parents[2]


IMAGE = np.arange(12, dtype=np.uint16).reshape(3, 4)


def test_one_shot_mode_needs_no_pipe(echo, tmp_path):
    np.save(tmp_path / "in.npy", IMAGE)
    folder = echo / "envs" / "echo" / "1"
    host = folder / "ga3_nodes" / "host.py"
    arguments = ["--once", "--function", "segment", "--input", tmp_path / "in.npy"]
    arguments += ["--output", tmp_path / "out.npy", "--param", "threshold=4"]
    done = subprocess.run(
        [sys.executable, host, folder, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    result = np.load(tmp_path / "out.npy")
    assert result.dtype == np.int32
    expected = np.cumsum(IMAGE > 4).reshape(IMAGE.shape) * (IMAGE > 4)
    np.testing.assert_array_equal(result, expected)


def test_one_shot_mode_has_the_variables_of_a_worker(echo, tmp_path, monkeypatch):
    monkeypatch.setenv("GA3ENV_DEVICE", "cuda:5")
    folder = echo / "envs" / "echo" / "1"
    env = {"ECHO_WEIGHTS": "/weights", "GA3ENV_DEVICE": "cpu"}
    (folder / "manifest.json").write_text(json.dumps({"env": env}), "utf-8")
    np.save(tmp_path / "in.npy", IMAGE)
    arguments = ["--once", "--function", "measure", *["--input", tmp_path / "in.npy"] * 2]
    done = subprocess.run(
        [sys.executable, folder / "ga3_nodes" / "host.py", folder, *arguments],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "'ECHO_WEIGHTS': '/weights'" in done.stdout  # `measure` prints its environment
    assert "'GA3ENV_DEVICE': 'cuda:5'" in done.stdout  # what the user sets wins


def test_one_shot_mode_reports_bad_input_without_a_mask(echo, tmp_path):
    np.save(tmp_path / "in.npy", IMAGE)
    folder = echo / "envs" / "echo" / "1"
    arguments = ["--once", "--input", tmp_path / "in.npy", "--output", tmp_path / "out.npy"]
    done = subprocess.run(
        [sys.executable, folder / "ga3_nodes" / "host.py", folder, *arguments, "--param", "mode=x"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "'mode' cannot be 'x'" in done.stderr
    assert not (tmp_path / "out.npy").exists()
