"""Who may read and write the data folder of all accounts: looked at, set, and heeded by nodes."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from envmanager import doctor
from envmanager.data import access
from envmanager.data.paths import DataFolder
from envmanager.data.settings import Settings
from envmanager.doctor import shared as check
from envmanager.doctor.line import Patient
from envmanager.environments import everywhere
from envmanager.errors import Cancelled, ConfigError, NotWritable
from envmanager.events import CancelToken
from envmanager.machine import acl, permissions
from ga3_nodes import home, owners
from tests.support import ECHO_DECLARATION, ECHO_WORKER, publish

linux_root = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can give files away"
)


@pytest.fixture
def computer(tmp_path, monkeypatch) -> Path:
    """Be at a computer with a data folder of all accounts; return that."""
    monkeypatch.delenv("GA3ENV_HOME")
    monkeypatch.setenv("PROGRAMDATA", str(tmp_path / "computer"))
    for name in ("XDG_DATA_HOME", "LOCALAPPDATA"):
        monkeypatch.setenv(name, str(tmp_path / "mine"))
    root = home.machine_root()
    permissions.found(root)
    publish(root, ECHO_DECLARATION, ECHO_WORKER)
    permissions.mend_below(root, CancelToken())
    return root


def looked(cancel: CancelToken | None = None) -> doctor.Check:
    data = DataFolder(home.user_root())
    return check.shared_folder(Patient(data, Settings(), cancel or CancelToken()))


def mended() -> doctor.Check:
    check.fix(Patient(DataFolder(home.user_root()), Settings(), CancelToken()))
    return looked()


# ---- what the checklist finds, on Linux ----------------------------------------------------------


@linux_root
def test_a_folder_as_it_should_be_is_praised(computer):
    found = looked()
    assert (found.status, str(computer) in found.message) == ("ok", True), found


@linux_root
@pytest.mark.parametrize(
    ("below", "mode", "kind", "said"),
    [
        ("config.json", 0o666, "error", "config.json can be changed by every account"),
        ("envs/echo", 0o777, "error", "echo can be changed by every account"),
        ("envs/echo", 0o700, "error", "echo cannot be read by the other accounts"),
        ("config.json", 0o600, "error", "config.json cannot be read by the other accounts"),
        ("envs", 0o754, "error", "envs cannot be read by the other accounts"),
    ],
)
def test_wrong_modes_are_found_and_mended(computer, below, mode, kind, said):
    path = computer / below
    path.chmod(mode)
    found = looked()
    assert (found.status, found.fixable, found.hint) == (kind, True, "./run doctor --fix")
    assert said in found.message
    assert ("run code as another" in found.message) == (mode & 0o002 != 0)
    assert mended().status == "ok"
    assert path.stat().st_mode & 0o777 == (0o755 if path.is_dir() else 0o644)


@linux_root
def test_the_locks_of_uv_are_for_everybody(computer):
    """Each install makes them so; nothing in them is ever read, unlike in a module's lock."""
    generation = next(computer.glob("envs/echo/*"))
    for place in ("uv-cache/wheels/numpy/1.0.lock", "uv-cache/.lock", "python/.lock"):
        (computer / place).parent.mkdir(parents=True, exist_ok=True)
        (computer / place).touch()
        (computer / place).chmod(0o666)
    (generation / ".venv").mkdir(exist_ok=True)
    (generation / ".venv" / ".lock").touch()
    (generation / ".venv" / ".lock").chmod(0o666)
    assert looked().status == "ok", looked().message
    (generation / "requirements.lock").touch()
    (generation / "requirements.lock").chmod(0o666)
    assert "requirements.lock can be changed by every account" in looked().message


