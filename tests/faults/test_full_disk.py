"""A disk that fills up at several moments: one clear error, nothing changed, and `remove` works.

The disk is a small one in memory, which only root can mount; elsewhere these tests are skipped.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults import bench as benches
from tests.faults import mini
from tests.faults.bench import Bench

pytestmark = pytest.mark.slow
MODULE = mini.NAME
DISK = "disk_space"  # what doctor may say of a disk that is as small as ours
# How much of what the command needs is free when it starts.
FREE = {
    "install": (0.0, 0.02, 0.1, 0.4, 0.7, 0.9),
    "update": (0.01, 0.3, 0.6),
    "repair": (0.2,),
}


class SmallDisk:
    """A small disk on a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._filler = folder / "filler.bin"

    def free(self) -> int:
        """Return the free bytes."""
        return shutil.disk_usage(self.folder).free

    def fill(self, free: int) -> None:
        """Leave so many bytes free, in whole blocks."""
        with self._filler.open("ab") as file:
            block = os.fstatvfs(file.fileno()).f_bsize
            size = max(0, self.free() - free) // block * block
            if size:
                os.posix_fallocate(file.fileno(), 0, size)

    def relieve(self) -> None:
        """Free what was filled."""
        self._filler.unlink()


@pytest.fixture
def small_disk(data_folder) -> Iterator[SmallDisk]:
    """Mount a small disk on the test's data folder."""
    yield from _mounted(data_folder)


def _mounted(folder: Path) -> Iterator[SmallDisk]:
    words = ["mount", "-t", "tmpfs", "-o", "size=400m,mode=755", "ga3-full-disk", str(folder)]
    try:
        done = subprocess.run(words, capture_output=True, text=True)
    except OSError as error:
        pytest.skip(f"no small disk can be mounted here: {error}")
    if done.returncode:
        pytest.skip(f"no small disk can be mounted here: {done.stderr.strip()}")
    try:
        yield SmallDisk(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def on_disk(small_disk, world, bench) -> Callable[[Path], Bench]:
    """Return a function that copies a template onto the small disk."""

    def make(template: Path) -> Bench:
        one = bench(world.empty.with_name("nothing"))
        benches.copy_apart(template, one.root)
        return one

    (world.empty.with_name("nothing")).mkdir(exist_ok=True)
    return make


@pytest.fixture(scope="module")
def needed(world, tmp_path_factory) -> Callable[[str], int]:
    """Return a function that measures what a command takes of the disk without a fault."""
    known: dict[str, int] = {}

    def measure(command: str) -> int:
        if command not in known:
            for disk in _mounted(tmp_path_factory.mktemp("needed")):
                benches.copy_apart(_template(world, command), disk.folder)
                one = Bench(disk.folder, world.wheels)
                _prepare(one, command)
                before = disk.free()
                one.run(command, MODULE)
                known[command] = before - disk.free()
        return known[command]

    return measure


def _template(world, command: str) -> Path:
    return world.empty if command == "install" else world.installed


def _prepare(bench: Bench, command: str) -> None:
    if command == "update":
        bench.change_module(2)
    if command == "repair":
        venv = bench.root / "envs" / MODULE / "1" / ".venv"
        benches.replace_file(next(venv.glob("**/mini_label.py")), b"broken\n")


@pytest.mark.parametrize(
    ("command", "fraction"),
    [(command, fraction) for command, several in FREE.items() for fraction in several],
)
def test_the_disk_is_full(world, on_disk, small_disk, needed, tried, command, fraction):
    room = int(needed(command) * fraction)
    one = on_disk(_template(world, command))
    _prepare(one, command)
    before = one.published()
    small_disk.fill(room)
    tried(f"the disk is full during {command}")
    error = one.fail(command, MODULE)
    assert error["code"] == "disk_full", error
    assert one.published() == before
    assert [path.name for path in (one.root / "envs").glob("*/*")] == (["1"] if before else [])
    assert not (one.root / "trash").exists()
    small_disk.relieve()
    assert not one.cache_litter()
    if command == "update":
        assert one.works() == 1
    assert one.run(command, MODULE)["new"]
    assert one.works() == (2 if command == "update" else 1)
    one.is_green(but=DISK)


def test_remove_on_a_full_disk(world, on_disk, small_disk, tried):
    one = on_disk(world.updated)
    small_disk.fill(0)
    tried("remove on a full disk")
    one.run("remove", MODULE)
    assert one.published() is None
    assert not (one.root / "envs" / MODULE).exists()
    small_disk.relieve()
    assert one.run("install", MODULE)["new"]
    assert one.works() == 2
    one.is_green(but=DISK)


def test_rollback_on_a_full_disk(world, on_disk, small_disk, tried):
    one = on_disk(world.updated)
    small_disk.fill(0)
    tried("rollback on a full disk")
    one.run("rollback", MODULE)
    small_disk.relieve()
    assert one.works() == 1
    one.is_green(but=DISK)


def test_a_full_disk_without_the_reserve(world, on_disk, small_disk, tried):
    """Somebody deleted the file that is kept for this day."""
    one = on_disk(world.updated)
    (one.root / "reserve").unlink()
    small_disk.fill(0)
    tried("rollback on a full disk, without a reserve")
    assert one.fail("rollback", MODULE)["code"] == "disk_full"
    small_disk.relieve()
    assert one.works() == 2
    one.run("rollback", MODULE)
    assert one.works() == 1


@pytest.mark.parametrize(
    "command", [("list",), ("status", MODULE), ("verify", MODULE), ("doctor",)]
)
def test_questions_on_a_full_disk(world, on_disk, small_disk, tried, command):
    one = on_disk(world.installed)
    small_disk.fill(0)
    tried("questions on a full disk")
    assert one.start(*command).reply["ok"]
