"""A full disk: one error that says so, and the commands that still must work, on a real one.

A small tmpfs in a mount namespace of its own; the commands run in it as a user runs them.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from envmanager.data import fulldisk
from envmanager.data.files import discard, empty_trash
from tests.envmanager.conftest import copy_root, write_module
from tests.support import PROJECT

MB = 1_000_000
TOTAL = 150 * MB


class SmallDisk:
    """A volume of 150 MB with a data folder, seen by what `run` starts only.

    From here its files are reached through the process that holds the namespace.
    """

    def __init__(self, pid: int, place: Path) -> None:
        self.home = place / "home"
        self.seen = Path(f"/proc/{pid}/root") / place.relative_to("/")
        self._enter = ["nsenter", "-t", str(pid), "-U", "-m", "--preserve-credentials"]
        self._filler = self.seen / "filler"

    @property
    def free(self) -> int:
        state = os.statvfs(self.seen)
        return state.f_bavail * state.f_frsize

    def fill(self, leave: int = 0) -> None:
        """Leave so many bytes free."""
        with self._filler.open("ab", buffering=0) as file:
            while (room := self.free - leave) > 0:
                file.write(b"x" * min(room, MB))

    def empty(self) -> None:
        self._filler.unlink()

    def run(self, *words: str) -> tuple[dict, str]:
        """Run a command; return its JSON object and what it told on stderr."""
        kept = {k: v for k, v in os.environ.items() if k != "UV_CACHE_DIR"}
        done = subprocess.run(
            [*self._enter, sys.executable, "-m", "envmanager", *words, "--json"],
            cwd=PROJECT,
            env={**kept, "GA3ENV_HOME": str(self.home), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            timeout=300,
        )
        return json.loads(done.stdout), done.stderr

    def done(self, *words: str) -> dict:
        """Run a command that must succeed; return its data."""
        answer, told = self.run(*words)
        assert answer["ok"], (answer, told)
        return answer["data"]

    def error(self, *words: str) -> dict:
        answer, _ = self.run(*words)
        assert not answer["ok"], answer
        return answer["error"]


@pytest.fixture
def small_disk(tmp_path, tiny_lock):
    place = tmp_path / "small"
    place.mkdir()
    if not shutil.which("unshare") or not shutil.which("nsenter"):
        pytest.skip("there is no unshare")
    script = f"mount -t tmpfs -o size={TOTAL} none '{place}' && echo ready && exec sleep 900"
    holder = subprocess.Popen(["unshare", "-rm", "sh", "-c", script], stdout=subprocess.PIPE)
    try:
        if holder.stdout.readline() != b"ready\n":
            pytest.skip("nothing can be mounted here")
        disk = SmallDisk(holder.pid, place)
        write_module(disk.seen / "home" / "modules" / "tiny", tiny_lock)
        yield disk
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()


@pytest.fixture
def installed(small_disk, tiny_root):
    """Return a small disk with the tiny module, which has all bytes of its own."""
    copy_root(tiny_root, small_disk.seen / "home", shutil.copy2)
    return small_disk


# ---- telling it ---------------------------------------------------------------------------------


@pytest.mark.windows
def test_a_full_disk_is_told_from_other_refusals():
    assert fulldisk.is_full(OSError(errno.ENOSPC, "full"))
    assert fulldisk.is_full(OSError(errno.EDQUOT, "quota"))
    windows = OSError(errno.EINVAL, "full")
    windows.winerror = 39
    assert fulldisk.is_full(windows)
    assert not fulldisk.is_full(PermissionError(errno.EACCES, "no"))
    assert not fulldisk.is_full(ValueError("28"))


def test_half_a_file_of_bytecode_is_a_full_disk_where_there_is_no_room(tmp_path, monkeypatch):
    text = "  File ...\nEOFError: marshal data too short\n"
    assert not fulldisk.explains(text, tmp_path)  # this disk has room: the file was damaged
    monkeypatch.setattr(fulldisk, "free", lambda place: 1 << 20)
    assert fulldisk.explains(text, tmp_path)
    assert not fulldisk.explains("ValueError: 28", tmp_path)


UVS = "error: Failed to install: numpy\n  Caused by: failed to write to file `/x/y`: "


@pytest.mark.parametrize(
    ("text", "full"),
    [
        (UVS + "No space left on device (os error 28)", True),
        (UVS + "Auf dem Gerät ist kein Speicherplatz mehr verfügbar (os error 28)", True),
        (UVS + "Disk quota exceeded (os error 122)", True),
        (UVS + "There is not enough space on the disk. (os error 112)", True),
        ("OSError: [Errno 28] No space left on device: 'x'", True),
        ("OSError: [WinError 112] Es ist nicht genug Platz", True),
        (UVS + "Host is down (os error 112)", False),
        (UVS + "Permission denied (os error 13)", False),
        ("", False),
    ],
)
def test_what_programs_say_is_understood(text, full):
    assert fulldisk.told_in(text) == full


@pytest.mark.windows
def test_the_error_names_volume_free_bytes_and_next_steps(tmp_path):
    error = fulldisk.failure(tmp_path / "not" / "there")
    assert error.code == "disk_full"
    assert str(tmp_path) in error.message
    assert error.details["free_bytes"] > 0
    for step in ("disk --clean-cache", "remove", "generations_kept"):
        assert step in error.hint


@pytest.mark.windows
def test_a_folder_becomes_the_trash_where_no_folder_can_be_made(tmp_path, monkeypatch):
    trash, folder = tmp_path / "trash", tmp_path / "generation"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "file").write_bytes(b"x")
    held = (folder / "held").open("wb")  # Windows keeps it from being deleted
    held.close()

    def refuse(*args, **kwargs):
        raise OSError(errno.ENOSPC, "full")

    with monkeypatch.context() as full:
        full.setattr(Path, "mkdir", refuse)
        full.setattr(shutil, "rmtree", lambda *args, **kwargs: None)  # killed before it deletes
        discard(folder, trash)
    assert not folder.exists()
    assert (trash / "held").exists()
    empty_trash(trash)
    assert not trash.exists()


# ---- living with it -----------------------------------------------------------------------------


@pytest.mark.slow
def test_an_install_that_may_not_fit_is_warned_of_and_tried(small_disk):
    plan = small_disk.done("install", "tiny", "--dry-run")
    assert (plan["needed"], plan["fits"]) == (True, False)
    assert plan["disk_bytes"] > plan["download_bytes"] == plan["packages"][0]["bytes"] > 0
    assert plan["free_bytes"] == pytest.approx(small_disk.free, abs=5 * MB)
    answer, told = small_disk.run("install", "tiny")
    assert answer["ok"], answer
    (notice,) = [line for line in told.splitlines() if line.startswith("notice:")]
    assert "may not fit" in notice
    assert str(small_disk.home) in notice


@pytest.mark.slow
@pytest.mark.parametrize("leave", [0, 100_000, 20 * MB, 58 * MB])
def test_an_install_on_a_full_disk_changes_nothing(small_disk, leave):
    small_disk.done("list")
    before = sorted(p.name for p in (small_disk.seen / "home").iterdir())
    small_disk.fill(leave)
    error = small_disk.error("install", "tiny")
    assert error["code"] == "disk_full", error
    assert str(small_disk.home.parent) in error["message"]
    assert "disk --clean-cache" in error["hint"]
    home = small_disk.seen / "home"
    left = {p.name for p in home.iterdir()} - {*before, "envs", "uv-cache", "logs", "run"}
    assert left == set()
    assert not list(home.glob("envs/*/*"))
    small_disk.empty()
    assert small_disk.done("install", "tiny")["new"]


@pytest.mark.slow
def test_a_failed_update_on_a_full_disk_leaves_what_was_published(installed, tiny_lock):
    config = installed.seen / "home" / "config.json"
    before = config.read_bytes()
    worker = "def segment(image, *, axes='', threshold=1.0):\n    return image\n"
    folder = installed.seen / "home" / "modules" / "tiny"
    write_module(folder, tiny_lock, worker=worker, test="def test_nothing():\n    pass\n")
    installed.fill(10 * MB)
    assert installed.error("update", "tiny")["code"] == "disk_full"
    assert config.read_bytes() == before
    assert installed.done("verify", "tiny")["ok"]


@pytest.mark.slow
def test_a_full_disk_is_asked_and_cleaned(installed):
    installed.fill()
    assert installed.free == 0
    assert [m["state"] for m in installed.done("list")["modules"] if m["name"] == "tiny"] == [
        "ready"
    ]
    assert installed.done("status", "tiny")["state"] == "ready"
    assert installed.done("disk", "--refresh")["modules"]["tiny"]["own"] > 40 * MB
    assert installed.done("verify", "tiny", "--quick")["ok"]
    assert installed.done("workers")["workers"] == []
    answer, _ = installed.run("doctor")
    checks = {check["id"]: check["status"] for check in answer["data"]["checks"]}
    assert checks["data_folder"] == "error"
    assert installed.error("workers", "start", "tiny")["code"] == "disk_full"
    for kept in (0, 2, 1):  # the reserve serves again and again
        values = installed.done("settings", "generations_kept", str(kept))
        assert values["settings"]["generations_kept"] == kept
    assert installed.free == 0


@pytest.mark.slow
def test_a_module_is_removed_from_a_full_disk(installed):
    """And what the command says was freed is what the volume has more, within 1 %."""
    installed.fill()
    assert installed.free == 0
    freed = installed.done("remove", "tiny")["freed_bytes"]
    assert freed > 40 * MB
    assert freed == pytest.approx(installed.free, rel=0.01)
    assert json.loads((installed.seen / "home" / "config.json").read_bytes())["modules"] == {}
    assert not list((installed.seen / "home").glob("envs/*"))
    assert not (installed.seen / "home" / "trash").exists()


@pytest.mark.slow
def test_the_cache_is_cleaned_on_a_full_disk(small_disk):
    small_disk.done("install", "tiny")
    small_disk.done("remove", "tiny")  # now nothing links the cache
    small_disk.fill()
    freed = small_disk.done("disk", "--clean-cache", "--everything")["freed_bytes"]
    assert freed > 40 * MB
    assert freed == pytest.approx(small_disk.free, rel=0.01)


@pytest.mark.slow
def test_a_module_is_removed_without_a_reserve_too(installed):
    (installed.seen / "home" / fulldisk.RESERVE).unlink()
    installed.fill()
    freed = installed.done("remove", "tiny")["freed_bytes"]
    reserve = (installed.seen / "home" / fulldisk.RESERVE).stat().st_size
    assert freed == pytest.approx(installed.free + reserve, rel=0.01)


@pytest.mark.slow
def test_without_a_reserve_the_error_is_the_same_and_nothing_is_lost(installed):
    home = installed.seen / "home"
    before = (home / "config.json").read_bytes()
    (home / fulldisk.RESERVE).unlink()
    installed.fill()
    assert installed.error("settings", "generations_kept", "0")["code"] == "disk_full"
    assert not (home / "settings.toml").exists()
    assert (home / "config.json").read_bytes() == before
    assert installed.done("status", "tiny")["state"] == "ready"
    installed.empty()
    installed.done("settings", "generations_kept", "0")
    assert (home / fulldisk.RESERVE).exists()
