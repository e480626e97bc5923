"""The note of a move, ``move.json``: what a later command has to finish or to undo.

It lies in the place and in both folders, and is settled from that place alone: the folders may be
places of their own, for who names one in GA3ENV_HOME.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from envmanager.data import files
from envmanager.data.paths import MOVE_NOTE
from envmanager.errors import GA3EnvError
from ga3_nodes import home

_SCHEMA = 1
_RECEIPT = "moved.json"  # what the note becomes in the folder of all accounts


@dataclass(frozen=True)
class Moved:
    """The outcome: the folders, the bytes in them, and whether the old one is gone."""

    source: Path
    target: Path
    size: int
    old_deleted: bool

    @property
    def rest(self) -> str:
        """What is left to do, in a sentence; empty where that is nothing."""
        return "" if self.old_deleted else f"The rest of {self.source} is deleted later."


@dataclass(frozen=True)
class Note:
    """What a move is about to do.

    `made` tells that the target did not exist before, and `shares` that it becomes the data folder
    of all accounts.
    """

    id: str
    place: str
    source: str
    target: str
    made: bool
    shares: bool = False

    @classmethod
    def of(cls, place: Path, source: Path, target: Path, *, shares: bool = False) -> Note:
        """Return the note of a move that is about to begin."""
        number, made = os.urandom(8).hex(), not target.exists()
        return cls(number, str(place), str(source), str(target), made=made, shares=shares)


def write(folder: Path, note: Note) -> None:
    """Leave a note in a folder."""
    files.write_text(folder / MOVE_NOTE, json.dumps({"schema": _SCHEMA, **asdict(note)}))


def read(folder: Path) -> Note | None:
    """Return the note in a folder, or None where there is none that can be read."""
    return _read(folder / MOVE_NOTE)


def _read(path: Path) -> Note | None:
    try:
        found = json.loads(path.read_text("utf-8"))
        needed = {name: found[name] for name in ("id", "place", "source", "target", "made")}
        return Note(**needed, shares=found.get("shares") is True)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def forget(folder: Path) -> None:
    """Remove the note in a folder."""
    home.patiently(lambda: (folder / MOVE_NOTE).unlink(missing_ok=True))


def is_ours(folder: Path, note: Note) -> bool:
    """Tell whether it is this move that wrote into a folder: else nothing there is deleted."""
    return read(folder) == note


def make_receipt(folder: Path) -> None:
    """Turn the note in a folder into its receipt, at once: the folder is in force."""
    home.patiently(lambda: (folder / MOVE_NOTE).replace(folder / _RECEIPT), seconds=10.0)


def has_receipt(folder: Path, note: Note) -> bool:
    """Tell whether it is this move that put a folder in force."""
    return _read(folder / _RECEIPT) == note


def refused(target: Path, error: OSError) -> GA3EnvError:
    """Return the error for a folder that cannot be written."""
    return GA3EnvError(
        f"{target} cannot be written: {error.strerror or error}.",
        "Choose another folder, or correct its permissions.",
        code="move_refused",
    )
