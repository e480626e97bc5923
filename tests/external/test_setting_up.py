"""The set-up: the pinned uv is got and checked, `.venv` is as its lock says, and stays so."""

import errno
import json
import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from external import bootstrap, pinned_uv
from external.telling import SetupError, refuse
from tests.external.project_copy import (
    BASE_PYTHON,
    MAIN,
    PLATFORMS,
    UV,
    UV_NAME,
    WINDOWS,
    posix_only,
)
from tests.support import PROJECT

HARM = {
    "a package removed": "rm -r .venv/lib/*/site-packages/tiny",
    "a link to nowhere": "ln -sf /nowhere/python3 .venv/bin/python",
    "a file": "rm -r .venv && touch .venv",
    "foreign": "rm -r .venv && mkdir -p .venv/bin",
    "no pyvenv.cfg": "rm .venv/pyvenv.cfg",
    "a garbled stamp": "printf '\\377 nonsense' > .venv/ga3env-app.stamp",
}

# ---- uv ------------------------------------------------------------------------------------------


def test_uv_that_lies_there_is_kept_if_it_is_the_right_one(copy):
    copy.give_uv()
    uv = copy.root / "external" / "UV" / UV_NAME
    uv.chmod(0o644)
    assert "Getting uv" not in copy.works()[1]
    uv.write_bytes(b"something else")
    said = copy.works()[1]
    assert "is not the uv" in said
    assert "Setting up" not in said
    assert uv.read_bytes() == UV.read_bytes()


@pytest.mark.parametrize("what", ["wheel", "binary"])
def test_wrong_hash_is_refused_and_leaves_nothing(copy, what):
    good = {"wheel": copy.hashes["uv"], "binary": copy.hashes["binary"]}
    copy.pin(**good | {what: "0" * 64})
    assert "sha256" in copy.fails("hash_mismatch")
    assert copy.left() == [".lock"]
    assert not (copy.root / ".venv").exists()
    copy.pin(**good)
    copy.works()


def test_no_network(copy):
    message = copy.fails("uv_not_fetched", PIP_FIND_LINKS=None)
    assert "No matching distribution found" in message
    proxy = {"PIP_NO_INDEX": None, "PIP_RETRIES": "1", "HTTPS_PROXY": "http://127.0.0.1:9"}
    assert "no connection" in copy.fails("uv_not_fetched", PIP_FIND_LINKS=None, **proxy)
    assert copy.left() == [".lock"]


def test_python_without_pip(copy, tmp_path):
    bare = tmp_path / "bare"
    subprocess.run([UV, "venv", "-q", "--no-project", "--python", BASE_PYTHON, bare], check=True)
    _, said = copy.works(GA3ENV_PYTHON=str(bare / "bin" / "python"))
    assert "has no pip" in said
    assert (copy.root / ".venv/ga3env-python").read_text().strip() == BASE_PYTHON
    assert copy.works()[1] == ""  # a venv's Python and the one below it are the same


def test_no_pip_and_no_way_to_one(monkeypatch, tmp_path):
    monkeypatch.setattr(pinned_uv, "run_tool", lambda *_: (1, ["No module named pip"]))
    with pytest.raises(SetupError) as caught:
        pinned_uv.download_uv(pinned_uv.Pin(), tmp_path)
    assert caught.value.code == "no_pip"
    assert "external/UV" in caught.value.hint


def test_unreadable_tools_file(copy):
    (copy.root / "external" / "tools.toml").write_text("uv = ")
    copy.fails("checkout_damaged")


def test_tools_file_is_complete():
    table = tomllib.loads((PROJECT / "external" / "tools.toml").read_text("utf-8"))["uv"]
    version = table.pop("version")
    assert re.fullmatch(r"\d+\.\d+\.\d+", version)
    assert set(table) == PLATFORMS
    hashes = [h for t in table.values() for h in t["wheel_sha256"] + t["binary_sha256"]]
    assert all(re.fullmatch("[0-9a-f]{64}", value) for value in hashes)
    assert len(set(hashes)) == len(hashes)


