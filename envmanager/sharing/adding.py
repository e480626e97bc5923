"""Adds a module from its file: shown first, checked whole, and in place at once or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from envmanager.data import files, fulldisk
from envmanager.data.paths import SHIPPED_MODULES, DataFolder
from envmanager.data.settings import Settings
from envmanager.errors import BadInput, GA3EnvError
from envmanager.events import CancelToken, Report, Stage, ignore
from envmanager.modules import catalog, checking
from envmanager.modules.own import Added, OwnModules
from envmanager.packages import lockfile
from envmanager.sharing import archive
from envmanager.sharing.package import Package, SharedSet, opened
from envmanager.weights.store import Entry, Store, roots_of, size_of, today
from ga3_nodes import home
from ga3_nodes.weights import CUSTOM, LISTING

WARNING = (
    "This is a program: its code will run on this computer with your rights, and weights can hold "
    "code as well. Add it only if you trust its author. The checksum proves that the file is "
    "whole, not who made it."
)


@dataclass(frozen=True)
class Contents:
    """What a module's file holds: all of it is checked, and nothing has been run.

    Attributes
    ----------
    size : int
        Bytes of the file.
    files : list of dict
        ``name``, ``size`` and ``sha256`` of each of the module's files.
    weights : list of dict
        ``name``, ``size``, ``note``, ``license``, and whether they are `present` here already.
    packages : list of str
        What its ``pyproject.toml`` asks for; `locked` counts all that its lock pins.
    replaces : str
        The version of the user's module of that name; empty where there is none.
    shipped : bool
        Whether a module of that name comes with the app.
    """

    path: Path
    size: int
    checksum: str
    module: str
    title: str
    version: str
    summary: str
    license: str
    author: str
    date: str
    app_version: str
    functions: list[str]
    packages: list[str]
    locked: int
    files: list[dict[str, Any]]
    weights: list[dict[str, Any]]
    replaces: str
    shipped: bool
    warning: str = WARNING

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self) | {"path": str(self.path)}


def look(
    data: DataFolder, path: Path, report: Report = ignore, cancel: CancelToken | None = None
) -> Contents:
    """Check a module's file, and return what it holds; nothing is changed.

    Raises
    ------
    GA3EnvError
        Why it cannot be added.
    """
    with opened(path, report, cancel) as found:
        return _contents(data, found)


def _contents(data: DataFolder, found: Package) -> Contents:
    module, manifest = found.module, found.manifest
    store = Store(data, module)
    return Contents(
        path=found.path,
        size=found.path.stat().st_size,
        checksum=manifest.checksum,
        module=module.name,
        title=module.title,
        version=module.version,
        summary=module.summary,
        license=module.license,
        author=manifest.author,
        date=manifest.date,
        app_version=manifest.app_version,
        functions=[spec["title"] for spec in module.functions.values()],
        packages=[str(wanted) for wanted in checking.check_project(module.folder)],
        locked=len(lockfile.locked_hashes(module.lock)),
        files=[{"name": name, **vars(file)} for name, file in manifest.files.items()],
        weights=[
            {
                "name": shared.name,
                "size": shared.size,
                "note": shared.note,
                "license": "" if shared.custom else store.described(shared.name).license,
                "present": _is_same(store, shared),
            }
            for shared in manifest.weights
        ],
        replaces=_present_version(data, module.name),
        shipped=(SHIPPED_MODULES / module.name / "module.toml").is_file(),
    )


def _present_version(data: DataFolder, name: str) -> str:
    """Return the version of the user's module of a name, where it can be read."""
    folder = data.user_modules / name
    if not folder.is_dir():
        return ""
    try:
        return catalog.load(folder).version
    except GA3EnvError:
        return "?"


def add(
    data: DataFolder,
    settings: Settings,
    path: Path,
    *,
    update: bool = False,
    replace_shipped: bool = False,
    checksum: str = "",
    report: Report = ignore,
    cancel: CancelToken | None = None,
) -> Added:
    """Make the module in a file one of the user's, with the weights that came along.

    Parameters
    ----------
    update, replace_shipped : bool
        As for `OwnModules.add`.
    checksum : str
        That of the file that was shown, where one was: another file is refused.

    Raises
    ------
    GA3EnvError
        Why it cannot be added; the user's modules and weights are as they were.
    """
    with opened(path, report, cancel) as found:
        if checksum not in ("", found.manifest.checksum):
            why = "it is another one than was shown"
            raise archive.refused(found.path, why, "file_altered", "Look at it again.")
        name, own = found.module.name, OwnModules(data, settings, report, cancel)
        staging = own.staging(name, "add-module", update=update, replace_shipped=replace_shipped)
        with staging as staged:
            report(Stage("copy", f"Unpacking {found.path.name}"))
            found.extract_module(staged)
            with _weights(Store(data, found.module), found):
                return own.put(staged, name)


