"""Removes a module's environments: never under a call, and only as a whole."""

from __future__ import annotations

import contextlib

from envmanager import catalog, config, disk, inventory, workers, writers
from envmanager.errors import ModuleInUse, NotInstalled
from envmanager.files import discard
from envmanager.paths import DataFolder
from ga3_nodes import home

_PATIENCE_S = 15.0  # for a worker that was told to end


def remove(data: DataFolder, name: str) -> int:
    """Remove a module's environments; return the bytes of its own that this frees.

    Raises
    ------
    NotInstalled
        There is none.
    ModuleInUse
        A worker is in the middle of a call.
    """
    module_dir = data.module(name)
    with writers.sole(data, name):
        entries = home.read_config(data.root)["modules"]
        if name not in entries and not module_dir.is_dir():
            catalog.find(name, data)
            raise NotInstalled(f"The module {name!r} is not installed.", "Nothing to do.")
        freed = disk.scan(module_dir).own
        refuse_if_busy(data, name)
        config.change(data, lambda modules: modules.pop(name, None))
        # A worker re-reads the config after it has taken its lease: none can start from now on.
        if not workers.retire(data, name, _PATIENCE_S):
            restored = {name: entries[name]} if name in entries else {}
            config.change(data, lambda modules: modules.update(restored))
            refuse_if_busy(data, name)
            raise ModuleInUse(f"A worker of {name} does not end.", "Try again later.")
        for number in inventory.numbers(data, name):
            discard(data.generation(name, number), data.trash)
    with contextlib.suppress(OSError):  # what is not ours stays
        module_dir.rmdir()
    return freed


def refuse_if_busy(data: DataFolder, name: str) -> None:
    """Raise ModuleInUse while a call of a module runs; the message names the program."""
    busy = [user for user in workers.users(data, name) if user["busy"]]
    if busy:
        who = ", ".join(f"{user['program']} (PID {user['pid']})" for user in busy)
        raise ModuleInUse(f"{name} is in use by {who}.", "Wait for its end, or close that program.")
