"""The checklist: each kind of damage in the data folder is told and, where it can be, mended."""

from __future__ import annotations

import json
import os
import shutil
import time

import pytest

from envmanager import doctor
from envmanager.data import config
from envmanager.doctor import data as doctor_data
from envmanager.environments import inventory
from envmanager.errors import NotInstalled
from ga3_nodes import home, locks, records
from tests.envmanager.doctor.support import DEAD, OFFLINE, bad, complete, fix, only, run

pytestmark = pytest.mark.windows


# ---- what nodes read ----------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": 1, "modules": []}'])
def test_a_damaged_config_is_set_aside_and_written_anew(data, text, monkeypatch):
    only(monkeypatch, "config", "client", "module:echo")
    complete(data, 1)
    folder = complete(data, 2)
    incomplete = data.generation("echo", 3)
    incomplete.mkdir()
    data.config.write_text(text, "utf-8")
    found = run(data)
    assert found["config"].status == "error"
    assert found["config"].fixable
    assert "module:echo" not in found
    found = fix(data)
    assert not bad(found)
    assert home.published("echo").folder == folder
    (kept,) = data.root.glob("config.damaged-*.json")
    assert kept.read_text("utf-8") == text


def test_a_config_of_a_newer_schema_is_told_and_never_touched(data):
    complete(data)
    text = json.dumps({"schema": 99, "modules": {}})
    data.config.write_text(text, "utf-8")
    found = fix(data)
    assert found["config"].status == "error"
    assert not found["config"].fixable
    assert "newer" in found["config"].message
    assert data.config.read_text("utf-8") == text
    everything = [doctor.Check(name, "error", "", "", True) for name in doctor_data.FIXES]
    found = {check.id: check for check in doctor.fix(data, OFFLINE, everything)}
    assert {"fix:config", "fix:client"} <= found.keys()
    assert data.config.read_text("utf-8") == text
    assert not list(data.root.glob("config.damaged*"))


def test_a_damaged_entry_is_taken_from_the_manifest(data, monkeypatch):
    only(monkeypatch, "config")
    complete(data)
    config.change(data, lambda modules: modules["echo"].pop("python"))
    with pytest.raises(home.ConfigError):
        home.published("echo")
    assert not bad(fix(data))
    assert home.published("echo").generation == 1


def test_a_module_that_was_removed_does_not_come_back(data, monkeypatch):
    only(monkeypatch, "config")
    complete(data)
    config.change(data, lambda modules: modules.pop("echo") and None)
    everything = [doctor.Check("config", "error", "", "", True)]
    doctor.fix(data, OFFLINE, everything)
    with pytest.raises(NotInstalled):
        home.published("echo")


def test_an_environment_that_is_gone_is_told(data, monkeypatch):
    only(monkeypatch, "config", "module:echo")
    shutil.rmtree(complete(data))
    found = fix(data)
    assert found["config"].status == "error"
    assert "./run install echo" in found["config"].hint
    assert found["module:echo"].status == "error"
    assert "echo" in found["module:echo"].hint


@pytest.mark.parametrize("damage", ["folder", "file", "empty", "half"])
def test_a_client_that_is_missing_or_damaged_is_copied_again(data, damage, monkeypatch):
    only(monkeypatch, "config", "client")
    complete(data)
    client = data.root / home.read_config(data.root)["client_dir"] / "ga3_nodes" / "client.py"
    text = client.read_text("utf-8")
    if damage == "folder":
        shutil.rmtree(data.clients)
    elif damage == "file":
        client.unlink()
    else:
        client.write_text("" if damage == "empty" else "def f(", "utf-8")
    found = run(data)
    assert found["client"].status == "error"
    assert found["client"].fixable
    assert not bad(fix(data))
    assert client.read_text("utf-8") == text


def test_a_broken_module_toml_is_told(data, monkeypatch):
    only(monkeypatch, "module:mine", "python")
    folder = data.user_modules / "mine"
    folder.mkdir(parents=True)
    (folder / "module.toml").write_text("schema = ", "utf-8")
    found = run(data)
    assert found["module:mine"].status == "error"
    assert "module.toml" in found["module:mine"].message
    assert found["python"].status != "error"


# ---- processes and what they left ---------------------------------------------------------------


def test_the_record_of_a_dead_worker_is_swept_and_a_live_one_is_kept(data, monkeypatch):
    only(monkeypatch, "workers")
    dead, live = (records.stem(data.root, "echo", number) for number in (1, 2))
    for stem in (dead, live):
        records.write(stem, records.WorkerRecord("echo", 1, DEAD, 0.0, "\\\\nowhere", "00", ""))
    with locks.FileLock(records.lease_path(live)):
        check = run(data)["workers"]
        assert check.status == "warning"
        assert check.fixable
        found = fix(data)
        assert not bad(found)
        assert str(DEAD) in found["workers"].message
        assert records.read(live)
        assert not records.read(dead)
    records.sweep(live)


def test_leftovers_of_killed_commands_are_swept(data, monkeypatch):
    only(monkeypatch, "leftovers")
    published = complete(data, 2)
    gone = [data.trash / "1-abc", data.clients / "0.tmp", data.module("echo") / "plan-x"]
    gone += [data.generation("echo", 1), data.generation("echo", 3)]
    young = data.generation("echo", 4)
    for folder in (*gone, young):
        folder.mkdir(parents=True)
    old = time.time() - 7200
    for folder in gone:
        os.utime(folder, (old, old))
    mine = data.root / f"config.json.{os.getpid()}.tmp"
    other = data.root / f"config.json.{DEAD}.tmp"
    mine.touch()
    other.touch()
    (published / "manifest.json").unlink()  # broken, but it may still serve
    os.utime(published, (old, old))
    assert run(data)["leftovers"].fixable
    assert not bad(fix(data))
    assert not [path for path in (*gone, other) if path.exists()]
    assert young.is_dir()
    assert published.is_dir()
    assert mine.exists()


def test_what_another_command_works_on_is_left_alone(data, monkeypatch):
    only(monkeypatch, "leftovers", "locks")
    half = data.generation("echo", 1)
    half.mkdir(parents=True)
    os.utime(half, (0, 0))
    with locks.FileLock(data.root / "envs" / "echo.lock") as lock:
        lock.write_note({"pid": 4242})
        found = run(data)
        assert found["leftovers"].status == "ok"
        assert found["locks"].status == "warning"
        assert "echo: another program (PID 4242)" in found["locks"].message
    assert run(data)["leftovers"].status == "warning"
    assert inventory.numbers(data, "echo") == [1]
