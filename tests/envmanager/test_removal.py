"""Removing what is in use: refused with a name, or put off until nobody uses it."""

from __future__ import annotations

import contextlib

import pytest

from envmanager import workers
from envmanager.data.paths import DataFolder
from envmanager.environments import inventory, removal
from envmanager.errors import ConfigError, NotInstalled
from ga3_nodes import home
from tests import programs
from tests.envmanager.test_in_use import WRITER

pytestmark = pytest.mark.windows


@pytest.fixture
def data(echo) -> DataFolder:
    return DataFolder(echo)


@pytest.fixture
def user(data):
    """Start a program whose call of the module does not end."""
    process = programs.caller("segment", mode="sleep")
    programs.until(lambda: any(found["busy"] for found in workers.users(data, "echo")))
    yield process
    programs.end(process)


def _run(*words):
    return programs.answer(programs.command(*words))


def _states():
    code, told = _run("list")
    assert code == 0
    return {module["name"]: module["state"] for module in told["modules"]}


def _is_there(data):
    return data.module("echo").is_dir() and "echo" in home.read_config(data.root)["modules"]


def _pid(data):
    return workers.users(data, "echo")[0]["pid"]


def test_what_is_in_use_is_not_removed_and_the_program_is_named(data, user):
    code, error = _run("remove", "echo")
    assert (code, error["code"]) == (1, "module_in_use")
    assert f"(PID {_pid(data)}, since " in error["message"]
    assert "--when-free" in error["hint"]
    (told,) = error["details"]["in_use_by"]
    assert told["since"] > 1e9
    assert _is_there(data)


def test_a_removal_waits_until_the_module_is_free(data, user):
    code, told = _run("remove", "echo", "--when-free")
    assert code == 0
    assert (told["name"], told["deferred"], told["freed_bytes"]) == ("echo", True, 0)
    assert [one["pid"] for one in told["waiting_for"]] == [_pid(data)]
    assert _states()["echo"] == "removing"
    assert _is_there(data)  # its calls are still served
    programs.end(user)
    programs.until(lambda: not workers.users(data, "echo"))
    assert _run("status", "echo")[1]["state"] == "removing"  # not under a command that names it
    assert _is_there(data)
    assert "echo" not in _states()
    assert not data.module("echo").exists()
    assert removal.pending(data) == []


def test_what_is_free_is_removed_at_once(data):
    code, told = _run("remove", "echo", "--when-free")
    assert code == 0
    assert (told["deferred"], told["waiting_for"]) == (False, [])
    assert told["freed_bytes"] > 0
    assert not data.module("echo").exists()
    assert removal.pending(data) == []


def test_a_removal_waits_for_an_install_too(data):
    process = programs.python(WRITER, data.root)
    try:
        assert process.stdout.readline().strip() == "held"
        (waiting,) = removal.remove_when_free(data, "echo").waiting_for
        assert waiting["pid"] in [one.pid for one in programs.family(process)]
        assert waiting["program"].endswith(" update")
        assert removal.sweep(data) == []
    finally:
        programs.end(process)
    assert removal.sweep(data) == ["echo"]
    assert not data.module("echo").exists()


def test_what_is_not_there_cannot_be_removed_later(data_folder):
    code, error = _run("remove", "classic", "--when-free")
    assert (code, error["code"]) == (1, "not_installed")
    with pytest.raises(NotInstalled):
        removal.remove_when_free(DataFolder(data_folder), "classic")
    assert removal.pending(DataFolder(data_folder)) == []


def test_a_removal_that_cannot_be_done_harms_no_other_command(data, user):
    assert removal.remove_when_free(data, "echo").deferred
    programs.end(user)
    programs.until(lambda: not workers.users(data, "echo"))
    good = data.config.read_text("utf-8")
    data.config.write_text("{", "utf-8")
    assert removal.sweep(data) == []
    assert removal.pending(data) == ["echo"]
    with pytest.raises(ConfigError):
        home.read_config(data.root)
    data.config.write_text(good, "utf-8")
    assert removal.sweep(data) == ["echo"]


def test_a_module_that_is_gone_already_needs_no_removal(data, user):
    assert removal.remove_when_free(data, "echo").deferred
    programs.end(user)
    programs.until(lambda: not workers.users(data, "echo"))
    mark = next((data.root / "envs").glob("*.remove"))
    text = mark.read_text("utf-8")
    removal.remove(data, "echo")
    assert not mark.exists()
    mark.write_text(text, "utf-8")  # as a command leaves it that is killed at its very end
    removal.sweep(data)
    assert removal.pending(data) == []


@pytest.mark.slow
def test_an_install_keeps_a_module_that_was_to_be_removed(environments, tiny):
    data = environments.data
    environments.install("tiny")
    with contextlib.ExitStack() as stack:
        process = programs.python(WRITER.replace("echo", "tiny"), data.root)
        stack.callback(programs.end, process)
        assert process.stdout.readline().strip() == "held"
        assert environments.remove_when_free("tiny").deferred
        assert inventory.status(data, "tiny").state == "removing"
    code, told = _run("install", "tiny")
    assert (code, told["new"]) == (0, False)
    assert _states()["tiny"] == "ready"
