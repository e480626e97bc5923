"""A zip of which its manifest vouches for all: format, and size and sha256 of each other file.

``manifest.json`` comes first. Its `checksum` is over all that it says, so that two people can
compare one short text; it proves that a file has come whole, not who made it: it is no signature.
"""

from __future__ import annotations

import hashlib
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from envmanager.data import files
from envmanager.errors import BadInput, GA3EnvError
from envmanager.events import CancelToken, Progress, Report, Stage
from envmanager.fetching.hashing import Fetched
from envmanager.modules import checking
from envmanager.modules.catalog import Module
from envmanager.sharing import archive
from envmanager.sharing.archive import Archive

MANIFEST = "manifest.json"
_MOST_MANIFEST = 16 << 20
_SHA256 = re.compile(r"[0-9a-f]{64}")
_LINE = 200  # characters of a name or note
_UNREADABLE = (ValueError, LookupError, TypeError, AttributeError, RecursionError)


@dataclass(frozen=True)
class Kind:
    """A kind of such files, and what is said to those who have a wrong one.

    Attributes
    ----------
    other : str
        What is wrong with a file that is none: ``it is no bundle``.
    make, newer, altered : str
        What to do with a file that is none, with one of a newer format, with an altered one.
    """

    format: str
    schema: int
    other: str
    make: str
    newer: str
    altered: str

    def refuse_altered(self, path: Path, why: str) -> BadInput:
        """Return the error for a file that its maker would not know again."""
        return archive.refused(path, f"it was altered: {why}", "file_altered", self.altered)


class Statement(ABC):
    """What a manifest says, in its types."""

    @abstractmethod
    def as_dict(self) -> dict[str, Any]:
        """Return plain values, `sealed`."""

    @abstractmethod
    def members(self) -> Mapping[str, Fetched]:
        """Return size and sha256 of every other file, by its name in the zip."""

    @property
    def checksum(self) -> str:
        """One sha256 over all that the file holds."""
        return str(self.as_dict()["checksum"])


_S = TypeVar("_S", bound=Statement)


# ---- writing ------------------------------------------------------------------------------------


