"""The weights of one module: which sets are present, known or missing.

They lie in ``ROOT/weights/<module>/``: files of known sets under their own names, imported ones in
``custom/<name>/``. ``weights.json`` lists the sets that are present and what was recorded of each
file at its first download. All generations of the module and all users of the data folder share
them. `ga3_nodes.weights` reads the list for calls.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from envmanager.data import files, fulldisk, writers
from envmanager.data.paths import DataFolder
from envmanager.errors import BadInput
from envmanager.events import CancelToken, Report, ignore
from envmanager.modules.catalog import Module
from envmanager.modules.declared_weights import WeightsSet
from ga3_nodes import home, weights

Entry = dict[str, Any]


@dataclass(frozen=True)
class SetState:
    """A set of weights, as ``list`` and ``status`` show it.

    Attributes
    ----------
    size : int
        Bytes on the disk, else what the module says of the download; 0 where it does not.
    problem : str
        What is wrong with a set that is listed as present; then it is not `present`.
    shared : bool
        It lies in another data folder than this one, which calls look into as well.
    """

    name: str
    title: str
    present: bool
    size: int
    license: str
    source: str
    default: bool
    custom: bool
    note: str
    path: str = ""
    added: str = ""
    problem: str = ""
    shared: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


@dataclass(frozen=True)
class Got:
    """A set that is present now; `new` is False where it was there already."""

    name: str
    path: str
    size: int
    new: bool

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


@dataclass(frozen=True)
class Store:
    """The weights of one module in one data folder."""

    data: DataFolder
    module: Module

    @property
    def folder(self) -> Path:
        """Where they lie."""
        return home.weights_folder(self.data.root, self.module.name)

    # ---- questions --------------------------------------------------------------------------

    def entries(self) -> Mapping[str, Entry]:
        """Return what ``weights.json`` says of the present sets, by name."""
        return weights.listed(self.folder)

    def states(self) -> list[SetState]:
        """Return all sets: the known ones as declared, then the others that are present.

        What is missing here counts as present where calls find it in another data folder.
        """
        entries = self.entries()
        others = [name for name in entries if name not in self.module.weights]
        found = [self._state(known, entries) for known in self.module.weights.values()]
        found += [self._state(self.described(name), entries) for name in others]
        elsewhere = self._states_elsewhere()
        states = [elsewhere.pop(one.name, one) if not one.present else one for one in found]
        listed = {one.name for one in states}
        return states + [one for name, one in elsewhere.items() if name not in listed]

    def _states_elsewhere(self) -> dict[str, SetState]:
        """Return the sets that are present in the other data folders, by name."""
        found: dict[str, SetState] = {}
        for other in self._others():
            entries = other.entries()
            for name in entries:
                state = other._state(other.described(name), entries)
                if state.present:
                    found.setdefault(name, replace(state, shared=True))
        return found

    def _others(self) -> Iterator[Store]:
        """Yield the stores that calls look into besides this one."""
        for root in home.roots(self.data.root):
            if root != self.data.root:
                yield Store(DataFolder(root), self.module)

    def holder(self, name: str) -> Store:
        """Return the store in which a set is present: this one, or another that calls look into.

        It is this one too where none has it.
        """
        if self.is_present(name):
            return self
        return next((other for other in self._others() if other.is_present(name)), self)

    def names(self) -> list[str]:
        """Return the names of all sets that are listed here, or in the other data folders."""
        stores = (self, *self._others())
        return list(dict.fromkeys(name for store in stores for name in store.entries()))

    def described(self, name: str) -> WeightsSet:
        """Return what is known of a set: as declared, of the collection, or of the user's own."""
        if name in self.module.weights:
            return self.module.weights[name]
        entry = self.entries().get(name, {})
        if self.module.collection and not entry.get("custom"):
            return self.module.collection.set_of(name)
        return WeightsSet(name, name, "", (), note=entry.get("note", ""))

    def _state(self, found: WeightsSet, entries: Mapping[str, Entry]) -> SetState:
        entry = entries.get(found.name)
        problem = self.damage(entry) if entry else ""
        return SetState(
            name=found.name,
            title=found.title,
            present=entry is not None and not problem,
            size=size_of(entry) if entry else found.size,
            license=found.license,
            source=found.source,
            default=found.default,
            custom=bool(entry and entry["custom"]),
            note=found.note,
            path=str(self.folder / entry["path"]) if entry else "",
            added=entry["added"] if entry else "",
            problem=problem,
        )

    def is_present(self, name: str) -> bool:
        """Tell whether a set is listed, and its files have the sizes that are listed."""
        entry = self.entries().get(name)
        return entry is not None and not self.damage(entry)

    def missing(self) -> list[str]:
        """Return the default sets that are not present: without them the module is not ready."""
        wanted = [found.name for found in self.module.weights.values() if found.default]
        return [name for name in wanted if not self.holder(name).is_present(name)]

    def damage(self, entry: Entry) -> str:
        """Return what the sizes of a set's files say about it; empty where all is well."""
        for name, file in entry["files"].items():
            path = self.folder / name
            try:
                size = path.stat().st_size
            except OSError:
                return f"{path} is missing."
            if size != file["size"]:
                return f"{path} has {size:,} bytes and not {file['size']:,}."
        return ""

    def require(self, name: str) -> Entry:
        """Return the entry of a present set.

        Raises
        ------
        BadInput
            There is none of that name; the hint lists those that there are.
        """
        entry = self.entries().get(name)
        if entry is None:
            known = name in self.module.weights
            raise BadInput(
                f"{self.module.title} has no weights {name!r}"
                + (" on this computer." if known else "."),
                f"Present: {', '.join(self.names()) or 'none'}.",
                code="weights_missing" if known else "weights_unknown",
            )
        return entry

    def trusted(self, url: str) -> str:
        """Return the sha256 that was recorded when a file was first downloaded, or nothing."""
        return str(self._content()["trusted"].get(url, ""))

    # ---- changes ----------------------------------------------------------------------------

    @contextmanager
    def writing(
        self, what: str, report: Report = ignore, cancel: CancelToken | None = None
    ) -> Iterator[Report]:
        """Be the only one that changes the module; wait for the one before.

        Raises
        ------
        NotWritable
            This account may not change the data folder.
        """
        with writers.waiting(self.data, self.module.name, what, report, cancel) as noting:
            self.folder.mkdir(parents=True, exist_ok=True)
            try:
                yield noting
            finally:
                self._drop_empty()

    def _drop_empty(self) -> None:
        """Delete the folders that a module which is not installed, or has no weights, needs not."""
        for folder in (self.data.module(self.module.name), self.folder):
            with suppress(OSError):
                folder.rmdir()

    def put(self, name: str, entry: Entry) -> None:
        """List a set as present; what is new of a file counts for the sets that share it too."""

        def edit(content: dict[str, Any]) -> None:
            for other in content["sets"].values():
                shared = other["files"].keys() & entry["files"].keys()
                other["files"] |= {file: entry["files"][file] for file in shared}
            content["sets"][name] = entry

        self._change(edit)

    def take(self, name: str) -> None:
        """List a set no longer; what was recorded of its files stays."""
        self._change(lambda content: content["sets"].pop(name, None))

    def trust(self, url: str, sha256: str) -> None:
        """Record the hash of a file that was downloaded."""
        if self.trusted(url) != sha256:
            self._change(lambda content: content["trusted"].update({url: sha256}))

    def _content(self) -> dict[str, Any]:
        self.entries()  # its checks
        with suppress(FileNotFoundError):
            content = json.loads((self.folder / weights.LISTING).read_text("utf-8"))
            return {"trusted": {}, **content}
        return {"schema": weights.SCHEMA, "sets": {}, "trusted": {}}

    def _change(self, edit: Callable[[dict[str, Any]], object]) -> None:
        content = self._content()
        edit(content)
        text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
        write = partial(files.write_text, self.folder / weights.LISTING, text)
        fulldisk.with_reserve(self.data.root, write)


def size_of(entry: Entry) -> int:
    """Return the bytes of a set's files."""
    return sum(int(file["size"]) for file in entry["files"].values())


def roots_of(entry: Entry) -> set[str]:
    """Return the files and folders of a set, by their names in the module's weights folder."""
    parts = [PurePosixPath(name).parts for name in entry["files"]]
    return {"/".join(found[: 2 if entry["custom"] else 1]) for found in parts}


def today() -> str:
    """Return the moment as ``weights.json`` stores it: ISO 8601, UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")
