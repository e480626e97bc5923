"""Moving the data folder: complete at every moment, also when the command is killed."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from envmanager import workers
from envmanager.data import settings, writers
from envmanager.data.paths import MOVE_NOTE, NODE_PACKAGE, DataFolder, base_python
from envmanager.errors import Cancelled, ConfigError, GA3EnvError, ModuleInUse
from envmanager.events import CancelToken, Progress, Stage
from envmanager.moving import relocation, transfer
from ga3_nodes import client, home, locks
from tests.conftest import end_workers
from tests.envmanager.conftest import write_module
from tests.support import ECHO_DECLARATION, ECHO_WORKER, PROJECT, publish

SHM = Path("/dev/shm")
CALL = """
import numpy as np
from ga3_nodes import client
result = client.call({module!r}, "segment", {{"image": np.array([[0, 900]])}})
assert (result["labels"] > 0).tolist() == [[False, True]], result
print(result.worker_pid)
"""
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="symbolic links of environments")


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


def node_call(module: str = "echo") -> int:
    """Call a module from a process of its own, as a node does; return the worker's pid."""
    done = subprocess.run(
        [sys.executable, "-c", CALL.format(module=module)],
        env=os.environ | {"PYTHONPATH": str(PROJECT)},
        capture_output=True,
        encoding="utf-8",
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def run(*words: object) -> dict:
    """Run the command line as a process; return its data."""
    done = subprocess.run(
        [*_command(*words), "--json"], env=_environment(), capture_output=True, timeout=300
    )
    found = json.loads(done.stdout)
    assert found["ok"], found
    return dict(found["data"])


def _command(*words: object) -> list[str]:
    return [sys.executable, "-W", "error", "-m", "envmanager", *map(str, words)]


def _environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(PROJECT), "PYTHONUTF8": "1"}


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {"run"} if folder.is_dir() else set()


# ---- a move that goes well ----------------------------------------------------------------------


@pytest.mark.windows
def test_a_move_there_on_and_back(echo_at, tmp_path):
    (echo_at / "modules" / "mine").mkdir(parents=True)
    (echo_at / "modules" / "mine" / "é.txt").write_text("mine", "utf-8")
    before = transfer.listing(echo_at, relocation._left_out, CancelToken())
    first = tmp_path / "neuer Ort é"
    moved = relocation.move(first)
    assert (moved.source, moved.target, moved.old_deleted) == (echo_at, first, True)
    assert names(echo_at) == {home.LOCATION}
    node_call()
    assert home.published("echo").root == first

    second = tmp_path / "tief" / "er"
    relocation.move(second)
    assert not first.exists()
    node_call()

    relocation.move(echo_at)
    assert home.located(echo_at) == echo_at
    assert home.LOCATION not in names(echo_at)
    assert not second.exists()
    node_call()
    after = transfer.listing(echo_at, relocation._left_out, CancelToken())
    assert {n for n in after if "logs" not in n and "__pycache__" not in n} == set(before)
    assert after["modules/mine/é.txt"].st_mtime_ns == before["modules/mine/é.txt"].st_mtime_ns


@pytest.mark.windows
def test_a_folder_that_a_variable_names_can_move_too(echo, data_folder, tmp_path):
    relocation.move(tmp_path / "anderswo")
    assert names(data_folder) == {home.LOCATION}
    node_call()
    assert home.published("echo").root == tmp_path / "anderswo"
    end_workers(tmp_path / "anderswo")


def test_the_first_choice_of_a_place_is_a_move_too(place, tmp_path):
    assert run("move-root", tmp_path / "daten")["data_root"] == str(tmp_path / "daten")
    assert run("settings")["data_root"] == str(tmp_path / "daten")


def test_the_machines_place_can_move_and_serves_nodes(place, echo, data_folder, monkeypatch):
    """An administrator's folder is found by nodes through the machine's place."""
    monkeypatch.setattr(home, "machine_root", lambda: data_folder)
    assert home.published("echo").root == data_folder
    publish(place, ECHO_DECLARATION, ECHO_WORKER)
    assert home.published("echo").root == place  # the user's own wins
    monkeypatch.setenv("GA3ENV_MACHINE_WIDE", "1")
    assert home.places() == [data_folder]
    relocation.move(data_folder.with_name("für alle"))
    assert home.published("echo").root == data_folder.with_name("für alle")


