"""What the pages show: a frozen snapshot of the engine's state, refreshed when anything changes.

The command line, other users and NIS change the data folder too, so the folders that tell of a
change are watched, and read again from time to time.

The engine is imported where it is first needed, which is not in the GUI thread: numpy and psutil,
which it loads, would keep the window from its first paint for as long as Qt itself does.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QFileSystemWatcher, QObject, QTimer, Signal

from app.background import Background
from envmanager.errors import CatalogError, ConfigError, GA3EnvError, UnknownModule
from ga3_nodes import home, owners

if TYPE_CHECKING:
    from envmanager.data.access import Access
    from envmanager.data.paths import DataFolder
    from envmanager.environments.inventory import ModuleStatus
    from envmanager.modules.catalog import Module

_SETTLE_MS = 150  # several changes that come at once are read once
_AGAIN_MS = 5000  # who uses a module is told by locks, which no watcher sees


@dataclass(frozen=True)
class Snapshot:
    """The modules at one moment.

    Attributes
    ----------
    root : Path
        The account's own data folder.
    modules : tuple of ModuleStatus
        Of every module of the catalog, and of installed ones without.
    declarations : mapping of Module
        Of the modules whose ``module.toml`` can be read, by name.
    folders : tuple of Access
        The account's own data folder, then the one of all accounts where there is one.
    for_all : Path or None
        Where this account can install for all accounts, who need not have anything yet.
    """

    root: Path
    modules: tuple[ModuleStatus, ...] = ()
    declarations: Mapping[str, Module] = field(default_factory=dict)
    folders: tuple[Access, ...] = ()
    for_all: Path | None = None

    def module(self, name: str) -> ModuleStatus | None:
        """Return the status of one module."""
        return next((status for status in self.modules if status.name == name), None)

    def access(self, root: Path) -> Access | None:
        """Return what the account may do in one of its data folders."""
        return next((found for found in self.folders if found.root == root), None)

    @property
    def shared(self) -> Access | None:
        """What the account may do in the data folder of all accounts, where there is one."""
        return next((found for found in self.folders if found.shared), None)


def read() -> Snapshot:
    """Read the present state; not in the GUI thread."""
    from envmanager.data import access
    from envmanager.data.paths import data_folder
    from envmanager.environments import everywhere
    from envmanager.modules import catalog

    data = data_folder()
    statuses = tuple(everywhere.statuses())
    declarations = {}
    for status in statuses:
        try:
            declarations[status.name] = catalog.find(status.name, data)
        except (CatalogError, UnknownModule):
            continue  # its status tells the problem
    folders = tuple(access.access(folder) for folder in access.folders())
    return Snapshot(data.root, statuses, declarations, folders, _for_all(folders))


def _for_all(folders: tuple[Access, ...]) -> Path | None:
    shared = next((found for found in folders if found.shared), None)
    if shared:
        return shared.root if shared.may_change else None
    place = home.machine_root()
    try:
        return home.located(place) if owners.is_elevated() and place in home.places() else None
    except ConfigError:
        return None  # the checklist tells of it


class Store(QObject):
    """Holds the last snapshot; lives in the GUI thread."""

    changed = Signal(object)  # Snapshot
    failed = Signal(object)  # GA3EnvError: the state cannot be read

    def __init__(self, background: Background, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.snapshot: Snapshot | None = None
        self._background = background
        self._is_reading = self._is_outdated = False
        self._watcher = QFileSystemWatcher(self)
        self._watcher.directoryChanged.connect(self._look)
        self._listed: dict[str, object] = {}  # by folder that is watched
        self._settling = QTimer(self)
        self._settling.setSingleShot(True)
        self._settling.setInterval(_SETTLE_MS)
        self._settling.timeout.connect(self.refresh)
        self._again = QTimer(self)
        self._again.setInterval(_AGAIN_MS)
        self._again.timeout.connect(self.refresh)
        background.tasks_changed.connect(self._soon)

    def begin(self) -> None:
        """Read for the first time, and from then on whenever something changes."""
        if self._again.isActive():
            return
        self._again.start()
        self.refresh()

    def refresh(self) -> None:
        """Read the state anew in the background.

        While it is being read, it is read once more at the end, however often this is called: an
        answer is never dropped for a newer question, or a busy folder would keep all of them off.
        """
        if self._is_reading:
            self._is_outdated = True
            return
        self._is_reading, self._is_outdated = True, False
        self._background.ask(_read_and_places, self._take, self._fail, owner=self)

    def _look(self, folder: str) -> None:
        """Read anew where a folder holds something else.

        What may be changed is found out by making a file for a moment, so that reading would else
        call for the next reading, for ever.
        """
        listed = _listing(folder)
        if listed != self._listed.get(folder):
            self._listed[folder] = listed
            self._soon()

    def _soon(self) -> None:
        if not self._settling.isActive():
            self._settling.start()

    def _fail(self, error: GA3EnvError) -> None:
        self._end_reading()
        self.failed.emit(error)

    def _end_reading(self) -> None:
        self._is_reading = False
        if self._is_outdated:
            self._soon()

    def _take(self, answer: tuple[Snapshot, list[str]]) -> None:
        self._end_reading()
        snapshot, places = answer
        known = self._watcher.directories()
        if new := [place for place in places if place not in known]:
            self._watcher.addPaths(new)
        if snapshot != self.snapshot:
            self.snapshot = snapshot
            self.changed.emit(snapshot)


def _read_and_places() -> tuple[Snapshot, list[str]]:
    from envmanager.data import access

    return read(), [place for data in access.folders() for place in _places(data)]


def _listing(folder: str) -> object:
    """Return what a folder holds, without files of the moment; None where it is gone."""
    try:
        with os.scandir(folder) as found:
            seen = [one for one in found if not one.name.startswith(".")]
            return {one.name: 0 if one.is_dir() else _changed(one) for one in seen}
    except OSError:
        return None


def _changed(entry: os.DirEntry[str]) -> int:
    return entry.stat(follow_symlinks=False).st_mtime_ns


def _places(data: DataFolder) -> list[str]:
    """Return what tells of a change: the data folder and those of workers, weights and modules."""
    places = [data.root, data.user_modules, data.root / "envs", data.root / "weights"]
    try:
        places.append(home.run_dir(data.root))
    except GA3EnvError:
        pass  # nobody has a worker there
    return [str(place) for place in places if place.is_dir()]
