"""A whole data folder: what is own and what is shared, by module and part."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from envmanager import disk
from envmanager.data.paths import DataFolder
from envmanager.disk import Usage
from envmanager.events import Progress, Stage
from tests.envmanager.disk.support import BLOCK, du, many, needs_du, size, write
from tests.support import PROJECT


def _blocks(data, usage, *folders):
    """Return own and shared bytes in blocks, without the folders' own bytes."""
    own = usage.own - sum(size(folder) for folder in folders)
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
    assert found.total == pytest.approx(du(filled.root), rel=0.01)
    assert found.modules["classic"].total == du(filled.module("classic"))
    assert found.modules["classic"].generations[1].total == du(filled.generation("classic", 1))
    assert found.parts["envs"].total == du(filled.root / "envs")
    assert found.cache.total == du(filled.uv_cache)
    assert found.parts["weights"].total == du(filled.root / "weights")


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
    assert found.cache.total == du(elsewhere)
    assert found.total == pytest.approx(du(filled.root), rel=0.01)
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
    write(filled.module("classic") / "half done" / "x", 3 * BLOCK)
    write(filled.root / "envs" / "classic.lock", BLOCK)
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


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="a console is needed to send Ctrl-C")
def test_ctrl_c_ends_a_count_and_leaves_the_figures_of_last_time(filled):
    many(filled.root / "weights" / "many", 40_000)
    for _ in range(5):  # on a busy computer the count may end before our signal comes
        before = disk.overview(filled)
        exit_code, answer = _interrupted_count()
        if exit_code != 0:
            break
    assert (exit_code, answer["error"]["code"]) == (130, "cancelled")
    assert disk.cached(filled) == before


def _interrupted_count():
    command = [sys.executable, "-m", "envmanager", "disk", "--refresh", "--json"]
    with subprocess.Popen(
        command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as counting:
        while "Counting" not in counting.stderr.readline():
            assert counting.poll() is None
        counting.send_signal(signal.SIGINT)
        answer, _ = counting.communicate(timeout=60)
    return counting.returncode, json.loads(answer)


@pytest.mark.windows
def test_a_second_overview_knows_how_much_there_is(filled):
    first, second = [], []
    disk.overview(filled, first.append)
    found = disk.overview(filled, second.append)
    assert first[0] == second[0] == Stage("disk", "Counting the disk space")
    assert first[1] == Progress(first[1].done, 0)  # unknown as yet
    assert second[1].total >= found.total * 0.9
    assert second[-1].done == second[-1].total