def test_a_node_script_finds_the_moved_folder(place, tmp_path):
    run("move-root", tmp_path / "daten é")
    run("settings", "idle_timeout_s", "9")
    publish(tmp_path / "daten é", ECHO_DECLARATION, ECHO_WORKER)
    template = (NODE_PACKAGE / "nodes" / "node.py.txt").read_text("utf-8")
    found = re.search(r"^def external_module.*?(?=^if __name__)", template, re.M | re.S)
    assert found
    code = f"NAME = 'x'\n{found[0]}\nexternal_module()\n"
    code += "from ga3_nodes import home; print(home.published('echo').root)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, encoding="utf-8", cwd=tmp_path
    )
    assert done.stdout.strip() == str(tmp_path / "daten é"), done.stderr


# ---- links --------------------------------------------------------------------------------------


def _linked(place: Path) -> None:
    (place / "uv-cache").mkdir(parents=True)
    (place / "uv-cache" / "a").write_bytes(b"x" * 10_000)
    os.link(place / "uv-cache" / "a", place / "uv-cache" / "b")


@pytest.mark.windows
def test_on_one_volume_nothing_is_copied(place, tmp_path):
    _linked(place)
    inode = (place / "uv-cache" / "a").stat().st_ino
    relocation.move(tmp_path / "neu")
    assert (tmp_path / "neu" / "uv-cache" / "a").stat().st_ino == inode


def test_hard_links_stay_hard_links_on_another_volume(place, other_volume):
    _linked(place)
    moved = relocation.move(other_volume)
    a, b = (other_volume / "uv-cache" / name for name in "ab")
    assert a.read_bytes() == b"x" * 10_000
    assert a.samefile(b)
    assert a.stat().st_nlink == 2
    assert moved.size < 20_000 + 4096 * 4


@linux_only
def test_what_names_the_old_place_names_the_new_one(place, tmp_path):
    python = place / "python" / "cpython-3.11.7-linux-x86_64-gnu"
    venv = place / "envs" / "m" / "1" / ".venv"
    (python / "bin").mkdir(parents=True)
    (python / "bin" / "python3.11").write_text("", "utf-8")
    (venv / "bin").mkdir(parents=True)
    (venv / "bin" / "python").symlink_to(python / "bin" / "python3.11")
    (venv / "lib64").symlink_to("lib")
    (venv / "bin" / "other").symlink_to("/usr/bin/env")
    (venv / "pyvenv.cfg").write_text(f"home = {python}/bin\nprompt = {place}x\n", "utf-8")
    new = tmp_path / "neu é"
    relocation.move(new)
    there = new / "envs" / "m" / "1" / ".venv"
    base = f"{new}/python/cpython-3.11.7-linux-x86_64-gnu/bin"
    assert str((there / "bin" / "python").readlink()) == f"{base}/python3.11"
    assert str((there / "lib64").readlink()) == "lib"
    assert str((there / "bin" / "other").readlink()) == "/usr/bin/env"
    assert (there / "pyvenv.cfg").read_text("utf-8") == f"home = {base}\nprompt = {place}x\n"


# ---- what is refused ----------------------------------------------------------------------------


@pytest.mark.windows
@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("{place}", "already"),
        ("{place}/new", "one another"),
        ("{place}/..", "one another"),
        ("{tmp}/full", "not empty"),
        ("{tmp}/file", "no folder"),
        ("{tmp}/file/below", "cannot be written"),
    ],
)
def test_a_folder_that_will_not_do(echo_at, tmp_path, target, message):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine", "utf-8")
    (tmp_path / "file").write_text("mine", "utf-8")
    before = names(echo_at) | {"envs"}
    with pytest.raises(GA3EnvError, match=message) as caught:
        relocation.move(Path(target.format(place=echo_at, tmp=tmp_path)))
    assert caught.value.code == "move_refused"
    assert names(echo_at) == before
    assert (tmp_path / "full" / "mine.txt").exists()
    node_call()


