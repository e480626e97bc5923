"""Counting one tree: exact by inode, against the real ``du``, with real hard links."""

from __future__ import annotations

import os
import shutil
import threading
import time

import pytest

from envmanager import disk
from envmanager.disk import Usage
from envmanager.errors import Cancelled
from envmanager.events import CancelToken, Progress
from tests.envmanager.disk.support import BLOCK, du, folders, link, many, needs_du, size, write


@pytest.mark.windows
def test_own_is_what_a_deletion_frees_and_the_rest_is_shared(tmp_path):
    folder = tmp_path / "module é"
    alone = write(folder / "alone", 3 * BLOCK)
    write(folder / "empty", 0)
    twice = write(folder / "twice", 2 * BLOCK)
    link(twice, folder / "deep" / "twice again")
    shared = link(write(tmp_path / "cache" / "shared", 5 * BLOCK), folder / "shared")
    link(shared, folder / "deep" / "shared again")
    own = size(alone) + size(twice) + folders(folder)
    assert disk.scan(folder) == Usage(own, size(shared))
    assert size(shared) == 5 * BLOCK
    (tmp_path / "cache" / "shared").unlink()
    assert disk.scan(folder) == Usage(own + size(shared), 0)


@pytest.mark.windows
def test_what_is_no_folder_takes_nothing(tmp_path):
    assert disk.scan(tmp_path / "nothing") == Usage()
    assert disk.scan(write(tmp_path / "file")) == Usage()


def test_symbolic_links_are_not_followed(tmp_path):
    big = write(tmp_path / "big" / "file", 100 * BLOCK).parent
    folder = tmp_path / "folder"
    write(folder / "small", BLOCK)
    try:
        (folder / "up").symlink_to(tmp_path, target_is_directory=True)
        (folder / "big").symlink_to(big / "file")
        (folder / "nowhere").symlink_to("no such file")
        (folder / "loop").symlink_to("loop")
    except OSError:
        pytest.skip("no symbolic links here")
    assert disk.scan(folder).total < 10 * BLOCK
    (tmp_path / "by link").symlink_to(folder, target_is_directory=True)
    assert disk.scan(tmp_path / "by link") == disk.scan(folder)  # the folder itself may be one


@needs_du
def test_a_scan_agrees_with_du(tmp_path):
    folder = many(tmp_path / "tree", 3000)
    for number, length in enumerate((0, 1, 511, 4096, 4097, 100_000, 3_000_000)):
        link(write(folder / f"file {number}", length), folder / "links" / str(number))
    (folder / "link").symlink_to("x" * 200)
    with (folder / "sparse").open("wb") as file:
        file.truncate(1_000_000_000)
    os.mkfifo(folder / "pipe")
    assert disk.scan(folder).total == du(folder)


@pytest.mark.windows
def test_files_may_vanish_meanwhile(tmp_path):
    folder = many(tmp_path / "tree", 2000, per_folder=200)
    heard = []

    def delete(event):
        heard.append(event)
        shutil.rmtree(folder, ignore_errors=True)

    found = disk.scan(folder, delete)
    assert found.shared == 0
    assert len(heard) >= 2


def test_files_may_come_and_go_all_the_time(tmp_path):
    """Another process installs and deletes while we count; hard links appear and disappear."""
    folder = many(tmp_path / "tree", 1000, per_folder=50)
    source = write(tmp_path / "source")
    stop = threading.Event()

    def churn():
        while not stop.is_set():
            for name in ("a", "b"):
                link(source, folder / "new" / name)
            shutil.rmtree(folder / "new", ignore_errors=True)

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        for _ in range(20):
            assert disk.scan(folder).total >= 0
    finally:
        stop.set()
        thread.join()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read all")
def test_what_cannot_be_read_is_said(filled):
    hidden = filled.root / "weights" / "sub"
    hidden.chmod(0)
    try:
        assert disk.overview(filled).unreadable == 1
    finally:
        hidden.chmod(0o700)


def test_a_file_that_the_system_refuses_is_counted_as_unreadable(filled, monkeypatch):
    lstat = os.lstat

    def refuse(path):
        if str(path).endswith("record"):
            raise PermissionError(13, "refused", str(path))
        return lstat(path)

    before = disk.overview(filled)
    monkeypatch.setattr(os, "lstat", refuse)
    after = disk.overview(filled)
    assert (before.unreadable, after.unreadable) == (0, 1)
    kept = size(filled.root / "disk.json")  # written in between
    assert before.parts["rest"].own - after.parts["rest"].own + kept == 5 * BLOCK


@pytest.mark.windows
def test_a_cancel_ends_a_scan_at_once(tmp_path):
    folder = many(tmp_path / "tree", 3000)
    cancel, heard = CancelToken(), []

    def report(event):
        heard.append(event)
        cancel.cancel()

    with pytest.raises(Cancelled):
        disk.scan(folder, report, cancel)
    assert len(heard) == 1


@pytest.mark.windows
def test_a_scan_tells_how_far_it_is(tmp_path):
    _heard_of_a_scan(many(tmp_path / "tree", 3000))


def _heard_of_a_scan(folder):
    heard = []
    found = disk.scan(folder, heard.append, CancelToken())
    done = [event.done for event in heard]
    assert done == sorted(done)
    assert heard[-1] == Progress(found.total, found.total)
    return found, heard


@pytest.mark.slow
@needs_du
def test_200_000_files_with_progress_and_cancel(tmp_path):
    """Half of them are linked into a second tree: 300,000 names."""
    folder = many(tmp_path / "tree", 200_000)
    for part in sorted(folder.iterdir())[::2]:
        copy = tmp_path / "cache" / part.name
        copy.mkdir(parents=True)
        for path in (part / "é").iterdir():
            os.link(path, copy / path.name)
    started = time.perf_counter()
    found, heard = _heard_of_a_scan(folder)
    seconds = time.perf_counter() - started
    print(f"200,000 files: {seconds:.2f} s, {len(heard)} events")
    assert found.total == pytest.approx(du(folder), rel=0.01)
    assert len(heard) >= 3
    cancel = CancelToken()
    threading.Timer(seconds / 10, cancel.cancel).start()
    started = time.perf_counter()
    with pytest.raises(Cancelled):
        disk.scan(tmp_path, cancel=cancel)
    assert time.perf_counter() - started < seconds  # to the end, it has more to count than before
