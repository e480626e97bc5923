"""Client, wire, host and worker together: real processes, real shared memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from ga3_nodes import client, home, link, records
from ga3_nodes.errors import (
    BadInput,
    Cancelled,
    ConfigError,
    ModuleFailed,
    NotInstalled,
    WorkerCrashed,
    WorkerStartFailed,
    WorkerTimeout,
)
from tests.support import ECHO_DECLARATION, ECHO_WORKER, publish

pytestmark = pytest.mark.windows

PROJECT = Path(__file__).resolve().parents[2]
IMAGE = np.arange(12, dtype=np.uint16).reshape(3, 4)


def _call(**keywords):
    return client.call("echo", "segment", {"image": IMAGE}, **keywords)


def _labels(image, threshold=0.5):
    return np.cumsum(image > threshold).reshape(image.shape) * (image > threshold)


def test_labels_come_back_as_int32(echo):
    result = _call(parameters={"threshold": 4.0})
    assert result["labels"].dtype == np.int32
    np.testing.assert_array_equal(result["labels"], _labels(IMAGE, 4))
    assert result.device == "cpu"
    assert 0 < result.seconds < 60


def test_several_arrays_go_in_and_images_and_tables_come_out(echo):
    result = client.call("echo", "measure", {"image": IMAGE, "other": IMAGE.astype(np.uint8)})
    assert result["sum"].dtype == np.float32
    np.testing.assert_array_equal(result["sum"], IMAGE * 2.0)
    assert result["table"] == {"n": [1, 2], "name": ["a", "b"]}


@pytest.mark.parametrize(
    "image",
    [
        pytest.param(np.asfortranarray(IMAGE), id="column-major"),
        pytest.param(IMAGE.astype(">u2"), id="big-endian"),
        pytest.param(np.repeat(IMAGE, 2, axis=1)[:, ::2], id="strided"),
        pytest.param(IMAGE.astype(np.float64), id="float64"),
    ],
)
def test_any_memory_layout_gives_the_same_mask(echo, image):
    image.setflags(write=False)
    result = client.call("echo", "segment", {"image": image})
    np.testing.assert_array_equal(result["labels"], _labels(IMAGE))


def test_more_objects_than_uint16_can_count(echo):
    image = np.ones((300, 300), np.uint8)
    assert client.call("echo", "segment", {"image": image})["labels"].max() == 90_000


def test_frames_of_any_size_follow_each_other(echo):
    for shape in ((4, 4), (700, 900), (3, 5), (2, 300, 400), (1, 1)):
        image = np.random.default_rng(0).integers(0, 9, shape).astype(np.uint16)
        result = client.call("echo", "segment", {"image": image}, {"threshold": 4})
        np.testing.assert_array_equal(result["labels"], _labels(image, 4))


def test_a_copy_is_kept_and_a_view_is_overwritten(echo):
    copy = _call()["labels"]
    view = _call(copy=False)["labels"]
    _call(parameters={"threshold": 1e9})
    np.testing.assert_array_equal(copy, _labels(IMAGE))
    assert not view.any()


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


def test_threads_of_one_client_do_not_mix_up_their_images(echo):
    wrong = []

    def work(seed):
        image = np.random.default_rng(seed).integers(0, 99, (64, 64)).astype(np.uint16)
        for _ in range(20):
            result = client.call("echo", "segment", {"image": image}, {"threshold": 50})
            if not np.array_equal(result["labels"], _labels(image, 50)):
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive()
    assert not wrong


def test_the_modules_own_refusal_is_bad_input(echo):
    with pytest.raises(BadInput, match="The image is too dark"):
        _call(parameters={"mode": "refuse"})


def test_a_failure_brings_its_remote_traceback(echo):
    with pytest.raises(ModuleFailed, match="the model exploded") as caught:
        _call(parameters={"mode": "fail"})
    assert "worker.py" in caught.value.details["traceback"]


def test_a_crash_is_told_with_evidence_and_the_next_call_works(echo):
    first = _call().worker_pid
    with pytest.raises(WorkerCrashed) as caught:
        _call(parameters={"mode": "crash"})
    assert caught.value.details["exit_code"] == 7
    assert "about to crash" in caught.value.details["log_tail"]
    again = _call()
    assert again.worker_pid != first
    np.testing.assert_array_equal(again["labels"], _labels(IMAGE))


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


def test_a_call_ends_at_its_timeout_and_the_next_one_works(echo):
    _call()
    started = time.monotonic()
    with pytest.raises(WorkerTimeout):
        _call(parameters={"mode": "sleep"}, timeout=0.5)
    assert time.monotonic() - started < 20
    assert _call()["labels"].any()


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


WRONG = """
import numpy as np
def segment(image, *, axes="", threshold=0.5, mode="plain"):
    return {
        "plain": np.zeros((3, 3), int),
        "crash": -np.ones(image.shape, int),
        "fail": [[1], [1, 2]],
        "refuse": np.zeros(image.shape),
        "sleep": {"nothing": 1},
    }[mode]
