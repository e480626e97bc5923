"""The modules that this account can use: its own, and those of all accounts of the computer.

A module is taken from the account's own data folder where it is ready there, else from the one of
all accounts, as nodes do.
"""

from __future__ import annotations

import os
from dataclasses import replace

from envmanager import disk, workers
from envmanager.data import access, settings
from envmanager.data.paths import DataFolder, data_folder
from envmanager.data.settings import Settings
from envmanager.environments import inventory
from envmanager.environments.inventory import Known, ModuleStatus
from envmanager.environments.lifecycle import Environments
from envmanager.errors import GA3EnvError
from envmanager.machine import permissions
from envmanager.modules import catalog
from envmanager.weights.store import Store
from envmanager.workers import Stopped, Worker
from ga3_nodes import home


def statuses() -> list[ModuleStatus]:
    """Return the status of every module, once each."""
    found = {status.name: status for status in inventory.statuses(data_folder())}
    if shared := access.shared_folder():
        known = Known(disk.cached(shared), access.access(shared))
        for name in home.read_config(shared.root)["modules"]:
            if access.of_module(name).root == shared.root:
                found[name] = _with_own_weights(inventory.status(shared, name, known))
    return [found[name] for name in sorted(found)]


def status(name: str) -> ModuleStatus:
    """Return the status of one module.

    Raises
    ------
    UnknownModule
        There is none of that name.
    """
    return _with_own_weights(inventory.status(access.of_module(name), name))


def _with_own_weights(found: ModuleStatus) -> ModuleStatus:
    """Tell the sets as this account sees them: its own, and those of all."""
    own = data_folder()
    if found.root == str(own.root):
        return found
    try:
        return replace(found, weights=Store(own, catalog.find(found.name, own)).states())
    except GA3EnvError:  # `found` has told it
        return found


def live(module: str | None = None) -> list[Worker]:
    """Return this account's live workers, also those of environments of all accounts."""
    return [found for data in access.folders() for found in workers.live(data, module)]


def stop(module: str | None = None, patience_s: float = 15.0, *, force: bool = False) -> Stopped:
    """End this account's workers, as `workers.stop` does those of one data folder."""
    done = [workers.stop(data, module, patience_s, force=force) for data in access.folders()]
    return Stopped(
        [worker for one in done for worker in one.ended],
        [worker for one in done for worker in one.still_running],
    )


def engine(name: str = "") -> Environments:
    """Return the engine on the data folder of a module, or on the account's own without one."""
    return _engine(access.of_module(name) if name else data_folder())


def engine_for_all() -> Environments:
    """Return the engine on the data folder of all accounts, which may not be there yet.

    Raises
    ------
    NotWritable
        This account may not change it.
    """
    data = DataFolder(home.located(home.machine_root()))
    access.require(data)
    return _engine(data)


def _engine(data: DataFolder) -> Environments:
    if home.is_shared(data.root) and access.access(data).may_change:
        permissions.found(data.root)
    return Environments(data, _settings(data))


def _settings(data: DataFolder) -> Settings:
    """Return the settings of a data folder; those of the account where it has none of its own."""
    own = data if os.access(data.settings, os.R_OK) else data_folder()
    return settings.load(own.settings)
