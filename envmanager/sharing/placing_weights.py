"""Puts weights out of a file among those of a module: all of a set, or nothing of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from envmanager.data import files, fulldisk
from envmanager.errors import BadInput
from envmanager.events import Report, Stage
from envmanager.sharing.shared_sets import SharedSet
from envmanager.weights.store import Entry, Store, roots_of, size_of
from ga3_nodes import home
from ga3_nodes.weights import CUSTOM, LISTING

_ASIDE = ".tmp"  # `weights.importing` has the same, and sweeps them too
# Writes the files of a set below a folder, under their names in that of weights.
Extract = Callable[[SharedSet, Path], object]


def is_here(store: Store, one: SharedSet) -> bool:
    """Tell whether a set is here already, whole and with the same bytes."""
    entry = store.entries().get(one.name)
    same = entry is not None and entry["files"] == one.entry()["files"]
    return entry is not None and same and not store.damage(entry)


def refuse_others(store: Store, sets: Sequence[SharedSet]) -> None:
    """Refuse to put weights over others that are in use here: they may be the only copy.

    Raises
    ------
    BadInput
        The message names them.
    """
    present = {n: entry for n, entry in store.entries().items() if not store.damage(entry)}
    for one in sets:
        _refuse_changed(store, one)
        wanted = one.entry()["files"]
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
                    f"remove {name}), then try again.",
                    code="weights_exist",
                )


def _refuse_changed(store: Store, one: SharedSet) -> None:
    """Refuse known weights that are not those that were downloaded here before, if any were."""
    known = () if one.custom else store.described(one.name).files
    for file in known:
        trusted = "" if file.unpack else store.trusted(file.url)
        if trusted and trusted != one.files[file.name].sha256:
            raise BadInput(
                f"The weights {one.name!r} in the file are not those that were once downloaded "
                "here under that name.",
                "Nothing was changed. They were published anew, or altered by somebody: masks may "
                "differ. Leave them out of the file, or ask its maker where they come from.",
                code="weights_changed",
            )


def put(
    store: Store, sets: Sequence[SharedSet], extract: Extract, report: Report, undo: ExitStack
) -> None:
    """Put the sets that are not here in place and list them; `undo` takes them out again.

    Needs the lock of the module's writer, and so does `undo`.

    Raises
    ------
    GA3EnvError
        They cannot be written, or their file has changed.
    """
    wanted = [one for one in sets if not is_here(store, one)]
    if not wanted:
        return
    if sum(one.size for one in wanted) > fulldisk.free(store.folder):
        raise fulldisk.failure(store.folder)
    for leftover in (store.folder / CUSTOM).glob(f"*{_ASIDE}"):  # of one that was killed
        files.discard(leftover, store.data.trash)
    undo.callback(_drop_empty, store)
    if not (store.folder / LISTING).exists():
        undo.callback(_forget_listing, store)
    report(Stage("weights", "Copying the weights"))
    for one in wanted:
        with fulldisk.named(store.folder):
            _put(store, one, extract, undo)


def _put(store: Store, one: SharedSet, extract: Extract, undo: ExitStack) -> None:
    aside = store.folder / CUSTOM / f"{one.name}.{os.getpid()}{_ASIDE}"
    entry, before, trash = one.entry(), store.entries().get(one.name), store.data.trash
    whole = [other for other in store.entries().values() if not store.damage(other)]
    shared = {root for other in whole for root in roots_of(other)}
    own = sorted(roots_of(entry) - shared)  # `refuse_others` has compared those that are shared
    try:
        extract(one, aside)
        undo.callback(_take_out, store, one.name, before, own)
        for root in own:
            place = store.folder / root
            _discard(store, place)
            place.parent.mkdir(parents=True, exist_ok=True)
            home.patiently(lambda: (aside / root).rename(place), seconds=10.0)  # noqa: B023
    finally:
        files.discard(aside, trash)
    store.put(one.name, entry)


def _take_out(store: Store, name: str, before: Entry | None, roots: Sequence[str]) -> None:
    for root in roots:
        _discard(store, store.folder / root)
    if before:
        store.put(name, before)
    else:
        store.take(name)


def _discard(store: Store, place: Path) -> None:
    if place.is_dir():
        files.discard(place, store.data.trash)
    else:
        home.patiently(lambda: place.unlink(missing_ok=True))


def _forget_listing(store: Store) -> None:
    """Delete a listing that was made for these sets, unless there are others in it by now."""
    if not store.entries():
        (store.folder / LISTING).unlink(missing_ok=True)


def _drop_empty(store: Store) -> None:
    for folder in (store.folder / CUSTOM, store.folder, store.folder.parent):
        with suppress(OSError):  # not where something is in it
            folder.rmdir()
