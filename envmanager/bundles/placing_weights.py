"""Puts the weights of a bundle among those of a module: all of a set, or nothing of it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack, suppress

from envmanager.bundles import manifest
from envmanager.bundles.reading import Bundle
from envmanager.data import files
from envmanager.errors import BadInput
from envmanager.events import Report, Stage
from envmanager.sharing.package import SharedSet
from envmanager.weights.store import Entry, Store, roots_of, size_of, today
from ga3_nodes import home
from ga3_nodes.weights import CUSTOM, LISTING


def refuse_others(store: Store, sets: Sequence[SharedSet]) -> None:
    """Refuse to put weights over others that are in use here: they may be the only copy.

    Raises
    ------
    BadInput
        The message names them.
    """
    present = {n: entry for n, entry in store.entries().items() if not store.damage(entry)}
    for one in sets:
        wanted = _entry(one)["files"]
        for name, entry in present.items():
            both = entry["files"].keys() & wanted.keys()
            same_name = name.lower() == one.name.lower()
            differ = any(entry["files"][file] != wanted[file] for file in both)
            if differ or (same_name and entry["files"] != wanted):
                raise BadInput(
                    f"You have other weights {name!r} of {store.module.name} "
                    f"({size_of(entry):,} bytes).",
                    "Nothing was changed. Keep them by another name (./run weights "
                    f"{store.module.name} add), remove them (./run weights {store.module.name} "
                    f"remove {name}), then install the bundle again.",
                    code="weights_exist",
                )


def put(
    store: Store, bundle: Bundle, sets: Sequence[SharedSet], report: Report, undo: ExitStack
) -> None:
    """Put the sets that are not here in place and list them; `undo` takes them out again.

    Raises
    ------
    GA3EnvError
        They cannot be written, or the bundle has changed.
    """
    listed = store.entries()
    wanted = [one for one in sets if not _is_here(store, listed.get(one.name), one)]
    if not wanted:
        return
    with store.writing("bundle", report, bundle.cancel) as report:
        if not (store.folder / LISTING).exists():
            undo.callback(_forget_listing, store)
        report(Stage("weights", "Copying the weights from the bundle"))
        for one in wanted:
            _put(store, bundle, one, undo)


def _put(store: Store, bundle: Bundle, one: SharedSet, undo: ExitStack) -> None:
    aside = store.folder / CUSTOM / f"{one.name}.{os.getpid()}.tmp"  # `importing` sweeps these
    entry, before, trash = _entry(one), store.entries().get(one.name), store.data.trash
    whole = [other for other in store.entries().values() if not store.damage(other)]
    shared = {root for other in whole for root in roots_of(other)}
    try:
        for name in one.files:
            bundle.extract(f"{manifest.WEIGHTS}{store.module.name}/{name}", aside / name)
        undo.callback(_take_out, store, one.name, before, sorted(roots_of(entry) - shared))
        for root in sorted(roots_of(entry) - shared):
            place = store.folder / root
            files.discard(place, trash)
            place.parent.mkdir(parents=True, exist_ok=True)
            home.patiently(lambda: (aside / root).rename(place), seconds=10.0)  # noqa: B023
    finally:
        files.discard(aside, trash)
    store.put(one.name, entry)


def _take_out(store: Store, name: str, before: Entry | None, roots: Sequence[str]) -> None:
    with store.writing("bundle"):
        for root in roots:
            files.discard(store.folder / root, store.data.trash)
        if before:
            store.put(name, before)
        else:
            store.take(name)


def _forget_listing(store: Store) -> None:
    """Delete a listing that was made for these sets, unless there are others in it by now."""
    with store.writing("bundle"):
        if not store.entries():
            (store.folder / LISTING).unlink(missing_ok=True)
        with suppress(OSError):  # not where files are in it
            (store.folder / CUSTOM).rmdir()
    with suppress(OSError):
        store.folder.parent.rmdir()


def _entry(one: SharedSet) -> Entry:
    return {
        "path": one.path,
        "files": {name: vars(file) for name, file in one.files.items()},
        "custom": one.custom,
        "note": one.note,
        "added": today(),
    }


def _is_here(store: Store, entry: Entry | None, one: SharedSet) -> bool:
    return entry is not None and entry["files"] == _entry(one)["files"] and not store.damage(entry)
