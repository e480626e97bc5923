"""Removes a module's environments: never under a call, and only as a whole.

A removal that waits until the module is free is a file, ``envs/<module>.remove``. Until it is done
the module stays published and its calls are served, so that no analysis breaks off half-way. It is
free when no program is connected to its workers; the next command of any kind that does not name
the module finds that and removes it (`sweep`). An install takes the file away (`keep`).
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import asdict, dataclass
from typing import Any

from envmanager import disk, workers
from envmanager.data import access, config, files, writers
from envmanager.data.paths import DataFolder
from envmanager.data.users import User, user_text
from envmanager.environments import inventory
from envmanager.errors import BadInput, DiskFull, GA3EnvError, ModuleInUse, NotInstalled
from envmanager.events import Report, Stage, ignore
from envmanager.modules import catalog
from ga3_nodes import home

_PATIENCE_S = 15.0  # for a worker that was told to end
_FORCED = "force"  # in a removal that waits: pinned generations go too


@dataclass(frozen=True)
class Removal:
    """The outcome of a removal that may wait: for whom, or else what it freed.

    `freed_bytes` are the environments' own bytes.
    """

    name: str
    freed_bytes: int
    waiting_for: list[User]

    @property
    def deferred(self) -> bool:
        """Whether the removal is still to come."""
        return bool(self.waiting_for)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {**asdict(self), "deferred": self.deferred}


def remove(data: DataFolder, name: str, *, force: bool = False) -> int:
    """Remove a module's environments; return the bytes of its own that this frees.

    Parameters
    ----------
    force : bool
        Remove pinned generations too.

    Raises
    ------
    NotInstalled
        There is none.
    BadInput
        A generation is pinned; nothing was changed.
    ModuleInUse
        A worker is in the middle of a call, or another program changes the module.
    """
    with writers.sole(data, name, "remove"):
        _require(data, name)
        if not force:
            _refuse_if_pinned(data, name)
        return _remove(data, name)


def _remove(data: DataFolder, name: str) -> int:
    """Remove the environments as the module's only writer."""
    freed = disk.scan(data.module(name)).own
    _refuse_if_busy(data, name)
    _unpublish(data, name)
    for number in inventory.numbers(data, name):
        files.discard(data.generation(name, number), data.trash)
    keep(data, name)
    with contextlib.suppress(OSError):  # what is not ours stays
        data.module(name).rmdir()
    return freed


def _is_there(data: DataFolder, name: str) -> bool:
    return name in home.read_config(data.root)["modules"] or data.module(name).is_dir()


def _require(data: DataFolder, name: str) -> None:
    if not _is_there(data, name):
        catalog.find(name, data)
        raise NotInstalled(f"The module {name!r} is not installed.", "Nothing to do.")


def _refuse_if_pinned(data: DataFolder, name: str) -> None:
    """Raise BadInput where somebody has asked to keep a generation for good."""
    if pins := inventory.pins(data, name):
        told = ", ".join(pin.text for pin in pins)
        raise BadInput(
            f"{name} has pinned generations: {told}.",
            f"Nothing was removed. Unpin them (./run unpin {name}), or remove all of it with "
            f"./run remove {name} --force",
            code="pinned",
            details={"pins": [asdict(pin) for pin in pins]},
        )


def _refuse_if_busy(data: DataFolder, name: str) -> None:
    """Raise ModuleInUse while a call of a module runs; the message names the program."""
    if busy := [user for user in workers.users(data, name) if user["busy"]]:
        raise _in_use(name, busy)


def _in_use(name: str, users: list[User]) -> ModuleInUse:
    who = ", ".join(map(user_text, users))
    return ModuleInUse(
        f"{name} is in use by {who}.",
        f"Wait for its end, close that program, or: ./run remove {name} --when-free",
        details={"in_use_by": users},
    )


def _unpublish(data: DataFolder, name: str) -> None:
    """Take a module from ``config.json`` and end its workers; undo it where one does not end."""
    entries = home.read_config(data.root)["modules"]
    try:
        config.change(data, lambda modules: modules.pop(name, None))
    except DiskFull:
        files.drop_bytecode(data.module(name))  # Python does without, and it makes room
        config.change(data, lambda modules: modules.pop(name, None))
    # A worker re-reads the config after it has taken its lease: none can start from now on.
    if left := workers.retire(data, name, _PATIENCE_S):
        restored = {name: entries[name]} if name in entries else {}
        config.change(data, lambda modules: modules.update(restored))
        raise _in_use(name, left)


# ---- removals that wait -------------------------------------------------------------------------


def remove_when_free(data: DataFolder, name: str, *, force: bool = False) -> Removal:
    """Remove a module's environments now, or have it done once nobody uses them.

    Parameters
    ----------
    force : bool
        Remove pinned generations too. They keep their pins until then.

    Raises
    ------
    NotWritable
        This account may not change the data folder.
    NotInstalled
        There is none.
    BadInput
        A generation is pinned; nothing was changed.
    """
    access.require(data)
    _require(data, name)
    if not force:
        _refuse_if_pinned(data, name)
    users = _present_users(data, name)
    if not users:
        try:
            return Removal(name, remove(data, name, force=force), [])
        except ModuleInUse as error:  # since a moment ago
            users = error.details["in_use_by"]
    forced = f"{_FORCED}\n" if force else ""
    files.write_text(writers.removal_mark(data, name), f"{time.time()}\n{forced}")
    return Removal(name, 0, users)


def _present_users(data: DataFolder, name: str) -> list[User]:
    writer = writers.present(data, name)
    return workers.users(data, name) + ([writer.as_user()] if writer else [])


def keep(data: DataFolder, name: str) -> None:
    """Forget a removal that waits."""
    writers.removal_mark(data, name).unlink(missing_ok=True)


def pending(data: DataFolder) -> list[str]:
    """Return the modules that are to be removed once nobody uses them."""
    return sorted(mark.stem for mark in (data.root / "envs").glob("*.remove"))


def sweep(data: DataFolder, *, spared: str = "", report: Report = ignore) -> list[str]:
    """Do the removals that wait for modules that are free by now; return their names.

    Parameters
    ----------
    spared : str
        A module that is not removed: the one that the present command is about.
    """
    done = []
    for name in pending(data):
        # What cannot be removed now stays for the next command, which this one must not suffer for.
        with contextlib.suppress(GA3EnvError, OSError):
            if name != spared and not _present_users(data, name):
                report(Stage("remove", f"Removing {name}, which nobody uses any more"))
                _remove_marked(data, name)
                done.append(name)
    return done


def _remove_marked(data: DataFolder, name: str) -> None:
    with writers.sole(data, name, "remove"):
        mark = writers.removal_mark(data, name)
        if not mark.exists():
            return  # an install has just decided otherwise
        if _FORCED not in mark.read_text("utf-8"):
            _refuse_if_pinned(data, name)  # by somebody who was quicker than the mark
        if _is_there(data, name):
            _remove(data, name)
        else:
            keep(data, name)
