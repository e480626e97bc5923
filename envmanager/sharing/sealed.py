"""A zip of which its manifest vouches for all: format, and size and sha256 of each other file.

``manifest.json`` comes first. Its `checksum` is over all that it says, so that two people can
compare one short text; it proves that a file has come whole, not who made it: it is no signature.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from envmanager.errors import BadInput, GA3EnvError
from envmanager.events import CancelToken, Progress, Report
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
_T = TypeVar("_T")


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


# ---- reading ------------------------------------------------------------------------------------


def read(
    found: Archive,
    kind: Kind,
    parse: Callable[[dict[str, Any]], _T],
    again: Callable[[_T], dict[str, Any]],
) -> _T:
    """Return what a manifest says.

    Parameters
    ----------
    parse : callable
        Returns the values in their types; raises ValueError, or its like, where they do not fit.
    again : callable
        Returns the values of what was parsed: all that the file says must have been understood.

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
            raise archive.refused(found.path, f"it is a {str(values['format'])[:40]!r}")
        if type(values["schema"]) is int and values["schema"] > kind.schema:
            why = f"its format {values['schema']} is newer than this app knows"
            raise archive.refused(found.path, why, "file_too_new", kind.newer)
        fits(values["schema"] == kind.schema, "schema")
        stated = values.pop("checksum")
        said = parse(values)
    except _UNREADABLE as error:
        why = f"{MANIFEST}: {error or type(error).__name__}"
        raise archive.damaged(found.path, why) from error
    if again(said)["checksum"] != stated or checksum(values) != stated:
        raise kind.refuse_altered(found.path, f"its checksum does not fit {MANIFEST}")
    return said


def compare_names(found: Archive, kind: Kind, files: Mapping[str, Fetched]) -> None:
    """Compare names and sizes of a zip's files with those that its manifest names.

    Raises
    ------
    BadInput
        They differ.
    """
    extra, lost = found.names - {MANIFEST, *files}, files.keys() - found.names
    if extra or lost:
        name = min(extra or lost)
        raise kind.refuse_altered(found.path, f"{name!r} was {'put in' if extra else 'taken out'}")
    if wrong := sorted(name for name, file in files.items() if found.size(name) != file.size):
        raise kind.refuse_altered(found.path, f"{wrong[0]!r} in it has another size")


def compare_bytes(
    found: Archive,
    kind: Kind,
    files: Mapping[str, Fetched],
    report: Report,
    cancel: CancelToken,
) -> None:
    """Compare each byte of a zip's files with what its manifest says.

    Raises
    ------
    BadInput
        They differ.
    """
    done, total = 0, sum(file.size for file in files.values())
    for name, file in files.items():
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