@linux_root
def test_a_file_of_another_account_is_found_and_mended(computer):
    worker = next(computer.glob("envs/echo/*/worker.py"))
    os.chown(worker, 54321, 54321)
    found = looked()
    assert found.status == "warning"  # one account may look after all of it
    assert "worker.py belongs to the account 54321" in found.message
    worker.chmod(0o660)
    found = looked()
    assert found.status == "error"
    assert "can be changed by the group 54321" in found.message
    assert mended().status == "ok"
    assert (worker.stat().st_uid, worker.stat().st_mode & 0o777) == (0, 0o644)


@linux_root
def test_what_is_private_stays_private(computer):
    (computer / "run").mkdir(mode=0o700)
    (computer / "settings.toml").write_text('proxy = "http://me:secret@proxy"\n', "utf-8")
    (computer / "settings.toml").chmod(0o600)
    assert looked().status == "ok"
    (computer / "config.json").chmod(0o600)
    assert mended().status == "ok"
    assert (computer / "settings.toml").stat().st_mode & 0o777 == 0o600
    assert (computer / "run").stat().st_mode & 0o777 == 0o700


@linux_root
def test_a_link_is_not_followed(computer, tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("private", "utf-8")
    victim.chmod(0o600)
    (computer / "envs" / "link").symlink_to(victim)
    (computer / "config.json").chmod(0o666)
    assert mended().status == "ok"
    assert victim.stat().st_mode & 0o777 == 0o600


@linux_root
def test_a_python_in_a_home_folder_is_found(computer, tmp_path):
    hidden = tmp_path / "hidden"
    hidden.mkdir(mode=0o700)
    python = next(computer.glob("envs/echo/*")) / ".venv" / "bin"
    python.mkdir(parents=True)
    (hidden / "python3").write_text("", "utf-8")
    (python / "python").symlink_to(hidden / "python3")
    (python.parent / "pyvenv.cfg").write_text(f"home = {hidden}\n", "utf-8")
    permissions.mend_below(computer, CancelToken())
    found = looked()
    assert (found.status, found.fixable) == ("error", False)
    assert f"{hidden} is the Python of echo, which other accounts cannot run" in found.message
    assert "python_source managed" in found.hint


@linux_root
def test_the_checklist_names_it(computer):
    (computer / "config.json").chmod(0o666)
    data = DataFolder(home.user_root())
    names = {one.id: one.status for one in doctor.checks(data, Settings(offline=True))}
    assert names["shared_folder"] == "error"
    assert "module:echo" in names  # which only all accounts have


@linux_root
def test_nodes_do_not_use_what_everybody_may_write(computer):
    assert home.published("echo").root == computer
    computer.chmod(0o777)
    with pytest.raises(ConfigError, match="every account may write") as caught:
        home.published("echo")
    assert caught.value.code == "root_unsafe"
    assert access.shared_folder() is None
    assert not any(one.shared for one in everywhere.statuses())
    assert mended().status == "ok"
    assert home.published("echo").root == computer


@linux_root
def test_a_place_that_everybody_may_write_leads_nowhere(computer, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    computer.rename(elsewhere)
    computer.mkdir(mode=0o755)
    text = json.dumps({"schema": 1, "root": str(elsewhere)})
    (computer / home.LOCATION).write_text(text, "utf-8")
    assert home.published("echo").root == elsewhere
    assert home.is_shared(elsewhere)
    computer.chmod(0o777)
    with pytest.raises(ConfigError, match="every account may write"):
        home.published("echo")
    assert looked().status == "error"
    assert mended().status == "ok"
    elsewhere.chmod(0o777)
    with pytest.raises(ConfigError, match="elsewhere for all accounts is not used"):
        home.published("echo")


@linux_root
def test_a_look_can_be_cancelled(computer):
    stopped = CancelToken()
    stopped.cancel()
    with pytest.raises(Cancelled):
        looked(stopped)


# ---- everywhere ----------------------------------------------------------------------------------


def test_a_folder_of_all_that_is_not_there_is_no_finding(tmp_path, monkeypatch):
    monkeypatch.setenv("PROGRAMDATA", str(tmp_path / "nothing"))
    assert looked().status == "ok"
    assert access.shared_folder() is None


@pytest.mark.windows
def test_the_folder_of_all_is_found_and_named(computer):
    assert access.of_module("echo").root == computer
    (told,) = [one for one in everywhere.statuses() if one.name == "echo"]
    assert (told.root, told.shared) == (str(computer), True)
    assert everywhere.status("echo").shared
    assert home.log_dir(computer) == home.user_root() / "logs"


def test_an_own_folder_that_cannot_be_written_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(home, "may_write", lambda folder: False)
    with pytest.raises(NotWritable, match="may not write the data folder") as caught:
        access.require(DataFolder(tmp_path))
    assert caught.value.code == "not_writable"


# ---- Windows: entries as it stores them ----------------------------------------------------------

ALL, READ, WRITE = 0x1F01FF, 0x1200A9, 0x2
ADMINS, SYSTEM, USERS = owners.ADMINISTRATORS, owners.SYSTEM, acl.USERS
ANNA = "S-1-5-21-1-2-3-1001"


@pytest.mark.windows
@pytest.mark.parametrize(
    ("entries", "writers", "readable"),
    [
        ([(0, ALL, ADMINS), (0, ALL, SYSTEM), (0, READ, USERS)], (), True),
        ([(0, ALL, ADMINS), (0, ALL, SYSTEM)], (), False),
        ([(0, ALL, ADMINS), (0, READ, USERS), (0, WRITE, USERS)], (USERS,), True),
        ([(0, ALL, ADMINS), (0, READ, USERS), (0, ALL, ANNA)], (ANNA,), True),
        ([(0, READ, "S-1-1-0"), (0, 0x40000000, "S-1-5-11")], ("S-1-5-11",), True),
        ([(0, 0x10000000, "S-1-1-0")], ("S-1-1-0",), True),
        ([(0, 0xA0000000, USERS)], (), True),  # GENERIC_READ | GENERIC_EXECUTE
        ([(0, READ, USERS), (1, 0x1, USERS)], (), False),
        ([(0, ALL, "S-1-3-0"), (0, ALL, f"{ANNA[:-4]}500"), (0, READ, USERS)], (), True),
    ],
)
def test_entries_amount_to_rights(entries, writers, readable):
    found = acl.rights(ADMINS, entries)
    assert (found.writers, found.readable) == (writers, readable)


@pytest.mark.windows
def test_who_is_an_administrator():
    for sid in (ADMINS, SYSTEM, owners.INSTALLER, "S-1-5-21-1-2-3-500"):
        assert owners.is_administrator(sid)
    for sid in (USERS, ANNA, "S-1-5-11", "S-1-1-0", "S-1-5-32-500", ""):
        assert not owners.is_administrator(sid)


@pytest.mark.windows
@pytest.mark.skipif(sys.platform != "win32", reason="asks Windows")
def test_permissions_are_set_and_read_back(tmp_path):
    """Wine keeps owner and entries as far as its Unix file system can."""
    folder = tmp_path / "of all"
    folder.mkdir()
    assert owners.owner(folder).startswith("S-1-5-")
    acl.close(folder)
    told = acl.read(folder)
    assert told is not None
    assert told.readable
    assert acl.USERS not in told.writers
    assert "S-1-1-0" not in told.writers
    (folder / "file").write_text("made by an administrator", "utf-8")
    assert home.may_write(folder)
    acl.inherit(folder / "file")
    assert acl.read(folder / "file") is not None


@pytest.mark.windows
@pytest.mark.skipif(sys.platform != "win32", reason="asks Windows")
def test_a_file_that_is_not_there_has_no_permissions(tmp_path):
    assert owners.owner(tmp_path / "nothing") == ""
    assert acl.read(tmp_path / "nothing") is None
    with pytest.raises(OSError, match=r".+"):
        acl.close(tmp_path / "nothing")
