"""Disk figures: exact by inode, against the real ``du``, with real hard links."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
import zipfile
from collections import namedtuple

import pytest

from envmanager import disk
from envmanager.disk import Usage
from envmanager.errors import Cancelled, GA3EnvError
from envmanager.events import CancelToken, Progress, Stage
from envmanager.paths import DataFolder
from envmanager.settings import Settings
from envmanager.uv import Uv

BLOCK = 4096
needs_du = pytest.mark.skipif(not shutil.which("du") or os.name == "nt", reason="there is no du")


def _write(path, size=100):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(os.urandom(size))
    return path


def _link(source, target):
    target.parent.mkdir(parents=True, exist_ok=True)
    os.link(source, target)
    return target


def _size(path):
    """Return the allocated bytes of one file or folder, by the system's own word."""
    state = path.lstat()
    blocks = getattr(state, "st_blocks", None)
    return -(-state.st_size // BLOCK) * BLOCK if blocks is None else blocks * 512


def _folders(path):
    return _size(path) + sum(_size(p) for p in path.rglob("*") if p.is_dir() and not p.is_symlink())


def _du(*folders):
    command = ["du", "-s", "-c", "--block-size=1", *map(str, folders)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stdout.splitlines()[-1].split()[0])


def _many(folder, number, per_folder=500):
    for start in range(0, number, per_folder):
        below = folder / f"part {start}" / "é"
        below.mkdir(parents=True)
        for name in range(min(per_folder, number - start)):
            os.close(os.open(below / f"{name}.py", os.O_CREAT | os.O_WRONLY))
    return folder


@pytest.fixture
def data(data_folder, monkeypatch):
    monkeypatch.delenv("UV_CACHE_DIR", raising=False)
    return DataFolder(data_folder)


@pytest.fixture
def filled(data):
    """Lay out files of known sizes, each with links in other places; sizes in blocks of 4096.

    Bytes by the places of their links: `one` cache only (1 block), `two` cache and classic/1 (2),
    `four` cache, classic/1 and classic/2 (4), `eight` classic/1 and classic/2 (8), `sixteen`
    classic/1 and other/1 (16), `alone` classic/2 twice (32), `outside` other/1 and elsewhere (64).
    """
    cache, root = data.uv_cache / "archive-v0", data.root
    first, second = data.generation("classic", 1), data.generation("classic", 2)
    other = data.generation("other", 1)
    _write(cache / "one", 1 * BLOCK)
    two = _link(_write(cache / "two", 2 * BLOCK), first / ".venv" / "lib" / "two")
    four = _link(_write(cache / "four", 4 * BLOCK), first / "four")
    _link(four, second / ".venv" / "four")
    _link(_write(first / "eight", 8 * BLOCK), second / "eight")
    _link(_write(first / "sixteen", 16 * BLOCK), other / "sixteen")
    alone = _write(second / "alone", 32 * BLOCK)
    _link(alone, second / "deep" / "er" / "alone again")
    _link(_write(other / "outside", 64 * BLOCK), root.parent / "outside")
    for number, name in enumerate(("weights", "trash", "logs", "python", "standin", "client")):
        _write(root / name / "sub" / "file", (number + 1) * 3 * BLOCK)
    _write(root / "run" / "record", 5 * BLOCK)
    _write(root / "config.json", BLOCK)
    assert two.stat().st_nlink == 2
    return data


# ---- scan ---------------------------------------------------------------------------------------


@pytest.mark.windows
def test_own_is_what_a_deletion_frees_and_the_rest_is_shared(tmp_path):
    folder = tmp_path / "module é"
    alone = _write(folder / "alone", 3 * BLOCK)
    _write(folder / "empty", 0)
    twice = _write(folder / "twice", 2 * BLOCK)
    _link(twice, folder / "deep" / "twice again")
    shared = _link(_write(tmp_path / "cache" / "shared", 5 * BLOCK), folder / "shared")
    _link(shared, folder / "deep" / "shared again")
    own = _size(alone) + _size(twice) + _folders(folder)
    assert disk.scan(folder) == Usage(own, _size(shared))
    assert _size(shared) == 5 * BLOCK
    (tmp_path / "cache" / "shared").unlink()
    assert disk.scan(folder) == Usage(own + _size(shared), 0)


@pytest.mark.windows
def test_what_is_no_folder_takes_nothing(tmp_path):
    assert disk.scan(tmp_path / "nothing") == Usage()
    assert disk.scan(_write(tmp_path / "file")) == Usage()


def test_symbolic_links_are_not_followed(tmp_path):
    big = _write(tmp_path / "big" / "file", 100 * BLOCK).parent
    folder = tmp_path / "folder"
    _write(folder / "small", BLOCK)
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
    folder = _many(tmp_path / "tree", 3000)
    for number, size in enumerate((0, 1, 511, 4096, 4097, 100_000, 3_000_000)):
        _link(_write(folder / f"file {number}", size), folder / "links" / str(number))
    (folder / "link").symlink_to("x" * 200)
    with (folder / "sparse").open("wb") as file:
        file.truncate(1_000_000_000)
    os.mkfifo(folder / "pipe")
    assert disk.scan(folder).total == _du(folder)


@pytest.mark.windows
def test_files_may_vanish_meanwhile(tmp_path):
    folder = _many(tmp_path / "tree", 2000, per_folder=200)
    heard = []

    def delete(event):
        heard.append(event)
        shutil.rmtree(folder, ignore_errors=True)

    found = disk.scan(folder, delete)
    assert found.shared == 0
    assert len(heard) >= 2


def test_files_may_come_and_go_all_the_time(tmp_path):
    """Another process installs and deletes while we count; hard links appear and disappear."""
    folder = _many(tmp_path / "tree", 1000, per_folder=50)
    source = _write(tmp_path / "source")
    stop = threading.Event()

    def churn():
        while not stop.is_set():
            for name in ("a", "b"):
                _link(source, folder / "new" / name)
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
    kept = _size(filled.root / "disk.json")  # written in between
    assert before.parts["rest"].own - after.parts["rest"].own + kept == 5 * BLOCK


@pytest.mark.windows
def test_a_cancel_ends_a_scan_at_once(tmp_path):
    folder = _many(tmp_path / "tree", 3000)
    cancel, heard = CancelToken(), []

    def report(event):
        heard.append(event)
        cancel.cancel()

    with pytest.raises(Cancelled):
        disk.scan(folder, report, cancel)
    assert len(heard) == 1


def _time_a_scan(folder):
    heard = []
    started = time.perf_counter()
    found = disk.scan(folder, heard.append, CancelToken())
    seconds = time.perf_counter() - started
    done = [event.done for event in heard]
    assert done == sorted(done)
    assert heard[-1] == Progress(found.total, found.total)
    return found, seconds, heard


@pytest.mark.windows
def test_20_000_files_take_seconds_at_most(tmp_path):
    found, seconds, _ = _time_a_scan(_many(tmp_path / "tree", 20_000))
    assert found.own >= 0
    assert seconds < (30 if os.name == "nt" else 3)


@pytest.mark.slow
@needs_du
def test_200_000_files_with_progress_and_cancel(tmp_path):
    """Half of them are linked into a second tree: 300,000 names."""
    folder = _many(tmp_path / "tree", 200_000)
    for part in sorted(folder.iterdir())[::2]:
        copy = tmp_path / "cache" / part.name
        copy.mkdir(parents=True)
        for path in (part / "é").iterdir():
            os.link(path, copy / path.name)
    found, seconds, heard = _time_a_scan(folder)
    print(f"200,000 files: {seconds:.2f} s, {len(heard)} events")
    assert found.total == pytest.approx(_du(folder), rel=0.01)
    assert len(heard) >= 3
    assert seconds < 30
    cancel = CancelToken()
    threading.Timer(0.2, cancel.cancel).start()
    started = time.perf_counter()
    with pytest.raises(Cancelled):
        disk.scan(tmp_path, cancel=cancel)
    assert time.perf_counter() - started < 1.0


# ---- overview -----------------------------------------------------------------------------------


def _blocks(data, usage, *folders):
    """Return own and shared bytes in blocks, without the folders' own bytes."""
    own = usage.own - sum(_size(folder) for folder in folders)
    return own // BLOCK, usage.shared // BLOCK


@pytest.mark.windows
def test_an_overview_tells_own_from_shared_for_all(filled):
    found = disk.overview(filled)
    first, second = filled.generation("classic", 1), filled.generation("classic", 2)
    other = filled.generation("other", 1)
    classic = found.modules["classic"]
    tree_1 = [first, first / ".venv", first / ".venv" / "lib"]
    tree_2 = [second, second / ".venv", second / "deep", second / "deep" / "er"]
    tree = [first.parent, *tree_1, *tree_2]
    assert _blocks(filled, classic.generations[1], *tree_1) == (0, 2 + 4 + 8 + 16)
    assert _blocks(filled, classic.generations[2], *tree_2) == (32, 4 + 8)
    assert _blocks(filled, classic, *tree) == (8 + 32, 2 + 4 + 16)  # 8: shared by its own two only
    others = [other.parent, other]
    assert _blocks(filled, found.modules["other"], *others) == (0, 16 + 64)
    envs = [first.parent.parent, *tree, *others]
    assert _blocks(filled, found.parts["envs"], *envs) == (8 + 16 + 32, 2 + 4 + 64)
    cache = [filled.uv_cache, filled.uv_cache / "archive-v0"]
    assert _blocks(filled, found.cache, *cache) == (1, 2 + 4)
    assert found.cache.linked == 6 * BLOCK
    assert found.cache.inside
    for number, name in enumerate(("weights", "trash", "logs", "python", "standin", "client")):
        folders = [filled.root / name, filled.root / name / "sub"]
        assert _blocks(filled, found.parts[name], *folders) == ((number + 1) * 3, 0)
    assert _blocks(filled, found.parts["rest"], filled.root, filled.root / "run") == (6, 0)
    assert found.shared == (2 + 4 + 64) * BLOCK
    assert found.unreadable == 0
    assert abs(found.date - time.time()) < 60


def test_what_is_called_own_is_freed(filled):
    """The proof by deed: delete a generation, a module and the cache, and count what is left.

    `outside` has a link beside the data folder: so that is counted too.
    """
    for folder, own in (
        (filled.generation("classic", 2), lambda o: o.modules["classic"].generations[2].own),
        (filled.module("other"), lambda o: o.modules["other"].own),
        (filled.uv_cache, lambda o: o.cache.own),
        (filled.module("classic"), lambda o: o.modules["classic"].own),
    ):
        found, before = disk.overview(filled), disk.scan(filled.root.parent)
        shutil.rmtree(folder)
        assert own(found) >= BLOCK
        assert before.total - disk.scan(filled.root.parent).total == own(found)


@needs_du
def test_an_overview_agrees_with_du(filled):
    disk.overview(filled)  # from now on disk.json is there
    found = disk.overview(filled)
    assert found.total == pytest.approx(_du(filled.root), rel=0.01)
    assert found.modules["classic"].total == _du(filled.module("classic"))
    assert found.modules["classic"].generations[1].total == _du(filled.generation("classic", 1))
    assert found.parts["envs"].total == _du(filled.root / "envs")
    assert found.cache.total == _du(filled.uv_cache)
    assert found.parts["weights"].total == _du(filled.root / "weights")


@needs_du
def test_a_cache_elsewhere_is_counted_but_not_in_the_total(filled, tmp_path, monkeypatch):
    elsewhere = tmp_path / "cache of my own"
    filled.uv_cache.rename(elsewhere)
    monkeypatch.setenv("UV_CACHE_DIR", str(elsewhere))
    disk.overview(filled)
    found = disk.overview(filled)
    assert not found.cache.inside
    assert found.cache.path == str(elsewhere)
    assert found.cache.linked == 6 * BLOCK
    assert found.cache.total == _du(elsewhere)
    assert found.total == pytest.approx(_du(filled.root), rel=0.01)
    assert found.modules["classic"].shared == (2 + 4 + 16) * BLOCK
    assert found.shared == (2 + 4 + 64) * BLOCK


@pytest.mark.parametrize("where", ["caches/deep/uv", "envs/uv", "."])
def test_a_cache_anywhere_in_the_folder_is_counted_once(filled, monkeypatch, where):
    place = filled.root / where
    if where != ".":
        place.parent.mkdir(parents=True, exist_ok=True)
        filled.uv_cache.rename(place)
    total = disk.scan(filled.root).total
    monkeypatch.setenv("UV_CACHE_DIR", str(place))
    found = disk.overview(filled)
    assert found.total == total
    if where != ".":
        assert found.cache.inside
        assert found.cache.linked == 6 * BLOCK
        assert set(found.modules) == {"classic", "other"}


@pytest.mark.windows
def test_an_unfinished_folder_belongs_to_its_module(filled):
    _write(filled.module("classic") / "half done" / "x", 3 * BLOCK)
    _write(filled.root / "envs" / "classic.lock", BLOCK)
    before = disk.overview(filled)
    assert set(before.modules) == {"classic", "other"}
    assert set(before.modules["classic"].generations) == {1, 2}
    assert before.modules["classic"].own >= (8 + 32 + 3) * BLOCK


@pytest.mark.windows
def test_no_data_folder_takes_nothing_and_is_not_made(tmp_path, monkeypatch):
    monkeypatch.delenv("UV_CACHE_DIR", raising=False)
    data = DataFolder(tmp_path / "not" / "yet")
    found = disk.overview(data)
    assert (found.total, found.shared, found.modules) == (0, 0, {})
    assert found.parts["weights"] == Usage()
    assert len(found.volumes) == 1
    assert found.volumes[0].free > 0
    assert not data.root.exists()


@pytest.mark.windows
def test_a_second_overview_knows_how_much_there_is(filled):
    first, second = [], []
    disk.overview(filled, first.append)
    found = disk.overview(filled, second.append)
    assert first[0] == second[0] == Stage("disk", "Counting the disk space")
    assert first[1] == Progress(first[1].done, 0)  # unknown as yet
    assert second[1].total >= found.total * 0.9
    assert second[-1].done == second[-1].total


# ---- the kept figures ---------------------------------------------------------------------------


@pytest.mark.windows
def test_the_figures_are_kept(filled):
    assert disk.cached(filled) is None
    found = disk.overview(filled)
    assert disk.cached(filled) == found
    assert json.loads(json.dumps(found.as_dict()))["modules"]["classic"]["generations"]["2"]["own"]
    assert found.module("classic", [2, 1]) == found.modules["classic"]
    assert found.module("classic", [1, 2, 3]) is None
    assert found.module("unknown", []) is None
    keys = {"own", "shared", "linked", "path", "inside"}
    assert set(found.as_dict()["cache"]) == keys
    assert set(found.as_dict()["parts"]) | {"cache"} == set(disk.PARTS)


@pytest.mark.windows
def test_a_cancelled_count_leaves_the_figures_of_last_time(filled):
    found = disk.overview(filled)
    cancel = CancelToken()
    cancel.cancel()
    with pytest.raises(Cancelled):
        disk.overview(filled, cancel=cancel)
    assert disk.cached(filled) == found


DAMAGE = {
    "empty": lambda text: "",
    "truncated": lambda text: text[: len(text) // 2],
    "no object": lambda text: "[1]",
    "null": lambda text: "null",
    "newer": lambda text: text.replace('"schema": 1', '"schema": 2'),
    "no schema": lambda text: "{}",
    "negative": lambda text: text.replace('"total": ', '"total": -', 1),
    "text": lambda text: text.replace('"total": ', '"total": "x", "was": ', 1),
    "no number": lambda text: text.replace('"2": {', '"two": {'),
    "modules": lambda text: text.replace('"modules": {', '"modules": [], "was": {'),
    "date": lambda text: text.replace('"date": ', '"date": 1e99, "was": '),
    "nan": lambda text: text.replace('"date": ', '"date": NaN, "was": '),
    "huge": lambda text: text.replace('"date": ', f'"date": 1{"0" * 400}, "was": '),
    "deep": lambda text: "[" * 100_000,
}


@pytest.mark.windows
@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_figures_are_none(filled, damage):
    disk.overview(filled)
    path = filled.root / "disk.json"
    text = path.read_text("utf-8")
    changed = DAMAGE[damage](text)
    assert changed != text
    path.write_text(changed, "utf-8")
    assert disk.cached(filled) is None
    assert disk.overview(filled).total > 0
    assert disk.cached(filled) is not None


@pytest.mark.windows
def test_no_text_is_none_too(filled):
    path = filled.root / "disk.json"
    path.write_bytes(b"\xff\xfe\x00")
    assert disk.cached(filled) is None
    path.unlink()
    path.mkdir()
    assert disk.cached(filled) is None
    heard = []
    assert disk.overview(filled, heard.append).total > 0  # though they cannot be kept
    assert "could not be kept" in heard[-1].text


# ---- free space ---------------------------------------------------------------------------------

_Space = namedtuple("_Space", "total used free")


@pytest.mark.windows
def test_there_is_room_or_there_is_not(data):
    assert "are needed" in disk.fits(data, 10**18)


@pytest.mark.windows
@pytest.mark.parametrize(
    ("free", "needed", "room"),
    [
        (10, 1, True),
        (2.0, 1, True),
        (1.9, 1, False),
        (21, 20, False),
        (22, 20, True),
        (0.9, 0, False),
    ],
)
def test_the_reserve_is_a_gigabyte_or_a_tenth_of_what_is_needed(
    data, monkeypatch, free, needed, room
):
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda place: _Space(10**13, 0, int(free * 1e9)))
    said = disk.fits(data, int(needed * 1e9))
    assert (said is None) == room
    if said:
        assert str(data.root) in said
        assert f"{free:.1f} GB free" in said


# ---- the cache ----------------------------------------------------------------------------------


def _wheel(folder, text):
    """Make a wheel of the package `nut`, with a large file."""
    folder.mkdir(exist_ok=True)
    info = "nut-1.0.dist-info"
    contents = {
        "nut/__init__.py": f"TEXT = {text!r}\n" + "# padding\n" * 50_000,
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: nut\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{name},,\n" for name in [*contents, f"{info}/RECORD"])
    with zipfile.ZipFile(folder / "nut-1.0-py3-none-any.whl", "w") as wheel:
        for name, content in {**contents, f"{info}/RECORD": record}.items():
            wheel.writestr(name, content)
    return folder / "nut-1.0-py3-none-any.whl"


@pytest.fixture
def nut(data, tmp_path):
    """Install `nut` into two generations; the first one's cache entry is dangling since."""
    uv = Uv(data, Settings(offline=True))
    generations = []
    for number, text in enumerate(("old", "new"), start=1):
        wheel = _wheel(tmp_path / "wheels", text)
        os.utime(wheel, (number * 10**9, number * 10**9))
        target = data.generation("nut", number) / "packages"
        target.parent.mkdir(parents=True)
        arguments = ["--no-deps", "--no-index", "--target", target, "--python", sys.executable]
        uv._run("install", "pip", "install", *arguments, wheel, cwd=data.root)
        generations.append(target)
    return uv, generations


def _import(target):
    code = "import nut; print(nut.TEXT)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=target,
        env={**os.environ, "PYTHONPATH": str(target), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
    )
    return done.stdout.strip() or done.stderr


@pytest.mark.windows
def test_a_pruned_cache_frees_what_no_environment_links(data, nut):
    uv, (old, new) = nut
    shared = disk.scan(old).shared
    assert shared > 400_000, "uv did not hard-link"
    shutil.rmtree(old)
    before = disk.overview(data).cache
    freed = disk.clean_cache(uv, data)
    assert 400_000 < freed <= before.own
    assert freed == before.own - disk.overview(data).cache.own
    assert _import(new) == "new"


@pytest.mark.windows
@pytest.mark.parametrize("everything", [False, True])
def test_a_cleaned_cache_breaks_no_environment(data, nut, everything):
    uv, targets = nut
    before = disk.overview(data)
    freed = disk.clean_cache(uv, data, everything=everything)
    after = disk.overview(data)
    assert [_import(target) for target in targets] == ["old", "new"]
    assert before.cache.linked > 800_000
    assert before.cache.own >= freed
    # what an environment links is not freed, but now is its own
    assert after.cache.linked < before.cache.linked - 400_000
    assert after.modules["nut"].total == before.modules["nut"].total
    assert before.total - after.total == pytest.approx(freed, abs=2 * BLOCK)
    if everything:
        assert after.modules["nut"].shared == 0
        assert freed == pytest.approx(before.cache.own, abs=2 * BLOCK)


def test_a_cache_with_symbolic_links_into_it_is_left_alone(data, nut):
    uv, targets = nut
    target = data.generation("nut", 3) / "packages"
    target.parent.mkdir()
    wheel = _wheel(data.root.parent / "wheels", "third")
    arguments = ["--no-deps", "--no-index", "--target", target, "--python", sys.executable]
    symlink = {"UV_LINK_MODE": "symlink"}  # as no version of ours would set it
    uv._finish("pip", "install", *arguments, wheel, cwd=data.root, env=symlink)
    before = disk.scan(data.uv_cache)
    with pytest.raises(GA3EnvError) as caught:
        disk.clean_cache(uv, data, everything=True)
    assert caught.value.code == "cache_in_use"
    assert disk.scan(data.uv_cache) == before
    assert _import(target) == "third"
    shutil.rmtree(target.parent)
    disk.clean_cache(uv, data, everything=True)
    assert [_import(target) for target in targets] == ["old", "new"]


@pytest.mark.windows
def test_no_cache_no_cleaning(data):
    assert disk.clean_cache(Uv(data, Settings()), data) == 0
    assert not data.uv_cache.exists()
