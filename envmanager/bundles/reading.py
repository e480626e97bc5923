"""Opens a bundle that somebody else has made: all of it is checked before any of it is used."""

from __future__ import annotations

import tempfile
import tomllib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from envmanager.bundles import interpreter, manifest, pylocks
from envmanager.bundles.manifest import KIND, BundledModule, Manifest
from envmanager.data import fulldisk
from envmanager.errors import GA3EnvError
from envmanager.events import CancelToken, Report, ignore
from envmanager.modules.catalog import Module
from envmanager.packages import lockfile
from envmanager.packages.lockfile import Wheel
from envmanager.sharing import sealed, shared_sets
from envmanager.sharing.sealed import Checked
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
class Bundle(Checked[Manifest]):
    """A bundle that was checked, with the modules in it; see `opened`."""

    contents: list[Content]

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
    return sealed.look(path, KIND, manifest.parsed)


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
    with (
        sealed.opened(path, KIND, manifest.parsed, report, cancel) as file,
        tempfile.TemporaryDirectory(prefix="ga3-bundle-") as place,
    ):
        folder = Path(place)
        with fulldisk.named(folder):
            contents = [_content(file, one, folder) for one in file.manifest.modules]
            _refuse_unused(file.path, file.manifest, contents)
            _look_at_python(file, folder)
        yield Bundle(**vars(file), contents=contents)


def _refuse_unused(path: Path, said: Manifest, contents: Iterable[Content]) -> None:
    """Refuse wheels that no module asks for."""
    asked = {manifest.member(wheel) for content in contents for wheel in content.wheels}
    held = {f"{manifest.WHEELS}{name}" for name in said.part(manifest.WHEELS)}
    if held - asked:
        raise KIND.refuse_altered(path, f"{min(held - asked)!r} in it belongs to no module")


def _look_at_python(file: Checked[Manifest], place: Path) -> None:
    """Refuse a Python that must not be unpacked, before anything is changed for it."""
    if name := file.manifest.interpreter:
        aside = place / Path(name).name
        file.extract(name, aside)
        interpreter.look(aside, file.manifest.target)
        aside.unlink()


# ---- a module -----------------------------------------------------------------------------------


def _content(file: Checked[Manifest], said: BundledModule, place: Path) -> Content:
    folder = place / said.name
    prefix = f"{manifest.MODULES}{said.name}/"
    for name in file.manifest.part(prefix):
        file.extract(f"{prefix}{name}", folder / name)
    module = sealed.checked_module(file.path, KIND, folder, said.name, said.version)
    shared_sets.check(file.path, KIND, said.weights, module)
    pylock = folder / "pylock.toml"
    file.extract(said.lock, pylock)
    return Content(said, module, _wheels(file, said.lock, pylock))


def _wheels(file: Checked[Manifest], name: str, pylock: Path) -> list[Wheel]:
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
        raise KIND.refuse_altered(file.path, why) from error
    for wheel in wheels:
        held = file.manifest.files.get(manifest.member(wheel))
        if held is None or any(held.sha256 != digest for _, digest in wheel.files):
            why = f"it lacks {wheel.package} {wheel.version}"
            raise KIND.refuse_altered(file.path, why)
    return wheels