def sealed(kind: Kind, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a manifest with format, schema and the checksum over all of them."""
    whole = {"format": kind.format, "schema": kind.schema, **values}
    return whole | {"checksum": checksum(whole)}


def checksum(values: Mapping[str, Any]) -> str:
    """Hash all values of a manifest, however its text is laid out."""
    text = json.dumps(values, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def as_bytes(values: Mapping[str, Any]) -> bytes:
    """Return the text of ``manifest.json``."""
    return f"{json.dumps(values, indent=1, ensure_ascii=False, sort_keys=True)}\n".encode()


def write(
    path: Path,
    statement: Statement,
    texts: Mapping[str, bytes],
    large: Mapping[str, Path],
    again: str,
    report: Report,
    cancel: CancelToken | None,
) -> None:
    """Write a file whole, or leave the one of before; what is read is what is stated.

    Parameters
    ----------
    texts, large : mapping
        As `archive.write` takes them; the manifest comes before them.
    again : str
        What to do where a large file is not as it was when it came.

    Raises
    ------
    BadInput
        A large file has changed, or a name is one that not every system can have.
    """
    stated = statement.members()
    first = {MANIFEST: as_bytes(statement.as_dict())}

    def fill(place: Path) -> None:
        for name, read in archive.write(place, first | dict(texts), large, report, cancel).items():
            if read != stated[name]:
                raise BadInput(
                    f"{large[name]} has other bytes than when it came.", again, code="file_altered"
                )

    files.write_whole(path, fill)


# ---- reading ------------------------------------------------------------------------------------


Parse = Callable[[dict[str, Any]], _S]  # raises ValueError, or its like, where they do not fit


@dataclass(frozen=True)
class Checked(Generic[_S]):
    """A file of which every byte was checked; see `opened`."""

    path: Path
    manifest: _S
    cancel: CancelToken
    packed: Archive = field(repr=False)

    def extract(
        self, name: str, place: Path, on_bytes: Callable[[int], object] = lambda size: None
    ) -> None:
        """Write one of its files to a new place; `on_bytes` is told how much of it is there.

        Raises
        ------
        BadInput
            It has changed since it was checked.
        """
        found = self.packed.extract(name, place, self.cancel, on_bytes)
        if found != self.manifest.members()[name]:
            raise archive.damaged(self.path, "it has changed while it was read")


@contextmanager
def opened(
    path: Path, kind: Kind, parse: Parse[_S], report: Report, cancel: CancelToken | None
) -> Iterator[Checked[_S]]:
    """Open a file after a check of every byte that it holds.

    Raises
    ------
    BadInput
        It is damaged, altered, of a newer format, or holds what must not be unpacked.
    """
    cancel, path = cancel or CancelToken(), path.absolute()
    report(Stage("check-file", f"Checking {path.name}"))
    with archive.opened(path) as found:
        said = _stated(found, kind, parse)
        _compare_bytes(found, kind, said.members(), report, cancel)
        yield Checked(path, said, cancel, found)


def look(path: Path, kind: Kind, parse: Parse[_S]) -> _S:
    """Return what a file says of itself; that its bytes are so is not looked at.

    Raises
    ------
    BadInput
        It is none, damaged, of a newer format, or holds what must not be unpacked.
    """
    with archive.opened(path.absolute()) as found:
        return _stated(found, kind, parse)


def _stated(found: Archive, kind: Kind, parse: Parse[_S]) -> _S:
    """Return what a manifest says: of all files in the zip, and of no others.

    Raises
    ------
    BadInput
        There is none, it is of another kind or a newer format, or does not fit its checksum.
    """
    if MANIFEST not in found.names:
        raise archive.refused(found.path, kind.other, hint=kind.make)
    try:
        values = json.loads(found.read(MANIFEST, _MOST_MANIFEST))
        if values["format"] != kind.format:
            raise _of_another_kind(found.path, str(values["format"]))
        if type(values["schema"]) is int and values["schema"] > kind.schema:
            why = f"its format {values['schema']} is newer than this app knows"
            raise archive.refused(found.path, why, "file_too_new", kind.newer)
        fits(values["schema"] == kind.schema, "schema")
        stated = values.pop("checksum")
        said = parse(values)
    except _UNREADABLE as error:
        why = f"{MANIFEST}: {error or type(error).__name__}"
        raise archive.damaged(found.path, why) from error
    if said.checksum != stated or checksum(values) != stated:  # all of it was understood
        raise kind.refuse_altered(found.path, f"its checksum does not fit {MANIFEST}")
    _compare_names(found, kind, said.members())
    return said


def _of_another_kind(path: Path, name: str) -> BadInput:
    known = {"ga3-bundle": "bundle install", "ga3-module": "add-module"}
    hint = f"There is another command for it: ./run {known[name]} FILE" if name in known else ""
    return archive.refused(path, f"it is a {name[:40]!r}", hint=hint)


def _compare_names(found: Archive, kind: Kind, stated: Mapping[str, Fetched]) -> None:
    extra, lost = found.names - {MANIFEST, *stated}, stated.keys() - found.names
    if extra or lost:
        name = min(extra or lost)
        raise kind.refuse_altered(found.path, f"{name!r} was {'put in' if extra else 'taken out'}")
    if wrong := sorted(name for name, file in stated.items() if found.size(name) != file.size):
        raise kind.refuse_altered(found.path, f"{wrong[0]!r} in it has another size")


def _compare_bytes(
    found: Archive,
    kind: Kind,
    stated: Mapping[str, Fetched],
    report: Report,
    cancel: CancelToken,
) -> None:
    done, total = 0, sum(file.size for file in stated.values())
    for name, file in stated.items():
        before = done

        def tell(come: int, before: int = before) -> None:
            report(Progress(before + come, total))

        if found.hashed(name, cancel, tell) != file:
            raise kind.refuse_altered(found.path, f"{name!r} in it has other bytes")
        done += file.size


def checked_module(path: Path, kind: Kind, folder: Path, name: str, version: str) -> Module:
    """Check an unpacked module as any other; messages name the file, not where it was unpacked.

    Raises
    ------
    CatalogError
        It is broken.
    BadInput
        It is another one than the manifest names.
    """
    try:
        module = checking.check(folder)
    except GA3EnvError as error:
        error.message = error.message.replace(f"{folder}", f"{path.name}: {name}")
        raise
    except (RecursionError, MemoryError) as error:  # nested so deeply that only a trap is
        raise archive.refused(path, "a file in it is nested too deeply", "file_unsafe") from error
    if (module.name, module.version) != (name, version):
        why = f"{MANIFEST} names another module or version than module.toml"
        raise kind.refuse_altered(path, why)
    return module


# ---- values of a manifest -----------------------------------------------------------------------


def fits(condition: object, value: Any) -> Any:
    """Return a value; ValueError where the condition is not met."""
    if not condition:
        raise ValueError(f"{value!r}"[:100])
    return value


def is_line(text: str) -> bool:
    """Tell whether a text is a short line, or empty: what may stand in the window as it is."""
    return len(text) <= _LINE and (text == "" or text.isprintable())


def line(text: Any) -> str:
    """Return a short line of text."""
    return str(fits(isinstance(text, str) and is_line(text), text))


def fetched(values: Mapping[str, Any]) -> Fetched:
    """Return what a manifest says of a file."""
    size, sha256 = values["size"], values["sha256"]
    fits(type(size) is int and size >= 0, size)
    return Fetched(size, fits(_SHA256.fullmatch(sha256), sha256))
