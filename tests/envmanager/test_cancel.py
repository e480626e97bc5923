"""An install that is stopped at any moment, in any way: soon, whole, and without litter."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from envmanager import health, uv_cache
from envmanager.environments import Environments
from envmanager.errors import Cancelled
from envmanager.events import CancelToken, Progress, Stage
from envmanager.paths import DataFolder, uv_binary
from envmanager.settings import Settings
from tests.faults import mini
from tests.local_index import LocalIndex
from tests.support import PROJECT
from tests.wheels import make_wheel, requirement

pytestmark = pytest.mark.slow
windows = pytest.mark.windows
posix = pytest.mark.skipif(os.name == "nt", reason="no signals to a process there")
DEADLINE_S = 60.0  # generous: this machine may be busy
# A test that lasts, with a child that leaves its session and holds nothing of it.
LASTING_TEST = """
import subprocess, sys, time

def test_lasts():
    code = "import time; time.sleep(600)"
    quiet = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
    subprocess.Popen([sys.executable, "-c", code], start_new_session=True, **quiet)
    time.sleep(600)
"""


@dataclass(frozen=True)
class Place:
    """A data folder in which version 1 is published, and a version 2 whose install can last."""

    root: Path
    index: LocalIndex
    wheels: mini.Wheels
    nap: Path

    @property
    def engine(self) -> Environments:
        return Environments(DataFolder(self.root), Settings(index_url=self.index.url))

    def write_module(self, slow: str = "") -> None:
        """Write version 2, with a stage of its install that lasts."""
        self.index.mend()
        folder = self.wheels.write_module(self.root / "modules", 2)
        lock = requirement(self.wheels.numpy, *self.wheels.files[2], self.nap)
        (folder / "requirements.lock").write_text(lock, "utf-8")
        if slow == "resolve":
            self.index.fail("/simple/mini-core/", stall_after=5)
        if slow == "download":
            self.index.fail("*mini_core-2*.whl", bytes_per_s=100_000)
        if slow == "warm-up":
            toml = folder / "module.toml"
            text = toml.read_text("utf-8").replace('"mini_core"', '"mini_core", "nap"')
            toml.write_text(text, "utf-8")
        if slow == "self-test":
            (folder / "test_worker.py").write_text(LASTING_TEST, "utf-8")

    def snapshot(self) -> dict[str, bytes]:
        """Return all files but the caches, and the content of those that decide."""
        found = {}
        for path in self.root.rglob("*"):
            name = path.relative_to(self.root).as_posix()
            if not re.match(r"(uv-cache|logs|run|modules)(/|$)", name) and "__pycache__" not in name:
                decides = path.name in ("config.json", "manifest.json")
                found[name] = path.read_bytes() if decides else b""
        return found

    def forget(self) -> None:
        """Let uv's cache lack what is to be downloaded again."""
        for package in ("mini-core", "mini-label", "nap"):
            subprocess.run(
                [uv_binary(), "cache", "clean", package, "-q"],
                check=True,
                env=os.environ | {"UV_CACHE_DIR": str(self.root / "uv-cache")},
            )

    def processes(self) -> list[str]:
        """Return the processes that work in the data folder."""
        found = []
        for process in psutil.process_iter():
            try:
                line = " ".join(process.cmdline())
                if str(self.root) in line and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(line)
            except psutil.Error:
                continue
        return found

    def wait_for_its_end(self) -> float:
        """Wait until no process works here any more; return the seconds."""
        started = time.monotonic()
        while left := self.processes():
            assert time.monotonic() - started < DEADLINE_S, left
            time.sleep(0.05)
        return time.monotonic() - started

    def assert_nothing_left(self, before: dict[str, bytes]) -> None:
        assert self.processes() == []
        assert uv_cache.streaming(self.root / "uv-cache") == set()
        assert self.snapshot() == before


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """Publish version 1, once for all tests: none of them may change it."""
    folder = tmp_path_factory.mktemp("cancel")
    wheels = mini.make_wheels(folder / "wheels")
    nap = make_wheel(folder / "wheels", "nap", "1.0", {"nap.py": "import time\ntime.sleep(600)\n"})
    root = folder / "Daten é"
    root.mkdir()
    with LocalIndex([*wheels.all, nap]) as index, pytest.MonkeyPatch.context() as patch:
        patch.delenv("UV_CACHE_DIR", raising=False)
        patch.setenv("GA3ENV_HOME", str(root))
        place = Place(root, index, wheels, nap)
        wheels.write_module(root / "modules", 1)
        place.engine.install(mini.NAME)
        settings = f'index_url = "{index.url}"\n'
        (root / "settings.toml").write_text(settings, "utf-8")
        yield place


@pytest.fixture
def place(template, data_folder, monkeypatch):
    monkeypatch.setenv("GA3ENV_HOME", str(template.root))
    monkeypatch.delenv("UV_CACHE_DIR", raising=False)
    yield template
    template.index.mend()


@windows
@pytest.mark.parametrize("delay", [0.0, 0.05, 1.0])
@pytest.mark.parametrize(
    "stage",
    ["prepare", "resolve", "download", "install", "check", "warm-up", "self-test", "publish"],
)
def test_a_cancel_in_any_stage_leaves_all_as_it_was(place, stage, delay):
    if stage in ("prepare", "install", "check", "publish") and delay > 0.1:
        pytest.skip("that stage is over by then")
    place.write_module(slow=stage)
    place.forget()
    before = place.snapshot()
    cancel, asked, seen = CancelToken(), [], []

    def stop():
        asked.append(time.monotonic())
        cancel.cancel()

    def report(event):
        if isinstance(event, Stage):
            seen.append(event.name)
            if event.name == stage and delay:
                threading.Timer(delay, stop).start()
            elif event.name == stage:
                stop()

    try:
        done = place.engine.install(mini.NAME, report=report, cancel=cancel)
    except Cancelled:
        took = time.monotonic() - asked[0]
        print(f"{stage} + {delay} s: ended after {took:.2f} s")
        assert took < DEADLINE_S
        place.assert_nothing_left(before)
        if delay >= 1.0 or not delay:
            assert seen[-1] == stage
    else:  # the timer was late: it is published, as a whole
        assert stage in ("install", "check", "publish")
        assert delay
        assert done.new
        assert place.processes() == []
        place.engine.rollback(mini.NAME)
        place.engine.data.generation(mini.NAME, done.generation).rename(place.root.parent / "gone")
        pytest.fail("too late") if stage != "publish" else None


@windows
def test_a_cancelled_install_can_be_repeated(place):
    """At last: the same install without a cancel, and it is what it should be."""
    place.write_module()
    before = place.snapshot()
    cancel = CancelToken()

    def report(event):
        if isinstance(event, Progress) and event.total:
            cancel.cancel()

    place.forget()
    place.index.fail("*.whl", bytes_per_s=500_000)
    with pytest.raises(Cancelled):
        place.engine.install(mini.NAME, report=report, cancel=cancel)
    place.assert_nothing_left(before)
