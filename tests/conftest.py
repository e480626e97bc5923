"""Fixtures for all tests: an isolated data folder, published modules, and a check for leaks."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from pathlib import Path

import psutil
import pytest

from envmanager.data.paths import DataFolder
from envmanager.data.settings import Settings
from envmanager.environments.lifecycle import Environments
from ga3_nodes import client, home, locks, records
from ga3_nodes.errors import GA3EnvError
from tests.sharing import once
from tests.support import ECHO_DECLARATION, ECHO_WORKER, publish

# A program that writes no bytecode compiles all that it imports, each time that a test starts it.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

pytest_plugins = [
    "tests.local_index",
    "tests.file_server",
    "tests.standin_fixtures",
    "tests.counts",
    "tests.pipeline_module",
]


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


@pytest.fixture(scope="session")
def shared_uv_cache(tmp_path_factory) -> Path:
    """Share one cache of downloads between all tests of a run."""
    return once(tmp_path_factory, "uv cache", lambda folder: None)


@pytest.fixture(scope="session")
def classic_root(tmp_path_factory, shared_uv_cache) -> Path:
    """Return a data folder with `classic` installed: to be copied, and never changed."""

    def make(root: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("GA3ENV_HOME", str(root))
            patch.setenv("UV_CACHE_DIR", str(shared_uv_cache))
            Environments(DataFolder(root), Settings()).install("classic")

    return once(tmp_path_factory, "classic root", make)


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
