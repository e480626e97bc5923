"""An install that is killed in mid-download: the next one asks for the rest only."""

from __future__ import annotations

from pathlib import Path

import pytest

from envmanager.data.paths import DataFolder
from envmanager.environments.generations import read_manifest
from envmanager.packages import lockfile
from tests import programs
from tests.faults import mini
from tests.file_server import Fault
from tests.wheel_server import WheelServer

MB = 1_000_000

pytestmark = pytest.mark.slow


@pytest.fixture
def server(tmp_path_factory):
    with WheelServer() as server:
        server.made = mini.make_wheels(tmp_path_factory.mktemp("wheels"))
        for wheel in (server.made.numpy, *server.made.files[1]):
            server.add(wheel)
        yield server


@pytest.fixture
def data(data_folder, server, monkeypatch):
    monkeypatch.delenv("UV_CACHE_DIR", raising=False)
    found = DataFolder(data_folder)
    server.made.write_module(found.user_modules, 1)
    text = f'index_url = "{server.index_url}"\nresumable_downloads_above_mb = 1\n'
    found.settings.write_text(text, "utf-8")
    return found


def test_a_killed_install_goes_on_where_it_was(server, data):
    numpy, core = server.made.numpy, server.made.files[1][0]
    size = numpy.stat().st_size
    server.files[f"/{numpy.name}"].faults[:] = [Fault(stall_after=3 * MB)]

    def come() -> list[Path]:
        parts = data.downloads.glob(f"*/{numpy.name}.part")
        whole = data.downloads.glob(f"*/{core.name}")
        return [p for p in parts if p.stat().st_size >= 3 * MB and list(whole)]

    process = programs.command("install", "mini")
    programs.until(come)
    programs.end(process)
    server.go.set()
    code, found = programs.answer(programs.command("install", "mini"))
    assert (code, found["new"]) == (0, True), found
    assert server.sent(numpy.name) == [3 * MB, size - 3 * MB]
    assert server.sent(core.name) == [core.stat().st_size]  # it was whole before the kill
    assert not data.downloads.exists()
    generation = data.generation("mini", found["generation"])
    urls = [wheel.url for wheel in lockfile.wheels(generation / "pylock.toml")]
    assert all(url.startswith(server.url) for url in urls)
    assert list(generation.glob("pylock.*.toml")) == []
    manifest = read_manifest(generation)
    assert manifest
    assert manifest["packages"]["numpy"]
    _assert_repaired_from_the_cache(server, data, generation)


def _assert_repaired_from_the_cache(server, data, generation: Path) -> None:
    """Delete a file of the environment: the cache has it, though our download is gone."""
    next(generation.rglob("site-packages/mini_core/block.bin")).unlink()
    server.asked.clear()
    code, found = programs.answer(programs.command("repair", "mini"))
    assert (code, found["generation"]) == (0, int(generation.name) + 1), found
    large = (server.made.numpy, server.made.files[1][0])
    assert [server.sent(wheel.name) for wheel in large] == [[], []]
    assert programs.answer(programs.command("verify", "mini"))[0] == 0