@pytest.mark.slow
@pytest.mark.windows
def test_real_fetch_with_an_empty_home(copy):
    shutil.copy(PROJECT / "external" / "tools.toml", copy.root / "external" / "tools.toml")
    locked = (PROJECT / "requirements.lock").read_text("utf-8")
    one = re.search(r"^toolz==.*?(?=^\S)", locked, re.M | re.S).group()
    (copy.root / "requirements.lock").write_text(one)
    program = MAIN.replace("sys, tiny", "sys, toolz as tiny")
    (copy.root / "envmanager" / "__main__.py").write_text(program)
    registry = ("PIP_", "UV_")  # the user's instead of ours
    copy.env = {k: v for k, v in copy.env.items() if not k.startswith(registry)}
    copy.env |= {k: v for k, v in os.environ.items() if k.startswith(registry)}
    copy.env["UV_CACHE_DIR"] = str(copy.home / "cache")
    if WINDOWS and "SSL_CERT_FILE" in os.environ:  # of the bench; its pip knows no other
        copy.env["PIP_CERT"] = os.environ["SSL_CERT_FILE"]
    seen, said = copy.works("list")
    assert "toolz" in seen["tiny"]
    assert "Getting uv" in said
    assert copy.works("list")[1] == ""


# ---- the app's environment -----------------------------------------------------------------------


@pytest.mark.windows
def test_wheels_that_a_release_carries_are_taken_instead_of_an_index(copy):
    copy.give_uv()
    shutil.copytree(copy.wheels, copy.root / "wheels")
    nowhere = {"UV_NO_INDEX": None, "UV_FIND_LINKS": None, "UV_INDEX_URL": "http://127.0.0.1:9/"}
    done = copy.run("set-up", **nowhere)
    assert (done.returncode, done.stdout) == (0, "")
    assert "Setting up the app (1 package) ..." in done.stderr
    copy.works(**nowhere)


@posix_only
@pytest.mark.parametrize("harm", HARM)
def test_damaged_environment_is_made_anew(ready, harm):
    subprocess.run(["bash", "-c", HARM[harm]], cwd=ready.root, check=True)
    assert "making it anew" in ready.works()[1]
    assert ready.left() == [".lock", UV_NAME]
    assert ready.works()[1] == ""


def test_moved_checkout_is_made_anew(ready):
    ready.root = ready.root.rename(ready.root.with_name("moved"))
    seen, said = ready.works()
    assert "making it anew" in said
    assert Path(seen["tiny"]).is_relative_to(ready.root)


def test_only_a_changed_lock_is_installed_again(ready):
    os.utime(ready.root / "requirements.lock", (1, 1))
    assert ready.works()[1] == ""
    ready.lock("app", tiny="2.0")
    assert ready.works()[1] == "Setting up the app (1 package) ...\n"
    assert "two" in (ready.site_packages() / "tiny" / "__init__.py").read_text()
    assert ready.works()[1] == ""


def test_lock_with_a_wrong_hash(copy):
    copy.give_uv()
    copy.lock("app", tiny="1.0", wrong=True)
    assert "sha256" in copy.fails("hash_mismatch")
    copy.lock("app", tiny="1.0")
    copy.works()


def test_test_command_adds_to_the_app(ready):
    done = ready.run("test", "-k", "a b")
    assert "the app and its tests (2 packages)" in done.stderr
    assert done.returncode == 0
    assert json.loads(done.stdout) == {"args": ["-k", "a b"], "cwd": str(ready.root)}
    assert ready.works()[1] == ""  # the app does not take the tests' packages away
    assert ready.run("test").stderr == ""


def test_failed_install_leaves_the_app_as_it_was(ready):
    ready.lock("test", tiny="1.0", pytest="9.9")
    assert "pytest" in ready.fails("install_failed", "test")
    assert ready.works()[1] == ""


def test_full_disk(monkeypatch, capsys):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device", "x")

    monkeypatch.setattr(bootstrap, "start", full)
    assert bootstrap.main(["--json"]) == 1
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "disk_full"
    with pytest.raises(SetupError) as caught:
        refuse(["error: x", "  Caused by: No space left on device"], "x", "That", "")
    assert caught.value.code == "disk_full"
