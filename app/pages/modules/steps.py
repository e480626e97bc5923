"""What can be done with a module in its present state, and which of it is the right next step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.pages.modules import rights
from app.pages.modules.rights import Rights

if TYPE_CHECKING:
    from envmanager.environments.inventory import ModuleStatus


@dataclass(frozen=True)
class Step:
    """Something to do with a module: a stable `key`, what the button says, and its drawing."""

    key: str
    title: str
    icon: str
    help: str = ""


INSTALL = Step("install", "Install", "download", "Make the environment and test it")
INSTALL_ALONE = Step(
    "install_alone", "Install for me alone", "download", "One of your own, which you can change"
)
UPDATE = Step("update", "Update", "update", "Publish a newer version; the present one is kept")
VERIFY = Step("verify", "Verify", "verify", "Check every file, the imports and the tests")
REPAIR = Step("repair", "Repair", "repair", "Build anew what is damaged")
ROLLBACK = Step("rollback", "Roll back", "rollback", "Go back to the version before")
SELFTEST = Step("selftest", "Test", "test", "Run the module's own tests")
WEIGHTS = Step("weights", "Weights", "weights", "Download, import and remove model weights")
GET_WEIGHTS = Step("weights", "Get weights", "weights", "Download what the module computes with")
TRY = Step("try", "Try it", "try", "Segment an image of yours")
NODE = Step("node", "Make GA3 node", "node", "Get the script for NIS-Elements")
FOLDER = Step("folder", "Open folder", "folder", "Show the environment's files")
LOG = Step("log", "Show log", "log", "What the worker and the engine wrote")
REMOVE = Step("remove", "Remove", "remove", "Delete the environment")
KEEP = Step("keep", "Keep it", "rollback", "Do not remove it once it is free")
SOURCE = Step("source", "Open module files", "folder", "Show worker.py, module.toml and the rest")
LOCK = Step("lock", "Renew the lock", "lock", "After a change of the packages in pyproject.toml")
EXPORT = Step("export", "Export ...", "save", "Make one file of it, for another computer")
OFFLINE = Step("offline", "Take offline ...", "save", "For a computer without a network")
METHODS = Step("methods", "Methods text ...", "copy", "What a methods section needs, to the hash")
PIN = Step("pin", "Pin ...", "lock", "Never clean up this version")
UNPIN = Step("unpin", "Unpin", "lock", "Let this version be cleaned up again")
COMPARE = Step("compare", "Compare ...", "search", "What differs from the version in use")

_ALL = (
    *(INSTALL, INSTALL_ALONE, UPDATE, VERIFY, REPAIR, ROLLBACK, SELFTEST, WEIGHTS, TRY, NODE),
    *(FOLDER, LOG, REMOVE, KEEP, SOURCE, LOCK, EXPORT, OFFLINE),
    *(METHODS, PIN, UNPIN, COMPARE),
)
# What mends an error of a run, by its code.
MENDING = {
    "not_installed": INSTALL,
    "weights_missing": GET_WEIGHTS,
    "worker_start_failed": REPAIR,
    "import_failed": REPAIR,
}
_NEXT = {
    "not_installed": INSTALL,
    "ready": TRY,
    "update_available": UPDATE,
    "weights_missing": GET_WEIGHTS,
    "broken": REPAIR,
    "removing": KEEP,
}


def by_key(key: str) -> Step:
    """Return a step by its key, as another page names it."""
    return next(step for step in _ALL if step.key == key)


def next_step(status: ModuleStatus, may: Rights = rights.ALL) -> Step | None:
    """Return the right next step that this account may take; None while the module changes."""
    if status.busy:
        return None
    step = _NEXT.get(status.state)
    if status.state == "broken" and not _can_be_repaired(status):
        step = INSTALL
    if step is None or not may.refuses(step.key):
        return step
    if step is UPDATE:
        return TRY  # what is there works
    return INSTALL_ALONE if may.can_have_own else None


def menu(status: ModuleStatus, may: Rights = rights.ALL, *, own: bool) -> list[list[Step]]:
    """Return the other things to do, in groups, as a menu shows them; `own`: the user's module."""
    weights = [WEIGHTS] if status.weights else []
    source = [SOURCE, LOCK, EXPORT, OFFLINE] if own else [OFFLINE]
    if status.generation is None:
        groups = [[INSTALL, *weights], source]
    elif not _can_be_repaired(status):
        groups = [[INSTALL, *weights], source, [LOG, REMOVE]]
    else:
        care = [UPDATE, VERIFY, REPAIR, SELFTEST]
        if len(status.generations) > 1:
            care.insert(3, ROLLBACK)
        groups = [[TRY, NODE, METHODS, *weights], care, source, [FOLDER, LOG], [REMOVE]]
    if may.can_have_own:
        groups.insert(1, [INSTALL_ALONE])
    first = next_step(status, may)
    rest = [[step for step in group if step != first] for group in groups]
    return [group for group in rest if group]


def _can_be_repaired(status: ModuleStatus) -> bool:
    """Tell whether enough is left to know what to build again."""
    return status.generation is not None and status.manifest is not None
