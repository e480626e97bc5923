"""Locks between processes: exclusive, released by death, readable."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from ga3_nodes import locks

pytestmark = pytest.mark.windows

PROJECT = Path(__file__).resolve().parents[2]
HOLDER = """
import sys, time
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from ga3_nodes import locks
lock = locks.FileLock(Path(sys.argv[2]))
assert lock.acquire()
lock.write_note({"pid": 1, "who": "é"})
print("held", flush=True)
sys.stdin.read()
"""


def _start(path, code):
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(PROJECT), str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout.readline().strip() == b"held"
    return process


@pytest.fixture
def holder(tmp_path):
    path = tmp_path / "a lock"
    process = _start(path, HOLDER)
    yield process, path
    process.kill()
    process.communicate()


def test_another_process_cannot_take_a_held_lock(holder):
    _, path = holder
    assert locks.is_locked(path)
    assert not locks.FileLock(path).acquire(timeout=0.1)


def test_the_note_can_be_read_while_the_lock_is_held(holder):
    assert locks.read_note(holder[1]) == {"pid": 1, "who": "é"}


REWRITER = HOLDER.replace(
    'print("held"',
    """
def rewrite():
    number = 0
    while True:
        number += 1
        time.sleep(0.002)
        lock.write_note({"first": number, "text": "x" * (1 + number % 7 * 100), "last": number})
import threading
threading.Thread(target=rewrite, daemon=True).start()
print("held\"""",
)


def test_a_note_that_is_rewritten_is_never_seen_half(tmp_path):
    path = tmp_path / "a lock"
    process = _start(path, REWRITER)
    try:
        while "first" not in locks.read_note(path):
            assert process.poll() is None
        notes = [locks.read_note(path) for _ in range(2000)]
    finally:
        process.kill()
        process.communicate()
    assert all(note["first"] == note["last"] for note in notes)
    assert notes[0]["first"] < notes[-1]["first"]


def test_asking_sweeps_the_file_of_a_killed_holder(holder):
    process, path = holder
    assert locks.is_locked(path)
    process.kill()
    process.wait()
    assert not locks.is_locked(path)
    assert not path.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX permissions")
@pytest.mark.parametrize(("public", "mode"), [(True, 0o644), (False, 0o600)])
def test_other_accounts_may_read_a_public_lock_only(tmp_path, public, mode):
    before = os.umask(0o077)
    try:
        with locks.FileLock(tmp_path / "x", public=public):
            assert (tmp_path / "x").stat().st_mode & 0o777 == mode
    finally:
        os.umask(before)


@pytest.mark.skipif(sys.platform == "win32" or os.getuid() != 0, reason="takes another account")
def test_a_lock_that_may_only_be_read_can_be_asked_and_is_left_alone():
    code = "import os, sys\nfrom pathlib import Path\nfrom ga3_nodes import locks\n"
    code += "os.seteuid(65534)\nprint(locks.is_locked(Path(sys.argv[1])))\n"

    def ask():
        command = [sys.executable, "-c", code, str(path)]
        done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    with tempfile.TemporaryDirectory() as folder:  # pytest's own folders are private
        Path(folder).chmod(0o755)
        path = Path(folder) / "x"
        lock = locks.FileLock(path, public=True)
        assert lock.acquire()
        assert ask() == "True"
        lock.release(remove=False)
        assert ask() == "False"
        assert path.exists()


def test_a_killed_holder_holds_nothing(holder):
    process, path = holder
    process.kill()
    process.wait()
    lock = locks.FileLock(path)
    assert lock.acquire(timeout=10)
    lock.release()
    assert not path.exists()


def test_waiting_ends_when_the_holder_releases(tmp_path):
    first, second = locks.FileLock(tmp_path / "x"), locks.FileLock(tmp_path / "x")
    assert first.acquire()
    assert not second.acquire()
    first.release()
    assert second.acquire()
    second.release()


def test_no_file_is_no_lock(tmp_path):
    assert not locks.is_locked(tmp_path / "x")
    assert locks.read_note(tmp_path / "x") == {}
    assert list(tmp_path.iterdir()) == [tmp_path / "Daten Ordner é"]


def test_a_folder_that_may_not_be_written_is_no_held_lock(tmp_path, monkeypatch):
    def refuse(*arguments, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(locks.os, "open", refuse)
    with pytest.raises(PermissionError):
        locks.FileLock(tmp_path / "x").acquire(timeout=60)
