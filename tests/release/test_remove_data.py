"""What the uninstaller runs where environments, weights and settings shall go, too."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.support import PROJECT

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the releases' own tests do that")
NOT_ALL = 6


@pytest.fixture
def program(tmp_path, monkeypatch):
    """Run programs of a user whose place for data is empty."""
    monkeypatch.delenv("GA3ENV_HOME", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    return _run


def _run(*arguments, code=0):
    done = subprocess.run(
        [sys.executable, "-I", *arguments], cwd=PROJECT, capture_output=True, text=True
    )
    assert done.returncode == code, done.stderr
    return done.stdout


def test_of_a_data_folder_that_was_moved_only_files_of_others_stay(program, tmp_path):
    place, moved = tmp_path / "GA3EnvManager", tmp_path / "another disk" / "GA3"
    program("-m", "envmanager", "settings", "idle_timeout_s", "60")
    program("-m", "envmanager", "move-root", str(moved))
    assert {"settings.toml", "reserve"} <= {path.name for path in moved.iterdir()}
    (moved / "thesis.txt").write_text("mine")
    said = program("external/remove_data.py", code=NOT_ALL)
    assert said == f"Some files were left in {moved}: they are in use, or not the app's.\n"
    assert [path.name for path in moved.iterdir()] == ["thesis.txt"]
    assert not place.exists()


def test_a_disk_that_is_not_there_is_named(program, tmp_path):
    place = tmp_path / "GA3EnvManager"
    place.mkdir()
    (place / "location.json").write_text(json.dumps({"schema": 1, "root": str(tmp_path / "gone")}))
    said = program("external/remove_data.py", code=NOT_ALL)
    assert f"The data folder {tmp_path / 'gone'} is not there" in said
    assert not place.exists()
