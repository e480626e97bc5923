"""Making the environments of one account those of all: complete at every moment."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from envmanager.data import fulldisk
from envmanager.data.paths import MOVE_NOTE, DataFolder
from envmanager.errors import Cancelled, GA3EnvError
from envmanager.events import CancelToken, Progress, Stage
from envmanager.moving import machine_wide, relocation
from ga3_nodes import home, owners
from tests.conftest import end_workers
from tests.envmanager.moving.support import CALL, command, environment, names, node_call
from tests.support import ECHO_DECLARATION, ECHO_WORKER, publish

pytestmark = pytest.mark.skipif(not owners.is_elevated(), reason="only an administrator can")
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="modes and owners of files")
ANNA = 54321
PRIVATE = {"settings.toml": "generations_kept = 2\n", "presets/echo/mine.toml": "mine"}


@pytest.fixture
def computer(tmp_path, monkeypatch):
    """Have a machine-wide place of this test; return the data folder there, which is not made."""
    (tmp_path / "computer").mkdir()
    monkeypatch.setenv("PROGRAMDATA", str(tmp_path / "computer"))
    yield home.machine_root()
    end_workers(home.machine_root())


@pytest.fixture
def own(echo_at, computer):
    """Have an account with a module, weights of both kinds and private things."""
    for name, text in PRIVATE.items():
        (echo_at / name).parent.mkdir(parents=True, exist_ok=True)
        (echo_at / name).write_text(text, "utf-8")
    (echo_at / "modules" / "echo").mkdir(parents=True)
    (echo_at / "modules" / "echo" / "module.toml").write_text("x", "utf-8")
    folder = echo_at / "weights" / "echo"
    sets = {}
    for name, path, custom in (("usual", "usual", False), ("mine", "custom/mine/m", True)):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(name.encode())
        entry = {"path": path, "files": {path: {"size": len(name), "sha256": "0" * 64}}}
        sets[name] = {**entry, "custom": custom, "added": "", "note": ""}
    listing = {"schema": 1, "sets": sets, "trusted": {"https://somewhere/usual": "0" * 64}}
    (folder / "weights.json").write_text(json.dumps(listing), "utf-8")
    return echo_at


def is_untouched(own: Path, computer: Path) -> None:
    """Hold that the account has all that it had, and the computer nothing."""
    assert home.published("echo").root == own
    assert not (computer / "config.json").exists()
    assert MOVE_NOTE not in {path.name for path in own.iterdir()}
    assert set(_sets(own)) == {"usual", "mine"}
    assert (own / "modules" / "echo" / "module.toml").exists()
    node_call()


def is_shared(own: Path, computer: Path) -> None:
    """Hold that all accounts have the module, and the account what is private."""
    assert home.published("echo").root == computer
    assert (set(_sets(own)), set(_sets(computer))) == ({"mine"}, {"usual"})
    assert (own / "weights" / "echo" / "custom" / "mine" / "m").read_bytes() == b"mine"
    assert not (own / "weights" / "echo" / "usual").exists()
    assert (computer / "weights" / "echo" / "usual").read_bytes() == b"usual"
    assert not (computer / "weights" / "echo" / "custom").exists()
    assert (computer / "modules" / "echo" / "module.toml").exists()
    for name, text in PRIVATE.items():
        assert (own / name).read_text("utf-8") == text
        assert not (computer / name).exists()
    left = {path.name for path in own.iterdir()}
    assert not left & {"envs", "modules", "uv-cache", MOVE_NOTE}
    assert MOVE_NOTE not in {path.name for path in computer.iterdir()}
    node_call()


def _sets(root: Path) -> dict:
    return dict(json.loads((root / "weights" / "echo" / "weights.json").read_text())["sets"])


@pytest.mark.windows
def test_environments_go_and_private_things_stay(own, computer):
    planned = machine_wide.plan()
    assert (planned.source, planned.target) == (own, computer)
    assert (planned.modules, planned.obstacles) == (["echo"], [])
    assert {"settings", "presets", "weights of its own"} <= set(planned.stays)
    assert planned.free > planned.size > 0
    is_untouched(own, computer)
    moved = machine_wide.move()
    assert (moved.target, moved.old_deleted) == (computer, True)
    is_shared(own, computer)
    with pytest.raises(GA3EnvError, match="Nothing is installed"):
        machine_wide.move()
    is_shared(own, computer)


@linux_only
def test_all_can_read_it_whatever_the_modes_were(own, computer):
    for path in (own / "envs").rglob("*"):
        path.chmod(0o700 if path.is_dir() else 0o666)
    before = os.umask(0o077)
    try:
        machine_wide.move()
    finally:
        os.umask(before)
    for path in (computer, *computer.rglob("*")):
        mode = path.stat().st_mode & 0o777
        assert mode == (0o755 if path.is_dir() else 0o644), path
    assert home.published("echo").root == computer


def test_the_copy_shares_no_bytes_with_what_its_owner_can_write(own, computer):
    worker = next(own.glob("envs/echo/*/worker.py"))
    (own / "link.py").hardlink_to(worker)
    machine_wide.move()
    (own / "link.py").write_text("evil", "utf-8")
    assert "evil" not in next(computer.glob("envs/echo/*/worker.py")).read_text("utf-8")


@pytest.mark.parametrize("moment", ["plan", "copy", "progress", "verify", "permissions", "publish"])
def test_a_cancelled_move_leaves_nothing(own, computer, moment):
    token = CancelToken()

    def report(event):
        told = "progress" if isinstance(event, Progress) else getattr(event, "name", "")
        if told == moment:
            token.cancel()

    if moment == "publish":  # too late
        machine_wide.move(None, report, token)
        is_shared(own, computer)
        return
    with pytest.raises(Cancelled):
        machine_wide.move(None, report, token)
    assert not computer.exists()
    is_untouched(own, computer)


def test_a_busy_worker_refuses(own, computer):
    code = CALL.format(module="echo").replace("]])}", "]])}, {'mode': 'sleep'}")
    busy = subprocess.Popen([sys.executable, "-c", code], env=environment(), stderr=-3)
    try:
        data, deadline = DataFolder(own), time.monotonic() + 60
        while not any(worker.busy for worker in machine_wide.standstill.workers.live(data)):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert [one.code for one in machine_wide.plan().obstacles] == ["module_in_use"]
        with pytest.raises(GA3EnvError, match="at work") as caught:
            machine_wide.move()
        assert caught.value.code == "module_in_use"
    finally:
        busy.kill()
        busy.wait()
    assert not computer.exists()


@pytest.mark.parametrize("reason", ["no room", "taken", "variable", "nothing", "rights"])
def test_what_is_in_the_way_is_told_before_anything_begins(own, computer, monkeypatch, reason):
    codes = {"no room": "disk_full", "rights": "not_writable"}
    if reason == "no room":
        monkeypatch.setattr(fulldisk, "free", lambda place: 10)
    elif reason == "taken":
        publish(computer, {**ECHO_DECLARATION, "name": "other"}, ECHO_WORKER)
    elif reason == "variable":
        monkeypatch.setenv("GA3ENV_HOME", str(own))
    elif reason == "nothing":
        (own / "config.json").unlink()
    else:
        monkeypatch.setattr(owners, "is_elevated", lambda: False)
    (found,) = machine_wide.plan().obstacles
    assert found.code == codes.get(reason, "move_refused")
    assert found.hint
    with pytest.raises(GA3EnvError) as caught:
        machine_wide.move()
    assert caught.value.code == found.code
    assert MOVE_NOTE not in {path.name for path in own.iterdir()}
    assert (own / "envs").is_dir()


@linux_only
def test_what_a_failed_install_has_left_is_not_in_the_way(own, computer):
    (computer / "envs" / "classic").mkdir(parents=True)
    (computer / "uv-cache" / "wheels-v5").mkdir(parents=True)
    (computer / "uv-cache" / "CACHEDIR.TAG").touch()
    assert machine_wide.plan().obstacles == []
    (computer / "envs" / "classic" / "1").mkdir()
    assert [error.code for error in machine_wide.plan().obstacles] == ["move_refused"]
    (computer / "envs" / "classic" / "1").rmdir()
    machine_wide.move()
    assert names(computer / "envs") == {"echo"}
    assert home.published("echo").root == computer


def test_a_folder_that_is_not_there_is_told_and_not_made(own, computer, tmp_path):
    for look in (machine_wide.plan, machine_wide.move):
        with pytest.raises(GA3EnvError, match="There is no") as caught:
            look(tmp_path / "typo")
        assert caught.value.code == "move_refused"
        assert not (tmp_path / "typo").exists()


def test_a_python_that_others_cannot_run_is_told(own, computer, tmp_path):
    hidden = tmp_path / "hidden"
    hidden.mkdir(mode=0o700)
    (hidden / "python3").write_text("", "utf-8")
    venv = home.published("echo").folder / ".venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "bin" / "python").symlink_to(hidden / "python3")
    (venv / "pyvenv.cfg").write_text(f"home = {hidden}\n", "utf-8")
    (found,) = machine_wide.plan().obstacles
    assert found.code == "python_private"
    assert str(hidden) in found.message


@linux_only
def test_an_administrator_moves_the_folder_of_another_account(own, computer):
    for path in (own, *own.rglob("*")):
        os.chown(path, ANNA, ANNA)
    shutil.rmtree(own / "run", ignore_errors=True)
    machine_wide.move(own)
    assert {path.stat().st_uid for path in (computer, *computer.rglob("*"))} == {0}
    assert {path.stat().st_uid for path in (own, *own.rglob("*"))} == {ANNA}
    is_shared(own, computer)


MOMENTS = {
    "noted": lambda own, all_: (own / MOVE_NOTE).exists(),
    "copying": lambda own, all_: (all_ / "modules").exists(),
    "in force": lambda own, all_: (all_ / "moved.json").exists(),
    "deleting": lambda own, all_: (all_ / "moved.json").exists() and not (own / "modules").exists(),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_move_is_finished_or_undone(own, computer, moment):
    for number in range(300):
        (own / "envs" / "echo" / "1" / str(number)).mkdir(parents=True)
    process = subprocess.Popen(
        [*command("move-root", "--machine-wide"), "--json"], env=environment(), stdout=-3, stderr=-3
    )
    while not MOMENTS[moment](own, computer) and process.poll() is None:
        pass
    process.send_signal(signal.SIGKILL)
    process.wait()
    node_call()  # whatever is in force works
    relocation.settle()
    if (computer / "moved.json").exists():
        is_shared(own, computer)
    else:
        is_untouched(own, computer)
        machine_wide.move()  # also over what is left in the new folder
        is_shared(own, computer)


def test_who_may_not_delete_in_the_new_folder_is_not_held_up(own, computer, monkeypatch):
    """A move broke off: the account goes on at once, and the next move clears what is left."""

    def die(event):
        if event == Stage("verify", "Checking the copy"):
            raise KeyboardInterrupt

    with monkeypatch.context() as powerless:
        powerless.setattr(machine_wide.standstill, "delete", lambda path: False)
        with pytest.raises(KeyboardInterrupt):
            machine_wide.move(None, die)
        assert (computer / "envs").exists()
    is_untouched(own, computer)
    machine_wide.move()
    is_shared(own, computer)


@pytest.mark.windows
def test_another_accounts_receipt_takes_nothing_away(own, computer):
    """The note of a broken-off move stays, and somebody else's folder was moved meanwhile."""
    note = machine_wide.Note.of(own, own, computer, shares=True)
    machine_wide.notes.write(own, note)
    publish(computer, {**ECHO_DECLARATION, "name": "other"}, ECHO_WORKER)
    other = machine_wide.Note.of(computer, computer, computer, shares=True)
    machine_wide.notes.write(computer, other)
    machine_wide.notes.make_receipt(computer)
    relocation.settle()
    assert home.published("echo").root == own
    assert home.published("other").root == computer
    assert MOVE_NOTE not in {path.name for path in own.iterdir()}
