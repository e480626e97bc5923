"""Two commands at once, a worker in use, a data folder that moves or that nobody may write."""

from __future__ import annotations

import itertools
import os
import shutil
import stat
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ga3_nodes import client
from tests.faults import mini
from tests.faults.bench import PATIENCE_S, Bench

pytestmark = pytest.mark.slow
MODULE = mini.NAME
COMMANDS = ("install", "update", "repair", "rollback", "remove")
PAIRS = list(itertools.combinations_with_replacement(COMMANDS, 2))
# What a command may answer when the other one was first.
REFUSALS = {"module_in_use", "not_installed", "no_generation"}


@pytest.mark.parametrize("pair", PAIRS, ids="+".join)
def test_two_commands_at_once(world, bench, tried, pair):
    one = bench(world.updated)
    one.change_module(3)
    tried("two commands at once")
    commands = [one.start(word, MODULE) for word in pair]
    replies = [command.reply for command in commands]
    for reply in replies:
        assert reply["ok"] or reply["error"]["code"] in REFUSALS, reply
    assert any(reply["ok"] for reply in replies)
    if set(pair) == {"install"}:
        assert sorted(reply["data"]["new"] for reply in replies) == [False, True]
    if one.published():
        one.works()
    assert one.run("install", MODULE)["version"] == "3.0.0"
    assert one.works() == 3
    one.is_green()
    kept = [path.name for path in (one.root / "envs" / MODULE).iterdir()]
    assert len(kept) <= 2, kept
    assert sorted(path.name for path in (one.root / "envs").iterdir()) == [MODULE]
    assert not (one.root / "trash").exists()
    assert not one.cache_litter()


def test_many_installs_at_once(world, bench, tried):
    one = bench(world.empty)
    tried("four installs at once")
    replies = [command.reply for command in [one.start("install", MODULE) for _ in range(4)]]
    assert sorted(reply["data"]["new"] for reply in replies) == [False, False, False, True]
    assert one.works() == 1
    one.is_green()


@pytest.fixture
def long_call():
    """Return a function that starts a call in a thread; what it returns ends the call."""

    def start(one: Bench) -> Callable[[], list]:
        done: list = []
        thread = threading.Thread(target=lambda: done.append(one.segment(wait=PATIENCE_S)))
        thread.start()
        generation, _ = one.published()
        while not any(user["busy"] for user in one.run("status", MODULE)["in_use_by"]):
            assert thread.is_alive(), done

        def end() -> list:
            (one.root / "envs" / MODULE / str(generation) / "enough").touch()
            thread.join(PATIENCE_S)
            return done[0]

        return end

    return start


def test_a_worker_in_use_during_an_update(world, bench, tried, long_call):
    one = bench(world.installed)
    one.change_module(2)
    result = long_call(one)
    tried("a worker in use during update")
    assert one.run("update", MODULE)["generation"] == 2
    assert result() == mini.mask(1), "the call that ran goes on with what it began with"
    assert one.works() == 2
    one.is_green()


def test_a_worker_in_use_during_two_updates(world, bench, tried, long_call):
    """The generation of the running call is too old to be kept, and is kept as long as it runs."""
    one = bench(world.installed)
    result = long_call(one)
    tried("a worker in use during two updates")
    for version in (2, 3):
        one.change_module(version)
        one.run("update", MODULE)
    assert (one.root / "envs" / MODULE / "1").is_dir()
    assert result() == mini.mask(1)
    assert one.works() == 3
    one.run("install", MODULE)
    assert sorted(p.name for p in (one.root / "envs" / MODULE).iterdir()) == ["2", "3"]
    one.is_green()


def test_a_worker_in_use_during_remove(world, bench, tried, long_call):
    one = bench(world.installed)
    result = long_call(one)
    tried("a worker in use during remove")
    error = one.fail("remove", MODULE)
    assert error["code"] == "module_in_use"
    assert str(os.getpid()) in error["message"], "the message names the program"
    assert result() == mini.mask(1)
    assert one.works() == 1
    one.segment()  # an idle worker is no reason to refuse
    one.run("remove", MODULE)
    assert not (one.root / "envs" / MODULE).exists()


