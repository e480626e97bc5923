"""The templates that the tests copy."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.faults import bench as benches
from tests.faults import mini
from tests.faults.bench import Bench
from tests.local_index import LocalIndex


@dataclass(frozen=True)
class World:
    """What all tests share: the index with its wheels, and data folders to copy.

    `empty` has the module at version 1, and numpy in uv's cache; in `installed` that version is
    published; in `updated` version 2 is, and generation 1 is kept for a rollback.
    """

    index: LocalIndex
    wheels: mini.Wheels
    empty: Path
    installed: Path
    updated: Path


@pytest.fixture(scope="session")
def world(tmp_path_factory) -> Iterator[World]:
    """Make the wheels and, with the commands themselves, the templates."""
    folder = tmp_path_factory.mktemp("faults")
    wheels = mini.make_wheels(folder / "wheels")
    with LocalIndex(wheels.all) as index:
        roots = [folder / name for name in ("empty", "installed", "updated")]
        found = World(index, wheels, *roots)
        _prepare(found)
        yield found


def _prepare(world: World) -> None:
    world.empty.mkdir()
    settings = f'index_url = "{world.index.url}"\n'
    (world.empty / "settings.toml").write_text(settings, "utf-8")
    first = Bench(world.empty, world.wheels)
    first.change_module(1)
    world.installed.mkdir()
    benches.copy(world.empty, world.installed)
    second = Bench(world.installed, world.wheels)
    second.run("install", mini.NAME)
    world.updated.mkdir()
    benches.copy(world.installed, world.updated)
    third = Bench(world.updated, world.wheels)
    third.change_module(2)
    third.run("update", mini.NAME)
    # numpy comes from the cache in every test, and mini's own wheels from the index.
    shutil.copytree(
        world.installed / "uv-cache",
        world.empty / "uv-cache",
        symlinks=True,
        ignore=lambda folder, names: [n for n in names if n.startswith("mini")],
    )


@pytest.fixture
def bench(world, data_folder, tmp_path, monkeypatch) -> Iterator[Callable[[Path], Bench]]:
    """Return a function that copies a template into the test's data folder."""
    monkeypatch.delenv("UV_CACHE_DIR", raising=False)
    made = []

    def make(template: Path) -> Bench:
        benches.copy(template, data_folder)
        made.append(Bench(data_folder, world.wheels))
        return made[0]

    world.index.mend()
    yield make
    world.index.mend()
    for one in made:
        one.stop_workers()
