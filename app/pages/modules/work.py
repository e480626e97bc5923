"""What the page's steps do: each is a call of the engine, as the command line makes it.

`root` is the data folder that a step works in: the account's own, or the one of all accounts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.background import Work
from envmanager import applog, workers
from envmanager.data import access, settings
from envmanager.data.paths import DataFolder, data_folder
from envmanager.environments import everywhere, planning, removal
from envmanager.environments.building import Wish
from envmanager.environments.health import Problem
from envmanager.environments.lifecycle import Environments, Installed, Repaired, UpdatePlan
from envmanager.environments.planning import InstallPlan
from envmanager.errors import ToolFailed
from envmanager.events import CancelToken, Report, Stage
from envmanager.modules import catalog, checking
from envmanager.modules.catalog import Module
from envmanager.modules.declared_weights import WeightsSet
from envmanager.modules.own import Added, OwnModules, Relocked
from envmanager.moving import relocation
from envmanager.weights import importing, upkeep
from envmanager.weights.getting import Getter
from envmanager.weights.store import Store


def engine(root: Path | None = None) -> Environments:
    """Return the engine on a data folder; by default on the account's own.

    On the one of all accounts it can only look where this account may not change it.
    """
    relocation.settle()
    own = data_folder()
    if root is None or root == own.root:
        return everywhere.engine()
    data = DataFolder(root)
    if access.access(data).may_change:
        return everywhere.engine_for_all()
    return Environments(data, settings.load(own.settings))


def logged(
    work: Callable[[Environments, Report, CancelToken], Any], root: Path | None = None
) -> Work[Any]:
    """Give a piece of work the engine, and write its news to the log as well."""

    def run(report: Report, cancel: CancelToken) -> Any:
        return work(engine(root), applog.also(data_folder(), report), cancel)

    return run


def plan_install(name: str, root: Path, backend: str, cancel: CancelToken) -> InstallPlan:
    """Return what an install would fetch and take."""
    found, wish = engine(root), Wish("", backend)
    return planning.install(found.data, found.settings, name, wish=wish, cancel=cancel)


def plan_update(name: str, root: Path, cancel: CancelToken) -> UpdatePlan:
    """Return what an update would change."""
    return engine(root).plan_update(name, cancel=cancel)


@dataclass(frozen=True)
class Ready:
    """A module that was installed or updated, and the usual weights that it still lacks."""

    done: Installed
    weights_missing: list[WeightsSet]


def install(name: str, root: Path, *, backend: str = "", weights: bool = False) -> Work[Ready]:
    """Install a module, and where asked for download its usual weights."""

    def run(found: Environments, report: Report, cancel: CancelToken) -> Ready:
        done = found.install(name, backend=backend, report=report, cancel=cancel)
        if weights:
            store = _store(name, root)
            _get(found, store, store.missing(), report, cancel)
        return _ready(done, root)

    return logged(run, root)


def update(name: str, root: Path) -> Work[Ready]:
    """Publish a newer version."""

    def run(found: Environments, report: Report, cancel: CancelToken) -> Ready:
        return _ready(found.update(name, report=report, cancel=cancel), root)

    return logged(run, root)


def _ready(done: Installed, root: Path) -> Ready:
    store = _store(done.name, root)
    return Ready(done, [store.described(name) for name in store.missing()])


def verify(name: str, root: Path) -> Work[list[Problem]]:
    """Check every file, the imports and the tests."""
    return logged(
        lambda found, report, cancel: found.verify(name, report=report, cancel=cancel), root
    )


def repair(name: str, root: Path) -> Work[Repaired]:
    """Verify, and build anew what is damaged."""
    return logged(
        lambda found, report, cancel: found.repair(name, report=report, cancel=cancel), root
    )


def rollback(name: str, root: Path, to: int | None = None) -> Work[Installed]:
    """Publish an older generation again."""
    return logged(
        lambda found, report, cancel: found.rollback(name, to, report=report, cancel=cancel), root
    )


def selftest(name: str, root: Path) -> Work[str]:
    """Run the module's own tests; return what they printed."""

    def run(found: Environments, report: Report, cancel: CancelToken) -> str:
        report(Stage("self-test", "Testing the module"))
        finished = found.selftest(name, cancel=cancel)
        output = (finished.stdout + finished.stderr).strip()
        if finished.exit_code:
            raise ToolFailed(
                f"The self-test of {name} failed: {output.splitlines()[-1] if output else ''}",
                "Verify the module; repair it where something is damaged.",
                details={"output": output},
            )
        return output

    return logged(run, root)


def remove(
    name: str, root: Path, *, when_free: bool = False, weights: bool = False, force: bool = False
) -> Work[removal.Removal]:
    """Delete the environment, now or once nobody uses it; where asked weights and pins too."""

    def run(found: Environments, report: Report, cancel: CancelToken) -> removal.Removal:
        report(Stage("remove", "Removing the environment"))
        if when_free:
            return found.remove_when_free(name, force=force)
        freed = found.remove(name, force=force)
        if weights:
            freed += upkeep.remove_all(found.data, name)
        return removal.Removal(name, freed, [])

    return logged(run, root)


def keep(name: str, root: Path) -> None:
    """Take back the wish to remove a module once it is free."""
    removal.keep(DataFolder(root), name)


def get_weights(name: str, root: Path, sets: Sequence[str]) -> Work[int]:
    """Download sets of weights; return their number."""
    return logged(
        lambda found, report, cancel: _get(found, _store(name, root), sets, report, cancel), root
    )


def add_weights(name: str, root: Path, source: Path, as_name: str, note: str) -> Work[str]:
    """Import a file or folder as a set of weights; return its name."""

    def run(found: Environments, report: Report, cancel: CancelToken) -> str:
        added = importing.add(
            _store(name, root), source, as_name, note=note, report=report, cancel=cancel
        )
        return added.name

    return logged(run, root)


def remove_weights(name: str, root: Path, set_name: str) -> int:
    """Delete a set of weights; return the bytes that are free again."""
    return upkeep.remove(_store(name, root), set_name)


def stop_workers(name: str) -> workers.Stopped:
    """End this user's workers of a module, after the calls that they run."""
    return everywhere.stop(name)


# ---- the user's own modules ---------------------------------------------------------------------


def check_module(folder: Path) -> Module:
    """Check a module's folder, and return what it declares."""
    return checking.check(folder)


def add_module(folder: Path, *, replace: bool) -> Work[Added]:
    """Copy a folder among the user's modules."""

    def run(found: Environments, report: Report, cancel: CancelToken) -> Added:
        own = OwnModules(found.data, found.settings, report, cancel)
        return own.add(folder, update=replace, replace_shipped=replace)

    return logged(run)


def new_module(name: str, title: str) -> Work[Added]:
    """Make a small module that works."""

    def run(found: Environments, report: Report, cancel: CancelToken) -> Added:
        return OwnModules(found.data, found.settings, report, cancel).new(name, title)

    return logged(run)


def lock_module(name: str, root: Path) -> Work[Relocked]:
    """Make the lock of a user's module anew."""

    def run(found: Environments, report: Report, cancel: CancelToken) -> Relocked:
        return OwnModules(found.data, found.settings, report, cancel).lock(name)

    return logged(run, root)


def _get(
    found: Environments, store: Store, sets: Sequence[str], report: Report, cancel: CancelToken
) -> int:
    return len(Getter(store, found.settings, report, cancel).get(list(sets)))


def _store(name: str, root: Path) -> Store:
    data = DataFolder(root)
    return Store(data, catalog.find(name, data))
