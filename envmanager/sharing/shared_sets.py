"""Sets of weights as they travel in a file: by what was recorded of them when they came."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from envmanager.errors import BadInput
from envmanager.fetching.hashing import Fetched
from envmanager.modules.catalog import Module
from envmanager.modules.declared_weights import WeightsFile
from envmanager.sharing import archive, sealed
from envmanager.sharing.sealed import Kind, fits
from envmanager.weights.store import Entry, Store, today
from ga3_nodes import weights


@dataclass(frozen=True)
class SharedSet:
    """A set of weights in a file; `files` have their names in the folder of weights."""

    name: str
    path: str
    custom: bool
    note: str
    files: dict[str, Fetched]

    @property
    def size(self) -> int:
        """The bytes of its files."""
        return sum(file.size for file in self.files.values())

    def as_dict(self) -> dict[str, Any]:
        """Return what a manifest says of it beside its name."""
        values = {"path": self.path, "custom": self.custom, "note": self.note}
        return {**values, "files": sorted(self.files)}

    def entry(self) -> Entry:
        """Return what ``weights.json`` says of it once it is there."""
        return {
            "path": self.path,
            "files": {name: vars(file) for name, file in self.files.items()},
            "custom": self.custom,
            "note": self.note,
            "added": today(),
        }


def of_entry(name: str, entry: Entry) -> SharedSet:
    """Return a present set."""
    files = {file: Fetched(one["size"], one["sha256"]) for file, one in entry["files"].items()}
    note = entry["note"] if sealed.is_line(entry["note"]) else ""
    return SharedSet(name, entry["path"], bool(entry["custom"]), note, files)


@dataclass(frozen=True)
class Present:
    """A set that travels from here: its files lie in the folder of a `holder`.

    That is the account's own store, or the one of all accounts.
    """

    one: SharedSet
    holder: Store

    @property
    def license(self) -> str:
        """What its module says of its license; empty where that is nothing."""
        return self.holder.described(self.one.name).license

    @property
    def places(self) -> dict[str, Path]:
        """Where its files lie, by their names."""
        return {name: self.holder.folder / name for name in self.one.files}


def present(store: Store, name: str) -> Present:
    """Return a set that calls find.

    Raises
    ------
    BadInput
        There is none of that name, or its files are not as they are listed.
    """
    holder = store.holder(name)
    entry = holder.require(name)
    if problem := holder.damage(entry):
        raise BadInput(
            f"The weights {name!r} are damaged: {problem}",
            f"Get or import them again: ./run weights {store.module.name} verify",
            code="weights_damaged",
        )
    return Present(of_entry(name, entry), holder)


def parsed(
    name: str, values: Mapping[str, Any], files: Mapping[str, Fetched], folder: str
) -> SharedSet:
    """Return what a manifest says of a set; ValueError, or its like, where it does not fit.

    Parameters
    ----------
    files : mapping of str to Fetched
        All files of the zip; those of the set lie in its `folder`, with a slash at the end.
    """
    found = {str(file): files[f"{folder}{file}"] for file in values["files"]}
    path, custom = values["path"], values["custom"]
    inside = [file for file in found if file == path or file.startswith(f"{path}/")]
    own = [file for file in found if file.startswith(f"{weights.CUSTOM}/{name}/")]
    fits(weights.valid_name(name) and isinstance(custom, bool) and bool(inside), name)
    fits(not archive.bad_name(path), path)
    fits(own == list(found) if custom else not any(_is_ours(file) for file in found), name)
    return SharedSet(name, path, custom, sealed.line(values["note"]), found)


def _is_ours(file: str) -> bool:
    return file.split("/")[0].lower() in (weights.CUSTOM, weights.LISTING)


def check(path: Path, kind: Kind, sets: Iterable[SharedSet], module: Module) -> None:
    """Refuse a set under the name of a known one that has other files than that.

    Raises
    ------
    BadInput
        The message names it.
    """
    for one in sets:
        known = module.weights.get(one.name)
        if known is None and not one.custom and module.collection:
            known = module.collection.set_of(one.name)
        if one.custom != (known is None):
            why = f"the weights {one.name!r} in it are none of {module.name}'s"
            raise kind.refuse_altered(path, why)
        if known and not _fit(known.files, one):
            raise kind.refuse_altered(path, f"the weights {one.name!r} in it have other files")


def _fit(declared: Iterable[WeightsFile], one: SharedSet) -> bool:
    """Compare names, and sums where the module states them; a zip was unpacked since."""
    declared = list(declared)
    same = {name.split("/")[0] for name in one.files} == {file.name for file in declared}
    plain = [file for file in declared if file.sha256 and not file.unpack]
    return (
        same
        and one.path == declared[0].name
        and all(f.name in one.files and one.files[f.name].sha256 == f.sha256 for f in plain)
    )
