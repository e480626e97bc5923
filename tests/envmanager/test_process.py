"""Running other programs: their output, their end, and the end of all that they start."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from envmanager.errors import Cancelled
from envmanager.events import CancelToken
from envmanager.processes import process
from tests.support import PROJECT

windows = pytest.mark.windows
DEADLINE_S = 60.0
# Starts a child that leaves its session and holds nothing, writes both ids, and goes on or not.
PARENT = """
import os, subprocess, sys, time
quiet = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
code = "import time; time.sleep(600)"
child = subprocess.Popen([sys.executable, "-c", code], start_new_session=True, **quiet)
with open("half", "w") as file:
    file.write(f"{os.getpid()} {child.pid}")
os.replace("half", "pids")
time.sleep(float(sys.argv[1]))
os._exit(3)
"""
ENGINE = """
import sys
from pathlib import Path
from envmanager.processes import process
process.run([sys.executable, "-c", sys.argv[1], "600"], cwd=Path.cwd())
"""


def _pids(folder: Path) -> list[psutil.Process]:
    deadline = time.monotonic() + DEADLINE_S
    while not (folder / "pids").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return [psutil.Process(int(pid)) for pid in (folder / "pids").read_text().split()]


def _lives(one: psutil.Process) -> bool:
    try:
        return one.is_running() and one.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _run(folder: Path, code: str, *arguments: str, **options):
    return process.run([sys.executable, "-c", code, *arguments], cwd=folder, **options)


@windows
def test_a_cancel_kills_what_left_its_session_too(tmp_path):
    cancel, found = CancelToken(), []

    def stop():
        found.extend(_pids(tmp_path))
        cancel.cancel()

    threading.Thread(target=stop).start()
    with pytest.raises(Cancelled):
        _run(tmp_path, PARENT, "600", cancel=cancel)
    assert len(found) == 2
    assert not any(_lives(one) for one in found)


@windows
def test_what_a_program_leaves_running_ends_soon_after_it(tmp_path):
    found = []
    watcher = threading.Thread(target=lambda: found.extend(_pids(tmp_path)))
    watcher.start()
    assert _run(tmp_path, PARENT, "0.5").exit_code == 3
    watcher.join(DEADLINE_S)
    assert len(found) == 2
    assert not any(_lives(one) for one in found)


@windows
def test_nothing_goes_on_when_the_engine_is_killed(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", ENGINE, PARENT],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(PROJECT)},
    ) as engine:
        found = _pids(tmp_path)
        engine.kill()
    _, alive = psutil.wait_procs(found, DEADLINE_S)
    assert not alive


@windows
def test_lines_come_in_the_thread_of_the_caller_and_all_of_them(tmp_path):
    seen, polls = [], []
    code = "import sys, time\nfor n in range(500): print(n, 'ö', file=sys.stderr)\n"
    code += "sys.stderr.flush(); time.sleep(0.5)\n"
    code += "print('out', end=''); print('last', end='', file=sys.stderr)"
    done = _run(
        tmp_path,
        code,
        env={"PYTHONIOENCODING": "utf-8"},
        on_line=lambda line: seen.append((line, threading.current_thread())),
        on_poll=lambda: polls.append(len(seen)),
    )
    assert [line for line, _ in seen] == [*(f"{n} ö" for n in range(500)), "last"]
    assert {thread for _, thread in seen} == {threading.current_thread()}
    assert 500 in polls  # they came while the program ran
    assert (done.exit_code, done.stdout) == (0, "out")
    assert done.stderr.endswith("499 ö\nlast")


@windows
def test_a_failing_listener_ends_the_program(tmp_path):
    def refuse(line):
        raise ValueError(line)

    code = "import sys, time; print('word', file=sys.stderr, flush=True); time.sleep(600)"
    with pytest.raises(ValueError, match="word"):
        _run(tmp_path, code, on_line=refuse)
    assert not [
        p
        for p in psutil.Process().children(recursive=True)
        if "time.sleep(600)" in str(p.cmdline())
    ]


@windows
def test_a_program_that_is_not_there_leaves_nothing(tmp_path):
    before = set(psutil.Process().children(recursive=True))
    with pytest.raises(FileNotFoundError):
        process.run([tmp_path / "no such program"], cwd=tmp_path)
    assert set(psutil.Process().children(recursive=True)) <= before  # of these, some may end


@windows
def test_runs_in_several_threads_do_not_end_each_other(tmp_path):
    outcomes = []

    def wait(number):
        folder = tmp_path / str(number)
        folder.mkdir()
        code = f"import time; time.sleep({number / 2}); print({number})"
        outcomes.append(_run(folder, code).stdout.strip())

    threads = [threading.Thread(target=wait, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE_S)
    assert sorted(outcomes) == ["0", "1", "2", "3"]
