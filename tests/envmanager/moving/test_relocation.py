"""Moving the data folder: where to, what is refused, what stays as it was."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from envmanager import workers
from envmanager.data import settings, writers
from envmanager.data.paths import NODE_PACKAGE, DataFolder
from envmanager.errors import GA3EnvError, ModuleInUse
from envmanager.events import CancelToken, Stage
from envmanager.moving import relocation, standstill, transfer
from ga3_nodes import home, locks
from tests.conftest import end_workers
from tests.envmanager.moving.support import (
    CALL,
    command,
    environment,
    linux_only,
    names,
    node_call,
    run,
)
from tests.support import ECHO_DECLARATION, ECHO_WORKER, publish

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
    filled = found[0].replace("$QUOTED_TITLE", "'x'")
    code = f"NAME = 'x'\n{filled}\nexternal_module()\n"
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
    found = standstill.no_room(tmp_path, 10**18)
    assert found is not None
    assert (found.code, "MB are needed" in found.message) == ("disk_full", True)
    assert standstill.no_room(tmp_path, 1) is None


@pytest.mark.windows
def test_idle_workers_end_and_busy_ones_refuse(echo_at, tmp_path):
    node_call()
    assert len(workers.live(DataFolder(echo_at))) == 1
    code = CALL.format(module="echo").replace("]])}", "]])}, {'mode': 'sleep'}")
    busy = subprocess.Popen(
        [sys.executable, "-c", code], env=environment(), stderr=subprocess.DEVNULL
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
            done = subprocess.run(command("settings", "offline", "true"), env=environment())
            tried.append(done.returncode)

    relocation.move(tmp_path / "neu", meanwhile)
    assert tried == [1]
    assert not settings.load(tmp_path / "neu" / "settings.toml").offline
