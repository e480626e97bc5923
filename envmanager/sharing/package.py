"""A module as one file, ``NAME-VERSION.ga3module``: a zip, of which a manifest vouches for all.

``manifest.json`` comes first. It names format, module, version, author and day, and of each other
file size and sha256; its `checksum` is over all of that, so that two people can compare one short
text. ``module/`` holds the module's files, ``weights/`` the chosen weights as they lie in the data
folder. The checksum proves that a file has come whole, not who made it: it is no signature.
"""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from envmanager.errors import BadInput, GA3EnvError
from envmanager.events import CancelToken, Items, Report, Stage, ignore
from envmanager.fetching.hashing import Fetched
from envmanager.modules import checking
from envmanager.modules.catalog import Module
from envmanager.modules.declared_weights import WeightsFile
from envmanager.sharing import archive
from envmanager.sharing.archive import Archive
from ga3_nodes import records, weights

FORMAT, SCHEMA = "ga3-module", 1
SUFFIX = ".ga3module"
MANIFEST = "manifest.json"
MODULE, WEIGHTS = "module/", "weights/"  # the parts of a file
_MOST_MANIFEST = 8 << 20
_SHA256 = re.compile(r"[0-9a-f]{64}")
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_LINE = 200  # characters of a name or note


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


@dataclass(frozen=True)
class Manifest:
    """What a file says of itself; `files` are the module's, by their names in its folder."""

    module: str
    version: str
    author: str
    date: str
    app_version: str
    files: dict[str, Fetched]
    weights: tuple[SharedSet, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, with the checksum over all of them."""
        sets = {
            found.name: {
                "path": found.path,
                "custom": found.custom,
                "note": found.note,
                "files": sorted(found.files),
            }
            for found in self.weights
        }
        values: dict[str, Any] = {
            "format": FORMAT,
            "schema": SCHEMA,
            "module": self.module,
            "version": self.version,
            "author": self.author,
            "date": self.date,
            "app_version": self.app_version,
            "weights": sets,
            "files": {name: vars(found) for name, found in sorted(self.members().items())},
        }
        return values | {"checksum": _checksum(values)}

    @property
    def checksum(self) -> str:
        """One sha256 over all that the file holds."""
        return str(self.as_dict()["checksum"])

    def members(self) -> dict[str, Fetched]:
        """Return size and sha256 of every file, by its name in the zip."""
        found = {f"{MODULE}{name}": file for name, file in self.files.items()}
        for shared in self.weights:
            found |= {f"{WEIGHTS}{name}": file for name, file in shared.files.items()}
        return found

    def as_bytes(self) -> bytes:
        """Return the text of ``manifest.json``."""
        text = json.dumps(self.as_dict(), indent=1, ensure_ascii=False, sort_keys=True)
        return f"{text}\n".encode()


def _checksum(values: dict[str, Any]) -> str:
    """Hash all values of a manifest, however its text is laid out."""
    text = json.dumps(values, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


# ---- reading ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Package:
    """A file of which every byte was checked, and the module in it; see `opened`.

    `module` was read from a folder that is gone when `opened` ends.
    """

    path: Path
    manifest: Manifest
    module: Module
    cancel: CancelToken
    _archive: Archive = field(repr=False)

    def extract_module(self, folder: Path) -> None:
        """Write the module's files into an empty folder."""
        _extract(self._archive, MODULE, self.manifest.files, folder, self.cancel)

    def extract_weights(self, shared: SharedSet, folder: Path) -> None:
        """Write the files of a set below a folder, under their names in that of weights."""
        _extract(self._archive, WEIGHTS, shared.files, folder, self.cancel)


def _extract(
    found: Archive, part: str, files: dict[str, Fetched], folder: Path, cancel: CancelToken
) -> None:
    for name, expected in files.items():
        if found.extract(f"{part}{name}", folder / name, cancel) != expected:
            raise archive.damaged(found.path, "it has changed while it was read")


@contextmanager
def opened(
    path: Path, report: Report = ignore, cancel: CancelToken | None = None
) -> Iterator[Package]:
    """Open a module's file after a check of all that it holds; nothing of it is run.

    Raises
    ------
    BadInput
        It is damaged, altered, of a newer format, or holds what must not be unpacked.
    CatalogError
        The module in it is broken.
    """
    cancel = cancel or CancelToken()
    path = path.absolute()
    report(Stage("check-file", f"Checking {path.name}"))
    with archive.opened(path) as found:
        manifest = _read_manifest(found)
        _compare(found, manifest, report, cancel)
        with tempfile.TemporaryDirectory(prefix="ga3-module-") as place:
            folder = Path(place) / manifest.module
            _extract(found, MODULE, manifest.files, folder, cancel)
            module = _checked_module(path, manifest, folder)
            _check_weights(path, manifest, module)
            yield Package(path, manifest, module, cancel, found)


def _read_manifest(found: Archive) -> Manifest:
    if MANIFEST not in found.names:
        raise archive.refused(
            found.path, "it is no file of a module", hint="Make one: ./run export-module M -o FILE"
        )
    try:
        values = json.loads(found.read(MANIFEST, _MOST_MANIFEST))
        if values["format"] != FORMAT:
            raise archive.refused(found.path, f"it is a {str(values['format'])[:40]!r}")
        if type(values["schema"]) is int and values["schema"] > SCHEMA:
            raise archive.refused(
                found.path,
                f"its format {values['schema']} is newer than this app knows",
                "file_too_new",
                "Get a newer version of the app, or ask for a file that an older one has made.",
            )
        checksum = values.pop("checksum")
        manifest = _manifest(values)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise archive.damaged(found.path, f"{MANIFEST}: {error or type(error).__name__}") from error
    if manifest.checksum != checksum or _checksum(values) != checksum:
        raise _altered(found.path, f"its checksum does not fit {MANIFEST}")
    return manifest


def _manifest(values: dict[str, Any]) -> Manifest:
    """Return the values in their types; ValueError and its like where they do not fit."""
    files = {str(name): _file(file) for name, file in values["files"].items()}
    inside = {n.removeprefix(MODULE): f for n, f in files.items() if n.startswith(MODULE)}
    sets = tuple(_set(name, found, files) for name, found in values["weights"].items())
    manifest = Manifest(
        module=_fits(records.valid_name(values["module"]), values["module"]),
        version=_line(values["version"]),
        author=_line(values["author"]),
        date=_fits(_DAY.fullmatch(values["date"]), values["date"]),
        app_version=_line(values["app_version"]),
        files=inside,
        weights=sets,
    )
    _fits(values["schema"] == SCHEMA, "schema")
    _fits(manifest.members().keys() == files.keys(), "files")
    return manifest


def _file(values: dict[str, Any]) -> Fetched:
    size, sha256 = values["size"], values["sha256"]
    return Fetched(_fits(type(size) is int and size >= 0, size), _fits(_is_hash(sha256), sha256))


def _is_hash(text: str) -> bool:
    return _SHA256.fullmatch(text) is not None


def _set(name: str, values: dict[str, Any], files: dict[str, Fetched]) -> SharedSet:
    found = {str(file): files[f"{WEIGHTS}{file}"] for file in values["files"]}
    path, custom = values["path"], values["custom"]
    inside = [file for file in found if file == path or file.startswith(f"{path}/")]
    own = [file for file in found if file.startswith(f"{weights.CUSTOM}/{name}/")]
    _fits(weights.valid_name(name) and isinstance(custom, bool) and bool(inside), name)
    _fits(not archive.bad_name(path), path)
    _fits(own == list(found) if custom else not any(_is_custom(file) for file in found), name)
    return SharedSet(name, path, custom, _line(values["note"]), found)


def _is_custom(file: str) -> bool:
    return file.split("/")[0].lower() in (weights.CUSTOM, weights.LISTING)


def _line(text: Any) -> str:
    return str(_fits(isinstance(text, str) and is_line(text), text))


def is_line(text: str) -> bool:
    """Tell whether a text is a short line, or empty: what may stand in the window as it is."""
    return len(text) <= _LINE and (text == "" or text.isprintable())


def _fits(fits: object, value: Any) -> Any:
    if not fits:
        raise ValueError(f"{value!r}"[:100])
    return value


def _compare(found: Archive, manifest: Manifest, report: Report, cancel: CancelToken) -> None:
    """Compare all files of the zip with the manifest."""
    expected = manifest.members()
    extra, lost = found.names - {MANIFEST, *expected}, expected.keys() - found.names
    if extra or lost:
        name = min(extra or lost)
        raise _altered(found.path, f"{name!r} was {'put in' if extra else 'taken out'}")
    if wrong := sorted(name for name, file in expected.items() if found.size(name) != file.size):
        raise _altered(found.path, f"{wrong[0]!r} in it has another size")
    for number, (name, file) in enumerate(expected.items()):
        report(Items(number, len(expected)))
        if found.hashed(name, cancel) != file:
            raise _altered(found.path, f"{name!r} in it has other bytes")


def _altered(path: Path, why: str) -> BadInput:
    hint = "Nothing was changed. Ask its author for the file again, and for its checksum."
    return archive.refused(path, f"it was altered: {why}", "file_altered", hint)


def _checked_module(path: Path, manifest: Manifest, folder: Path) -> Module:
    """Check the module as any other; messages name the file, not where it was unpacked."""
    try:
        module = checking.check(folder)
    except GA3EnvError as error:
        error.message = error.message.replace(f"{folder}", path.name)
        raise
    except (RecursionError, MemoryError) as error:  # nested so deeply that only a trap is
        raise archive.refused(path, "a file in it is nested too deeply", "file_unsafe") from error
    if (module.name, module.version) != (manifest.module, manifest.version):
        raise _altered(path, f"{MANIFEST} names another module or version than module.toml")
    return module


def _check_weights(path: Path, manifest: Manifest, module: Module) -> None:
    """Refuse a set under the name of a known one that has other files than that."""
    for shared in manifest.weights:
        known = module.weights.get(shared.name)
        if known is None and not shared.custom and module.collection:
            known = module.collection.set_of(shared.name)
        if shared.custom != (known is None):
            raise _altered(path, f"the weights {shared.name!r} in it are none of the module's")
        if known is None:
            continue
        places = {name.split("/")[0] for name in shared.files}
        same = places == {file.name for file in known.files}
        if not same or shared.path != known.files[0].name or _differ(known.files, shared):
            raise _altered(path, f"the weights {shared.name!r} in it have other files")


def _differ(declared: Iterable[WeightsFile], shared: SharedSet) -> bool:
    """Compare what the module says of its weights; a zip was unpacked since."""
    sums = {file.name: file.sha256 for file in declared if file.sha256 and not file.unpack}
    return any(
        name not in shared.files or shared.files[name].sha256 != digest
        for name, digest in sums.items()
    )