@pytest.mark.parametrize("command", ["update", "repair"])
def test_the_data_folder_moves_between_commands(world, bench, tried, monkeypatch, command):
    one = bench(world.updated)
    assert one.works() == 2
    old = one.root
    one.root = old.with_name("ein anderer Ordner ü")
    old.rename(one.root)
    monkeypatch.setenv("GA3ENV_HOME", str(one.root))
    tried("the data folder is renamed")
    try:
        assert one.works() == 2
        assert one.run("verify", MODULE)["ok"]
        one.change_module(3)
        one.run(command, MODULE)
        assert one.works() == (2 if command == "repair" else 3)
        one.is_green()
    finally:
        one.stop_workers()
        one.root.rename(old)
        one.root = old


def test_the_data_folder_moves_to_another_disk(world, bench, tried, monkeypatch, tmp_path):
    """Copied file by file: hard links into the cache are lost, nothing else."""
    one = bench(world.updated)
    old = one.root
    one.root = tmp_path / "copied"
    shutil.copytree(old, one.root, symlinks=True)
    shutil.rmtree(old)
    old.mkdir()
    monkeypatch.setenv("GA3ENV_HOME", str(one.root))
    tried("the data folder is copied elsewhere")
    assert one.works() == 2
    assert one.run("verify", MODULE)["ok"]
    one.change_module(3)
    assert one.run("update", MODULE)["new"]
    assert one.works() == 3
    one.is_green()


@pytest.fixture
def read_only(
    data_folder, tmp_path, monkeypatch
) -> Iterator[Callable[[Bench], Callable[[], None]]]:
    """Return a function that forbids a bench's commands to write; what it returns lifts that."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "own"))  # where else a worker's key lies
    words: list[str] = []
    if os.geteuid() == 0:  # root may write anywhere, unless this power is taken away
        powers = "-dac_override,-dac_read_search,-fowner"
        words = ["setpriv", f"--bounding-set={powers}", f"--inh-caps={powers}"]
        try:
            subprocess.run([*words, "true"], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"root cannot give up its powers here: {error}")
    modes: dict[Path, int] = {}

    def lift() -> None:
        while modes:
            place, mode = modes.popitem()
            place.chmod(mode)

    def forbid(bench: Bench) -> Callable[[], None]:
        bench.prefix = tuple(words)
        places = [data_folder, *(path for path in data_folder.rglob("*") if not path.is_symlink())]
        modes.update({place: stat.S_IMODE(place.stat().st_mode) for place in places})
        for place, mode in modes.items():
            place.chmod(mode & ~0o222)
        return lift

    yield forbid
    lift()


@pytest.mark.parametrize("command", ["install", "rollback", "remove"])
def test_a_data_folder_that_cannot_be_written(world, bench, tried, read_only, command):
    one = bench(world.updated)
    one.change_module(3)
    usual, before = one.shape(), one.data.config.read_bytes()
    lift = read_only(one)
    tried("a data folder that cannot be written")
    error = one.fail(command, MODULE)
    assert "denied" in error["message"].lower() or "writ" in error["message"].lower()
    assert one.run("list")["modules"]
    assert one.run("status", MODULE)["generation"] == 2
    checks = {check["id"]: check["status"] for check in one.run("doctor")["checks"]}
    assert checks["data_folder"] == "error"
    assert one.data.config.read_bytes() == before
    assert client.call(MODULE, "segment", {"image": mini.IMAGE})["labels"].tolist() == mini.mask(2)
    one.stop_workers()
    lift()
    one.prefix = ()
    assert one.shape() == usual
    assert one.works() == 2
    one.run(command, MODULE)
    one.is_green()
