"""``disk.json``: the figures of the last count, for commands that must not count anew."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from envmanager.data import files
from envmanager.data.paths import DataFolder
from envmanager.disk.counting import Usage
from envmanager.disk.figures import PARTS, CacheUsage, ModuleUsage, Overview
from envmanager.disk.volumes import Volume
from envmanager.errors import DiskFull
from envmanager.events import LogLine, Report

_FILE, _SCHEMA = "disk.json", 1


def cached(data: DataFolder) -> Overview | None:
    """Return the figures that `overview` counted last; None where there are none to read."""
    try:
        kept = json.loads((data.root / _FILE).read_text("utf-8"))
        return _overview(kept) if kept["schema"] == _SCHEMA else None
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None


def keep(data: DataFolder, found: Overview, report: Report) -> None:
    if not data.root.is_dir():
        return
    text = json.dumps({"schema": _SCHEMA, **found.as_dict()}, indent=2, ensure_ascii=False)
    try:
        files.write_text(data.root / _FILE, text + "\n")
    except (
        OSError,
        DiskFull,
    ) as error:  # no room, or read-only: the figures are right all the same
        report(LogLine(f"the disk figures could not be kept: {error}"))


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
