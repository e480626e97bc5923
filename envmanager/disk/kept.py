"""``disk.json``: the figures of the last count, for commands that must not count anew.

It lies in the data folder that was counted. An account that may not write the one of all accounts
keeps its count of that in its own, as ``disk-of-all.json``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from envmanager.data import access, files
from envmanager.data.paths import DataFolder, data_folder
from envmanager.disk.counting import Usage
from envmanager.disk.figures import PARTS, CacheUsage, ModuleUsage, Overview
from envmanager.disk.volumes import Volume
from envmanager.errors import DiskFull
from envmanager.events import LogLine, Report
from ga3_nodes import home

_FILE, _OF_ALL, _SCHEMA = "disk.json", "disk-of-all.json", 1


def cached(data: DataFolder) -> Overview | None:
    """Return the figures that `overview` counted last; None where there are none to read."""
    found = filter(None, (_read(place, data) for place in _places(data)))
    return max(found, key=lambda overview: overview.date, default=None)


def keep(data: DataFolder, found: Overview, report: Report) -> None:
    """Keep figures for `cached`, where that can be: they are right all the same."""
    values = {"schema": _SCHEMA, "root": str(data.root), **found.as_dict()}
    text = json.dumps(values, indent=2, ensure_ascii=False)
    for place in _places(data):
        if not place.parent.is_dir():
            continue
        try:
            with access.readable_by_all(data):
                files.write_text(place, text + "\n")
            return
        except (OSError, DiskFull) as error:  # no room, or read-only
            report(LogLine(f"the disk figures could not be kept: {error}"))


def _places(data: DataFolder) -> list[Path]:
    """Return where the figures of a data folder may lie."""
    places = [data.root / _FILE]
    if home.is_shared(data.root) and (own := data_folder().root) != data.root:
        places.append(own / _OF_ALL)
    return places


def _read(place: Path, data: DataFolder) -> Overview | None:
    try:
        kept = json.loads(place.read_text("utf-8"))
        fits = place.name == _FILE or kept["root"] == str(data.root)  # which may have moved
        return _overview(kept) if fits and kept["schema"] == _SCHEMA else None
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None


def _overview(kept: Mapping[str, Any]) -> Overview:
    date, cache = kept["date"], kept["cache"]
    if not 0 <= date < 2**33:  # what no calendar takes, and NaN
        raise ValueError(date)
    return Overview(
        date=float(date),
        total=_bytes(kept["total"]),
        modules={name: _module(value) for name, value in kept["modules"].items()},
        parts={part: _usage(kept["parts"][part]) for part in PARTS if part != "cache"},
        cache=CacheUsage(
            _bytes(cache["own"]),
            _bytes(cache["shared"]),
            _bytes(cache["linked"]),
            str(cache["path"]),
            bool(cache["inside"]),
        ),
        volumes=tuple(
            Volume(str(one["path"]), _bytes(one["total"]), _bytes(one["free"]))
            for one in kept["volumes"]
        ),
        unreadable=_bytes(kept["unreadable"]),
    )


def _module(value: Mapping[str, Any]) -> ModuleUsage:
    generations = {int(number): _usage(one) for number, one in value["generations"].items()}
    return ModuleUsage(_bytes(value["own"]), _bytes(value["shared"]), generations)


def _usage(value: Mapping[str, Any]) -> Usage:
    return Usage(_bytes(value["own"]), _bytes(value["shared"]))


def _bytes(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(value)
    return value
