"""A module tells its progress and notes, hears of a cancel, and keeps its worker then."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from ga3_nodes import client, records, shm, wire
from ga3_nodes.errors import BadInput, Cancelled, ModuleFailed, WorkerTimeout
from ga3_nodes.running import Running
from tests.support import ECHO_DECLARATION, publish

pytestmark = pytest.mark.windows

PROJECT = Path(__file__).resolve().parents[2]
IMAGE = np.arange(12, dtype=np.uint16).reshape(3, 4)
TALKATIVE = """
import os, time
import numpy as np

def segment(image, *, threshold=0.5, mode="plain", progress=None, cancelled=None, note=None):
    if mode == "sleep":    # tells its progress until it is stopped there
        while True:
            progress(0.5, "still at it")
            time.sleep(0.01)
    if mode == "crash":    # looks at the flag, and returns a mask of what it has
        while not cancelled():
            time.sleep(0.01)
    if mode == "fail":     # swallows everything, like a library that tries again
        while True:
            try:
                progress(0.5)
            except Exception:
                pass
            time.sleep(0.01)
    if mode == "refuse":   # hears nothing
        progress(0.1, "deaf")
        time.sleep(60)
    for step in range(5):
        progress(step / 4, f"step {step}")
        time.sleep(0.1)
    note("Tiles of 256 px were used: the memory did not suffice for larger ones.")
    return image > threshold

def measure(image, other):
    return {"sum": image, "table": {}}
"""


@pytest.fixture
def talkative(data_folder):
    publish(data_folder, ECHO_DECLARATION, TALKATIVE)
    return data_folder


def _call(mode="plain", **keywords):
    return client.call("echo", "segment", {"image": IMAGE}, {"mode": mode}, **keywords)


def test_progress_and_notes_reach_the_caller(talkative):
    told = []
    result = _call(progress=lambda done, text: told.append((done, text)))
    assert told[0] == (0.0, "step 0")
    assert told[-1] == (1.0, "step 4")
    assert told == sorted(told)
    assert result.notes == [
        "Tiles of 256 px were used: the memory did not suffice for larger ones."
    ]


def test_a_caller_who_does_not_ask_hears_no_progress(talkative):
    """A client of before would take an unknown message for the result."""
    _call()
    ((_, record),) = records.live(talkative)
    assert _types(record, {}) == ["started", "result"]
    assert "progress" in _types(record, {"progress": True})


@pytest.mark.parametrize("number", [1, shm.MOST_MARK])
def test_a_client_that_looks_by_itself_is_not_told_the_start(talkative, number):
    _call()
    ((_, record),) = records.live(talkative)
    (outbox := shm.Outbox()).reserve([((3,), np.dtype("uint8"))])
    assert _types(record, {"id": number, "mark": outbox.handle}) == ["result"]
    assert outbox.marked == number


@pytest.mark.parametrize("more", [{"mark": "1/2:3:00"}, {"mark": 7}, {"id": 1 << 63}])
def test_a_start_that_cannot_be_marked_is_told(talkative, more):
    pid = _call().worker_pid
    ((_, record),) = records.live(talkative)
    (outbox := shm.Outbox()).reserve([((3,), np.dtype("uint8"))])
    assert _types(record, {"mark": outbox.handle, **more}) == ["started", "result"]
    assert outbox.marked == 0
    assert _call().worker_pid == pid


def _types(record, more):
    """Return the types of all messages that answer one call."""
    connection = wire.connect(record.address)
    wire.greet(connection, bytes.fromhex(record.key), {"protocol": wire.PROTOCOL})
    ((description, view),) = (outbox := shm.Outbox()).reserve([(IMAGE.shape, IMAGE.dtype)])
    view[...] = IMAGE
    arrays, call = {"image": description}, {"type": "call", "function": "segment", "params": {}}
    wire.send(connection, {**call, "id": 1, "arrays": arrays, **more})
    types = []
    while not types or types[-1] not in ("result", "error"):
        types.append(wire.receive(connection, 20)["type"])
    connection.close()
    del outbox
    return types


@pytest.mark.parametrize("mode", ["sleep", "crash"])
def test_a_module_that_stops_by_itself_keeps_its_worker(talkative, mode):
    pid = _call().worker_pid
    started = time.monotonic()
    with pytest.raises(Cancelled):
        _call(mode, cancelled=lambda: time.monotonic() > started + 0.3)
    assert _call().worker_pid == pid


def test_a_timeout_spares_a_worker_that_stops(talkative):
    pid = _call().worker_pid
    with pytest.raises(WorkerTimeout):
        _call("sleep", timeout=0.3)
    assert _call().worker_pid == pid


@pytest.mark.parametrize("mode", ["refuse", "fail"])
def test_a_module_that_does_not_stop_is_killed(talkative, mode):
    pid = _call().worker_pid
    started = time.monotonic()
    with pytest.raises(Cancelled):
        _call(mode, cancelled=lambda: time.monotonic() > started + 0.3)
    assert _call().worker_pid != pid
    with pytest.raises(psutil.NoSuchProcess):
        _alive(pid)


def _alive(pid):
    process = psutil.Process(pid)
    if process.status() == psutil.STATUS_ZOMBIE:
        raise psutil.NoSuchProcess(pid)


def test_an_error_of_the_callers_own_progress_ends_the_call(talkative):
    pid = _call().worker_pid

    def broken(done, text):
        raise RuntimeError("the window is closed")

    with pytest.raises(RuntimeError, match="the window is closed"):
        _call("sleep", progress=broken)
    assert _call().worker_pid == pid


def test_a_killed_client_stops_a_module_that_tells_its_progress_and_no_more(talkative):
    pid = _call().worker_pid
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import numpy as np\n"
        "from ga3_nodes import client\n"
        "client.call('echo', 'segment', {'image': np.ones((4, 4))}, {'mode': 'sleep'},"
        " progress=lambda done, text: print(text, flush=True))\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(PROJECT)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "still at it\n"
    for child in psutil.Process(process.pid).children():
        child.kill()  # on Windows the interpreter is a child of the launcher
    process.kill()
    process.wait()
    process.stdout.close()
    assert _call().worker_pid == pid


def test_a_cancelled_call_that_waits_for_another_disturbs_nobody(talkative):
    ended = threading.Event()
    outcomes = []

    def compute():
        with pytest.raises(Cancelled):
            _call("sleep", cancelled=ended.is_set)
        outcomes.append("cancelled")

    pid = client.start("echo")
    thread = threading.Thread(target=compute)
    thread.start()
    ((_, record),) = records.live(talkative)
    deadline = time.monotonic() + 30
    while not client.status(record)["busy"]:
        assert time.monotonic() < deadline
    started = time.monotonic()
    with pytest.raises(Cancelled):
        _call(cancelled=lambda: time.monotonic() > started + 0.2)
    assert client.status(record)["busy"]
    ended.set()
    thread.join(30)
    assert outcomes == ["cancelled"]
    assert _call().worker_pid == pid


def test_progress_is_clamped_and_its_text_short():
    told = []
    Running(tell=lambda done, text: told.append((done, text))).progress(7, "x" * 5000)
    assert told == [(1.0, "x" * 1000)]


def test_only_what_the_signature_names_is_given(data_folder):
    worker = "def segment(image, *, threshold=0.5, mode=''):\n    return image > threshold\n"
    publish(data_folder, ECHO_DECLARATION, worker + "def measure(image, other):\n    pass\n")
    assert _call(progress=lambda done, text: None)["labels"].any()


OUT_OF_MEMORY = """
class OutOfMemoryError(RuntimeError):
    pass
