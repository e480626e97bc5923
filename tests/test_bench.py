"""``./run bench``: its figures are complete, in a believable order, and nothing of a run stays."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from benchmarks.round_trip import module_process
from envmanager.commands import bench
from ga3_nodes.locks import FileLock
from tests.sharing import once

pytestmark = pytest.mark.slow  # makes an environment

PROJECT = Path(__file__).resolve().parent.parent
COMMAND = [sys.executable, "-m", "envmanager", "bench", "--quick", "--json"]
TRANSPORTS = ["floor", "ours_view", "ours_copy", "appose", "npy_live", "shm_per_call"]
TRANSPORTS += ["process_numpy"]
PATIENCE_S = 300


def _left() -> list[object]:
    """Return the files, segments and processes of runs."""
    found: list[object] = list(bench.PLACE.glob("run-*"))
    found += Path("/dev/shm").glob("run-*")
    for process in psutil.process_iter():
        try:
            line = " ".join(process.cmdline())
        except psutil.Error:
            continue
        if str(bench.PLACE) in line and process.pid != os.getpid():
            found.append((process.pid, line))
    return found


@contextmanager
def _our_turn():
    """Hold off the other processes of this test run: two benchmarks at once refuse each other."""
    bench.PLACE.mkdir(parents=True, exist_ok=True)
    lock = FileLock(bench.PLACE / "tests.lock")
    assert lock.acquire(PATIENCE_S)
    try:
        yield
    finally:
        lock.release()


@pytest.fixture(scope="session")
def measured(tmp_path_factory):
    """Run the benchmark once for all tests of the figures."""
    answer = once(tmp_path_factory, "benchmark", _measure) / "answer.json"
    return json.loads(answer.read_text("utf-8"))["data"]


def _measure(folder):
    environment = {**os.environ, "GA3ENV_HOME": str(folder / "data")}
    with _our_turn():
        done = subprocess.run(COMMAND, cwd=PROJECT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (folder / "answer.json").write_text(done.stdout, "utf-8")


@pytest.fixture
def our_turn():
    """Let no other process of this test run use the benchmark during a test."""
    with _our_turn():
        yield


def test_every_transport_has_a_row_for_every_shape(measured):
    found = [(row["transport"], row["shape"]) for row in measured["rows"]]
    assert found == [(name, shape) for shape in ([512, 512], [2048, 2048]) for name in TRANSPORTS]
    for row in measured["rows"]:
        assert 0 < row["median_ms"] <= row["p95_ms"]
        assert row["calls"] >= 3
    assert [r["x_floor"] for r in measured["rows"] if r["transport"] == "floor"] == [1, 1]


def test_the_order_is_believable(measured):
    for shape in ([512, 512], [2048, 2048]):
        at = {r["transport"]: r["median_ms"] for r in measured["rows"] if r["shape"] == shape}
        assert at["ours_view"] < at["process_numpy"]
        assert at["ours_copy"] < at["process_numpy"]
        assert at["floor"] < at["process_numpy"]


def test_goals_are_judged(measured):
    goals = {goal["name"]: goal for goal in measured["goals"]}
    assert {"ping_ms", "client_import_ms", "node_script_ms"} < set(goals)
    for goal in goals.values():
        reached = (goal["value"] - goal["limit"]) * (1 if goal["at_least"] else -1) >= 0
        assert goal["met"] == reached
    assert len([name for name in goals if "2048" in name]) == 4


def test_processes_of_a_module_import_its_worker_or_its_library(tmp_path, monkeypatch):
    monkeypatch.setitem(module_process._LIBRARIES, "mine", "mine_library")
    declared = {"name": "mine", "functions": {}}
    (tmp_path / "module.json").write_text(json.dumps(declared), "utf-8")
    for name in ("worker", "mine_library"):
        code = f"with open({str(tmp_path / name)!r}, 'a') as file: file.write('.')"
        (tmp_path / f"{name}.py").write_text(code, "utf-8")
    module = {"name": "mine", "python": sys.executable, "folder": str(tmp_path)}
    module["env"] = {"PYTHONPATH": str(tmp_path)}
    rows = module_process.rows(tmp_path, module, (8, 8), floor_ms=1.0)
    assert [row["transport"] for row in rows] == ["process_module", "process_library"]
    for row, imported in zip(rows, ("worker", "mine_library"), strict=True):
        assert (row["module"], row["shape"], row["calls"]) == ("mine", [8, 8], 3)
        assert row["x_floor"] == row["median_ms"] > 0
        assert len((tmp_path / imported).read_text()) == 1 + 3  # the first is not timed
    module["name"] = "another"
    rows = module_process.rows(tmp_path, module, (8, 8), floor_ms=1.0)
    assert [row["transport"] for row in rows] == ["process_module"]


def test_nothing_of_a_run_stays(measured, our_turn):
    assert _left() == []


@pytest.mark.skipif(sys.platform == "win32", reason="sends signals")
@pytest.mark.parametrize("name", ["SIGINT", "SIGKILL"])
def test_an_interrupted_run_leaves_nothing(our_turn, name):
    """Killed without mercy, it leaves files and a worker for a moment: the next run sweeps them."""
    process = subprocess.Popen(
        COMMAND, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    while "Round trips of 2048" not in (line := process.stderr.readline()):
        assert line, "it ended before it was interrupted"
    assert _left()
    process.send_signal(signal.Signals[name])
    out, _ = process.communicate(timeout=PATIENCE_S)
    if name == "SIGINT":
        assert process.returncode == 130
        assert json.loads(out)["error"]["code"] == "cancelled"
    else:
        with bench.alone():
            pass
    deadline = time.monotonic() + PATIENCE_S
    while left := _left():
        assert time.monotonic() < deadline, left
        time.sleep(0.1)


def test_two_at_once_would_measure_each_other(our_turn):
    with bench.alone():
        done = subprocess.run(COMMAND, cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 1
    assert json.loads(done.stdout)["error"]["code"] == "benchmark_running"
