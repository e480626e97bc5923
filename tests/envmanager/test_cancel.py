"""An install that is stopped at any moment, in any way: soon, whole, and without litter."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from envmanager.data.paths import DataFolder, uv_binary, venv_packages
from envmanager.data.settings import Settings
from envmanager.environments import health
from envmanager.environments.lifecycle import Environments
from envmanager.errors import Cancelled
from envmanager.events import CancelToken, Stage
from envmanager.uv import cache as uv_cache
from tests.faults import mini
from tests.local_index import LocalIndex
from tests.support import PROJECT
from tests.wheels import make_wheel, requirement

pytestmark = pytest.mark.slow
windows = pytest.mark.windows
posix = pytest.mark.skipif(os.name == "nt", reason="no signals to a process there")
STAGES = "prepare resolve download install check warm-up self-test publish".split()
# At whose beginning a cancel is tried under Wine too, where an install takes long.
IN_WINE = dict.fromkeys(("install", "check", "publish"), windows)
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
            self.index.fail("*mini_core-2*.whl", bytes_per_s=10_000)
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
            if (
                not re.match(r"(uv-cache|logs|run|modules)(/|$)", name)
                and "__pycache__" not in name
            ):
                decides = path.name in ("config.json", "manifest.json")
                found[name] = path.read_bytes() if decides else b""
        return found

    def forget(self) -> None:
        """Let uv's cache lack what is to be downloaded again."""
        subprocess.run(
            [uv_binary(), "cache", "clean", "-q", "mini-core", "mini-label", "nap"],
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
            except (psutil.Error, OSError):  # it has just ended
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
        index.headers["Cache-Control"] = "max-age=3600"  # numpy is fetched once
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


def _cancelled(place, stage, delay):
    """Install version 2 and cancel it; return the stages that began, and the seconds it took."""
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

    with pytest.raises(Cancelled):
        place.engine.install(mini.NAME, report=report, cancel=cancel)
    return seen, time.monotonic() - asked[0]


@pytest.mark.parametrize("stage", [pytest.param(s, marks=IN_WINE.get(s, ())) for s in STAGES])
def test_a_cancel_at_the_beginning_of_a_stage_leaves_all_as_it_was(place, stage):
    place.write_module()
    place.forget()
    before = place.snapshot()
    seen, seconds = _cancelled(place, stage, 0)
    print(f"{stage}: ended after {seconds:.2f} s")
    assert seen == STAGES[: STAGES.index(stage) + 1]
    assert seconds < DEADLINE_S
    place.assert_nothing_left(before)


@pytest.mark.parametrize("delay", [0.05, pytest.param(1.5, marks=windows)])
@pytest.mark.parametrize("stage", ["resolve", "download", "warm-up", "self-test"])
def test_a_cancel_in_the_midst_of_a_stage_leaves_all_as_it_was(place, stage, delay):
    place.write_module(slow=stage)
    place.forget()
    before = place.snapshot()
    seen, seconds = _cancelled(place, stage, delay)
    print(f"{stage} + {delay} s: ended after {seconds:.2f} s")
    assert seen[-1] == stage
    assert seconds < DEADLINE_S
    place.assert_nothing_left(before)


@windows
def test_a_cancel_stops_the_hashing_of_files_between_two_of_them(place):
    folder = place.engine.data.generation(mini.NAME, 1)
    packages = json.loads((folder / "manifest.json").read_text("utf-8"))["packages"]
    cancel, seen = CancelToken(), []

    def report(event):
        seen.append(event)
        if len(seen) == 3:
            cancel.cancel()

    with pytest.raises(Cancelled):
        health.packages(folder / ".venv", packages, report=report, cancel=cancel)
    assert len(seen) == 3


def test_a_cancel_stops_the_hashing_in_the_midst_of_a_large_file(tmp_path):
    class CountedToken(CancelToken):
        asked = 0

        @property
        def cancelled(self):
            self.asked += 1
            return self.asked > 5

    site = venv_packages(tmp_path)
    (site / "large-1.0.dist-info").mkdir(parents=True)
    (site / "large.bin").write_bytes(bytes(20_000_000))
    record = "large.bin,sha256=xyz,20000000\n"
    (site / "large-1.0.dist-info" / "RECORD").write_text(record, "utf-8")
    with pytest.raises(Cancelled):
        health.packages(tmp_path, {"large": "1.0"}, cancel=CountedToken())
    assert health.packages(tmp_path, {"large": "1.0"})[0].kind == "file_changed"


# ---- the command line ---------------------------------------------------------------------------


def _command(place):
    return subprocess.Popen(
        [PROJECT / "run", "install", mini.NAME],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        start_new_session=True,
    )


def _wait_for(process, place, stage):
    """Wait until a stage has begun and its program runs."""
    title, program = {
        "resolve": ("Resolving", "compile"),
        "download": ("Downloading", "sync"),
        "warm-up": ("Importing", "import numpy"),
        "self-test": ("Testing", "time.sleep(600)"),
    }[stage]
    for line in process.stderr:
        if line.startswith(title):
            break
    else:
        pytest.fail(f"{stage} never came")
    deadline = time.monotonic() + DEADLINE_S
    while not any(program in line for line in place.processes()):
        assert time.monotonic() < deadline, place.processes()
        time.sleep(0.02)


@posix
@pytest.mark.parametrize("stage", ["resolve", "download", "warm-up", "self-test"])
def test_ctrl_c_ends_the_command_with_130_and_leaves_nothing(place, stage):
    place.write_module(slow=stage)
    place.forget()
    before = place.snapshot()
    with _command(place) as process:
        _wait_for(process, place, stage)
        started = time.monotonic()
        process.send_signal(signal.SIGINT)
        told = process.stderr.read()
        assert process.wait(DEADLINE_S) == 130
    print(f"{stage}: ended after {time.monotonic() - started:.2f} s")
    assert "Cancelled" in told
    place.assert_nothing_left(before)


@posix
@pytest.mark.parametrize("stage", ["resolve", "download", "warm-up", "self-test"])
def test_nothing_goes_on_when_the_command_is_killed(place, stage):
    place.write_module(slow=stage)
    place.forget()
    config = place.snapshot()["config.json"]
    with _command(place) as process:
        _wait_for(process, place, stage)
        process.kill()
        process.stderr.close()
        assert process.wait(DEADLINE_S) == -signal.SIGKILL
    print(f"{stage}: the last one ended after {place.wait_for_its_end():.2f} s")
    assert place.snapshot()["config.json"] == config
    # The next install sweeps what the killed one could not.
    place.write_module()
    _cancelled(place, "self-test", 0)
    assert uv_cache.streaming(place.root / "uv-cache") == set()
    assert sorted(p.name for p in (place.root / "envs" / mini.NAME).iterdir()) == ["1"]
