"""Pins: generations that are never cleaned up, each with a note such as "paper 2026".

A pin is the file ``pin.json`` in the generation's folder: it moves with the data folder, and no
list of pins can name a generation that is not there.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime

from envmanager.data import files, writers
from envmanager.data.paths import DataFolder
from envmanager.environments import inventory
from envmanager.environments.generations import PIN, Pin
from envmanager.errors import BadInput, NotInstalled

_LONGEST = 200  # characters of a note


def pin(data: DataFolder, name: str, generation: int | None = None, note: str = "") -> Pin:
    """Keep a generation, by default the published one; a new note replaces the old one.

    Raises
    ------
    NotInstalled
        There is no such generation, or it is not complete.
    BadInput
        The note is not one line, or the module is about to be removed.
    ModuleInUse
        Another command changes the module: it might remove the generation right now.
    """
    note = " ".join(note.split())
    if len(note) > _LONGEST or not note.isprintable():
        raise BadInput(
            f"The note is not one line of up to {_LONGEST} characters.", "Give a shorter one."
        )
    with writers.sole(data, name, "pin"):
        number = _complete(data, name, generation)
        if writers.removal_mark(data, name).exists():
            raise BadInput(
                f"{name} is about to be removed once nobody uses it.",
                f"Keep it first: ./run install {name}",
                code="removing",
            )
        made = Pin(number, note, datetime.now(UTC).isoformat(timespec="seconds"))
        content = {"schema": 1, "note": made.note, "date": made.date}
        text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
        files.write_text(data.generation(name, number) / PIN, text)
    return made


def unpin(data: DataFolder, name: str, generation: int | None = None) -> Pin:
    """Let a generation be cleaned up again; by default the only one that is pinned.

    Raises
    ------
    NotInstalled
        No generation is pinned, or not this one.
    BadInput
        Several are pinned, and none is named.
    """
    with writers.sole(data, name, "unpin"):
        found = {one.generation: one for one in inventory.pins(data, name)}
        if not found:
            inventory.installed(data, name)  # the better of two errors
        if generation is None and len(found) > 1:
            raise BadInput(
                f"Several generations of {name} are pinned.",
                f"Name one: {', '.join(one.text for one in found.values())}.",
                code="several_pins",
            )
        number = next(iter(found), 0) if generation is None else generation
        if number not in found:
            which = f"Generation {number}" if number else "No generation"
            what = f"{which} of {name} is {'not ' if number else ''}pinned."
            told = ", ".join(one.text for one in found.values()) or "none"
            raise NotInstalled(what, f"Pinned: {told}.", code="no_pin")
        (data.generation(name, number) / PIN).unlink(missing_ok=True)
    return found[number]


def _complete(data: DataFolder, name: str, generation: int | None) -> int:
    """Return the number of a complete generation, by default of the published one."""
    published, _ = inventory.installed(data, name)
    number = published.generation if generation is None else generation
    inventory.manifest_of(data, name, number)
    return number
