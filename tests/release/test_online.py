"""The release that fetches its Python and its packages, under Wine: broken off, and gone on with.

The Python is the bench's, packed as uv fetches one and served on this machine under the name of
uv's own source. The packages come from the index that is configured here. The app lies on another
disk, in a folder with all that quoting can go wrong with.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys

import pytest

from external.places import sha256
from release import contents, installer
from release.building import Wish, build
from release.contents import ROOT
from tests.file_server import Fault

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="releases are built on Linux"),
]
TITLE = "GA3 Environment Manager"
SOURCE = "https://github.com/astral-sh/python-build-standalone/releases/download"
FOLDER = "Mess- & Labor ^(ä)!"
NOT_SET_UP, NOT_ALL = 5, 6
AGAIN = """
import sys
from release import __main__, installer
installer.PYTHON_VERSION = "3.11"
sys.exit(__main__.main(["--quick", "--output", sys.argv[1]]))
"""


@pytest.fixture(scope="module")
def state():
    """Say what the release is made of, before it is built."""
    return _state()


def _state():
    return contents.commit(), [(name, (ROOT / name).read_bytes()) for name in contents.files()]


@pytest.fixture(scope="module")
def setup(state, bench, tmp_path_factory):
    """Build a release that carries neither a Python nor wheels; the bench has Python 3.11."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(installer, "PYTHON_VERSION", "3.11")
        return build(tmp_path_factory.mktemp("release"), Wish(quick=True))[0].path


def test_two_releases_of_the_same_commit_are_the_same_bytes(setup, state, tmp_path):
    """Built later, elsewhere, in another language and time zone, for nobody else to read."""
    elsewhere = tmp_path / "später"
    elsewhere.mkdir()
    other = {"TZ": "Asia/Tokyo", "LC_ALL": "C", "PYTHONHASHSEED": "7", "TMPDIR": str(elsewhere)}
    subprocess.run(
        [sys.executable, "-c", AGAIN, tmp_path / "out"],
        cwd=ROOT,
        env=os.environ | other,
        umask=0o077,
        check=True,
    )
    if _state() != state:
        pytest.skip("somebody has edited the project between the two builds")
    made = {path.name: sha256(path) for path in setup.parent.iterdir()}
    assert {path.name: sha256(path) for path in (tmp_path / "out").iterdir()} == made
    assert len(made) == 2


@pytest.fixture
def mirror(file_server, python_tar, tmp_path):
    """Serve the Python; return the server, and the variables that lead uv to it."""
    content = python_tar.read_bytes()
    file_server.put("20260101/python.tar.gz", content)
    entry = {
        "name": "cpython",
        "arch": {"family": "x86_64", "variant": None},
        "os": "windows",
        "libc": "none",
        "major": 3,
        "minor": 11,
        "patch": 9,
        "prerelease": "",
        "url": f"{SOURCE}/20260101/python.tar.gz",
        "sha256": hashlib.sha256(content).hexdigest(),
        "variant": None,
        "build": "20260101",
    }
    known = tmp_path / "pythons.json"
    known.write_text(json.dumps({"cpython-3.11.9-windows-x86_64-none": entry}))
    variables = {"UV_PYTHON_INSTALL_MIRROR": file_server.url}
    return file_server, variables | {"UV_PYTHON_DOWNLOADS_JSON_URL": f"Z:{known}"}


def test_a_set_up_goes_on_after_a_missing_network_and_a_power_cut(setup, user, mirror):
    server, variables = mirror
    before = user.files()
    user.programs = user.other_disk / FOLDER / "GA3"
    said = user.run_in(user.programs, setup, "/S", offline=True, code=NOT_SET_UP, **variables)
    assert said.count("Check the network and the proxy") == 1
    assert (user.programs / "app" / "window.py").is_file()

    served = server.files["/20260101/python.tar.gz"]
    served.faults.append(Fault(stall_after=len(served.content) // 2))
    starter = user.seen(user.programs / installer.STARTER)
    user.start(starter, **variables)
    user.wait_for(lambda: len(server.asked) and server.asked[-1].sent >= len(served.content) // 2)
    assert not list((user.programs / "python").glob("*/python.exe"))
    user.switch_off()
    server.go.set()

    user.start(starter, **variables)
    user.wait_for(lambda: bool(list((user.programs / "python").glob("*/python.exe"))))
    user.wait_for_window("Qt", TITLE)
    user.close_app()

    run = user.seen(user.programs / "run.cmd")
    assert json.loads(user.run("cmd", "/c", "call", run, "list", "--json")[0])["ok"]
    unplugged = {"schema": 1, "root": "Q:\\GA3"}  # a data folder that was moved
    (user.profile / "AppData/Local/GA3EnvManager/location.json").write_text(json.dumps(unplugged))
    uninstaller = user.programs / "Uninstall.exe"
    said = user.run_in(user.programs, uninstaller, "/S", "/REMOVEDATA", code=NOT_ALL)
    assert r"The data folder Q:\GA3 is not there" in said
    user.wait_for_files(before)
    assert list(user.programs.iterdir()) == [uninstaller]
