"""The release on Windows, from the installer to the last file: under Wine, as one user's story."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import zipfile
from pathlib import Path

import pytest

from release.building import Wish, build
from tests import windows_bench
from tests.release.windows_user import WindowsUser
from tests.support import PROJECT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="releases are built on Linux"),
]
TITLE = "GA3 Environment Manager"
DATA = "AppData/Local/GA3EnvManager/"
START_MENU = f"AppData/Roaming/Microsoft/Windows/Start Menu/Programs/{TITLE}.lnk"
KEY = r"HKCU\Software\Microsoft\Windows\CurrentVersion\Uninstall\GA3EnvManager"
OPEN, FAILED = 3, 1


@pytest.fixture(scope="module")
def bench():
    """Build the bench where its scripts are, unless the Windows tests already have."""
    place = os.environ.get("GA3ENV_WINDOWS_BENCH")
    scripts = Path(place) if place else PROJECT.parent / "shared" / "windows-bench"
    if not (scripts / "setup.sh").is_file():
        pytest.skip(f"there is no Windows bench: no {scripts} (GA3ENV_WINDOWS_BENCH names it)")
    windows_bench.prepare(scripts)
    return windows_bench.BENCH


@pytest.fixture(scope="module")
def installer(bench, tmp_path_factory):
    """Build an offline release; the bench's Python stands for the one that users get."""
    if not shutil.which("makensis"):
        pytest.skip("there is no makensis")
    (python,) = (bench / "prefix" / "drive_c").glob("Python3*")
    archive = tmp_path_factory.mktemp("release") / "python.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        for path in sorted(python.rglob("*")):
            if "__pycache__" not in path.parts:
                packed.write(path, path.relative_to(python.parent))
    sha256 = hashlib.sha256(archive.read_bytes()).hexdigest()
    return build(archive.parent, Wish(True, archive, sha256, quick=True))[0].path


@pytest.fixture
def user(bench):
    made = WindowsUser()
    yield made
    made.close()


def test_installed_used_upgraded_and_removed(installer, user):
    user.run("cmd", "/c", "ver")  # makes the profile
    before = user.files()

    user.run(installer, "/S", "/DESKTOP", "/NOSETUP", offline=True)
    assert {START_MENU, f"Desktop/{TITLE}.lnk"} <= user.files()
    assert "DisplayVersion" in user.run("reg", "query", KEY)[0]
    assert not (user.programs / ".venv").exists()

    starter = user.seen(user.programs / "GA3EnvManager.exe")
    user.run(starter, offline=True)  # sets up, in a window
    user.wait_for_window("Qt", TITLE)
    _refused_while_open(user, installer)
    user.windows(close="Qt")
    user.wait_for(lambda: not any(kind.startswith("Qt") for kind, _ in user.windows()))

    made = _run(user, "demo")  # installs a module, segments an image, runs the node
    assert (made["installed_now"], made["node_equals_cli"]) == (True, True)
    assert made["objects"] > 50
    _upgraded(user, installer)

    _uninstall(user)
    left = user.files() - before
    assert left
    assert all(f.startswith((DATA, "AppData/Local/Programs/GA3EnvManager/python/")) for f in left)
    user.run("reg", "query", KEY, code=FAILED)

    user.run(installer, "/S", offline=True)  # what was kept is used again
    assert _run(user, "status", "classic")["state"] == "ready"
    _uninstall(user, "/REMOVEDATA")
    assert user.files() - before == set()


def _refused_while_open(user, installer):
    """Neither an upgrade nor an uninstall touches an app that is open."""
    _, said = user.run(installer, "/S", code=OPEN)
    assert "is open" in said
    uninstaller = user.seen(user.programs / "Uninstall.exe")
    _, said = user.run(uninstaller, "/S")  # goes on in a copy of itself, so its code says nothing
    assert "is open" in said
    assert (user.programs / "app" / "window.py").is_file()


def _run(user, *arguments):
    """Run a command of the installed app; return its data."""
    run = user.seen(user.programs / "run.cmd")
    return json.loads(user.run("cmd", "/c", run, *arguments, "--json")[0])["data"]


def _upgraded(user, installer):
    """An upgrade takes away what the old version had, and leaves data and Python alone."""
    stale = user.programs / "app" / "stale.py"
    stale.touch()
    kept = next((user.programs / "python").glob("*/python.exe")).with_name("kept.txt")
    kept.touch()
    data = {f for f in user.files() if f.startswith(DATA)}
    user.run(installer, "/S", offline=True)
    assert not stale.exists()
    assert kept.exists()
    assert data <= user.files()


def _uninstall(user, *switches):
    """Uninstall: it goes on in a copy of itself, whose end shows by the registry."""
    user.run(user.seen(user.programs / "Uninstall.exe"), "/S", *switches)
    user.wait_for(lambda: not _is_registered(user))


def _is_registered(user):
    return KEY.rpartition("\\")[2] in user.run("cmd", "/c", f"reg query {KEY} & exit /b 0")[0]
