"""Moving the data folder: complete at every moment, also when the command is killed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from envmanager import workers
from envmanager.data import writers
from envmanager.data.paths import MOVE_NOTE, DataFolder, base_python
from envmanager.errors import Cancelled, GA3EnvError, ModuleInUse
from envmanager.events import CancelToken, Progress, Stage
from envmanager.moving import relocation
from ga3_nodes import client, home
from tests.conftest import end_workers
from tests.envmanager.conftest import write_module
from tests.envmanager.moving.support import (
    CALL,
    command,
    environment,
    linux_only,
    names,
    node_call,
    run,
)

# ---- what breaks off ----------------------------------------------------------------------------


@pytest.mark.parametrize("moment", ["plan", "copy", "progress", "verify"])
def test_a_cancelled_move_leaves_nothing(echo_at, tmp_path, moment):
    token = CancelToken()
    before = names(echo_at) | {"envs"}

    def report(event):
        if (
            isinstance(event, Progress)
            if moment == "progress"
            else event.__dict__.get("name") == moment
        ):
            token.cancel()

    with pytest.raises(Cancelled):
        relocation.move(tmp_path / "neu", report, token)
    assert not (tmp_path / "neu").exists()
    assert names(echo_at) == before
    node_call()


@linux_only
def test_ctrl_c_leaves_nothing(echo_at, tmp_path):
    for number in range(5000):
        (echo_at / "modules" / str(number)).mkdir(parents=True)
    process = subprocess.Popen(
        [*command("move-root", tmp_path / "neu"), "--json"],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    while not (tmp_path / "neu" / "modules").exists():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    told, _ = process.communicate(timeout=120)
    assert process.returncode == 130
    assert json.loads(told)["error"]["code"] == "cancelled"
    assert not (tmp_path / "neu").exists()
    assert MOVE_NOTE not in names(echo_at)
    node_call()


@pytest.mark.windows
def test_a_change_during_the_copy_stops_the_move(echo_at, tmp_path):
    def disturb(event):
        if event == Stage("verify", "Checking the copy"):
            (echo_at / "modules").mkdir()

    (tmp_path / "neu").mkdir()
    with pytest.raises(GA3EnvError, match="modules was changed") as caught:
        relocation.move(tmp_path / "neu", disturb)
    assert caught.value.code == "move_disturbed"
    assert names(tmp_path / "neu") == set()  # it was there before
    assert MOVE_NOTE not in names(echo_at)
    node_call()


def test_a_worker_that_starts_late_keeps_the_old_folder_until_it_ends(echo_at, tmp_path):
    """A node may begin a call in the old folder just before the new one is in force."""
    late = []

    def begin(event):
        if isinstance(event, Stage) and event.name == "delete":
            code = CALL.format(module="echo").replace("]])}", "]])}, {'mode': 'sleep'}")
            there = environment() | {"GA3ENV_HOME": str(late_root)}
            late.append(subprocess.Popen([sys.executable, "-c", code], env=there))
            deadline = time.monotonic() + 60
            while not any(worker.busy for worker in workers.live(DataFolder(echo_at))):
                assert time.monotonic() < deadline
                time.sleep(0.05)

    # A second way to the old folder, since its own now leads on to the new one.
    late_root = echo_at
    location = echo_at / home.LOCATION

    def hidden(event):
        if isinstance(event, Stage) and event.name == "delete":
            text = location.read_bytes()
            location.unlink()
            begin(event)
            location.write_bytes(text)

    moved = relocation.move(tmp_path / "neu", hidden)
    assert not moved.old_deleted
    assert (echo_at / "envs").exists()
    with pytest.raises(ModuleInUse):
        relocation.move(tmp_path / "noch einer")
    assert node_call()
    with writers.sole(DataFolder(tmp_path / "neu"), "echo"):
        pass  # the new folder is in force, and can be changed
    late[0].kill()
    late[0].wait()
    deadline = time.monotonic() + 60
    while names(echo_at) != {home.LOCATION}:
        assert time.monotonic() < deadline
        run("move-root")
    assert MOVE_NOTE not in names(tmp_path / "neu")


@pytest.mark.windows
def test_a_folder_without_our_note_is_never_emptied(echo_at, tmp_path):
    """The disk of a broken-off move may be another one by now."""
    target = tmp_path / "neu"
    target.mkdir()
    (target / "mine.txt").write_text("mine", "utf-8")
    note = {"schema": 1, "id": "1", "place": str(echo_at), "source": str(echo_at)}
    note |= {"target": str(target), "made": True}
    (echo_at / MOVE_NOTE).write_text(json.dumps(note), "utf-8")
    relocation.settle()
    assert names(target) == {"mine.txt"}
    assert MOVE_NOTE not in names(echo_at)


@pytest.mark.windows
@pytest.mark.parametrize("moment", ["verify", "delete"])
def test_who_names_a_folder_that_moves_in_a_variable_harms_nothing(
    echo_at, tmp_path, monkeypatch, moment
):
    old, new = tmp_path / "alt", tmp_path / "neu"
    relocation.move(old)

    def meanwhile(event):
        if isinstance(event, Stage) and event.name == moment:
            with monkeypatch.context() as variable:
                variable.setenv("GA3ENV_HOME", str(old))
                with pytest.raises(ModuleInUse, match="being moved"):
                    relocation.settle()
                variable.setenv("GA3ENV_HOME", str(new))
                relocation.settle()

    relocation.move(new, meanwhile)
    assert home.located(echo_at) == new
    assert not old.exists()
    node_call()


# ---- killed, with a real environment ------------------------------------------------------------


# When the command is killed: as soon as this is so of the place, the old and the new folder.
MOMENTS = {
    "noted": lambda place, old, new: (place / MOVE_NOTE).exists(),
    "begun": lambda place, old, new: (new / MOVE_NOTE).exists(),
    "copying": lambda place, old, new: (new / "uv-cache").exists(),
    "deeper": lambda place, old, new: any(new.glob("uv-cache/archive-v0/*/numpy/lib")),
    "environment": lambda place, old, new: (new / "envs" / "tiny" / "1" / ".venv").exists(),
    "client": lambda place, old, new: (new / "client").exists(),
    "switched": lambda place, old, new: _in_force(place) == new,
    "withdrawn": lambda place, old, new: not (old / "config.json").exists(),
    "deleting": lambda place, old, new: not (old / "settings.toml").exists(),
    "nearly": lambda place, old, new: not (old / "envs").exists(),
}


def _in_force(place: Path) -> Path:
    try:
        return home.located(place)
    except GA3EnvError:
        return place


def _killed(moment: str, place: Path, old: Path, new: Path) -> None:
    """Start a move and kill it at a moment."""
    process = subprocess.Popen(
        command("move-root", new),
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 120
    while process.poll() is None and not MOMENTS[moment](place, old, new):
        assert time.monotonic() < deadline
    process.kill()
    process.wait()


def _used(folder: Path) -> tuple[int, int]:
    """Return how many files there are, and their bytes, each inode once."""
    files = [p for p in folder.rglob("*") if p.is_file() and not p.is_symlink()]
    states = {p.stat().st_ino: p.stat().st_size for p in files if "logs" not in p.parts}
    return len(states), sum(states.values())


@pytest.mark.slow
@linux_only
def test_a_move_that_is_killed_at_any_moment(place, tmp_path, tiny_lock, other_volume):
    """The interpreter, uv's cache and the environment all lie in the data folder."""
    _manage_an_interpreter(place)
    write_module(place / "modules" / "tiny", tiny_lock)
    run("settings", "python_source", "managed")
    run("install", "tiny")
    assert home.published("tiny").python.resolve() == base_python().resolve()
    used, hit = _used(place), 0
    for number, moment in enumerate(MOMENTS):
        old = home.located(place)
        new = other_volume if number % 2 == 0 else tmp_path / "zurück" / str(number)
        _killed(moment, place, old, new)
        hit += (place / MOVE_NOTE).exists()
        assert _in_force(place) in (old, new)
        node_call("tiny")  # whatever happened: one complete folder is in force
        client.close()
        root = home.located(place)
        end_workers(root)
        if number % 3 == 0:
            run("move-root")
        elif number % 3 == 1:
            run("verify", "tiny")  # the next command of another kind
        else:
            root = Path(run("move-root", tmp_path / "danach" / str(number))["data_root"])
        assert home.located(place) == root
        left = {old, new} - {root}
        assert not any(names(folder) - {home.LOCATION} for folder in left), moment
        assert MOVE_NOTE not in names(place) | names(root)
        if root == other_volume:  # so that the next one is empty again
            root = Path(run("move-root", tmp_path / "heim" / str(number))["data_root"])
        assert _used(root)[0] == pytest.approx(used[0], abs=60)  # .pyc of the client's imports
    print(f"\nkilled {len(MOMENTS)} moves, {hit} of them in the midst")
    assert hit >= len(MOMENTS) / 2
    assert not run("verify", "tiny")["problems"]
    image = {"image": np.array([[0, 900]])}
    assert client.call("tiny", "segment", image)["labels"].tolist() == [[0, 1]]


def _manage_an_interpreter(root: Path) -> None:
    version = ".".join(map(str, sys.version_info[:3]))
    folder = root / "python" / f"cpython-{version}-linux-x86_64-gnu" / "bin"
    folder.mkdir(parents=True)
    name = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    (folder / name).symlink_to(base_python().resolve())
