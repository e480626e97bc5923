"""Makes a bundle: everything is looked up and fetched first, then one file is written whole."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from envmanager.bundles import gathering, interpreter, manifest
from envmanager.bundles.collecting import Collection
from envmanager.bundles.gathering import Packages, Weights
from envmanager.bundles.manifest import BundledModule, Manifest
from envmanager.bundles.target import Target
from envmanager.data import access, files, fulldisk, writers
from envmanager.data.paths import DataFolder
from envmanager.data.settings import Settings
from envmanager.errors import UsageError
from envmanager.events import CancelToken, Notice, Report, Stage, ignore
from envmanager.fetching.hashing import Fetched, hash_of, hashed
from envmanager.modules import catalog, checking
from envmanager.modules.catalog import Module
from envmanager.packages import wheelhouse
from envmanager.packages.lockfile import Wheel
from envmanager.packages.wheel_store import WheelStore
from envmanager.sharing import packing, sealed
from envmanager.uv.program import Uv
from envmanager.weights.store import Store
from ga3_nodes import __version__


@dataclass(frozen=True)
class Wanted:
    """What the user asks of a bundle.

    Parameters
    ----------
    modules : sequence of str
        Their names.
    backend : str
        The build of torch, for the modules that have one.
    weights : sequence of str
        Names of sets, or `gathering.ALL`.
    with_python : bool
        Let uv fetch a Python for that computer, for where there is none.
    python_archive, python_sha256 : Path, str
        Put this one in instead, of which the sha256 is known.
    """

    modules: Sequence[str]
    target: Target
    backend: str = ""
    weights: Sequence[str] = ()
    with_python: bool = False
    python_archive: Path | None = None
    python_sha256: str = ""


@dataclass(frozen=True)
class Made:
    """A bundle that was written; `size` in bytes."""

    path: Path
    size: int
    manifest: Manifest


@dataclass(frozen=True)
class Planned:
    """What a bundle would hold: `texts` are its small files by name, weights are here already.

    `python` is the archive of an interpreter; None where there is none, or uv is yet to fetch it.
    """

    wanted: Wanted
    modules: list[Module]
    packages: list[Packages]
    weights: list[Weights]
    python: Path | None = None
    texts: dict[str, bytes] = field(default_factory=dict)

    @property
    def wheels(self) -> list[Wheel]:
        """All wheels, each once."""
        return list({wheelhouse.digest(w): w for p in self.packages for w in p.wheels}.values())

    @property
    def here(self) -> dict[str, Path]:
        """Files of wheels that lie on a disk of ours, by their sha256."""
        return {
            wheelhouse.digest(wheel): part.here[wheel.package]
            for part in self.packages
            for wheel in part.wheels
            if wheel.package in part.here
        }

    @property
    def size(self) -> int:
        """The bytes of the bundle, as far as the sizes of the wheels are known."""
        weights = sum(one.size for part in self.weights for one in part.sets)
        python = self.python.stat().st_size if self.python else 0
        return sum(wheel.size for wheel in self.wheels) + weights + python


def plan(
    data: DataFolder,
    settings: Settings,
    wanted: Wanted,
    *,
    report: Report = ignore,
    cancel: CancelToken | None = None,
) -> Planned:
    """Look up what a bundle would hold; of that only weights are downloaded.

    Raises
    ------
    GA3EnvError
        Why there can be no such bundle.
    """
    modules = [catalog.find(name, data) for name in dict.fromkeys(wanted.modules)]
    if not modules:
        raise UsageError("No module is named.", "./run bundle create MODULE ... -o FILE")
    access.require(data)  # uv runs in it, and what comes is kept there
    for module in modules:
        _refuse(module, wanted.target)
    stores = [Store(data, module) for module in modules]
    gathering.refuse_unknown(stores, wanted.weights)
    target, python = wanted.target, None
    if wanted.python_archive or wanted.python_sha256:
        python = _given_python(wanted, cancel)
    uv = Uv(data, settings, cancel, platform=target.uv_platform, python_version=target.python)
    data.root.mkdir(parents=True, exist_ok=True)
    found = []
    for module in modules:
        report(Stage("resolve", f"Looking up the packages of {module.name}"))
        found.append(gathering.packages(uv, module, target, wanted.backend))
    weights = gathering.weights(stores, wanted.weights, settings, report, cancel)
    for part in weights:
        if part.missing:
            name, lacking = part.module.name, ", ".join(part.missing)
            report(Notice(f"{name} needs weights that do not go along: {lacking} (--weights)."))
    return Planned(wanted, modules, found, weights, python, _texts(modules, found))


def _given_python(wanted: Wanted, cancel: CancelToken | None) -> Path:
    if wanted.python_archive is None:
        raise UsageError(
            "A sha256 of a Python is given without its archive.", "Add --python-archive FILE."
        )
    cancel = cancel or CancelToken()
    return interpreter.given(wanted.python_archive, wanted.python_sha256, wanted.target, cancel)


def create(
    data: DataFolder,
    settings: Settings,
    wanted: Wanted,
    path: Path,
    *,
    report: Report = ignore,
    cancel: CancelToken | None = None,
) -> Made:
    """Write a bundle; equal contents make equal bytes.

    What was downloaded is kept until the bundle is written, so that a cancelled or killed
    creation goes on from there.

    Raises
    ------
    GA3EnvError
        Why there can be no such bundle; a file that is there is as it was.
    """
    cancel = cancel or CancelToken()
    files.refuse_place(path, f"lab{manifest.SUFFIX}")
    planned = plan(data, settings, wanted, report=report, cancel=cancel)
    store, python = WheelStore(data), data.downloads / "python"
    with ExitStack() as stack:
        for module in sorted(planned.modules, key=lambda module: module.name):
            stack.callback(_drop_empty, data.module(module.name))
            waiting = writers.waiting(data, module.name, "bundle", report, cancel)
            report = stack.enter_context(waiting)
        if wanted.with_python and planned.python is None:
            report(Stage("python", f"Fetching Python {wanted.target.python}"))
            fetched = interpreter.fetched(Uv(data, settings, cancel), wanted.target, python)
            planned = replace(planned, python=fetched)
        report(Stage("download", "Downloading the packages"))
        Collection(store, settings, planned.wheels, planned.here, report, cancel).fetch()
        report(Stage("write", f"Writing {path.name}"))
        made = _write(planned, store, path, report, cancel)
        if planned.python and planned.python.parent == python:
            files.discard(python, data.trash)
    store.release(planned.wheels, "")  # no writer any more: nothing goes that others still need
    return made


def _drop_empty(folder: Path) -> None:
    """Delete the folder of a module that is not installed."""
    with suppress(OSError):
        folder.rmdir()


def _refuse(module: Module, target: Target) -> None:
    checking.check(module.folder)
    target.require_allowed(module)


def _texts(modules: list[Module], packages: list[Packages]) -> dict[str, bytes]:
    """Return the small files: the modules' own, and a ``pylock.toml`` of each."""
    found = {}
    for module, part in zip(modules, packages, strict=True):
        for name in packing.contents(module.folder):
            content = (module.folder / name).read_bytes()
            found[f"{manifest.MODULES}{module.name}/{name}"] = content
        found[f"{manifest.LOCKS}{module.name}.toml"] = part.pylock.encode()
    return dict(sorted(found.items()))


