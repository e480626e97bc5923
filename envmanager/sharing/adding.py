"""Adds a module from its file: shown first, checked whole, and in place at once or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from envmanager.data.paths import SHIPPED_MODULES, DataFolder
from envmanager.data.settings import Settings
from envmanager.errors import GA3EnvError
from envmanager.events import CancelToken, Report, Stage, ignore
from envmanager.modules import catalog, checking
from envmanager.modules.own import Added, OwnModules
from envmanager.packages import lockfile
from envmanager.sharing import archive, placing_weights
from envmanager.sharing.package import Package, opened
from envmanager.weights.store import Store

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
                "present": placing_weights.is_here(store, shared),
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
            with _weights(Store(data, found.module), found, report):
                return own.put(staged, name)


@contextmanager
def _weights(store: Store, found: Package, report: Report) -> Iterator[None]:
    """Put the weights that came along in place; what fails inside or here undoes all of it.

    Needs the lock of the module's writer.
    """
    sets = found.manifest.weights
    placing_weights.refuse_others(store, sets)
    with ExitStack() as undo:
        placing_weights.put(store, sets, found.extract_weights, report, undo)
        yield
        undo.pop_all()