# ---- the weights that came along ----------------------------------------------------------------


@contextmanager
def _weights(store: Store, found: Package) -> Iterator[None]:
    """Put the weights in place and list them; what fails inside or here undoes all of it.

    Needs the lock of the module's writer.
    """
    wanted = [shared for shared in found.manifest.weights if not _is_same(store, shared)]
    if not wanted:
        yield
        return
    for shared in wanted:
        _refuse_others(store, shared)
    if sum(shared.size for shared in wanted) > fulldisk.free(store.folder):
        raise fulldisk.failure(store.folder)
    for leftover in (store.folder / CUSTOM).glob("*.tmp"):  # of one that was killed
        files.discard(leftover, store.data.trash)
    with ExitStack() as undo:
        undo.callback(_drop_empty, store)
        undo.callback(_restore, store.folder / LISTING, _bytes(store.folder / LISTING))
        for shared in wanted:
            _put(store, found, shared, undo)
        yield
        undo.pop_all()


def _put(store: Store, found: Package, shared: SharedSet, undo: ExitStack) -> None:
    aside = store.folder / CUSTOM / f"{shared.name}.{os.getpid()}.tmp"
    entry = _entry(shared)
    try:
        found.extract_weights(shared, aside)
        for root in sorted(roots_of(entry)):
            place = store.folder / root
            if _is_listed(store, root):
                continue  # a file that another set shares; `_refuse_others` has compared them
            _discard(store, place)
            place.parent.mkdir(parents=True, exist_ok=True)
            home.patiently(lambda: (aside / root).rename(place), seconds=10.0)  # noqa: B023
            undo.callback(_discard, store, place)
    finally:
        files.discard(aside, store.data.trash)
    store.put(shared.name, entry)


def _discard(store: Store, place: Path) -> None:
    if place.is_dir():
        files.discard(place, store.data.trash)
    else:
        home.patiently(lambda: place.unlink(missing_ok=True))


def _bytes(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


def _restore(path: Path, content: bytes | None) -> None:
    if content is None:
        path.unlink(missing_ok=True)
    else:
        files.write_whole(path, lambda place: place.write_bytes(content))


def _drop_empty(store: Store) -> None:
    for folder in (store.folder / CUSTOM, store.folder, store.folder.parent):
        with suppress(OSError):
            folder.rmdir()


def _entry(shared: SharedSet) -> Entry:
    return {
        "path": shared.path,
        "files": {name: vars(file) for name, file in shared.files.items()},
        "custom": shared.custom,
        "note": shared.note,
        "added": today(),
    }


def _is_same(store: Store, shared: SharedSet) -> bool:
    """Tell whether a set is here already, whole and with the same bytes."""
    present = store.entries().get(shared.name)
    same = present is not None and present["files"] == _entry(shared)["files"]
    return present is not None and same and not store.damage(present)


def _is_listed(store: Store, root: str) -> bool:
    whole = (entry for entry in store.entries().values() if not store.damage(entry))
    return any(root in roots_of(entry) for entry in whole)


def _refuse_others(store: Store, shared: SharedSet) -> None:
    """Refuse to put weights over others that are in use here: they may be the only copy."""
    for name, entry in store.entries().items():
        if store.damage(entry):
            continue
        expected = {n: vars(f) for n, f in shared.files.items()}
        both = entry["files"].keys() & expected.keys()
        differ = any(entry["files"][n] != expected[n] for n in both)
        taken = name.lower() == shared.name.lower() and entry["files"] != expected
        if taken or differ:
            raise BadInput(
                f"You have other weights {name!r} of this module ({size_of(entry):,} bytes).",
                "Nothing was changed. Keep them by another name (./run weights M add), remove them "
                f"(./run weights {store.module.name} remove {name}), then add the file again.",
                code="weights_exist",
            )
