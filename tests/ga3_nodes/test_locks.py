"""Locks between processes: exclusive, released by death, readable."""

from __future__ import annotations

import subprocess
import sys
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


@pytest.fixture
def holder(tmp_path):
    path = tmp_path / "a lock"
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(PROJECT), str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout.readline().strip() == b"held"
    yield process, path
    process.kill()
    process.communicate()


def test_another_process_cannot_take_a_held_lock(holder):
    _, path = holder
    assert locks.is_locked(path)
    assert not locks.FileLock(path).acquire(timeout=0.1)


def test_the_note_can_be_read_while_the_lock_is_held(holder):
    assert locks.read_note(holder[1]) == {"pid": 1, "who": "é"}


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
