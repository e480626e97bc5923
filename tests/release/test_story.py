"""The release on Windows, from the installer to the last file: under Wine, as one user's story."""

from __future__ import annotations

import hashlib
import json
import sys

import pytest

from release.building import Wish, build
from tests.release.windows_user import DIALOG, OK, YES

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="releases are built on Linux"),
]
TITLE = "GA3 Environment Manager"
DATA = "AppData/Local/GA3EnvManager/"
START_MENU = f"AppData/Roaming/Microsoft/Windows/Start Menu/Programs/{TITLE}.lnk"
KEY = r"HKCU\Software\Microsoft\Windows\CurrentVersion\Uninstall\GA3EnvManager"
FAILED, IN_USE = 1, 3
# A node of NIS that is open: it has called a module, and keeps its connection.
NODE = """
import sys, time
sys.path[:0] = [sys.argv[1], sys.argv[1] + "/.venv/Lib/site-packages"]
import numpy as np
from ga3_nodes import client
client.call("classic", "segment", {"image": np.ones((8, 8), "uint16")}, {})
print("called", flush=True)
time.sleep(600)
"""


@pytest.fixture(scope="module")
def installer(python_zip, tmp_path_factory):
    """Build an offline release; the bench's Python stands for the one that users get."""
    sha256 = hashlib.sha256(python_zip.read_bytes()).hexdigest()
    return build(tmp_path_factory.mktemp("release"), Wish(True, python_zip, sha256, quick=True))[
        0
    ].path


def test_installed_used_upgraded_and_removed(installer, user):
    before = user.files()

    _killed_in_the_middle(user, installer)
    user.run(installer, "/S", "/DESKTOP", "/NOSETUP", offline=True)
    assert {START_MENU, f"Desktop/{TITLE}.lnk"} <= user.files()
    assert not (user.programs / ".venv").exists()

    starter = user.seen(user.programs / "GA3EnvManager.exe")
    user.run(starter, offline=True)  # sets up, in a window
    user.wait_for_window("Qt", TITLE)
    _refused_while_open(user, installer)
    user.close_app()
    _told_and_mended_where_it_is_damaged(user, starter)

    made = _run(user, "demo")  # installs a module, segments an image, runs the node
    assert (made["installed_now"], made["node_equals_cli"]) == (True, True)
    assert made["objects"] > 50
    _upgraded(user, installer)

    user.run(user.seen(user.programs / "Uninstall.exe"), "/S")
    user.wait_for(lambda: not (user.programs / "Uninstall.exe").exists())  # the last to go
    left = user.files() - before
    assert left
    assert all(f.startswith((DATA, "AppData/Local/Programs/GA3EnvManager/python/")) for f in left)
    user.run("reg", "query", KEY, code=FAILED)

    user.run(installer, "/S", offline=True)  # what was kept is used again
    assert _run(user, "status", "classic")["state"] == "ready"
    _refused_while_a_node_is_open(user)
    _removed_by_hand(user)
    user.wait_for_files(before)


def _killed_in_the_middle(user, installer):
    """What is left of an installation that was broken off is no foreign folder to the next."""
    process = user.start(installer, "/S", "/NOSETUP", offline=True)
    user.wait_for((user.programs / "app").exists)
    process.kill()
    process.wait()
    assert not (user.programs / "Uninstall.exe").exists()


def _refused_while_open(user, installer):
    """Neither an upgrade nor an uninstall touches an app that is open."""
    _, said = user.run(installer, "/S", code=IN_USE)
    assert "is open" in said
    said = user.run_in(user.programs, user.programs / "Uninstall.exe", "/S", code=IN_USE)
    assert "is open" in said
    assert (user.programs / "app" / "window.py").is_file()


def _told_and_mended_where_it_is_damaged(user, starter):
    """An app that dies at its import says so, and is set up anew where the user wants it."""
    damaged = user.programs / ".venv" / "Lib" / "site-packages" / "PySide6" / "QtCore.pyd"
    damaged.write_bytes(b"no library")
    user.run(starter)
    told = user.wait_for_window(DIALOG, TITLE, "ended because of an error", YES)
    assert "ImportError: DLL load failed while importing QtCore" in told
    log = user.profile / DATA / "logs" / "start.log"
    assert user.seen(log) in told
    assert "Traceback (most recent call last)" in log.read_text("utf-8")
    user.wait_for_window("Qt", TITLE)
    user.close_app()


def _run(user, *arguments):
    """Run a command of the installed app; return its data."""
    run = user.seen(user.programs / "run.cmd")
    return json.loads(user.run("cmd", "/c", run, *arguments, "--json")[0])["data"]


def _upgraded(user, installer):
    """An upgrade leaves data and Python alone."""
    kept = next((user.programs / "python").glob("*/python.exe")).with_name("kept.txt")
    kept.touch()
    data = {f for f in user.files() if f.startswith(DATA)}
    user.run(installer, "/S", offline=True)
    assert kept.exists()
    assert data <= user.files()


def _refused_while_a_node_is_open(user):
    """Environments are not removed under a program that uses one; nothing else is, either."""
    before = user.files()
    node = user.start(user.python(), "-c", NODE, user.seen(user.programs))
    user.wait_for(lambda: any(w["clients"] for w in _run(user, "workers")["workers"]))
    uninstaller = user.programs / "Uninstall.exe"
    said = user.run_in(user.programs, uninstaller, "/S", "/REMOVEDATA", code=IN_USE)
    node.kill()
    node.wait()
    assert "uses classic. Close it" in said
    assert {f for f in before if "/logs/" not in f and "/run/" not in f} <= user.files()


def _removed_by_hand(user):
    """Tick the box, and let all be removed."""
    user.run(user.seen(user.programs / "Uninstall.exe"))
    box = "&Delete environments, weights and settings, too"
    user.wait_for_window(DIALOG, TITLE, box, box)
    user.press(DIALOG, TITLE, OK)
    user.wait_for(lambda: not user.programs.exists())
    user.run("reg", "query", KEY, code=FAILED)
