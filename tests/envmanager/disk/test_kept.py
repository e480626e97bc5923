"""The figures of the last count, as ``disk.json`` keeps them."""

from __future__ import annotations

import json

import pytest

from envmanager import disk
from envmanager.errors import Cancelled
from envmanager.events import CancelToken


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
