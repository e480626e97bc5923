"""What an install will take: from the wheels' sizes, against a real install."""

from __future__ import annotations

import shutil
import tempfile
from collections import namedtuple
from pathlib import Path

import pytest

from envmanager import disk
from envmanager.data.settings import Settings
from envmanager.environments import planning
from envmanager.environments.lifecycle import Environments
from envmanager.packages.lockfile import Wheel
from tests.envmanager.conftest import TOML, write_module

_Space = namedtuple("_Space", "total used free")


def _wheel(size, package="torch"):
    return Wheel(package, "1.0", size, ((f"{package}-1.0.whl", "0" * 64),))


def _with_free(monkeypatch, free):
    monkeypatch.setattr(shutil, "disk_usage", lambda place: _Space(10**13, 0, int(free)))


@pytest.mark.windows
@pytest.mark.parametrize("size", [1, 100_000_000, 10_000_000_000])
def test_a_gigabyte_or_a_tenth_of_what_is_needed_stays_free(data, monkeypatch, size):
    needed = disk.predict(data, [_wheel(size)]).disk_bytes
    limit = needed + max(10**9, needed // 10)
    _with_free(monkeypatch, limit)
    there = disk.predict(data, [_wheel(size)])
    assert (there.fits, there.free_bytes, there.download_bytes) == (True, limit, size)
    assert there.sentence.startswith("The environment takes about")
    _with_free(monkeypatch, limit - 1)
    short = disk.predict(data, [_wheel(size)])
    assert not short.fits
    assert "may not fit" in short.sentence
    assert str(data.root) in short.sentence


@pytest.mark.windows
def test_nvidias_packages_are_packed_less_tightly(data):
    nvidia = disk.predict(data, [_wheel(10**9, "nvidia-cublas")]).disk_bytes
    assert 2.0e9 < nvidia < disk.predict(data, [_wheel(10**9)]).disk_bytes < 4.5e9


@pytest.mark.windows
def test_an_unknown_size_is_said(data):
    found = disk.predict(data, [_wheel(0), _wheel(10**6, "numpy")])
    assert found.unknown == ("torch",)
    assert "at least" in found.sentence


def test_a_cache_on_another_volume_gives_copies(data, monkeypatch):
    with tempfile.TemporaryDirectory(
        dir="/dev/shm" if Path("/dev/shm").is_dir() else None
    ) as place:
        if Path(place).stat().st_dev == data.root.stat().st_dev:
            pytest.skip("there is one volume only")
        alone = disk.predict(data, [_wheel(10**8)])
        monkeypatch.setenv("UV_CACHE_DIR", place)
        both = disk.predict(data, [_wheel(10**8)])
        assert both.disk_bytes > 1.9 * alone.disk_bytes
        _with_free(monkeypatch, alone.disk_bytes + 10**9)
        assert disk.predict(data, [_wheel(10**8)]).fits  # each takes its own part only


@pytest.fixture
def own_cache(data, tiny):
    """Return the engine with an empty cache of its own, in the data folder."""
    return Environments(data, Settings())


@pytest.mark.slow
@pytest.mark.windows
def test_the_prediction_of_a_real_install(own_cache, tiny, tiny_lock):
    data = own_cache.data
    plan = planning.install(data, own_cache.settings, "tiny")
    (numpy,) = plan.packages
    assert (plan.needed, plan.python_missing, numpy["package"]) == (True, False, "numpy")
    assert plan.space.download_bytes == numpy["bytes"] > 5_000_000
    assert not data.module("tiny").exists(), "a plan installs nothing"
    before = disk.scan(data.root).total
    own_cache.install("tiny")
    grown = disk.scan(data.root).total - before
    print(f"predicted {plan.space.disk_bytes}, grew by {grown}")
    assert 0.75 < plan.space.disk_bytes / grown < 1.35

    again = planning.install(data, own_cache.settings, "tiny")
    assert not again.needed
    assert again.space.download_bytes == 0, "uv has it in its cache"
    assert again.space.disk_bytes < plan.space.disk_bytes / 10

    write_module(tiny, tiny_lock, toml=TOML.replace("1.0.0", "2.0.0"))
    update = own_cache.plan_update("tiny")
    assert (update.needed, update.download_bytes, update.fits) == (True, 0, True)
    assert update.disk_bytes == again.space.disk_bytes
    shutil.rmtree(data.uv_cache)
    assert own_cache.plan_update("tiny").download_bytes == numpy["bytes"]


@pytest.mark.slow
def test_a_missing_python_is_said(own_cache, tiny):
    text = (tiny / "pyproject.toml").read_text("utf-8")
    wanted = text.replace(">=3.10", "==3.14.*")
    (tiny / "pyproject.toml").write_text(wanted, "utf-8")
    plan = planning.install(own_cache.data, own_cache.settings, "tiny")
    assert plan.python_missing == (plan.python == "==3.14.*")
    assert plan.packages
