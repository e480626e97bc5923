"""A second account uses what the administrator has installed, and cannot change it."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile

from envmanager.machine import permissions
from tests.envmanager.accounts.conftest import OTHER, until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="numbers of accounts are of Linux"),
]
CALL = """
import sys
import numpy as np
from ga3_nodes import client
given = {"threshold": float(sys.argv[1])}
done = client.call("tiny", "segment", {"image": np.array([[0, 900]])}, given)
print(done["labels"].tolist(), done.worker_pid)
"""
STANDIN = ("-m", "ga3_nodes.standin")


def signature(root: Path) -> str:
    """Return a digest of what lies in a folder: names, owners, modes, sizes and times."""
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*")):
        if path.relative_to(root).parts[0] != "run":  # the administrator's own
            state = path.lstat()
            found = (state.st_uid, state.st_mode, state.st_size, state.st_mtime_ns)
            digest.update(f"{path} {found}\n".encode() if path.is_file() else f"{path}\n".encode())
    return digest.hexdigest()


@pytest.fixture(autouse=True)
def unchanged(request, shared):
    """Hold that the other account changes nothing in the data folder of all."""
    before = signature(shared)
    yield
    if not {"admin", "of_all"} & set(request.fixturenames):
        assert signature(shared) == before


@pytest.fixture(scope="module")
def image(anna):
    """An image of the other account."""
    path = anna.folder / "in.tif"
    pixels = np.zeros((40, 40), np.uint16)
    pixels[10:20, 10:20] = 900
    tifffile.imwrite(path, pixels)
    os.chown(path, OTHER, OTHER)
    return path


def test_the_module_is_listed_with_its_place(anna, shared):
    listed = {one["name"]: one for one in anna.run("list")["modules"]}
    told = [listed["tiny"][key] for key in ("state", "root", "shared", "may_change")]
    assert told == ["ready", str(shared), True, False]
    others = {one["root"] for name, one in listed.items() if name != "tiny"}
    assert others == {str(anna.root)}
    assert anna.run("status", "tiny")["root"] == str(shared)


def test_it_runs_with_a_worker_and_a_log_of_its_own(anna, shared, image):
    done = anna.run("segment", "tiny", image, "-o", anna.folder / "out.tif")
    assert done["outputs"][0]["objects"] == 1
    (worker,) = anna.run("workers")["workers"]
    assert Path(f"/proc/{worker['pid']}").stat().st_uid == OTHER
    for part, mode in (("run", 0o700), ("logs", None)):
        folder = anna.root / part
        assert folder.stat().st_uid == OTHER
        assert mode in (None, folder.stat().st_mode & 0o777)
    assert (anna.root / "logs" / "worker-tiny.log").is_file()
    assert not (shared / "logs").exists()


def test_its_node_runs_in_the_stand_in(anna, shared):
    script = anna.folder / "node.py"
    anna.run("node", "tiny", "-o", script)
    frame = anna.folder / "frame.npy"
    np.save(frame, np.full((1, 4, 4, 1), 900, np.uint16))
    os.chown(frame, OTHER, OTHER)
    words = ["--script", script, "--input", frame, "--output-dir", anna.folder / "given"]
    process = anna.start(*STANDIN, *words, "--json")
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, out + err
    assert np.load(anna.folder / "given" / "output_0.npy").max() == 1


def test_it_can_check_what_it_uses(anna, shared):
    assert anna.run("verify", "tiny")["ok"]
    assert anna.run("selftest", "tiny")["ok"]
    assert anna.run("diff", "tiny", "1", "1")["same"]
    assert anna.run("freeze", "tiny")["text"]


def test_its_checklist_tells_of_what_all_have(anna, shared):
    for account in (anna, anna.having(GA3ENV_MACHINE_WIDE="1")):
        lines = {one["id"]: one for one in account.run("doctor")["checks"]}
        assert lines["shared_folder"]["status"] == "ok"
        assert lines["data_folder"]["status"] == "ok", lines["data_folder"]
        assert lines["module:tiny"]["message"].startswith("tiny 1.0.0 is ready for all accounts")


def test_disk_tells_what_all_accounts_share(anna, shared):
    """Its figures are kept in the account's own folder; the cache that is cleaned is its own."""
    (anna.root / "disk-of-all.json").unlink(missing_ok=True)
    told = anna.run("disk")["of_all_accounts"]
    assert (told["root"], told["may_change"]) == (str(shared), False)
    assert told["modules"]["tiny"]["own"] + told["modules"]["tiny"]["shared"] > 1_000_000
    assert "tiny" not in anna.run("disk", "--clean-cache")["modules"]
    assert anna.run("disk")["of_all_accounts"]["date"] == told["date"]
    assert anna.run("disk", "--refresh")["of_all_accounts"]["date"] > told["date"]


def test_programs_of_the_environment_run(anna, shared):
    """Their first line names the interpreter, which was in the administrator's own folder."""
    program = shared / "envs" / "tiny" / "1" / ".venv" / "bin" / "f2py"
    text = "import subprocess, sys; subprocess.run([sys.argv[1], '-v'], check=True)"
    assert anna.code(text, program).strip()


@pytest.mark.parametrize(
    "words",
    [
        ("remove", "tiny"),
        ("remove", "tiny", "--when-free"),
        ("update", "tiny"),
        ("update", "tiny", "--dry-run"),
        ("repair", "tiny"),
        ("pin", "tiny"),
        ("install", "tiny", "--all-accounts"),
        ("move-root", "--machine-wide"),
    ],
    ids=" ".join,
)
def test_it_cannot_change_what_others_run(anna, shared, words):
    assert anna.refused(*words) == "not_writable"


