"""``manifest.json`` of a bundle: what it is for, and size and sha256 of every file in it.

A bundle is a zip. `MODULES` holds the modules' folders, `LOCKS` a ``pylock.toml`` of each, `WHEELS`
the packages' files by their sha256, `WEIGHTS` chosen weights as they lie in a data folder, `UV` the
wheel of uv where that was asked for. The `checksum` is over all values, so that two people can
compare one short text; it proves that the file is whole, not who made it.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any

from envmanager.bundles.target import PLATFORMS, Target
from envmanager.fetching.hashing import Fetched
from envmanager.packages import wheelhouse
from envmanager.packages.lockfile import Wheel
from envmanager.sharing import archive
from envmanager.sharing.package import SharedSet, is_line
from envmanager.uv import pythons
from ga3_nodes import records, weights

FORMAT, SCHEMA = "ga3-bundle", 1
SUFFIX = ".ga3bundle"
NAME = "manifest.json"
MODULES, LOCKS, WHEELS, WEIGHTS, UV = "modules/", "locks/", "wheels/", "weights/", "uv/"
_PARTS = (MODULES, LOCKS, WHEELS, WEIGHTS, UV)
_SHA256 = re.compile(r"[0-9a-f]{64}")
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
            found.name: {
                "path": found.path,
                "custom": found.custom,
                "note": found.note,
                "license": licenses.get(found.name, ""),
                "files": sorted(found.files),
            }
            for found in self.weights
        }
        values = {key: getattr(self, key) for key in ("version", "title", "license", "backend")}
        return {**values, "weights": sets}


@dataclass(frozen=True)
class Manifest:
    """What a bundle says of itself; `files` are all others in it, `uv` is the version of uv."""

    target: Target
    app_version: str
    modules: tuple[BundledModule, ...]
    files: dict[str, Fetched]
    uv: str = ""

    def part(self, prefix: str) -> dict[str, Fetched]:
        """Return the files below a folder, by the rest of their names."""
        found = self.files.items()
        return {name.removeprefix(prefix): f for name, f in found if name.startswith(prefix)}

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, with the checksum over all of them."""
        values: dict[str, Any] = {
            "format": FORMAT,
            "schema": SCHEMA,
            "app_version": self.app_version,
            "platform": self.target.platform,
            "python": self.target.python,
            "uv": self.uv,
            "modules": {module.name: module.as_dict() for module in self.modules},
            "files": {name: vars(file) for name, file in sorted(self.files.items())},
        }
        return values | {"checksum": checksum(values)}

    @property
    def checksum(self) -> str:
        """One sha256 over all that the bundle holds."""
        return str(self.as_dict()["checksum"])

    def as_bytes(self) -> bytes:
        """Return the text of ``manifest.json``."""
        text = json.dumps(self.as_dict(), indent=1, ensure_ascii=False, sort_keys=True)
        return f"{text}\n".encode()


def checksum(values: dict[str, Any]) -> str:
    """Hash all values of a manifest, however its text is laid out."""
    text = json.dumps(values, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def member(wheel: Wheel) -> str:
    """Return the name of a wheel in a bundle: below its sha256, as two may have one name."""
    return f"{WHEELS}{wheelhouse.digest(wheel)[:16]}/{wheelhouse.file_name(wheel)}"


# ---- reading ------------------------------------------------------------------------------------


def parsed(values: dict[str, Any]) -> Manifest:
    """Return the values in their types; ValueError, or its like, where they do not fit."""
    files = {str(name): _file(name, file) for name, file in values["files"].items()}
    _fits(values["platform"] in PLATFORMS and values["python"] in pythons.HOST, "platform")
    modules = [_module(name, found, files) for name, found in values["modules"].items()]
    manifest = Manifest(
        target=Target(values["platform"], values["python"]),
        app_version=_line(values["app_version"]),
        modules=tuple(_fits(modules, modules)),
        files=files,
        uv=_line(values["uv"]),
    )
    used = {module.lock for module in modules}
    used |= {f"{WEIGHTS}{m.name}/{f}" for m in modules for s in m.weights for f in s.files}
    folders = tuple(f"{MODULES}{module.name}/" for module in modules)
    for name in files:
        known = name.startswith((*folders, WHEELS, UV)) or name in used
        _fits(known, name)
    return manifest


def _file(name: str, values: dict[str, Any]) -> Fetched:
    size, sha256 = values["size"], values["sha256"]
    _fits(not archive.bad_name(name) and name.startswith(_PARTS), name)
    _fits(type(size) is int and size >= 0, size)
    return Fetched(size, _fits(_SHA256.fullmatch(sha256), sha256))


def _module(name: str, values: dict[str, Any], files: dict[str, Fetched]) -> BundledModule:
    _fits(records.valid_name(name), name)
    sets = [_set(name, key, found, files) for key, found in values["weights"].items()]
    licenses = [(key, _line(found["license"])) for key, found in values["weights"].items()]
    module = BundledModule(
        name=name,
        version=_line(values["version"]),
        title=_line(values["title"]),
        license=_line(values["license"]),
        backend=_fits(_BACKEND.fullmatch(values["backend"]), values["backend"]),
        weights=tuple(sets),
        licenses=tuple(licenses),
    )
    _fits(module.lock in files, module.lock)
    return module


def _set(module: str, name: str, values: dict[str, Any], files: dict[str, Fetched]) -> SharedSet:
    found = {str(file): files[f"{WEIGHTS}{module}/{file}"] for file in values["files"]}
    path, custom = values["path"], values["custom"]
    inside = [file for file in found if file == path or file.startswith(f"{path}/")]
    own = [file for file in found if file.startswith(f"{weights.CUSTOM}/{name}/")]
    _fits(weights.valid_name(name) and isinstance(custom, bool) and bool(inside), name)
    _fits(not archive.bad_name(path), path)
    _fits(own == list(found) if custom else not any(_is_ours(file) for file in found), name)
    return SharedSet(name, path, custom, _line(values["note"]), found)


def _is_ours(file: str) -> bool:
    return file.split("/")[0].lower() in (weights.CUSTOM, weights.LISTING)


def _line(text: Any) -> str:
    return str(_fits(isinstance(text, str) and is_line(text), text))


def _fits(fits: object, value: Any) -> Any:
    if not fits:
        raise ValueError(f"{value!r}"[:100])
    return value
