"""The network fails in every way that the local index knows; nothing is changed, and no litter."""

from __future__ import annotations

import shutil

import pytest

from tests.faults import mini
from tests.faults.bench import Bench
from tests.wheels import make_wheel

pytestmark = pytest.mark.slow
MODULE = mini.NAME
CORE, PAGE = "*/mini_core-*.whl", "/simple/mini-core/"


@pytest.fixture(scope="module")
def shape_of_one(world, tmp_path_factory):
    """Return the paths of a data folder with generation 1 installed, and no worker started."""
    return Bench(world.installed, world.wheels).shape()


def _nothing_changed(bench, before):
    assert bench.published() == before
    assert not bench.cache_litter()
    assert [p.name for p in (bench.root / "envs").glob("*/*")] == (["1"] if before else [])
    assert not (bench.root / "trash").exists()


@pytest.mark.parametrize(
    ("command", "kind", "pattern", "fault"),
    [
        ("install", "connection drops in mid-download", CORE, {"drop_after": 300_000}),
        ("install", "connection drops in the index page", PAGE, {"drop_after": 40}),
        ("install", "the server answers 500 to a download", CORE, {"status": 500}),
        ("update", "the server answers 500 to the index page", PAGE, {"status": 500}),
        ("update", "the server answers 403 to a download", CORE, {"status": 403}),
        ("install", "the wheel is gone from the server", CORE, {"status": 404}),
        ("update", "other bytes are sent", CORE, {"corrupt": True}),
    ],
)
def test_a_download_fails(world, bench, tried, shape_of_one, command, kind, pattern, fault):
    one = bench(world.empty if command == "install" else world.installed)
    one.change_module(1 if command == "install" else 2)
    before = one.published()
    world.index.fail(pattern, **fault)
    tried(kind)
    error = one.fail(command, MODULE)
    assert error["code"] == "tool_failed"
    assert "mini" in error["message"]
    _nothing_changed(one, before)
    if before:
        assert one.works() == 1
    world.index.mend()
    assert one.run(command, MODULE)["new"]
    assert one.works() == (1 if command == "install" else 2)
    one.is_green()
    if command == "install":
        one.as_clean_as(shape_of_one)


def test_a_connection_that_drops_once_is_tried_again(world, bench, tried):
    one = bench(world.empty)
    world.index.fail(CORE, drop_after=300_000, times=1)
    tried("connection drops once")
    assert one.run("install", MODULE)["new"]
    assert one.works() == 1


@pytest.mark.parametrize("command", ["install", "update"])
def test_a_wheel_whose_hash_is_another(world, bench, tried, tmp_path, command):
    """The server's page and the module's lock give one sha256; a valid wheel with another comes."""
    version = 1 if command == "install" else 2
    one = bench(world.empty if command == "install" else world.installed)
    one.change_module(version)
    before = one.published()
    right, _ = world.wheels.files[version]
    path = f"/simple/mini-core/{right.name}"
    code = {"mini_core/__init__.py": "raise SystemExit('foreign code has run')\n"}
    world.index.swap(path, make_wheel(tmp_path, "mini-core", f"{version}.0", code))
    tried("a wheel does not match its hash")
    try:
        error = one.fail(command, MODULE)
        assert "hash" in error["message"].lower()
        _nothing_changed(one, before)
    finally:
        world.index.swap(path, right)
    assert one.run(command, MODULE)["new"]
    assert one.works() == version


@pytest.mark.parametrize(
    ("command", "fault"),
    [("install", {"bytes_per_s": 50_000}), ("update", {"stall_after": 200_000})],
)
def test_ctrl_c_ends_a_slow_download(world, bench, tried, command, fault):
    one = bench(world.empty if command == "install" else world.installed)
    one.change_module(1 if command == "install" else 2)
    before = one.published()
    world.index.fail(CORE, **fault)
    tried(f"Ctrl-C with a {'slow' if 'bytes_per_s' in fault else 'stalling'} server")
    running = one.start(command, MODULE)
    assert running.wait_for_stage(2)  # downloads
    world.index.wait_for(CORE)
    running.interrupt()
    assert running.error["code"] == "cancelled"
    assert running.process.returncode == 130
    _nothing_changed(one, before)
    if before:
        assert one.works() == 1
    world.index.mend()
    assert one.run(command, MODULE)["new"]
    assert one.works() == (1 if command == "install" else 2)


def test_a_server_that_stalls_is_given_up(world, bench, tried):
    one = bench(world.installed)
    one.change_module(2)
    one.environment["UV_HTTP_TIMEOUT"] = "1"
    world.index.fail(CORE, stall_after=200_000)
    tried("the server stalls for good")
    assert one.fail("update", MODULE)["code"] == "tool_failed"
    _nothing_changed(one, (1, 1))
    assert one.works() == 1
    world.index.mend()
    assert one.run("update", MODULE)["new"]
    assert one.works() == 2


def test_repeated_kills_do_not_fill_the_cache(world, bench, tried):
    """A download that is cut off leaves what it has unpacked; the next install removes it."""
    one = bench(world.empty)
    world.index.fail(CORE, bytes_per_s=400_000)
    for _ in range(4):
        running = one.start("install", MODULE)
        assert running.wait_for_stage(2)
        world.index.wait_for(CORE)
        tried("SIGKILL in mid-download, again and again")
        assert running.kill(all_of_it=True) is not None
        assert len(one.cache_litter()) <= 2, "the one before is swept by each install"
    world.index.mend()
    assert one.run("install", MODULE)["new"]
    assert not one.cache_litter()
    assert one.works() == 1


def test_a_cache_that_was_altered_in_place(world, bench, tried):
    """The environment's file and the cache's are one (a hard link): editing harms both."""
    one = bench(world.empty)
    one.run("install", MODULE)
    installed = next((one.root / "envs" / MODULE / "1" / ".venv").glob("**/mini_label.py"))
    assert installed.stat().st_nlink > 1
    with installed.open("a", encoding="utf-8") as file:
        file.write("label = None\n")
    tried("a file of uv's cache altered in place")
    command = one.start("verify", MODULE)
    assert {p["package"] for p in command.reply["data"]["problems"]} >= {"mini-label"}
    assert one.run("repair", MODULE)["new"]
    assert one.run("verify", MODULE)["ok"]
    assert one.works() == 1
    one.is_green()
    one.run("remove", MODULE)
    assert one.run("install", MODULE)["new"]  # from the cache, which is right again
    assert one.works() == 1


@pytest.mark.parametrize("harm", ["a package is emptied", "the index is cut", "all of it is gone"])
def test_a_cache_that_lost_files(world, bench, tried, harm):
    one = bench(world.installed)
    one.change_module(2)
    cache = one.root / "uv-cache"
    if harm == "all of it is gone":
        shutil.rmtree(cache)
    elif harm == "the index is cut":
        for path in cache.glob("simple-*/**/*.rkyv"):
            path.unlink()
            path.write_bytes(b"\0" * 7)
    else:
        for package in cache.glob("archive-*/*/numpy"):
            shutil.rmtree(package)
    tried(f"uv's cache: {harm}")
    assert one.works() == 1
    assert one.run("update", MODULE)["new"]
    assert one.works() == 2
    one.is_green()