def _write(
    planned: Planned, store: WheelStore, path: Path, report: Report, cancel: CancelToken
) -> Made:
    large, expected = _large(planned, store, cancel)
    if sum(file.size for file in expected.values()) > fulldisk.free(path.parent):
        raise fulldisk.failure(path.parent)
    listed = {**{name: hash_of(text) for name, text in planned.texts.items()}, **expected}
    found = Manifest(
        target=planned.wanted.target,
        app_version=__version__,
        modules=_modules(planned),
        files=listed,
    )
    again = "Get it again; for weights: ./run weights MODULE verify --full"
    sealed.write(path, found, planned.texts, large, again, report, cancel)
    return Made(path, path.stat().st_size, found)


def _large(
    planned: Planned, store: WheelStore, cancel: CancelToken
) -> tuple[dict[str, Path], dict[str, Fetched]]:
    """Return the large files by their names in the bundle: where they lie, and what is known."""
    places, known = {}, {}
    for wheel in planned.wheels:
        name, place = manifest.member(wheel), store.place(wheel)
        places[name] = place
        known[name] = Fetched(place.stat().st_size, wheelhouse.digest(wheel))
    if python := planned.python:
        name = f"{manifest.PYTHON}{python.name}"
        places[name], known[name] = python, hashed(python, cancel)
    for part in planned.weights:
        for one in part.chosen:
            for file, fetched in one.one.files.items():
                name = f"{manifest.WEIGHTS}{part.module.name}/{file}"
                places[name], known[name] = one.places[file], fetched
    return dict(sorted(places.items())), known


def _modules(planned: Planned) -> tuple[BundledModule, ...]:
    found = []
    for module, part, own in zip(planned.modules, planned.packages, planned.weights, strict=True):
        one = BundledModule(module.name, module.version, module.title, module.license, part.backend)
        found.append(replace(one, weights=own.sets, licenses=own.licenses))
    return tuple(sorted(found, key=lambda one: one.name))
