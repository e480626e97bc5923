"""Checks and removes sets of weights."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from envmanager import workers
from envmanager.data import files, writers
from envmanager.data.paths import DataFolder
from envmanager.data.users import user_text
from envmanager.errors import ModuleInUse
from envmanager.events import CancelToken, Report, Stage, ignore
from envmanager.fetching.hashing import hashed
from envmanager.weights.store import Entry, Store, roots_of
from ga3_nodes import home


@dataclass(frozen=True)
class Problem:
    """A file of a set that is not as it was when it came."""

    set: str
    path: str
    message: str

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def verify(
    store: Store,
    names: Sequence[str] = (),
    *,
    full: bool = False,
    report: Report = ignore,
    cancel: CancelToken | None = None,
) -> list[Problem]:
    """Compare the files of sets, by default of all, with what is listed of them.

    Parameters
    ----------
    full : bool
        Compare the sha256 of each file too, not its size alone.

    Raises
    ------
    BadInput
        A set is not present.
    """
    wanted = {name: store.require(name) for name in names} or store.entries()
    found = []
    for name, entry in wanted.items():
        report(Stage("verify", f"Checking {name}"))
        if problem := store.damage(entry):
            found.append(Problem(name, str(store.folder / entry["path"]), problem))
        elif full:
            found += _differing(store, name, entry, cancel or CancelToken())
    return found


def _differing(store: Store, name: str, entry: Entry, cancel: CancelToken) -> Iterable[Problem]:
    for file, listed in entry["files"].items():
        path = store.folder / file
        if hashed(path, cancel).sha256 != listed["sha256"]:
            yield Problem(name, str(path), f"{path} has other bytes than when it came.")


def remove(store: Store, name: str) -> int:
    """Remove a set, and what has come of a broken-off download of it; return the bytes freed.

    Files that another present set uses too stay.

    Raises
    ------
    BadInput
        Nothing is there of such a set.
    ModuleInUse
        A program has one of its files open (Windows); nothing was changed.
    """
    leftovers = _leftovers(store, name)
    if not leftovers:
        store.require(name)
    with store.writing("weights"):
        entries = dict(store.entries())
        entry = entries.pop(name, None)
        paths = [path for path in _leftovers(store, name) if path.is_file()]
        if entry:
            kept = {root for other in entries.values() for root in roots_of(other)}
            paths += [store.folder / root for root in roots_of(entry) - kept]
        freed = sum(map(_size, paths))
        _discard(store.data, store.module.name, paths)
        if entry:
            store.take(name)
        return freed


def remove_all(data: DataFolder, name: str) -> int:
    """Remove all weights of a module, which may be in no catalog; return the bytes freed.

    Raises
    ------
    ModuleInUse
        A program has one of the files open (Windows); nothing was changed.
    """
    folder = home.weights_folder(data.root, name)
    if not folder.is_dir():
        return 0
    with writers.sole(data, name, "weights"):
        freed = _size(folder)
        _discard(data, name, [folder])
        with suppress(OSError):  # an installed module has something in there
            data.module(name).rmdir()
        return freed


def _leftovers(store: Store, name: str) -> list[Path]:
    """Return what a download that broke off has left of a set."""
    known = store.module.weights.get(name)
    if known is None and store.module.collection and name not in store.entries():
        known = store.described(name)
    found: list[Path] = []
    for file in known.files if known else ():
        for stem in (file.name, f".{file.name}.zip"):
            found += [store.folder / f"{stem}{suffix}" for suffix in (".part", ".part.json")]
    return [path for path in found if path.exists()]


def _discard(data: DataFolder, name: str, paths: Sequence[Path]) -> None:
    """Take files and folders away, all of them or none."""
    trash = data.trash
    trash.mkdir(parents=True, exist_ok=True)
    grave = trash / f"weights-{os.urandom(6).hex()}"
    grave.mkdir()
    moved: list[tuple[Path, Path]] = []
    try:
        for number, path in enumerate(path for path in paths if path.exists()):
            target = grave / str(number)
            home.patiently(lambda path=path, target=target: path.rename(target))  # type: ignore[misc]
            moved.append((path, target))
    except PermissionError as error:
        for place, target in moved:
            target.rename(place)
        users = workers.users(data, name)
        who = ", ".join(map(user_text, users)) or "another program"
        raise ModuleInUse(
            f"{path.name} is in use by {who}.",
            f"End that, or the workers: ./run workers stop {name}",
            details={"in_use_by": users},
        ) from error
    finally:
        files.discard(grave, trash)


def _size(path: Path) -> int:
    if path.is_dir():
        return sum(inside.stat().st_size for inside in path.rglob("*") if inside.is_file())
    return path.stat().st_size if path.exists() else 0
