"""Cleaning the cache of the real uv: no environment may notice."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile

import pytest

from envmanager import disk
from envmanager.data.settings import Settings
from envmanager.errors import GA3EnvError
from envmanager.uv.program import Uv
from tests.envmanager.disk.support import BLOCK


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