def test_without_room_nothing_begins(tmp_path):
    with pytest.raises(GA3EnvError, match="MB are needed") as caught:
        relocation._refuse_without_room(tmp_path, 10**18)
    assert caught.value.code == "disk_full"


@pytest.mark.windows
def test_idle_workers_end_and_busy_ones_refuse(echo_at, tmp_path):
    node_call()
    assert len(workers.live(DataFolder(echo_at))) == 1
    code = CALL.format(module="echo").replace("]])}", "]])}, {'mode': 'sleep'}")
    busy = subprocess.Popen(
        [sys.executable, "-c", code], env=_environment(), stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 60
        while not any(worker.busy for worker in workers.live(DataFolder(echo_at))):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        with pytest.raises(ModuleInUse, match="echo"):
            relocation.move(tmp_path / "neu")
    finally:
        busy.kill()
        busy.wait()
    assert not (tmp_path / "neu").exists()
    workers.stop(DataFolder(echo_at))
    old = node_call()
    relocation.move(tmp_path / "neu")
    assert node_call() != old


@pytest.mark.windows
def test_another_commands_lock_refuses(echo_at, tmp_path):
    with writers.sole(DataFolder(echo_at), "echo"), pytest.raises(ModuleInUse, match="echo"):
        relocation.move(tmp_path / "neu")
    with locks.FileLock(echo_at / "config.lock"), pytest.raises(ModuleInUse):
        relocation.move(tmp_path / "neu")
    assert not (tmp_path / "neu").exists()
    relocation.move(tmp_path / "neu")


@pytest.mark.windows
def test_no_command_changes_a_folder_that_moves(echo_at, tmp_path):
    tried = []

    def meanwhile(event):
        if event == Stage("verify", "Checking the copy"):
            with pytest.raises(ModuleInUse, match="being moved"):
                relocation.settle()
            with (
                pytest.raises(ModuleInUse, match="being moved"),
                writers.sole(DataFolder(echo_at), "another"),
            ):
                raise AssertionError
            done = subprocess.run(_command("settings", "offline", "true"), env=_environment())
            tried.append(done.returncode)

    relocation.move(tmp_path / "neu", meanwhile)
    assert tried == [1]
    assert not settings.load(tmp_path / "neu" / "settings.toml").offline


# ---- what breaks off ----------------------------------------------------------------------------


@pytest.mark.windows
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
        [*_command("move-root", tmp_path / "neu"), "--json"],
        env=_environment(),
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


@pytest.mark.windows
def test_a_worker_that_starts_late_keeps_the_old_folder_until_it_ends(echo_at, tmp_path):
    """A node may begin a call in the old folder just before the new one is in force."""
    late = []

    def begin(event):
        if isinstance(event, Stage) and event.name == "delete":
            code = CALL.format(module="echo").replace("]])}", "]])}, {'mode': 'sleep'}")
            environment = _environment() | {"GA3ENV_HOME": str(late_root)}
            late.append(subprocess.Popen([sys.executable, "-c", code], env=environment))
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
        _command("move-root", new),
        env=_environment(),
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
    for number, moment in enumerate([*MOMENTS, *MOMENTS]):
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
    print(f"\nkilled {2 * len(MOMENTS)} moves, {hit} of them in the midst")
    assert hit >= len(MOMENTS)
    assert not run("verify", "tiny")["problems"]
    image = {"image": np.array([[0, 900]])}
    assert client.call("tiny", "segment", image)["labels"].tolist() == [[0, 1]]


def _manage_an_interpreter(root: Path) -> None:
    version = ".".join(map(str, sys.version_info[:3]))
    folder = root / "python" / f"cpython-{version}-linux-x86_64-gnu" / "bin"
    folder.mkdir(parents=True)
    name = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    (folder / name).symlink_to(base_python().resolve())
