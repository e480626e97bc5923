"""Who uses a worker, told by its lease; and clients that a worker cannot wait for."""

from __future__ import annotations

import json
import os
import sys
import time

import numpy as np
import psutil
import pytest

from ga3_nodes import client, home, leases, locks, records
from tests import programs
from tests.support import ECHO_DECLARATION, ECHO_WORKER, publish

pytestmark = pytest.mark.windows
IMAGE = np.ones((3, 4))
LARGE = """
def measure(image, other):
    time.sleep(2)
    count = image.size
    return {"sum": image + other, "table": {"n": np.arange(count), "name": ["a"] * count}}
"""
# Its clients may leave a message unread for a second: with the usual 10 s, a test takes 20.
HASTY = """
from ga3_nodes import peers
peers._SEND_TIMEOUT_S = 1.0
"""


def _lease(root):
    return programs.until(lambda: leases.held(root, "echo"))[0]


def _clients(root):
    return _lease(root).clients


def test_the_note_names_worker_and_clients_with_the_time(echo):
    before = time.time()
    pid = client.call("echo", "segment", {"image": IMAGE}).worker_pid
    (told,) = programs.until(lambda: _clients(echo))
    assert before <= told["since"] <= time.time()
    assert told["pid"] == os.getpid()
    assert told["program"].startswith("python")
    lease = _lease(echo)
    assert (lease.module, lease.generation, lease.pid) == ("echo", 1, pid)
    assert before <= lease.since <= told["since"]
    client.close()
    programs.until(lambda: not _clients(echo))


def test_the_note_tells_a_call_that_runs(echo):
    client.start("echo")
    process = programs.caller("segment", mode="sleep")
    try:
        programs.until(lambda: [c["busy"] for c in _clients(echo)] == [False, True])
    finally:
        programs.end(process)
    programs.until(lambda: not leases.held(echo))


def test_a_public_lease_lies_in_the_data_folder_and_goes_with_the_worker(echo):
    client.start("echo")
    (public,) = (echo / "leases").iterdir()
    (private,) = home.run_dir(echo).glob("*.lease")
    assert locks.read_note(public) == locks.read_note(private)
    assert locks.is_locked(public)
    stem = records.stem(echo, "echo", 1)
    record = records.read(stem)
    client.close()
    client.stop(record)
    programs.until(lambda: not list((echo / "leases").iterdir()))


def test_a_killed_worker_holds_nothing_and_its_leases_are_swept(echo):
    pid = client.start("echo")
    process = psutil.Process(pid)
    process.kill()
    process.wait(30)
    assert leases.held(echo) == []
    assert list((echo / "leases").iterdir()) == []
    assert list(home.run_dir(echo).glob("*.lease")) == []


def test_a_worker_that_may_not_write_the_data_folder_lives_without_a_public_lease(echo):
    (echo / "leases").write_text("a file where the folder should be", "utf-8")
    assert client.call("echo", "segment", {"image": IMAGE})["labels"].any()
    assert _lease(echo).pid


@pytest.mark.parametrize(
    "note",
    ["", "[]", "{", '{"pid": "x", "since": "y", "clients": [1, {"pid": [], "since": "z"}]}'],
)
def test_another_accounts_note_may_be_anything(data_folder, note):
    (data_folder / "leases").mkdir()
    path = data_folder / "leases" / "echo-3-somebody.lease"
    with locks.FileLock(path):
        path.write_text(note, "utf-8")
        (lease,) = leases.held(data_folder, "echo")
        assert (lease.module, lease.generation, lease.pid, lease.since) == ("echo", 3, 0, None)
        assert all(told["since"] is None for told in lease.clients)


@pytest.mark.skipif(sys.platform == "win32", reason="a process cannot be suspended there")
def test_a_suspended_client_does_not_block_the_others(data_folder):
    publish(data_folder, ECHO_DECLARATION, ECHO_WORKER + LARGE + HASTY)
    pid = client.call("echo", "segment", {"image": IMAGE}).worker_pid  # it has loaded its code
    ((_, record),) = records.live(data_folder)
    stuck = programs.caller("measure", (600, 600))  # its table is larger than a socket takes
    try:
        programs.until(lambda: client.status(record)["busy"])
        psutil.Process(stuck.pid).suspend()
        result = client.call("echo", "segment", {"image": IMAGE}, timeout=120)
        assert result.worker_pid == pid
        programs.until(lambda: stuck.pid not in [c["pid"] for c in _clients(data_folder)])
        psutil.Process(stuck.pid).resume()
        _, told = stuck.communicate(timeout=60)
    finally:
        programs.end(stuck)
    assert stuck.returncode == 1
    assert "WorkerTimeout" in told
    assert "gave this program up" in told


def test_a_large_answer_reaches_a_client_that_reads(data_folder):
    publish(data_folder, ECHO_DECLARATION, ECHO_WORKER + LARGE)
    image = np.ones((600, 600))
    result = client.call("echo", "measure", {"image": image, "other": image})
    assert json.dumps(result["table"]["n"]) == json.dumps(list(range(360_000)))
