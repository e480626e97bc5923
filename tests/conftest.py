"""Fixtures for all tests: an isolated data folder, published modules, and a check for leaks."""

from __future__ import annotations

import contextlib
import signal
import time
from pathlib import Path

import psutil
import pytest

from ga3_nodes import client, home, locks, records
from ga3_nodes.errors import GA3EnvError
from tests.support import ECHO_DECLARATION, ECHO_WORKER, publish

pytest_plugins = ["tests.local_index", "tests.standin_fixtures", "tests.counts"]


@pytest.fixture(scope="session", autouse=True)
def signals_as_in_a_terminal():
    """Undo what ``nohup`` and ``&`` do: programs that we start inherit signals that are ignored."""
    for name in ("SIGINT", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)


@pytest.fixture(autouse=True)
def data_folder(tmp_path, monkeypatch):
    """Give each test its own data folder, with a space and a letter beyond ASCII in its name."""
    root = tmp_path / "Daten Ordner é"
    root.mkdir()
    monkeypatch.setenv("GA3ENV_HOME", str(root))
    for name in ("PYTHONHOME", "PYTHONPATH", "GA3ENV_SETTINGS"):
        monkeypatch.delenv(name, raising=False)
    yield root
    end_workers(root)


@pytest.fixture
def echo(data_folder):
    """Publish a module with small functions that also crash, fail, refuse and sleep."""
    publish(data_folder, ECHO_DECLARATION, ECHO_WORKER)
    return data_folder


def end_workers(root: Path) -> None:
    """End the test's workers, and fail where one does not end."""
    client.close()
    for _, record in records.live(root):
        with contextlib.suppress(OSError, GA3EnvError):  # it is just ending
            client.stop(record)
    deadline = time.monotonic() + 20
    while leases := [p for p in home.run_dir(root).glob("*.lease") if locks.is_locked(p)]:
        assert time.monotonic() < deadline, f"workers do not end: {leases}"
        time.sleep(0.02)
    left = [process for process in psutil.Process().children(recursive=True) if _serves(process)]
    _, alive = psutil.wait_procs(left, timeout=20)
    assert not alive, f"worker processes are left: {alive}"


def _serves(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE and "--serve" in process.cmdline()
    except (psutil.Error, OSError):
        return False
