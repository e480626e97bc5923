"""Opens a bundle that somebody else has made: all of it is checked before any of it is used."""

from __future__ import annotations

import tempfile
import tomllib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from envmanager.bundles import interpreter, manifest, pylocks
from envmanager.bundles.manifest import KIND, BundledModule, Manifest
from envmanager.data import fulldisk
from envmanager.errors import GA3EnvError
from envmanager.events import CancelToken, Report, Stage, ignore
from envmanager.modules.catalog import Module
from envmanager.packages import lockfile
from envmanager.packages.lockfile import Wheel
from envmanager.sharing import archive, sealed, shared_sets
from envmanager.sharing.archive import Archive
from envmanager.sharing.shared_sets import SharedSet

_MOST_LOCK = 8 << 20
_UNREADABLE = (ValueError, LookupError, TypeError, AttributeError, RecursionError, GA3EnvError)


@dataclass(frozen=True)
class Content:
    """A module of a bundle that was checked: its folder, which is gone when `opened` ends."""

    said: BundledModule
    module: Module
    wheels: list[Wheel]


@dataclass(frozen=True)
class Bundle:
    """A bundle of which every byte was checked; see `opened`."""

    path: Path
    manifest: Manifest
    contents: list[Content]
    cancel: CancelToken
    _archive: Archive = field(repr=False)

    def extract(
        self, name: str, place: Path, on_bytes: Callable[[int], object] = lambda size: None
    ) -> None:
        """Write one of its files to a new place; `on_bytes` is told how much of it is there.

        Raises
        ------
        BadInput
            It has changed since it was checked.
        """
        found = self._archive.extract(name, place, self.cancel, on_bytes)
        if found != self.manifest.files[name]:
            raise archive.damaged(self.path, "it has changed while it was read")

    def extract_weights(self, module: str, one: SharedSet, folder: Path) -> None:
        """Write the files of a set of weights below a folder; raises as `extract` does."""
        for name in one.files:
            self.extract(f"{manifest.WEIGHTS}{module}/{name}", folder / name)


def look(path: Path) -> Manifest:
    """Return what a bundle says of itself; that its bytes are so is not looked at.

    Raises
    ------
    BadInput
        It is none, damaged, of a newer format, or holds what must not be unpacked.
    """
    with archive.opened(path.absolute()) as found:
        said = sealed.read(found, KIND, manifest.parsed, Manifest.as_dict)
        sealed.compare_names(found, KIND, said.files)
        return said


@contextmanager
def opened(
    path: Path, report: Report = ignore, cancel: CancelToken | None = None
) -> Iterator[Bundle]:
    """Open a bundle after a check of all that it holds; nothing of it is run.

    Raises
    ------
    BadInput
        It is damaged, altered, of a newer format, or holds what must not be unpacked.
    CatalogError
        A module in it is broken.
    """
    cancel = cancel or CancelToken()
    path = path.absolute()
    report(Stage("check-file", f"Checking {path.name}"))
    with archive.opened(path) as found:
        said = sealed.read(found, KIND, manifest.parsed, Manifest.as_dict)
        sealed.compare_names(found, KIND, said.files)
        sealed.compare_bytes(found, KIND, said.files, report, cancel)
        with tempfile.TemporaryDirectory(prefix="ga3-bundle-") as place:
            bundle = Bundle(path, said, [], cancel, found)
            with fulldisk.named(Path(place)):
                for one in said.modules:
                    bundle.contents.append(_content(bundle, one, Path(place) / one.name))
                _refuse_unused(path, said, bundle.contents)
                _look_at_python(bundle, Path(place))
            yield bundle


def _refuse_unused(path: Path, said: Manifest, contents: Iterable[Content]) -> None:
    """Refuse wheels that no module asks for."""
    asked = {manifest.member(wheel) for content in contents for wheel in content.wheels}
    held = {f"{manifest.WHEELS}{name}" for name in said.part(manifest.WHEELS)}
    if held - asked:
        raise KIND.refuse_altered(path, f"{min(held - asked)!r} in it belongs to no module")


def _look_at_python(bundle: Bundle, place: Path) -> None:
    """Refuse a Python that must not be unpacked, before anything is changed for it."""
    if name := bundle.manifest.interpreter:
        aside = place / Path(name).name
        bundle.extract(name, aside)
        interpreter.look(aside, bundle.manifest.target)
        aside.unlink()


# ---- a module -----------------------------------------------------------------------------------


def _content(bundle: Bundle, said: BundledModule, folder: Path) -> Content:
    prefix = f"{manifest.MODULES}{said.name}/"
    for name in bundle.manifest.part(prefix):
        bundle.extract(f"{prefix}{name}", folder / name)
    module = sealed.checked_module(bundle.path, KIND, folder, said.name, said.version)
    shared_sets.check(bundle.path, KIND, said.weights, module)
    pylock = folder / "pylock.toml"
    bundle.extract(said.lock, pylock)
    return Content(said, module, _wheels(bundle, said.lock, pylock))


def _wheels(bundle: Bundle, name: str, pylock: Path) -> list[Wheel]:
    """Return what a ``pylock.toml`` of the bundle lists; each file is in the bundle."""
    try:
        if pylock.stat().st_size > _MOST_LOCK:
            raise ValueError("it is too long")
        pylocks.require_plain(tomllib.loads(pylock.read_text("utf-8")))
        wheels = lockfile.wheels(pylock)
        for wheel in wheels:
            pylocks.require_wheel(wheel)
    except _UNREADABLE as error:
        why = f"{name!r} in it cannot be used ({error})"
        raise KIND.refuse_altered(bundle.path, why) from error
    for wheel in wheels:
        held = bundle.manifest.files.get(manifest.member(wheel))
        if held is None or any(held.sha256 != digest for _, digest in wheel.files):
            why = f"it lacks {wheel.package} {wheel.version}"
            raise KIND.refuse_altered(bundle.path, why)
    return wheels
