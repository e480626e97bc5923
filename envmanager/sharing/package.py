"""A module as one file, ``NAME-VERSION.ga3module``: a zip whose manifest vouches for all of it.

``manifest.json`` names module, version, author and day; ``module/`` holds the module's files,
``weights/`` the chosen weights as they lie in the data folder. See `sealed`.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from envmanager.data import fulldisk
from envmanager.events import CancelToken, Report, ignore
from envmanager.fetching.hashing import Fetched
from envmanager.modules.catalog import Module
from envmanager.sharing import sealed, shared_sets
from envmanager.sharing.sealed import Checked, Statement, fits, line
from envmanager.sharing.shared_sets import SharedSet
from ga3_nodes import records

KIND = sealed.Kind(
    format="ga3-module",
    schema=1,
    other="it is no file of a module",
    make="Make one: ./run export-module M -o FILE",
    newer="Get a newer version of the app, or ask for a file that an older one has made.",
    altered="Nothing was changed. Ask its author for the file again, and for its checksum.",
)
SUFFIX = ".ga3module"
MODULE, WEIGHTS = "module/", "weights/"  # the parts of a file
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")


@dataclass(frozen=True)
class Manifest(Statement):
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
        values: dict[str, Any] = {
            "module": self.module,
            "version": self.version,
            "author": self.author,
            "date": self.date,
            "app_version": self.app_version,
            "weights": {found.name: found.as_dict() for found in self.weights},
            "files": {name: vars(found) for name, found in sorted(self.members().items())},
        }
        return sealed.sealed(KIND, values)

    def members(self) -> dict[str, Fetched]:
        """Return size and sha256 of every file, by its name in the zip."""
        found = {f"{MODULE}{name}": file for name, file in self.files.items()}
        for shared in self.weights:
            found |= {f"{WEIGHTS}{name}": file for name, file in shared.files.items()}
        return found


@dataclass(frozen=True)
class Package(Checked[Manifest]):
    """A file that was checked, and the module in it; see `opened`.

    `module` was read from a folder that is gone when `opened` ends.
    """

    module: Module

    def extract_module(self, folder: Path) -> None:
        """Write the module's files into an empty folder."""
        _extract_module(self, folder)

    def extract_weights(self, shared: SharedSet, folder: Path) -> None:
        """Write the files of a set below a folder, under their names in that of weights."""
        for name in shared.files:
            self.extract(f"{WEIGHTS}{name}", folder / name)


def _extract_module(file: Checked[Manifest], folder: Path) -> None:
    for name in file.manifest.files:
        file.extract(f"{MODULE}{name}", folder / name)


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
    with (
        sealed.opened(path, KIND, _parsed, report, cancel) as file,
        tempfile.TemporaryDirectory(prefix="ga3-module-") as place,
    ):
        said, folder = file.manifest, Path(place) / file.manifest.module
        with fulldisk.named(folder):
            _extract_module(file, folder)
        module = sealed.checked_module(file.path, KIND, folder, said.module, said.version)
        shared_sets.check(file.path, KIND, said.weights, module)
        yield Package(**vars(file), module=module)


def _parsed(values: dict[str, Any]) -> Manifest:
    """Return the values in their types; ValueError and its like where they do not fit."""
    files = {str(name): sealed.fetched(file) for name, file in values["files"].items()}
    sets = values["weights"].items()
    manifest = Manifest(
        module=fits(records.valid_name(values["module"]), values["module"]),
        version=line(values["version"]),
        author=line(values["author"]),
        date=fits(_DAY.fullmatch(values["date"]), values["date"]),
        app_version=line(values["app_version"]),
        files={n.removeprefix(MODULE): f for n, f in files.items() if n.startswith(MODULE)},
        weights=tuple(shared_sets.parsed(name, found, files, WEIGHTS) for name, found in sets),
    )
    fits(manifest.members().keys() == files.keys(), "files")
    return manifest