def measure(image, other):
    return {"sum": image, "table": {"when": [object()]}}
"""


@pytest.mark.parametrize("mode", ["plain", "crash", "fail", "refuse", "sleep"])
def test_a_wrong_result_is_refused_and_the_worker_lives_on(data_folder, mode):
    publish(data_folder, ECHO_DECLARATION, WRONG)
    pid = client.start("echo")
    with pytest.raises(ModuleFailed):
        _call(parameters={"mode": mode})
    with pytest.raises(ModuleFailed, match="no table"):
        client.call("echo", "measure", {"image": IMAGE, "other": IMAGE})
    assert client.start("echo") == pid


def test_a_declared_function_that_is_missing_is_named(data_folder):
    publish(data_folder, ECHO_DECLARATION, "def segment(image):\n    return image\n")
    with pytest.raises(ModuleFailed, match="no function 'measure'"):
        _call()


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


def test_a_timeout_holds_while_another_thread_computes(echo):
    pid = client.start("echo")
    ended = threading.Event()

    def compute():
        with pytest.raises(Cancelled):
            _call(parameters={"mode": "sleep"}, cancelled=ended.is_set)

    thread = threading.Thread(target=compute)
    thread.start()
    ((_, record),) = records.live(echo)
    deadline = time.monotonic() + 30
    while not client.status(record)["busy"]:
        assert time.monotonic() < deadline
    with pytest.raises(WorkerTimeout):
        _call(timeout=0.3)
    assert client.status(record)["busy"]  # the other call was not disturbed
    assert client.status(record)["ready"]
    ended.set()
    thread.join(30)
    assert pid == record.pid


def test_a_missing_environment_is_told_in_one_sentence(echo):
    publish(echo, ECHO_DECLARATION | {"name": "gone"}, ECHO_WORKER, python="envs/gone/no/python")
    with pytest.raises(WorkerStartFailed, match="damaged") as caught:
        client.call("gone", "segment", {"image": IMAGE})
    assert "Repair" in caught.value.hint


def test_a_module_that_is_not_installed(echo):
    with pytest.raises(NotInstalled, match="is not installed") as caught:
        client.call("cellpose", "segment", {"image": IMAGE})
    assert "Install" in str(caught.value)


@pytest.mark.parametrize(
    ("function", "arrays", "parameters"),
    [
        pytest.param("nothing", {"image": IMAGE}, {}, id="unknown-function"),
        pytest.param("segment", {}, {}, id="no-image"),
        pytest.param("segment", {"picture": IMAGE}, {}, id="wrong-input-name"),
        pytest.param("segment", {"image": IMAGE.astype(complex)}, {}, id="complex-numbers"),
        pytest.param("segment", {"image": np.array([["a"]])}, {}, id="text"),
        pytest.param("segment", {"image": IMAGE}, {"threshold": "high"}, id="parameter-type"),
        pytest.param("segment", {"image": IMAGE}, {"treshold": 1}, id="parameter-name"),
    ],
)
def test_bad_input_is_refused_and_the_worker_lives_on(echo, function, arrays, parameters):
    pid = _call().worker_pid
    with pytest.raises(BadInput):
        client.call("echo", function, arrays, parameters)
    assert _call().worker_pid == pid


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "config_invalid"),
        ('{"schema": 1, "modules"', "config_invalid"),
        ("[]", "config_invalid"),
        ('{"schema": 99, "modules": {}}', "config_too_new"),
        ('{"schema": 1, "modules": {"echo": {"version": 1}}}', "config_invalid"),
    ],
)
def test_a_damaged_config_is_named(echo, text, code):
    (echo / "config.json").write_text(text, "utf-8")
    with pytest.raises(ConfigError) as caught:
        _call()
    assert caught.value.code == code
    assert "config.json" in caught.value.message
    (echo / "config.json").unlink()


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
