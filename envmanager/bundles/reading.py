"""Opens a bundle that somebody else has made: all of it is checked before any of it is used."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from envmanager.bundles import manifest, pylocks
from envmanager.bundles.manifest import BundledModule, Manifest
from envmanager.errors import BadInput, GA3EnvError
from envmanager.events import CancelToken, Progress, Report, Stage, ignore
from envmanager.fetching.hashing import Fetched
from envmanager.modules import checking
from envmanager.modules.catalog import Module
from envmanager.modules.declared_weights import WeightsFile
from envmanager.packages import lockfile
from envmanager.packages.lockfile import Wheel
from envmanager.sharing import archive
from envmanager.sharing.archive import Archive
from envmanager.sharing.package import SharedSet

_MOST_MANIFEST, _MOST_LOCK = 16 << 20, 8 << 20
_UNREADABLE = (ValueError, LookupError, TypeError, AttributeError, RecursionError)


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

    def extract(self, name: str, place: Path) -> None:
        """Write one of its files to a new place.

        Raises
        ------
        BadInput
            It has changed since it was checked.
        """
        if self._archive.extract(name, place, self.cancel) != self.manifest.files[name]:
            raise archive.damaged(self.path, "it has changed while it was read")


def look(path: Path) -> Manifest:
    """Return what a bundle says of itself; that its bytes are so is not looked at.

    Raises
    ------
    BadInput
        It is none, damaged, of a newer format, or holds what must not be unpacked.
    """
    with archive.opened(path.absolute()) as found:
        said = _manifest(found)
        _compare_names(found, said)
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
        said = _manifest(found)
        _compare_names(found, said)
        _compare_bytes(found, said, report, cancel)
        with tempfile.TemporaryDirectory(prefix="ga3-bundle-") as place:
            bundle = Bundle(path, said, [], cancel, found)
            for one in said.modules:
                bundle.contents.append(_content(bundle, one, Path(place) / one.name))
            _refuse_unused(path, said, bundle.contents)
            yield bundle


# ---- the whole ----------------------------------------------------------------------------------


def _manifest(found: Archive) -> Manifest:
    if manifest.NAME not in found.names:
        hint = "Make one where there is a network: ./run bundle create MODULE -o FILE"
        raise archive.refused(found.path, "it is no bundle", hint=hint)
    try:
        values = json.loads(found.read(manifest.NAME, _MOST_MANIFEST))
        if values["format"] != manifest.FORMAT:
            raise archive.refused(found.path, f"it is a {str(values['format'])[:40]!r}")
        if type(values["schema"]) is int and values["schema"] > manifest.SCHEMA:
            raise archive.refused(
                found.path,
                f"its format {values['schema']} is newer than this app knows",
                "file_too_new",
                "Get a newer version of the app, or make the bundle with this one.",
            )
        stated = values.pop("checksum")
        said = manifest.parsed(values)
    except _UNREADABLE as error:
        why = f"{manifest.NAME}: {error or type(error).__name__}"
        raise archive.damaged(found.path, why) from error
    if said.checksum != stated or manifest.checksum(values) != stated:
        raise _altered(found.path, f"its checksum does not fit {manifest.NAME}")
    return said


def _compare_names(found: Archive, said: Manifest) -> None:
    extra = found.names - {manifest.NAME, *said.files}
    lost = said.files.keys() - found.names
    if extra or lost:
        name = min(extra or lost)
        raise _altered(found.path, f"{name!r} was {'put in' if extra else 'taken out'}")
    if wrong := sorted(name for name, f in said.files.items() if found.size(name) != f.size):
        raise _altered(found.path, f"{wrong[0]!r} in it has another size")


def _compare_bytes(found: Archive, said: Manifest, report: Report, cancel: CancelToken) -> None:
    done, total = 0, sum(file.size for file in said.files.values())
    for name, file in said.files.items():
        report(Progress(done, total))
        if found.hashed(name, cancel) != file:
            raise _altered(found.path, f"{name!r} in it has other bytes")
        done += file.size


def _refuse_unused(path: Path, said: Manifest, contents: Iterable[Content]) -> None:
    """Refuse wheels that no module asks for."""
    asked = {manifest.member(wheel) for content in contents for wheel in content.wheels}
    held = {f"{manifest.WHEELS}{name}" for name in said.part(manifest.WHEELS)}
    if held - asked:
        raise _altered(path, f"{min(held - asked)!r} in it belongs to no module")


def _altered(path: Path, why: str) -> BadInput:
    hint = "Nothing was changed. Make the bundle again, or copy it again and compare its checksum."
    return archive.refused(path, f"it was altered: {why}", "file_altered", hint)


# ---- a module -----------------------------------------------------------------------------------


def _content(bundle: Bundle, said: BundledModule, folder: Path) -> Content:
    prefix = f"{manifest.MODULES}{said.name}/"
    for name in bundle.manifest.part(prefix):
        bundle.extract(f"{prefix}{name}", folder / name)
    try:
        module = checking.check(folder)
    except GA3EnvError as error:
        error.message = error.message.replace(f"{folder}", f"{bundle.path.name}: {said.name}")
        raise
    if (module.name, module.version) != (said.name, said.version):
        raise _altered(bundle.path, f"{manifest.NAME} names another version of {said.name}")
    _check_weights(bundle.path, said, module)
    pylock = folder / "pylock.toml"
    bundle.extract(said.lock, pylock)
    return Content(said, module, _wheels(bundle, said.lock, pylock))


def _wheels(bundle: Bundle, name: str, pylock: Path) -> list[Wheel]:
    """Return what a ``pylock.toml`` of the bundle lists; each file is in the bundle."""
    try:
        if pylock.stat().st_size > _MOST_LOCK:
            raise ValueError("it is too long")
        wheels = lockfile.wheels(pylock)
        for wheel in wheels:
            pylocks.require_wheel(wheel)
    except (*_UNREADABLE, GA3EnvError) as error:
        raise _altered(bundle.path, f"{name!r} in it cannot be used ({error})") from error
    for wheel in wheels:
        held = bundle.manifest.files.get(manifest.member(wheel))
        if held is None or any(held.sha256 != digest for _, digest in wheel.files):
            raise _altered(bundle.path, f"it lacks {wheel.package} {wheel.version}")
    return wheels


def _check_weights(path: Path, said: BundledModule, module: Module) -> None:
    """Refuse a set under the name of a known one that has other files than that."""
    for one in said.weights:
        known = module.weights.get(one.name)
        if known is None and not one.custom and module.collection:
            known = module.collection.set_of(one.name)
        if one.custom != (known is None):
            raise _altered(path, f"the weights {one.name!r} in it are none of {module.name}'s")
        if known and not _fit(known.files, one):
            raise _altered(path, f"the weights {one.name!r} in it have other files")


def _fit(declared: Iterable[WeightsFile], one: SharedSet) -> bool:
    """Compare names, and sums where the module states them; a zip was unpacked since."""
    declared = list(declared)
    files: dict[str, Fetched] = one.files
    same = {name.split("/")[0] for name in files} == {file.name for file in declared}
    plain = [file for file in declared if file.sha256 and not file.unpack]
    return (
        same
        and one.path == declared[0].name
        and all(f.name in files and files[f.name].sha256 == f.sha256 for f in plain)
    )
