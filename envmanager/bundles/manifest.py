"""``manifest.json`` of a bundle: what it is for, and size and sha256 of every file in it.

A bundle is a zip. `MODULES` holds the modules' folders, `LOCKS` a ``pylock.toml`` of each, `WHEELS`
the packages' files by their sha256, `WEIGHTS` chosen weights as they lie in a data folder, `PYTHON`
the archive of an interpreter where that was asked for. See `sharing.sealed`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from envmanager.bundles.target import PLATFORMS, Target
from envmanager.fetching.hashing import Fetched
from envmanager.packages import wheelhouse
from envmanager.packages.lockfile import Wheel
from envmanager.sharing import archive, sealed, shared_sets
from envmanager.sharing.sealed import Statement, fits, line
from envmanager.sharing.shared_sets import SharedSet
from envmanager.uv import pythons
from ga3_nodes import records

KIND = sealed.Kind(
    format="ga3-bundle",
    schema=1,
    other="it is no bundle",
    make="Make one where there is a network: ./run bundle create MODULE -o FILE",
    newer="Get a newer version of the app, or make the bundle with this one.",
    altered="Nothing was changed. Make the bundle again, or copy it again and compare its "
    "checksum.",
)
SUFFIX = ".ga3bundle"
MODULES, LOCKS, WHEELS, WEIGHTS, PYTHON = "modules/", "locks/", "wheels/", "weights/", "python/"
_PARTS = (MODULES, LOCKS, WHEELS, WEIGHTS, PYTHON)
_BACKEND = re.compile(r"|cpu|cu\d+")


@dataclass(frozen=True)
class BundledModule:
    """A module of a bundle; `backend` is its build of torch, empty where it has none.

    `licenses` are those of its weights, by name.
    """

    name: str
    version: str
    title: str
    license: str
    backend: str
    weights: tuple[SharedSet, ...] = ()
    licenses: tuple[tuple[str, str], ...] = ()

    @property
    def lock(self) -> str:
        """The name of its ``pylock.toml`` in the bundle."""
        return f"{LOCKS}{self.name}.toml"

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        licenses = dict(self.licenses)
        sets = {
            found.name: {**found.as_dict(), "license": licenses.get(found.name, "")}
            for found in self.weights
        }
        values = {key: getattr(self, key) for key in ("version", "title", "license", "backend")}
        return {**values, "weights": sets}


@dataclass(frozen=True)
class Manifest(Statement):
    """What a bundle says of itself; `files` are all others in it."""

    target: Target
    app_version: str
    modules: tuple[BundledModule, ...]
    files: dict[str, Fetched]

    @property
    def interpreter(self) -> str:
        """The name of the archive of its Python; empty where it carries none."""
        found = [name for name in self.files if name.startswith(PYTHON)]
        return found[0] if len(found) == 1 else ""

    def part(self, prefix: str) -> dict[str, Fetched]:
        """Return the files below a folder, by the rest of their names."""
        found = self.files.items()
        return {name.removeprefix(prefix): f for name, f in found if name.startswith(prefix)}

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, with the checksum over all of them."""
        values: dict[str, Any] = {
            "app_version": self.app_version,
            "platform": self.target.platform,
            "python": self.target.python,
            "modules": {module.name: module.as_dict() for module in self.modules},
            "files": {name: vars(file) for name, file in sorted(self.files.items())},
        }
        return sealed.sealed(KIND, values)

    def members(self) -> dict[str, Fetched]:
        """Return size and sha256 of every other file, by its name in the zip."""
        return self.files


def member(wheel: Wheel) -> str:
    """Return the name of a wheel in a bundle: below its sha256, as two may have one name."""
    return f"{WHEELS}{wheelhouse.digest(wheel)[:16]}/{wheelhouse.file_name(wheel)}"


# ---- reading ------------------------------------------------------------------------------------


def parsed(values: dict[str, Any]) -> Manifest:
    """Return the values in their types; ValueError, or its like, where they do not fit."""
    files = {str(name): _file(name, file) for name, file in values["files"].items()}
    fits(values["platform"] in PLATFORMS and values["python"] in pythons.HOST, "platform")
    modules = [_module(name, found, files) for name, found in values["modules"].items()]
    manifest = Manifest(
        target=Target(values["platform"], values["python"]),
        app_version=line(values["app_version"]),
        modules=tuple(fits(modules, modules)),
        files=files,
    )
    used = {module.lock for module in modules} | {manifest.interpreter}
    used |= {f"{WEIGHTS}{m.name}/{f}" for m in modules for s in m.weights for f in s.files}
    folders = tuple(f"{MODULES}{module.name}/" for module in modules)
    for name in files:
        fits(name.startswith((*folders, WHEELS)) or name in used, name)
    return manifest


def _file(name: str, values: dict[str, Any]) -> Fetched:
    fits(not archive.bad_name(name) and name.startswith(_PARTS), name)
    return sealed.fetched(values)


def _module(name: str, values: dict[str, Any], files: dict[str, Fetched]) -> BundledModule:
    fits(records.valid_name(name), name)
    folder, found = f"{WEIGHTS}{name}/", values["weights"].items()
    module = BundledModule(
        name=name,
        version=line(values["version"]),
        title=line(values["title"]),
        license=line(values["license"]),
        backend=fits(_BACKEND.fullmatch(values["backend"]), values["backend"]),
        weights=tuple(shared_sets.parsed(key, one, files, folder) for key, one in found),
        licenses=tuple((key, line(one["license"])) for key, one in found),
    )
    fits(module.lock in files, module.lock)
    return module
