"""A user's own place, and another volume."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

import pytest

from envmanager.errors import ConfigError
from ga3_nodes import home
from tests.conftest import end_workers
from tests.support import ECHO_DECLARATION, ECHO_WORKER, publish

SHM = Path("/dev/shm")


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Be a user whose data folder is where it is without any variable; return that place."""
    monkeypatch.delenv("GA3ENV_HOME")
    monkeypatch.delenv("UV_CACHE_DIR", raising=False)
    for name in ("XDG_DATA_HOME", "LOCALAPPDATA"):
        monkeypatch.setenv(name, str(tmp_path / "nutzer ü"))
    monkeypatch.setenv("HOME", str(tmp_path))
    yield home.user_root()
    with contextlib.suppress(ConfigError):  # a volume of the test that is gone
        end_workers(home.located(home.user_root()))


@pytest.fixture
def echo_at(place):
    """Publish the echo module in the user's place."""
    place.mkdir(parents=True)
    publish(place, ECHO_DECLARATION, ECHO_WORKER)
    return place


@pytest.fixture
def other_volume(tmp_path):
    """Return a new folder on another volume."""
    if not SHM.is_dir() or SHM.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second volume")
    folder = SHM / f"ga3env {os.getpid()} é"
    yield folder
    shutil.rmtree(folder, ignore_errors=True)
