"""The life of a worker: its start, what it inherits, its ways of ending; real processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from ga3_nodes import client, home, link, records
from ga3_nodes.errors import (
    Cancelled,
    ModuleFailed,
    WorkerCrashed,
    WorkerStartFailed,
)
from tests.support import ECHO_DECLARATION, ECHO_WORKER, PROJECT, publish

pytestmark = pytest.mark.windows

IMAGE = np.arange(12, dtype=np.uint16).reshape(3, 4)


def _call(**keywords):
    return client.call("echo", "segment", {"image": IMAGE}, **keywords)


def test_one_worker_serves_all_calls(echo):
    assert len({_call().worker_pid for _ in range(5)}) == 1
    (worker,) = records.live(echo)
    status = client.status(worker[1])
    assert status["ready"]
    assert not status["busy"]
    assert {c["pid"] for c in status["clients"]} == {os.getpid()}


def test_clients_that_start_at_once_share_one_worker(echo):
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import numpy as np\n"
        "from ga3_nodes import client\n"
        "r = client.call('echo', 'segment', {'image': np.full((9, 9), int(sys.argv[2]))},"
        " {'threshold': 3})\n"
        "print(r.worker_pid, int(r['labels'].max()))\n"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(PROJECT), str(value)],
            stdout=subprocess.PIPE,
            text=True,
        )
        for value in (2, 4, 3, 5)
    ]
    answers = [process.communicate(timeout=120)[0].split() for process in processes]
    assert len({pid for pid, _ in answers}) == 1
    assert [int(largest) for _, largest in answers] == [0, 81, 0, 81]


def test_a_crash_is_told_with_evidence_and_the_next_call_works(echo):
    first = _call().worker_pid
    with pytest.raises(WorkerCrashed) as caught:
        _call(parameters={"mode": "crash"})
    assert caught.value.details["exit_code"] == 7
    assert "about to crash" in caught.value.details["log_tail"]
    again = _call()
    assert again.worker_pid != first
    np.testing.assert_array_equal(again["labels"], IMAGE)


def test_what_a_worker_said_before_the_wait_for_it_is_evidence_too(echo, monkeypatch):
    wait = link.Link.collect

    def late(self, *arguments, **keywords):
        time.sleep(0.5)  # the worker is faster than its client
        return wait(self, *arguments, **keywords)

    _call()
    monkeypatch.setattr(link.Link, "collect", late)
    with pytest.raises(WorkerCrashed) as caught:
        _call(parameters={"mode": "crash"})
    assert "about to crash" in caught.value.details["log_tail"]


def test_a_worker_that_is_killed_between_calls_is_replaced(echo):
    first = _call().worker_pid
    psutil.Process(first).kill()
    assert _call().worker_pid != first


def test_a_cancelled_call_ends_its_worker(echo):
    pid = _call().worker_pid
    started = time.monotonic()
    with pytest.raises(Cancelled):
        _call(parameters={"mode": "sleep"}, cancelled=lambda: time.monotonic() > started + 0.3)
    deadline = time.monotonic() + 20
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert _call()["labels"].any()


def test_the_call_of_a_client_that_was_killed_is_stopped(echo):
    pid = _call().worker_pid
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import numpy as np\n"
        "from ga3_nodes import client\n"
        "client.call('echo', 'segment', {'image': np.ones((4, 4))}, {'mode': 'sleep'})\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(PROJECT)])
    ((_, record),) = records.live(echo)
    deadline = time.monotonic() + 30
    while not client.status(record)["busy"]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    for child in psutil.Process(process.pid).children():
        child.kill()  # on Windows the interpreter is a child of the launcher
    process.kill()
    process.wait()
    assert _call().worker_pid != pid  # it had waited for the killed client's call
    assert time.monotonic() < deadline


def test_an_idle_worker_ends_and_leaves_nothing(data_folder):
    publish(data_folder, ECHO_DECLARATION, ECHO_WORKER, idle_timeout_s=0.3)
    pid = _call().worker_pid
    run_dir = home.run_dir(data_folder)
    client.close()
    deadline = time.monotonic() + 20
    while list(run_dir.iterdir()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert _call().worker_pid != pid


def test_a_worker_of_an_old_generation_retires_and_the_new_one_answers(echo):
    first = _call()
    publish(echo, ECHO_DECLARATION, ECHO_WORKER.replace("0.5", "8.0"), generation=2)
    declaration = json.loads(json.dumps(ECHO_DECLARATION))
    second = _call()
    assert declaration["functions"]
    assert second.worker_pid != first.worker_pid
    client.close()
    deadline = time.monotonic() + 20
    while len(records.live(echo)) > 1:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_broken_worker_module_says_why_each_time(data_folder):
    folder = publish(data_folder, ECHO_DECLARATION, "import no_such_package\n")
    for _ in range(2):
        with pytest.raises(ModuleFailed, match="no_such_package") as caught:
            _call()
        assert caught.value.code == "import_failed"
    (folder / "worker.py").write_text(ECHO_WORKER, "utf-8")
    deadline = time.monotonic() + 20
    while True:  # the broken worker has ended, or is about to
        try:
            assert _call()["labels"].any()
            break
        except ModuleFailed:
            assert time.monotonic() < deadline


def test_a_worker_that_loads_slower_than_its_idle_time_still_answers(data_folder):
    slow = "import time; time.sleep(1.5)\n" + ECHO_WORKER
    publish(data_folder, ECHO_DECLARATION, slow, idle_timeout_s=1)
    assert _call()["labels"].any()


def test_what_a_killed_worker_left_does_not_stop_the_next_one(echo):
    record = _call().worker_pid
    stem = records.stem(echo, "echo", 1)
    psutil.Process(record).kill()
    client.close()
    records.record_path(stem).write_text("", "utf-8")  # as a power loss leaves it
    assert _call()["labels"].any()


def test_the_evidence_of_a_crash_is_of_this_call(echo):
    with pytest.raises(ModuleFailed):
        _call(parameters={"mode": "fail"})
    with pytest.raises(WorkerCrashed) as caught:
        _call(parameters={"mode": "crash"})
    assert "about to crash" in caught.value.details["log_tail"]
    assert "exploded" not in caught.value.details["log_tail"]


def test_a_missing_environment_is_told_in_one_sentence(echo):
    publish(echo, ECHO_DECLARATION | {"name": "gone"}, ECHO_WORKER, python="envs/gone/no/python")
    with pytest.raises(WorkerStartFailed, match="damaged") as caught:
        client.call("gone", "segment", {"image": IMAGE})
    assert "Repair" in caught.value.hint


def test_the_worker_inherits_nothing_harmful(echo, monkeypatch):
    harmful = {
        "PYTHONHOME": str(Path(sys.executable).parent),
        "PYTHONPATH": "/nonsense",
        "PYTHONSTARTUP": "x",
        "VIRTUAL_ENV": "x",
        "CONDA_PREFIX": "x",
        "CUDA_VISIBLE_DEVICES": "7",
        "OMP_NUM_THREADS": "99",
        "SECRET_TOKEN": "x",
    }
    for name, value in harmful.items():
        monkeypatch.setenv(name, value)
    assert _call()["labels"].any()
    client.call("echo", "measure", {"image": IMAGE, "other": IMAGE})
    log = (echo / "logs" / "worker-echo.log").read_text("utf-8", "replace")
    assert "GA3ENV_WORKER_LOG" in log  # `measure` prints its environment
    assert [name for name in harmful if f"'{name}'" in log] == []


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_worker_inherits_no_open_file(echo, tmp_path):
    with (tmp_path / "open").open("w") as file:
        os.set_inheritable(file.fileno(), True)
        pid = _call().worker_pid
        links = [str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir()]
    assert str(tmp_path / "open") not in links
    assert str(Path(f"/proc/{pid}/fd/0").readlink()) == os.devnull
    assert Path(f"/proc/{pid}/fd/1").readlink().name == "worker-echo.log"


def test_who_starts_a_worker_can_end_at_once(echo):
    """NIS waits for a node's stdout and stderr: a worker must not hold them open."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import numpy as np\n"
        "from ga3_nodes import client\n"
        "print(client.call('echo', 'segment', {'image': np.ones((4, 4))}).worker_pid)\n"
    )
    started = subprocess.Popen(
        [sys.executable, "-c", code, str(PROJECT)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    out, err = started.communicate(timeout=60)
    assert started.returncode == 0, err
    assert psutil.pid_exists(int(out))


def test_prewarming_makes_a_worker_without_a_call(echo):
    pid = client.start("echo")
    assert _call().worker_pid == pid
