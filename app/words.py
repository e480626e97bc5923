"""States, sizes and times in words, for all pages."""

from __future__ import annotations

from typing import Any

from app.background import WAITING, Task
from envmanager.events import Items, Progress
from envmanager.units import duration as duration
from envmanager.units import size as size

# A module's state: what a user reads, and the colour (of `theme.Colors`) that goes with it.
STATES = {
    "not_installed": ("Not installed", "muted"),
    "installing": ("Installing", "accent"),
    "ready": ("Ready", "success"),
    "update_available": ("Update available", "accent"),
    "weights_missing": ("Weights missing", "warning"),
    "broken": ("Broken", "danger"),
    "removing": ("Being removed", "muted"),
}


def task(work: Task[Any]) -> str:
    """Say what a task does now and how far it is."""
    if work.is_cancelling:
        return "Cancelling ..."
    if work.state == WAITING:
        return "Waits for the work before it"
    parts = [work.stage.title if work.stage else ""]
    if work.progress:
        parts.append(_bytes(work.progress))
    if work.items:
        parts.append(_items(work.items))
    return "   ".join(filter(None, parts))


def part_done(work: Task[Any]) -> float | None:
    """Return the part of the present stage that is done (0 to 1); None where nobody can tell."""
    if work.progress and work.progress.total:
        return min(1.0, work.progress.done / work.progress.total)
    if work.items and work.items.total:
        return min(1.0, work.items.done / work.items.total)
    return None


def _bytes(progress: Progress) -> str:
    text = size(progress.done)
    if progress.total:
        text += f" of {size(progress.total)}"
    if progress.bytes_per_s:
        text += f", {size(int(progress.bytes_per_s))}/s"
    if progress.remaining_s is not None:
        text += f", {duration(progress.remaining_s)} left"
    return text


def _items(items: Items) -> str:
    several = items.total > 1
    parts = [f"{int(items.done)} of {items.total}" if several else ""]
    if items.per_s and several:
        parts.append(_rate(items.per_s))
    if items.remaining_s is not None and several:
        parts.append(f"{duration(items.remaining_s)} left")
    return "   ".join(filter(None, (*parts, items.text)))


def _rate(per_s: float) -> str:
    """Say how many things a second, or a minute, are done."""
    if per_s >= 1:
        return f"{per_s:.1f} per second" if per_s < 10 else f"{per_s:.0f} per second"
    return f"{60 * per_s:.1f} per minute"
