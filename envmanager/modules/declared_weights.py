"""The weights that a ``module.toml`` declares: known sets, and a collection that has more by id."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from envmanager.fetching.addresses import is_safe
from envmanager.modules.tables import Table
from ga3_nodes.weights import WEIGHTS, valid_name

_SHA256 = re.compile(r"[0-9a-f]{64}")
_ID = "{id}"


@dataclass(frozen=True)
class WeightsFile:
    """One file of a set; `size` is in bytes, 0 where it is not known.

    `name` is its name in the module's weights folder; that of the folder where `unpack` is set, for
    a zip. An empty `sha256` is recorded at the first download.
    """

    name: str
    url: str
    size: int = 0
    sha256: str = ""
    unpack: bool = False


@dataclass(frozen=True)
class WeightsSet:
    """Weights that the user chooses by their name; the first file is what a worker opens.

    Where `default` is set the module is not ready without them.
    """

    name: str
    title: str
    license: str
    files: tuple[WeightsFile, ...]
    default: bool = False
    source: str = ""
    note: str = ""

    @property
    def size(self) -> int:
        """The bytes to download, 0 where one of the sizes is not known."""
        sizes = [file.size for file in self.files]
        return sum(sizes) if all(sizes) else 0


@dataclass(frozen=True)
class Collection:
    """A public collection of weights: `url`, `page` and `file` hold ``{id}``."""

    title: str
    url: str
    file: str
    license: str
    page: str = ""

    def set_of(self, name: str) -> WeightsSet:
        """Return what is downloaded for an id of the collection."""
        file = WeightsFile(self.file.replace(_ID, name), self.url.replace(_ID, name))
        source = self.page.replace(_ID, name)
        return WeightsSet(name, f"{name} of {self.title}", self.license, (file,), source=source)


def sets(top: Table) -> dict[str, WeightsSet]:
    """Read the known sets, by name.

    Raises
    ------
    CatalogError
        The message names the file and the key.
    """
    outer = top.table("weights", {})
    seen: set[str] = set()
    for name in outer.keys():
        if not valid_name(name):
            raise outer.error(name, "must be made of letters, digits, _, - and .")
        if name.lower() in seen:
            raise outer.error(name, "differs from another name in capital letters only")
        seen.add(name.lower())
    return {name: _known(name, outer.table(name)) for name in outer.keys()}


def _known(name: str, table: Table) -> WeightsSet:
    found = WeightsSet(
        name,
        title=table.text("title"),
        license=table.text("license"),
        files=tuple(_file(entry) for entry in table.list_of_tables("files")),
        default=table.flag("default"),
        source=table.text("source", ""),
        note=table.text("note", ""),
    )
    table.finish()
    return found


def _file(table: Table) -> WeightsFile:
    name, size = table.text("name"), table.number("size", 0)
    if not valid_name(name):
        raise table.error("name", "must be made of letters, digits, _, - and .")
    sha256 = table.text("sha256", "").lower()
    if sha256 and not _SHA256.fullmatch(sha256):
        raise table.error("sha256", "must be 64 hexadecimal digits, or empty")
    if size != int(size) or size < 0:
        raise table.error("size", "must be a number of bytes")
    file = WeightsFile(name, _address(table, "url"), int(size), sha256, table.flag("unpack"))
    table.finish()
    return file


def _address(table: Table, key: str) -> str:
    url = table.text(key)
    if not is_safe(url.replace(_ID, "id")):
        raise table.error(key, "must begin with https://")
    return url


def collection(top: Table) -> Collection | None:
    """Read ``weights_by_id``, where it is there.

    Raises
    ------
    CatalogError
        The message names the file and the key.
    """
    if not top.has("weights_by_id"):
        return None
    table = top.table("weights_by_id")
    found = Collection(
        title=table.text("title"),
        url=_address(table, "url"),
        file=table.text("file"),
        license=table.text("license"),
        page=table.text("page", ""),
    )
    for key in ("url", "file"):
        if _ID not in getattr(found, key):
            raise table.error(key, f"must hold {_ID}")
    if not valid_name(found.file.replace(_ID, "id")):
        raise table.error("file", "must be made of letters, digits, _, -, . and {id}")
    table.finish()
    return found


def complete(
    top: Table,
    functions: Mapping[str, Any],
    known_sets: Mapping[str, WeightsSet],
    by_id: Collection | None,
) -> None:
    """Put into each parameter of type ``weights`` what it can be: ``choices``, ``collection``.

    Raises
    ------
    CatalogError
        Its default is no known set, or two sets share a file name but not the file.
    """
    choices = [{"value": name, "label": found.title} for name, found in known_sets.items()]
    for function, spec in functions.items():
        for name, parameter in spec["parameters"].items():
            if parameter["type"] != WEIGHTS:
                continue
            if parameter["default"] not in ("", *known_sets):
                where = f"functions.{function}.parameters.{name}.default"
                raise top.error(where, f"must be one of the known weights: {_list(known_sets)}")
            parameter["choices"] = choices
            if by_id:
                parameter["collection"] = by_id.title
    _refuse_conflicts(top, known_sets)


def _refuse_conflicts(top: Table, known_sets: Mapping[str, WeightsSet]) -> None:
    """Refuse two different files of one name: all of them lie in one folder."""
    seen: dict[str, WeightsFile] = {}
    for name, found in known_sets.items():
        for file in found.files:
            if seen.setdefault(file.name.lower(), file) != file:
                where = f"weights.{name}.files"
                raise top.error(where, f"holds {file.name!r}, which another set has from elsewhere")


def _list(names: Mapping[str, Any]) -> str:
    return ", ".join(names) or "there are none"
