"""A data folder with files of known sizes."""

from __future__ import annotations

import pytest

from envmanager.data.paths import DataFolder
from tests.envmanager.disk.support import BLOCK, link, write


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
    write(cache / "one", 1 * BLOCK)
    two = link(write(cache / "two", 2 * BLOCK), first / ".venv" / "lib" / "two")
    four = link(write(cache / "four", 4 * BLOCK), first / "four")
    link(four, second / ".venv" / "four")
    link(write(first / "eight", 8 * BLOCK), second / "eight")
    link(write(first / "sixteen", 16 * BLOCK), other / "sixteen")
    alone = write(second / "alone", 32 * BLOCK)
    link(alone, second / "deep" / "er" / "alone again")
    link(write(other / "outside", 64 * BLOCK), root.parent / "outside")
    for number, name in enumerate(("weights", "trash", "logs", "python", "standin", "client")):
        write(root / name / "sub" / "file", (number + 1) * 3 * BLOCK)
    write(root / "run" / "record", 5 * BLOCK)
    write(root / "config.json", BLOCK)
    assert two.stat().st_nlink == 2
    return data
