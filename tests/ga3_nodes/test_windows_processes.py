"""Processes as Windows has them: jobs, consoles, and a module's own children."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest

from ga3_nodes import client, home, spawn
from ga3_nodes.errors import WorkerStartFailed
from tests import programs
from tests.support import ECHO_DECLARATION, publish

pytestmark = pytest.mark.windows
windows_only = pytest.mark.skipif(sys.platform != "win32", reason="as Windows has them")
IMAGE = np.arange(12, dtype=np.uint16).reshape(3, 4)
# NIS in a job that ends all that is in it: the last handle goes with this program. 0x2000: what is
# left is killed; 0x800: who asks for it may start a process outside of the job.
IN_A_JOB = """
import ctypes, sys
import numpy as np
from ga3_nodes import client

class Limits(ctypes.Structure):
    _fields_ = [("times", ctypes.c_int64 * 2), ("flags", ctypes.c_uint32),
                ("rest", ctypes.c_byte * 124)]

kernel = ctypes.WinDLL("kernel32", use_last_error=True)
kernel.CreateJobObjectW.restype = kernel.GetCurrentProcess.restype = ctypes.c_void_p
job = ctypes.c_void_p(kernel.CreateJobObjectW(None, None))
limits = Limits(flags=int(sys.argv[1], 16))
assert ctypes.sizeof(limits) == 144  # JOBOBJECT_EXTENDED_LIMIT_INFORMATION
assert kernel.SetInformationJobObject(job, 9, ctypes.byref(limits), 144), ctypes.get_last_error()
assert kernel.AssignProcessToJobObject(job, ctypes.c_void_p(kernel.GetCurrentProcess()))
result = client.call("echo", "segment", {"image": np.ones((2, 2), np.uint8)})
print(result.worker_pid, int(result["labels"].max()), flush=True)
"""


def _call():
    return client.call("echo", "segment", {"image": IMAGE})


def _lives(pid):
    return psutil.pid_exists(pid) and psutil.Process(pid).is_running()


@windows_only
@pytest.mark.parametrize("breakaway", [True, False])
def test_a_worker_survives_the_job_of_nis_where_the_job_lets_it(echo, breakaway):
    process = programs.python(IN_A_JOB, hex(0x2000 | (0x800 if breakaway else 0)))
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    pid, largest = map(int, out.split())
    assert largest == 4
    if breakaway:
        assert _call().worker_pid == pid
    else:
        programs.until(lambda: not _lives(pid))
        assert _call().worker_pid != pid


@windows_only
def test_nothing_is_started_with_a_console_window(echo, monkeypatch, tmp_path):
    import _winapi

    from envmanager.processes import process

    create, flags = _winapi.CreateProcess, []

    def recording(*arguments):
        flags.append((arguments[1], arguments[5]))
        return create(*arguments)

    monkeypatch.setattr(_winapi, "CreateProcess", recording)
    pid = _call().worker_pid
    process.run([sys.executable, "-c", ""], cwd=tmp_path)
    with (tmp_path / "log").open("wb") as log:
        # No launcher: Wine's own taskkill leaves the children.
        sleeper = [str(Path(sys.base_prefix, "python.exe")), "-c", "import time; time.sleep(60)"]
        started = spawn.popen(sleeper, dict(os.environ), tmp_path, log.fileno())
        spawn.end_tree(started, grace_s=0.2)
    assert started.returncode is not None
    assert len(flags) >= 4  # the worker, the program, the sleeper, and what ends that one
    assert [line for line, flag in flags if not flag & subprocess.CREATE_NO_WINDOW] == []
    assert _call().worker_pid == pid


def test_a_module_may_use_a_pool_of_processes(data_folder):
    """Spawned, each of them imports the host and the module once more."""
    worker = """
        import multiprocessing
        from concurrent.futures import ProcessPoolExecutor
        import numpy as np

        def double(row):
            return row * 2

        def segment(image, *, axes="", threshold=0.5, mode="plain"):
            spawn = multiprocessing.get_context("spawn")
            with ProcessPoolExecutor(1, mp_context=spawn) as pool:
                return np.stack(list(pool.map(double, image))).astype(np.int32)

        def measure(image, other):
            raise NotImplementedError
        """
    publish(data_folder, ECHO_DECLARATION, worker)
    np.testing.assert_array_equal(_call()["labels"], IMAGE * 2)


def test_what_the_system_does_not_start_is_told(echo, tmp_path):
    """An antivirus, a policy, or a file that is no program."""
    no_program = tmp_path / "python.exe"
    no_program.write_bytes(b"")
    publish(echo, ECHO_DECLARATION | {"name": "other"}, "", python=str(no_program))
    with pytest.raises(WorkerStartFailed, match="does not start the worker of other") as caught:
        client.call("other", "segment", {"image": IMAGE})
    assert Path(caught.value.details["python"]) == no_program
    assert caught.value.hint
    assert home.published("other").python == no_program