@pytest.mark.parametrize(
    "words",
    [("install", "tiny"), ("settings", "offline", "true"), ("new-module", "cells")],
    ids=" ".join,
)
def test_the_administrators_variable_gives_no_rights(anna, shared, words):
    assert anna.having(GA3ENV_MACHINE_WIDE="1").refused(*words) == "not_writable"


def test_settings_presets_and_weights_are_its_own(anna, shared, image):
    anna.run("settings", "idle_timeout_s", "77")
    preset = ("-p", "threshold=500", "--save-preset", "bright")
    anna.run("segment", "tiny", image, "-o", anna.folder / "preset.tif", *preset)
    anna.run("weights", "tiny", "add", anna.file("model.bin", b"mine"), "--name", "annas")
    (told,) = anna.run("weights", "tiny")["sets"]
    assert (told["name"], told["shared"]) == ("annas", False)
    assert [one["name"] for one in anna.run("status", "tiny")["weights"]] == ["annas"]
    own = {"settings.toml", "presets", "weights"}
    assert own <= {path.name for path in anna.root.iterdir()}


def test_the_accounts_do_not_reach_each_others_workers(anna, admin, shared):
    pids = {account.name: account.code(CALL, 100).split()[-1] for account in (admin, anna)}
    for account in (admin, anna):
        (worker,) = account.run("workers")["workers"]
        assert str(worker["pid"]) == pids[account.name]
    record = next((shared / "run").glob("*.json"))
    process = anna.start("-c", f"open({str(record)!r}).read()")
    assert "PermissionError" in process.communicate(timeout=60)[1]
    assert len(anna.run("workers", "stop")["workers"]) == 1
    (worker,) = admin.run("workers", "stop")["workers"]
    assert str(worker["pid"]) == pids["admin"]


def test_a_module_for_itself_alone_wins(anna, shared, tiny_lock):
    anna.run("install", "tiny", "--python", anna.python)
    told = anna.run("status", "tiny")
    assert (told["root"], told["shared"], told["state"]) == (str(anna.root), False, "ready")
    assert anna.run("remove", "tiny")["freed_bytes"] > 0
    assert anna.run("status", "tiny")["shared"]


# ---- with what the administrator does ------------------------------------------------------------


@pytest.fixture
def of_all(admin, shared):
    """Let the administrator give all accounts a set of weights."""
    acting = admin.having(GA3ENV_MACHINE_WIDE="1")
    words = ("--name", "of_all", "--replace")
    acting.run("weights", "tiny", "add", admin.file("model.bin", b"of all"), *words)
    return signature(shared)


@pytest.mark.usefixtures("of_all")
def test_weights_of_all_are_seen_and_stay(anna, shared):
    (told,) = [one for one in anna.run("weights", "tiny")["sets"] if one["name"] == "of_all"]
    assert told["shared"]
    assert told["present"]
    assert told["path"].startswith(str(shared))
    assert anna.refused("weights", "tiny", "remove", "of_all") == "not_writable"


def test_a_python_that_others_cannot_run_is_refused(admin, shared):
    own = Path(sys.executable).resolve()
    if not permissions.is_private(own):
        pytest.skip("every account can run this Python")
    words = ("install", "tiny", "--all-accounts", "--python", own)
    assert admin.refused(*words) == "python_private"
    assert [path.name for path in (shared / "envs" / "tiny").iterdir()] == ["1"]


def test_the_administrator_sees_who_uses_a_module(anna, admin, shared):
    """A worker of another account keeps a module only as long as it works."""
    anna.run("workers", "stop")
    process = anna.start("-c", CALL, 7)  # sleeps
    until(lambda: any(one["busy"] for one in anna.run("workers")["workers"]))
    (user,) = admin.run("status", "tiny")["in_use_by"]
    assert (user["pid"], user["user"], user["busy"]) == (process.pid, str(OTHER), True)
    code, told = admin.answer(admin.command("remove", "tiny"))
    assert (code, told["code"]) == (1, "module_in_use")
    assert f"user {OTHER}" in told["message"]
    assert admin.run("remove", "tiny", "--when-free")["deferred"]
    assert anna.run("status", "tiny")["state"] == "removing"
    process.kill()
    process.communicate(timeout=60)
    until(lambda: admin.run("list") and not (shared / "envs" / "tiny").exists())
    assert "tiny" not in {
        one["name"] for one in anna.run("list")["modules"] if one["state"] != "not_installed"
    }


@pytest.mark.usefixtures("of_all")
def test_a_bundle_of_what_all_share_is_installed_for_all(anna, admin, shared):
    """Any account makes it, also with the weights of all; for all only the administrator."""
    file = anna.folder / "tiny.ga3bundle"
    made = anna.run("bundle", "create", "tiny", "-o", file, "--weights", "of_all")
    assert list(made["modules"]["tiny"]["weights"]) == ["of_all"]
    assert anna.refused("bundle", "install", file, "--all-accounts") == "not_writable"
    there = shared.parent / file.name
    assert anna.refused("bundle", "create", "tiny", "-o", there) == "output_not_writable"
    shutil.rmtree(shared / "modules" / "tiny")
    shutil.rmtree(shared / "weights" / "tiny")
    (done,) = admin.run("bundle", "install", file, "--all-accounts")["modules"]
    assert Path(done["folder"]).is_relative_to(shared)
    told = anna.run("status", "tiny")
    assert (told["root"], told["state"]) == (str(shared), "ready")
    assert [one["name"] for one in told["weights"] if one["shared"]] == ["of_all"]
    assert anna.run("selftest", "tiny")["ok"]
    line = {one["id"]: one for one in anna.run("doctor")["checks"]}["shared_folder"]
    assert line["status"] == "ok", line["message"]
