"""The command line as users and scripts see it: output, exit codes, one JSON object."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import tifffile

from envmanager import cli
from ga3_nodes import client, records
from tests.support import ECHO_DECLARATION, ECHO_WORKER, PROJECT, publish

pytestmark = pytest.mark.windows
IMAGE = np.arange(12, dtype=np.uint16).reshape(3, 4)


@pytest.fixture
def run(tmp_path):
    """Run the CLI as a process of its own; return exit code, stdout and stderr."""

    def call(*arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-W", "error", "-m", "envmanager", *map(str, arguments)],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(PROJECT), "PYTHONUTF8": "1"},
            capture_output=True,
            encoding="utf-8",
            timeout=300,
        )

    return call


@pytest.fixture
def as_json(run):
    """Run the CLI with --json; return the exit code and the one object on stdout."""

    def call(*arguments: object) -> tuple[int, dict]:
        done = run(*arguments, "--json")
        assert done.stdout.count("\n") == 1, done.stdout + done.stderr
        return done.returncode, json.loads(done.stdout)

    return call


@pytest.fixture
def image(tmp_path) -> Path:
    path = tmp_path / "zellen ü 1.tif"
    tifffile.imwrite(path, IMAGE)
    return path


def test_list_has_its_keys(as_json):
    code, answer = as_json("list")
    assert (code, answer["ok"], answer["command"]) == (0, True, "list")
    found = {module["name"]: module for module in answer["data"]["modules"]}
    module = found["classic"]
    assert "texture" in found
    assert module["state"] == "not_installed"
    assert set(module) >= {
        "name", "title", "version", "installed_version", "state", "generation", "generations",
        "disk", "backend", "device", "in_use_by",
    }  # fmt: skip
    assert set(module["disk"]) == {"own", "shared", "weights"}


def test_segment_writes_the_mask_and_says_what_it_found(echo, as_json, image, tmp_path):
    mask = tmp_path / "mask.tif"
    code, answer = as_json("segment", "echo", image, "-o", mask, "-p", "threshold=4")
    assert code == 0
    (output,) = answer["data"]["outputs"]
    assert output["input"] == str(image)
    assert output["output"] == str(mask)
    assert output["objects"] == 7
    assert output["device"] == "cpu"
    assert output["seconds"] >= 0
    expected = np.cumsum(IMAGE > 4).reshape(3, 4) * (IMAGE > 4)
    np.testing.assert_array_equal(tifffile.imread(mask), expected)


def test_several_images_go_into_a_folder(echo, run, tmp_path):
    for name in ("a", "b"):
        tifffile.imwrite(tmp_path / f"{name}.tif", IMAGE)
    done = run("segment", "echo", "a.tif", "b.tif", "-o", "masks")
    assert done.returncode == 0, done.stderr
    assert "a.tif: 11 objects" in done.stdout
    names = sorted(path.name for path in (tmp_path / "masks").iterdir())
    assert names == ["a_labels.tif", "b_labels.tif"]


BAD = [
    pytest.param(["segment", "echo", "no.tif", "-o", "m.tif"], 1, "image_unusable", id="no-image"),
    pytest.param(["segment", "ech", "@", "-o", "m.tif"], 1, "unknown_module", id="no-module"),
    pytest.param(
        ["segment", "echo", "@", "-o", "m.tif", "-p", "threshold=-1"], 1, "bad_parameter",
        id="out-of-limits",
    ),
    pytest.param(
        ["segment", "echo", "@", "-o", "m.tif", "-p", "threshold=x"], 1, "bad_parameter",
        id="wrong-type",
    ),
    pytest.param(
        ["segment", "echo", "@", "-o", "m.tif", "-p", "x=1"], 1, "bad_parameter",
        id="unknown-parameter",
    ),
    pytest.param(
        ["segment", "echo", "@", "-o", "m.tif", "-p", "threshold"], 2, "usage", id="no-value"
    ),
    pytest.param(["segment", "echo", "@"], 2, "usage", id="no-output"),
    pytest.param(["segment", "echo", "@", "-o", "m.jpg"], 1, "image_unusable", id="jpeg-mask"),
    pytest.param(["segment", "echo", "@", "@", "-o", "m.tif"], 2, "usage", id="two-to-one-file"),
    pytest.param(
        ["segment", "echo", "@", "-o", "m.tif", "-p", "mode=fail"], 1, "module_failed",
        id="module-fails",
    ),
    pytest.param(
        ["segment", "echo", "@", "-o", "m.tif", "-p", "mode=crash"], 1, "worker_crashed",
        id="worker-crashes",
    ),
    pytest.param(["install", "nothing"], 1, "unknown_module", id="install-unknown"),
    pytest.param(["remove", "classic"], 1, "not_installed", id="remove-what-is-not-there"),
    pytest.param(["status", "../classic"], 1, "unknown_module", id="path-as-name"),
    pytest.param(["node", "classic", "--nis", "5"], 2, "usage", id="old-nis"),
    pytest.param(["node", "classic", "-p", "smoothing=-1"], 1, "bad_parameter", id="node-limits"),
    pytest.param(["settings", "nothing", "1"], 1, "settings_invalid", id="unknown-setting"),
    pytest.param(["disk", "--everything"], 2, "usage", id="everything-of-what"),
    pytest.param(["workers", "start"], 2, "usage", id="start-what"),
    pytest.param(["demo", "--image", "no.tif"], 1, "image_unusable", id="demo-image"),
    pytest.param(["nonsense"], 2, "usage", id="unknown-command"),
    pytest.param([], 2, "usage", id="no-command"),
]  # fmt: skip


@pytest.mark.parametrize(("words", "exit_code", "code"), BAD)
def test_bad_input_is_one_clear_sentence(
    echo, image, tmp_path, monkeypatch, capsys, words, exit_code, code
):
    monkeypatch.chdir(tmp_path)
    words = [str(image) if word == "@" else word for word in words]
    before = sorted(tmp_path.iterdir())
    assert cli.main(words) == exit_code
    told = capsys.readouterr()
    assert told.out == ""
    assert f"\n{told.err}".count("\nerror: ") == 1
    assert "\nhint:" in told.err
    assert "Traceback" not in told.err
    assert cli.main([*words, "--json"]) == exit_code
    answer = json.loads(capsys.readouterr().out)
    assert answer["ok"] is False
    assert answer["error"]["code"] == code
    assert answer["error"]["message"]
    assert answer["error"]["hint"]
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("name", ["[bold]x[red].tif", "a [1].tif", "x[.tif"])
def test_brackets_in_names_are_shown_as_they_are(echo, run, tmp_path, name):
    done = run("segment", "echo", tmp_path / name, "-o", "m.tif")
    assert f"no image file {tmp_path / name}." in done.stderr


def test_a_broken_module_is_shown_in_the_list_and_named_on_install(run, as_json, data_folder):
    folder = data_folder / "modules" / "mine"
    folder.mkdir(parents=True)
    (folder / "module.toml").write_text("schema = 1\nnme = 'mine'\n", "utf-8")
    code, answer = as_json("list")
    states = {m["name"]: (m["state"], m["problems"]) for m in answer["data"]["modules"]}
    assert code == 0
    assert states["mine"][0] == "broken"
    assert "module.toml" in states["mine"][1][0]
    done = run("install", "mine")
    assert done.returncode == 1
    assert "name is missing" in done.stderr


def test_workers_are_listed_started_and_stopped(echo, as_json):
    assert as_json("workers")[1]["data"]["workers"] == []
    _, answer = as_json("workers", "start", "echo")
    (worker,) = answer["data"]["workers"]
    assert worker["device"] == "cpu"
    assert worker["memory"] > 5_000_000
    assert set(worker) >= {"module", "generation", "pid", "idle_s", "clients"}
    _, answer = as_json("workers", "stop")
    assert [w["pid"] for w in answer["data"]["workers"]] == [worker["pid"]]
    assert as_json("workers")[1]["data"]["workers"] == []


def test_settings_are_shown_and_changed(run, as_json, data_folder):
    assert as_json("settings", "offline", "true")[1]["data"]["settings"]["offline"] is True
    assert as_json("settings", "offline")[1]["data"]["settings"] == {"offline": True}
    assert "offline = true" in (data_folder / "settings.toml").read_text("utf-8")
    assert as_json("settings", "offline", "--unset")[1]["data"]["settings"]["offline"] is False
    assert "find_links" in run("settings").stdout


@pytest.mark.parametrize("version", [6, 7])
def test_a_node_script_goes_to_stdout_or_a_file(run, tmp_path, version):
    told = run("node", "classic", "--nis", version, "-p", "smoothing=3")
    assert told.returncode == 0, told.stderr
    assert '"smoothing": 3.0,' in told.stdout
    done = run("node", "classic", "--nis", version, "-p", "smoothing=3", "-o", "sub/node.py")
    assert done.returncode == 0
    assert (tmp_path / "sub" / "node.py").read_text("utf-8") == told.stdout


def test_no_traceback_where_a_config_is_damaged(run, data_folder):
    (data_folder / "config.json").write_text("{", "utf-8")
    done = run("list")
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
    (data_folder / "config.json").unlink()


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGTERM to a process there")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_with_130_and_no_half_written_file(data_folder, tmp_path, image, number):
    publish(data_folder, ECHO_DECLARATION, ECHO_WORKER)
    process = subprocess.Popen(
        [sys.executable, "-m", "envmanager", "segment", "echo", str(image), "-o", "m.tif",
         "-p", "mode=sleep"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(PROJECT)},
        stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not records.live(data_folder):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    ((_, worker),) = records.live(data_folder)
    while not client.status(worker)["busy"]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(number)
    try:
        _, told = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "Cancelled" in told
    psutil.wait_procs([psutil.Process(worker.pid)] if psutil.pid_exists(worker.pid) else [], 30)
    assert not psutil.pid_exists(worker.pid)
    assert not (tmp_path / "m.tif").exists()
