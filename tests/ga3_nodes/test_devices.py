"""One call at a time computes on a device, across the workers of all modules."""

from __future__ import annotations

import os
import sys
import threading
import time

import numpy as np
import pytest

from ga3_nodes import client, devices, locks
from ga3_nodes.errors import Cancelled, WorkerTimeout
from ga3_nodes.running import Running
from tests.support import ECHO_DECLARATION, publish

pytestmark = pytest.mark.windows

IMAGE = np.ones((4, 4), np.uint8)
WORKER = """
def segment(image, *, threshold=0.5, mode="plain"):
    return image > threshold
def measure(image, other):
    pass
"""


@pytest.fixture
def device(tmp_path):
    """A device of this test alone."""
    name = f"test:{os.getpid()}-{tmp_path.name[-20:]}"
    yield name
    assert not devices.lock_path(name).exists()


def _call(module="echo", **keywords):
    return client.call(module, "segment", {"image": IMAGE}, **keywords)


def test_a_call_waits_for_the_device_and_says_for_whom(data_folder, device):
    publish(data_folder, ECHO_DECLARATION, WORKER, device=device)
    pid = _call().worker_pid
    told = []
    with devices.turn(device, "cellpose", Running()):
        with pytest.raises(Cancelled):
            _call(progress=lambda _, text: told.append(text), cancelled=lambda: len(told) > 2)
        with pytest.raises(WorkerTimeout):
            _call(timeout=0.3)
    assert f"waiting for {device}, used by cellpose (process {os.getpid()} of " in told[0]
    result = _call()
    assert (result.worker_pid, result.device) == (pid, device)


SLOW = """
import os, time
def segment(image, *, threshold=0.5, mode="plain", progress=None):
    with open({log!r}, "a") as file:
        for word in ("in", "out"):
            print(word, os.getpid(), file=file, flush=True)
            time.sleep(0.2)
    return image > threshold
def measure(image, other):
    pass
"""


def test_workers_of_two_modules_take_turns(data_folder, device, tmp_path):
    log = tmp_path / "turns.txt"
    worker = SLOW.format(log=str(log))
    publish(data_folder, ECHO_DECLARATION, worker, device=device)
    publish(data_folder, {**ECHO_DECLARATION, "name": "other"}, worker, device=device)
    threads = [threading.Thread(target=_call, args=(name,)) for name in ("echo", "other") * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    lines = [line.split() for line in log.read_text("utf-8").splitlines()]
    assert [word for word, _ in lines] == ["in", "out"] * 6
    assert all(lines[i][1] == lines[i + 1][1] for i in range(0, 12, 2))
    assert len({pid for _, pid in lines}) == 2


def test_a_device_of_a_killed_worker_is_free(data_folder, device):
    worker = "import time\n" + WORKER.replace("    return", "    time.sleep(threshold)\n    return")
    publish(data_folder, ECHO_DECLARATION, worker, device=device)
    pid = client.start("echo")
    path = devices.lock_path(device)
    with pytest.raises(Cancelled):
        client.call(
            "echo",
            "segment",
            {"image": IMAGE},
            {"threshold": 60},
            cancelled=lambda: path.exists() and bool(locks.read_note(path)),
        )
    deadline = time.monotonic() + 20  # the process takes a moment to end
    with devices.turn(device, "echo", Running(cancelled=lambda: time.monotonic() > deadline)):
        assert client.start("echo") != pid


def test_nobody_waits_for_the_cpu():
    with devices.turn("cpu", "one", Running()), devices.turn("cpu", "two", Running()):
        assert not devices.lock_path("cpu").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX links and permissions")
def test_a_link_in_the_shared_folder_leads_nowhere(device, tmp_path):
    target = tmp_path / "precious"
    target.write_text("kept", "utf-8")
    devices.lock_path(device).symlink_to(target)
    try:
        with devices.turn(device, "echo", Running()):
            assert target.read_text("utf-8") == "kept"
    finally:
        devices.lock_path(device).unlink()


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX permissions")
def test_other_accounts_can_lock_and_read_who_holds_it(device):
    before = os.umask(0o077)
    try:
        with devices.turn(device, "echo", Running()):
            path = devices.lock_path(device)
            assert path.stat().st_mode & 0o777 == 0o644
            assert locks.read_note(path)["module"] == "echo"
    finally:
        os.umask(before)
