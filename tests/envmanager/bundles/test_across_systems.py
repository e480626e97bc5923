"""A bundle that was made on Linux for Windows is installed there: under Wine, without a network."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from envmanager.bundles.target import Target
from tests import windows_bench
from tests.envmanager.bundles.conftest import WEIGHTS, workshop
from tests.release.conftest import bench  # noqa: F401
from tests.support import PROJECT
from tests.wheel_server import WheelServer
from tests.wheels import repack

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="made on Linux for Windows"),
]
LIMIT_S = 200


@pytest.fixture
def windows_home(bench):  # noqa: F811
    """Return the data folder of a Windows user, as Windows names it and as it is seen from here."""
    place = windows_bench.HOME / f"bundles-{os.getpid()}" / "Jörg Müller"
    place.parent.mkdir()
    yield f"C:\\ga3env\\{place.parent.name}\\{place.name}", place
    shutil.rmtree(place.parent)


@pytest.fixture
def for_windows(bench, wheels, monkeypatch, tmp_path):  # noqa: F811
    """Make a bundle for the Python of the bench, whose own numpy is the one in it."""
    monkeypatch.delenv("UV_CACHE_DIR", raising=False)
    (python,) = (bench / "prefix" / "drive_c").glob("Python3*")
    version = python.name.removeprefix("Python").replace("3", "3.", 1)
    numpy = repack(windows_bench.VENV / "Lib" / "site-packages", "numpy", tmp_path)
    wheels = replace(wheels, numpy=numpy)
    with WheelServer() as server:
        for wheel in (numpy, *wheels.files[1]):
            server.add(wheel)
        shop = workshop(tmp_path / "home", server, wheels)
        path = tmp_path / "für das Labor.ga3bundle"
        return shop.make(path, target=Target("windows", version), weights=["small"]).path


def test_it_is_installed_under_windows(for_windows, windows_home):
    named, seen = windows_home
    values = _told(named, "bundle", "install", for_windows)
    (done,) = values["modules"]
    assert (done["name"], done["generation"], done["new"]) == ("mini", 1, True)
    generation = seen / "envs" / "mini" / "1"
    assert json.loads((generation / "manifest.json").read_text("utf-8"))["selftest"] == "passed"
    assert (generation / ".venv" / "Scripts" / "python.exe").is_file()
    assert (seen / "weights" / "mini" / "small.bin").read_bytes() == WEIGHTS


def _told(home: str, *words: str | Path) -> dict:
    """Return what a command says on Windows, where all ways to the network lead nowhere."""
    dead = {f"{kind}_PROXY": "http://127.0.0.1:9" for kind in ("HTTP", "HTTPS", "ALL")}
    program = [windows_bench.BENCH / "wexec", r"C:\ga3env\venv\Scripts\python.exe"]
    finished = subprocess.run(
        [*program, "-m", "envmanager", *words, "--json"],
        cwd=PROJECT,
        env=windows_bench.wine_environment() | dead | {"GA3ENV_HOME": home},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="replace",  # what it tells of its progress is in a code page of Windows
        timeout=LIMIT_S,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return json.loads(finished.stdout)["data"]
