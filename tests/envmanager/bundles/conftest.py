"""A bundle of the mini module for this computer, and ways to write it again otherwise."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from envmanager.bundles import making
from envmanager.bundles.making import Made, Wanted
from envmanager.bundles.target import Target, here, own_python
from envmanager.data.paths import DataFolder
from envmanager.data.settings import Settings
from envmanager.environments.lifecycle import Environments
from envmanager.fetching.hashing import hash_of
from envmanager.modules import catalog
from envmanager.sharing import sealed
from envmanager.weights import importing
from envmanager.weights.store import Store
from tests.faults import mini
from tests.wheel_server import WheelServer
from tests.wheels import make_wheel

WEIGHTS = b"weights of the tests " * 1000
_DECLARED = """
[weights.small]
title = "Small"
license = "CC-BY-4.0"
files = [ {{ name = "small.bin", url = "{url}" }} ]
[functions.segment.parameters.model]
type = "weights"
default = "small"
label = "Model"
"""
_WORKER = ("def segment(image, *, axes", "def segment(image, *, model=None, axes")


@dataclass(frozen=True)
class Workshop:
    """Where bundles are made: a data folder with the mini module, and its index."""

    data: DataFolder
    settings: Settings
    server: WheelServer
    wheels: mini.Wheels

    def make(self, path: Path, **wanted: Any) -> Made:
        """Make a bundle of the module for this computer, or as wanted."""
        target = wanted.pop("target", Target(here(), own_python()))
        return making.create(self.data, self.settings, Wanted(["mini"], target, **wanted), path)


def workshop(root: Path, server: WheelServer, wheels: mini.Wheels) -> Workshop:
    """Lay a data folder out in which bundles are made."""
    data = DataFolder(root)
    folder = wheels.write_module(data.user_modules, 1)
    url = server.put("small.bin", WEIGHTS)
    toml = (folder / "module.toml").read_text("utf-8") + _DECLARED.format(url=url)
    (folder / "module.toml").write_text(toml, "utf-8")
    worker = (folder / "worker.py").read_text("utf-8").replace(*_WORKER)
    (folder / "worker.py").write_text(worker, "utf-8")
    settings = Settings(index_url=server.index_url)
    data.settings.write_text(f'index_url = "{server.index_url}"\n', "utf-8")
    return Workshop(data, settings, server, wheels)


@pytest.fixture(scope="package")
def wheels(tmp_path_factory) -> mini.Wheels:
    return mini.make_wheels(tmp_path_factory.mktemp("wheels"))


@pytest.fixture(scope="package")
def server(wheels):
    with WheelServer() as server:
        for wheel in (wheels.numpy, *wheels.files[1]):
            server.add(wheel)
        yield server


@pytest.fixture(scope="package")
def shop(tmp_path_factory, server, wheels) -> Workshop:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("UV_CACHE_DIR", raising=False)
        return workshop(tmp_path_factory.mktemp("shop"), server, wheels)


@pytest.fixture(scope="package")
def light(tmp_path_factory) -> Path:
    """Return a bundle of a few kB with all parts, whose packages are of no use."""
    folder = tmp_path_factory.mktemp("light")
    named = {name: f"{name.replace('-', '_')}.py" for name in ("numpy", "mini-core", "mini-label")}
    numpy, *two = (make_wheel(folder, name, "1.0", {file: ""}) for name, file in named.items())
    wheels = mini.Wheels(numpy, numpy, {1: (two[0], two[1])})
    with WheelServer() as server, pytest.MonkeyPatch.context() as patch:
        patch.delenv("UV_CACHE_DIR", raising=False)
        for wheel in (numpy, *two):
            server.add(wheel)
        shop = workshop(tmp_path_factory.mktemp("light shop"), server, wheels)
        _import_own(shop, folder)
        return shop.make(folder / "mini.ga3bundle", weights=["all"]).path


@pytest.fixture(scope="package")
def bundle(shop, tmp_path_factory) -> Path:
    """Return a bundle with known weights and such of the user's own: never to be changed."""
    folder = tmp_path_factory.mktemp("bundle")
    _import_own(shop, folder)
    return shop.make(folder / "mini.ga3bundle", weights=["all"]).path


def _import_own(shop: Workshop, folder: Path) -> None:
    own = folder / "own.bin"
    own.write_bytes(b"weights of my own")
    store = Store(shop.data, catalog.find("mini", shop.data))
    importing.add(store, own, "mine", note="trained on Monday")


@pytest.fixture
def engine(data_folder, monkeypatch) -> Environments:
    """Return the engine of a computer that has nothing, and whose index cannot be reached."""
    monkeypatch.delenv("UV_CACHE_DIR", raising=False)
    return Environments(DataFolder(data_folder), Settings(index_url="http://127.0.0.1:9/simple/"))


def repacked(bundle: Path, folder: Path, edit: Callable[[dict[str, bytes]], Any]) -> Path:
    """Write the bundle again with other members; `edit` changes a dict of them by name."""
    with zipfile.ZipFile(bundle) as opened:
        members = {name: opened.read(name) for name in opened.namelist()}
    members = edit(members) or members
    changed = folder / "changed.ga3bundle"
    with zipfile.ZipFile(changed, "w", zipfile.ZIP_STORED) as made:
        for name, content in members.items():
            made.writestr(name, content)
    return changed


def forged(bundle: Path, folder: Path, edit: Callable[[Any, dict[str, bytes]], object]) -> Path:
    """Write the bundle again with a manifest that fits: who forges can hash too."""

    def change(members: dict[str, bytes]) -> None:
        values = json.loads(members[sealed.MANIFEST])
        edit(values, members)
        inside = {name: content for name, content in members.items() if name != sealed.MANIFEST}
        values["files"] = {name: vars(hash_of(content)) for name, content in inside.items()}
        values.pop("checksum", None)
        values["checksum"] = sealed.checksum(values)
        members[sealed.MANIFEST] = json.dumps(values).encode()

    return repacked(bundle, folder, change)


_OF_EVERY_COMMAND = ("uv-cache", "logs", "run", "reserve")


def left_in(data: DataFolder) -> list[str]:
    """Return the files in a data folder that are more than what any command makes."""
    names = (path.relative_to(data.root) for path in data.root.rglob("*") if path.is_file())
    return [str(n) for n in names if n.parts[0] not in _OF_EVERY_COMMAND and n.suffix != ".lock"]
