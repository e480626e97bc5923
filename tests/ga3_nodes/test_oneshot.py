"""One-shot mode: a module's function with files, without a worker."""

from __future__ import annotations

import json
import re
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


def _once(folder, *arguments, cwd=None):
    host = folder / "ga3_nodes" / "host.py"
    return subprocess.run(
        [sys.executable, host, folder, "--once", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
    )


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--output", "sum.npy", "--output", "nowhere/table.json"], "'table' cannot be written to"),
        (["--output", "sum.npy", "--output", "table.npy"], r"'table' .*Give a \.json file"),
        (["--output", "sum.tif"], r"'sum' .*Give a \.npy file"),
        (["--output", "sum.npy", "--param", "threshold"], "'threshold' is no parameter"),
        (["--output", "sum.npy", "--axes", "zyx"], "given as zyx"),
    ],
)
def test_one_shot_mode_writes_all_its_files_or_none(echo, tmp_path, arguments, sentence):
    np.save(tmp_path / "in.npy", IMAGE)
    given = ["--function", "measure", "--input", "in.npy", "--input", "in.npy", *arguments]
    done = _once(echo / "envs" / "echo" / "1", *given, cwd=tmp_path)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()  # one sentence, no traceback
    assert re.search(sentence, line), line
    assert sorted(path.name for path in tmp_path.glob("*.*")) == ["in.npy"]


def test_one_shot_mode_replaces_older_files_all_or_none(echo, tmp_path):
    np.save(tmp_path / "in.npy", IMAGE)
    (tmp_path / "sum.npy").write_bytes(b"older")
    (tmp_path / "table.json").mkdir()  # which no file can replace
    given = ["--function", "measure", "--input", "in.npy", "--input", "in.npy"]
    given += ["--output", "sum.npy", "--output", "table.json"]
    assert _once(echo / "envs" / "echo" / "1", *given, cwd=tmp_path).returncode == 1
    assert (tmp_path / "sum.npy").read_bytes() == b"older"
    (tmp_path / "table.json").rmdir()
    assert _once(echo / "envs" / "echo" / "1", *given, cwd=tmp_path).returncode == 0
    np.testing.assert_array_equal(np.load(tmp_path / "sum.npy"), IMAGE * 2)
    assert json.loads((tmp_path / "table.json").read_text())["name"] == ["a", "b"]
    assert not list(tmp_path.glob("*.part"))


def test_a_folder_without_a_module_is_told_in_one_sentence(echo, tmp_path):
    host = echo / "envs" / "echo" / "1" / "ga3_nodes" / "host.py"
    done = subprocess.run(
        [sys.executable, host, tmp_path, "--once"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "holds no module that can be read" in line
