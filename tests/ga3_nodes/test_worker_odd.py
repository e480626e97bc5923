"""A module that does what no module should: copies of its process, closed streams, endless talk."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest

from ga3_nodes import client, home, records
from ga3_nodes.errors import ModuleFailed, WorkerCrashed
from tests.support import PROJECT, publish

pytestmark = pytest.mark.windows

DECLARATION = {
    "name": "odd",
    "version": "1.0.0",
    "functions": {
        "segment": {
            "inputs": {"image": {"axes": ["yx"]}},
            "outputs": {"labels": {"kind": "labels"}},
            "parameters": {"mode": {"type": "text", "default": "plain"}},
        }
    },
}
WORKER = """
import os, subprocess, sys, time
from pathlib import Path
import numpy as np

def segment(image, *, mode):
    if mode.startswith("fork"):
        pid = os.fork()
        if pid == 0:
            time.sleep(60)
            os._exit(0)
        if mode == "fork and die":
            Path("pid").write_text(str(pid))
            os._exit(9)
        return np.full(image.shape, pid, np.int32)
    if mode == "child":
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        Path("pid").write_text(str(child.pid))
        time.sleep(60)
    if mode == "close":
        sys.stdout.close()
        raise RuntimeError("the model exploded")
    if mode == "talk":
        print("blah " * 250_000)
    return (image > 0).astype(np.int32)
"""
IMAGE = np.ones((4, 5), np.uint8)
posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows makes no copies of processes")


@pytest.fixture
def odd(data_folder):
    return publish(data_folder, DECLARATION, WORKER)


def _call(mode="plain", **options):
    return client.call("odd", "segment", {"image": IMAGE}, {"mode": mode}, **options)


def _noted(folder):
    """Wait for the process id that the module has written down."""
    deadline = time.monotonic() + 20
    while not (folder / "pid").exists() or not (folder / "pid").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return int((folder / "pid").read_text())


@posix
def test_nobody_waits_for_a_copy_of_a_worker_that_has_died(odd):
    """It holds the same connection and the same lock."""
    with pytest.raises(WorkerCrashed, match="exit code 9"):
        _call("fork and die", timeout=20)
    copies = [_noted(odd)]
    copies.append(int(_call("fork")["labels"][0, 0]))
    ((_, record),) = records.live(home.published("odd").root)
    os.kill(record.pid, signal.SIGKILL)  # as the system does when memory runs out
    assert _call(timeout=20).worker_pid != record.pid
    for copy in copies:
        os.kill(copy, signal.SIGKILL)  # they did live on


@posix
def test_where_the_node_is_gone_all_processes_of_its_call_end(odd):
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import numpy as np\n"
        "from ga3_nodes import client\n"
        "client.call('odd', 'segment', {'image': np.ones((4, 5))}, {'mode': 'child'})\n"
    )
    node = subprocess.Popen([sys.executable, "-c", script, str(PROJECT)])
    child = psutil.Process(_noted(odd))
    node.kill()
    node.wait()
    child.wait(20)  # raises where it lives on
    assert _call()["labels"].all()


def test_a_module_that_has_closed_its_output_is_heard_nevertheless(odd):
    pid = _call().worker_pid
    with pytest.raises(ModuleFailed, match="the model exploded"):
        _call("close")
    assert _call().worker_pid == pid


def test_the_log_of_a_worker_that_talks_without_end_stays_small(odd):
    for _ in range(4):
        pid = _call("talk").worker_pid
    with pytest.raises(ModuleFailed):
        _call("close")  # its traceback is the last that comes into the log
    assert _call().worker_pid == pid
    log = home.log_dir(home.published("odd").root) / "worker-odd.log"
    assert log.stat().st_size < 1 << 20
    assert b"the model exploded" in log.read_bytes()
    assert b"\0" not in log.read_bytes()
    assert b"blah" in log.with_suffix(".old.log").read_bytes()