class ResourceExhaustedError(Exception):
    pass
def segment(image, *, threshold=0.5, mode="plain"):
    if mode == "plain":
        raise OutOfMemoryError("Tried to allocate 2.00 GiB.")
    if mode == "sleep":
        raise RuntimeError("CUDA error: out of memory")
    if mode == "fail":
        raise ResourceExhaustedError("OOM when allocating tensor")
    if mode == "refuse":
        raise RuntimeError("CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")
    if threshold == 7:
        raise MemoryError
    raise RuntimeError("out of cheese")
def measure(image, other):
    pass
"""


@pytest.mark.parametrize("mode", ["plain", "sleep", "fail", "refuse"])
def test_out_of_memory_names_the_device_and_the_next_step(data_folder, mode):
    device = f"test:{data_folder.parent.name}"
    publish(data_folder, ECHO_DECLARATION, OUT_OF_MEMORY, device=device)
    with pytest.raises(ModuleFailed, match=device) as caught:
        _call(mode)
    assert caught.value.code == "out_of_memory"
    assert caught.value.details["device"] == device
    assert "smaller image" in caught.value.hint
    with pytest.raises(ModuleFailed) as caught:
        _call("crash")
    assert caught.value.code == "module_failed"
    with pytest.raises(ModuleFailed) as caught:
        client.call("echo", "segment", {"image": IMAGE}, {"mode": "crash", "threshold": 7})
    assert (caught.value.code, caught.value.details["device"]) == ("out_of_memory", "cpu")
    assert device not in str(caught.value)  # it is the computer's memory that is full


def test_what_is_free_is_told_by_torch_where_the_module_has_loaded_it(data_folder):
    fake = """
import sys, types
torch = types.ModuleType("torch")
torch.cuda = types.SimpleNamespace(
    mem_get_info=lambda number: (300_000_000, 8_000_000_000),
    is_initialized=lambda: True,
    empty_cache=lambda: print("emptied", flush=True),
)
sys.modules["torch"] = torch
"""
    publish(data_folder, ECHO_DECLARATION, fake + OUT_OF_MEMORY, device="cuda:77")
    with pytest.raises(ModuleFailed, match=r"cuda:77.*0\.3 of 8\.0 GB are free") as caught:
        _call("plain")
    assert caught.value.details["free_bytes"] == 300_000_000
    client.close()
    assert "emptied" in (data_folder / "logs" / "worker-echo.log").read_text("utf-8")


def test_a_refused_image_is_no_memory_problem(data_folder):
    worker = "def segment(image, *, threshold=0, mode=''):\n    raise ValueError('too dark')\n"
    publish(data_folder, ECHO_DECLARATION, worker + "def measure(image, other):\n    pass\n")
    with pytest.raises(BadInput, match="too dark"):
        _call()
