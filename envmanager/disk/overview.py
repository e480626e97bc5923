"""Counts a whole data folder: every module, every part, and uv's cache."""

from __future__ import annotations

import time

from envmanager.data.paths import DataFolder
from envmanager.disk import kept
from envmanager.disk.counting import Counter, Place, Usage, real, with_separator
from envmanager.disk.figures import PARTS, CacheUsage, ModuleUsage, Overview
from envmanager.disk.volumes import volumes
from envmanager.events import CancelToken, Report, Stage, ignore


def overview(
    data: DataFolder, report: Report = ignore, cancel: CancelToken | None = None
) -> Overview:
    """Count a whole data folder and uv's cache, and keep the figures for `cached`.

    `Cancelled` leaves those of last time.
    """
    last = kept.cached(data)
    report(Stage("disk", "Counting the disk space"))
    root, cache = real(data.root), real(data.uv_cache)
    inside = cache.startswith(with_separator(root))
    expected = (last.total + (0 if inside else last.cache.total)) if last else 0
    counter = Counter(report, cancel, expected)
    counter.tree(root, _place, leave_out=cache)
    if cache != root:
        counter.tree(cache, lambda parts: ("cache",), leave_out=root)
    counter.end()
    parts = counter.usages(lambda place: place[0])
    in_cache = parts.get("cache", Usage())
    linked = counter.total(lambda places: {"cache", "envs"} <= places)
    found = Overview(
        date=time.time(),
        total=counter.total(lambda places: inside or places != {"cache"}),
        modules=_modules(counter),
        parts={part: parts.get(part, Usage()) for part in PARTS if part != "cache"},
        cache=CacheUsage(in_cache.own, in_cache.shared, linked, str(data.uv_cache), inside),
        volumes=volumes(data),
        unreadable=counter.unreadable,
    )
    kept.keep(data, found, report)
    return found


def _place(parts: tuple[str, ...]) -> Place:
    """Return the place of a folder by the names of its first levels below the data folder."""
    if not parts or parts[0] not in PARTS or parts[0] == "cache":
        return ("rest",)
    if parts[0] != "envs":
        return parts[:1]
    return parts[:3] if len(parts) == 3 and parts[2].isdecimal() else parts[:2]


def _modules(counter: Counter) -> dict[str, ModuleUsage]:
    modules = counter.usages(lambda place: place[1] if len(place) > 1 else None)
    places = counter.usages(lambda place: place if len(place) > 2 else None)
    found = {}
    for name, usage in sorted(modules.items()):
        generations = {int(place[2]): places[place] for place in places if place[1] == name}
        found[name] = ModuleUsage(usage.own, usage.shared, dict(sorted(generations.items())))
    return found
