"""The life of module environments: install, update, repair, roll back, remove.

An environment is published by rewriting ``config.json``; until then whatever goes wrong leaves the
published generation as it was.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from envmanager import disk, workers
from envmanager.data import access, config, writers
from envmanager.data.files import discard_if_free
from envmanager.data.paths import DataFolder
from envmanager.data.settings import Settings
from envmanager.environments import health, inventory, planning, removal
from envmanager.environments.building import Build, Wish
from envmanager.environments.generations import (
    MANIFEST,
    is_pinned,
    read_manifest,
    source_sha256,
)
from envmanager.errors import ConfigError, InstallFailed, NotInstalled
from envmanager.events import CancelToken, Report, Stage, ignore
from envmanager.modules import catalog
from envmanager.modules.catalog import Module
from envmanager.packages import resolution
from envmanager.packages.backends import AUTO, CPU
from envmanager.packages.wheel_store import WheelStore
from envmanager.processes import process
from envmanager.uv import cache as uv_cache
from envmanager.uv.program import Uv
from ga3_nodes import home


@dataclass(frozen=True)
class Installed:
    """The outcome of an install; `new` is False where it was there already."""

    name: str
    version: str
    generation: int
    folder: Path
    new: bool
    seconds: float


@dataclass(frozen=True)
class UpdatePlan:
    """What an update would change; `changes` holds ``package``, ``old`` and ``new`` versions.

    `download_bytes`, `disk_bytes`, `free_bytes` and `fits` are those of `disk.Prediction`.

    `backend` is the build of torch, and `why` explains it; empty for a module without torch.
    """

    name: str
    old_version: str
    new_version: str
    needed: bool
    changes: list[dict[str, str | None]]
    download_bytes: int
    disk_bytes: int
    free_bytes: int
    fits: bool
    backend: str = ""
    why: str = ""


@dataclass(frozen=True)
class Repaired:
    """The outcome of a repair: what was wrong, and the generation that is published now."""

    name: str
    problems: list[health.Problem]
    generation: int
    new: bool


@dataclass(frozen=True)
class Environments:
    """All module environments of one data folder."""

    data: DataFolder
    settings: Settings

    # ---- changes ----------------------------------------------------------------------------

    def install(
        self,
        name: str,
        *,
        python: str = "",
        backend: str = "",
        supply: Callable[[Path], None] | None = None,
        report: Report = ignore,
        cancel: CancelToken | None = None,
    ) -> Installed:
        """Build, test and publish a module's environment; do nothing where it is up to date.

        Parameters
        ----------
        python : str
            A version or a path; by default as it is, else what the settings or the module say.
        backend : str
            The build of torch: ``auto``, ``cpu`` or a CUDA build; by default as it is, else auto.
        supply : callable, optional
            What brings the packages in the place of the network; see `Build`.

        Raises
        ------
        GA3EnvError
            What went wrong; the published environment, if any, is as it was.
        """
        started = time.perf_counter()
        module = catalog.find(name, self.data)
        with writers.waiting(self.data, name, "install", report, cancel) as report:
            removal.keep(self.data, name)
            published = inventory.usable(self.data, name)
            wish = Wish(python, backend)
            number = self._current(module, published, wish)
            if number is None:
                return self._publish_new(module, published, wish, report, cancel, supply=supply)
            self._sweep(name, number)
            self._prune(name, number)
        folder = self.data.generation(name, number)
        return Installed(name, module.version, number, folder, False, _since(started))

    def plan_update(
        self,
        name: str,
        *,
        backend: str = "",
        fresh: bool = False,
        cancel: CancelToken | None = None,
    ) -> UpdatePlan:
        """Resolve what `update` would install, and compare it with what is installed.

        Raises
        ------
        NotWritable
            This account may not change the data folder, nor uv's cache in it.
        NotInstalled
            There is nothing to update.
        """
        access.require(self.data)
        module = catalog.find(name, self.data)
        published, manifest = inventory.installed(self.data, name)
        uv = Uv(self.data, self.settings, cancel)
        with tempfile.TemporaryDirectory(prefix="ga3-plan-") as folder:
            wanted = backend or manifest.get("backend_wanted", AUTO)
            python, place = published.python, Path(folder)
            resolved = planning.resolve_aside(
                module, uv, python, place, backend=wanted, fresh=fresh
            )
        old = dict(manifest.get("packages", {}))
        new = {wheel.package: wheel.version for wheel in resolved.wheels}
        changes = [
            {"package": p, "old": old.get(p), "new": new.get(p)}
            for p in sorted({*old, *new})
            if old.get(p) != new.get(p)
        ]
        needed = bool(changes) or not inventory.is_current(module, published)
        space = disk.predict(self.data, resolved.wheels if needed else [])
        choice = resolved.choice
        return UpdatePlan(
            name=name,
            old_version=published.version,
            new_version=module.version,
            needed=needed,
            changes=changes,
            download_bytes=space.download_bytes,
            disk_bytes=space.disk_bytes,
            free_bytes=space.free_bytes,
            fits=space.fits,
            backend=choice.backend if choice else "",
            why=choice.sentence if choice else "",
        )

    def update(
        self,
        name: str,
        *,
        backend: str = "",
        fresh: bool = False,
        report: Report = ignore,
        cancel: CancelToken | None = None,
    ) -> Installed:
        """Publish a new generation where the module's folder is newer, or `fresh` is wanted.

        Parameters
        ----------
        backend : str
            The build of torch: ``auto``, ``cpu`` or a CUDA build; by default as wanted before.
        fresh : bool
            Take the newest versions that the module's ``pyproject.toml`` allows.

        Raises
        ------
        NotInstalled
            There is nothing to update.
        GA3EnvError
            What went wrong; the published environment is as it was.
        """
        started = time.perf_counter()
        module = catalog.find(name, self.data)
        with writers.waiting(self.data, name, "update", report, cancel) as report:
            published, _ = inventory.installed(self.data, name)
            wish = Wish(backend=backend, fresh=fresh)
            number = None if fresh else self._current(module, published, wish)
            if number is None:
                return self._publish_new(module, published, wish, report, cancel)
            self._sweep(name, number)
            self._prune(name, number)
        folder = self.data.generation(name, number)
        return Installed(name, module.version, number, folder, False, _since(started))

    def repair(
        self, name: str, *, report: Report = ignore, cancel: CancelToken | None = None
    ) -> Repaired:
        """Verify the published environment and, where needed, build it anew at the same version.

        Raises
        ------
        NotInstalled
            There is nothing to repair.
        GA3EnvError
            What went wrong; the published environment is as it was.
        """
        module = self._source_of_published(name)
        with writers.waiting(self.data, name, "repair", report, cancel) as report:
            published, manifest = inventory.installed(self.data, name)
            problems = self.verify(name, report=report, cancel=cancel)
            if not problems:
                return Repaired(name, problems, published.generation, False)
            own = module.folder == published.folder  # its copies are intact
            source = manifest.get("source_sha256", "") if own else ""
            known = published.folder / "pylock.toml" if own else None
            done = self._publish_new(
                module, published, Wish(), report, cancel, source=source, known=known
            )
            return Repaired(name, problems, done.generation, True)

    def rollback(
        self,
        name: str,
        generation: int | None = None,
        *,
        report: Report = ignore,
        cancel: CancelToken | None = None,
    ) -> Installed:
        """Publish an older generation again: the newest before the published one, or a given one.

        Raises
        ------
        NotInstalled
            There is no such generation.
        InstallFailed
            It is damaged; nothing was changed.
        """
        started = time.perf_counter()
        with writers.sole(self.data, name, "rollback", report) as report:
            published, _ = inventory.installed(self.data, name)
            number = self._rollback_target(name, published, generation)
            folder = self.data.generation(name, number)
            manifest = read_manifest(folder) or {}
            problems = health.verify(folder, manifest, report=report, cancel=cancel)
            if problems:
                raise InstallFailed(
                    f"Generation {number} of {name} is damaged: {problems[0].message}",
                    f"Generation {published.generation} stays. Repair it instead.",
                    details={"log_tail": "\n".join(p.message for p in problems)},
                )
            report(Stage("publish", "Publishing the environment"))
            self._publish(name, manifest["entry"])
        return Installed(name, manifest["version"], number, folder, True, _since(started))

    def remove(self, name: str, *, force: bool = False) -> int:
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
        return removal.remove(self.data, name, force=force)

    def remove_when_free(self, name: str, *, force: bool = False) -> removal.Removal:
        """Remove a module's environments now, or have it done once nobody uses them.

        Raises
        ------
        NotInstalled
            There is none.
        BadInput
            A generation is pinned, and `force` is not set; nothing was changed.
        """
        return removal.remove_when_free(self.data, name, force=force)

    # ---- questions --------------------------------------------------------------------------

    def verify(
        self,
        name: str,
        *,
        quick: bool = False,
        report: Report = ignore,
        cancel: CancelToken | None = None,
    ) -> list[health.Problem]:
        """Return what is wrong with the published environment of a module.

        Raises
        ------
        NotInstalled
            There is none.
        """
        published, manifest = inventory.installed(self.data, name)
        if not manifest:
            path = str(published.folder / MANIFEST)
            message = f"The environment of {name} is gone, or its manifest is."
            return [health.Problem("environment_missing", "", path, message)]
        return health.verify(published.folder, manifest, quick=quick, report=report, cancel=cancel)

    def selftest(self, name: str, *, cancel: CancelToken | None = None) -> process.Finished:
        """Run the module's own tests in its published environment.

        Raises
        ------
        NotInstalled
            There is none.
        """
        published, manifest = inventory.installed(self.data, name)
        return health.selftest(published.folder, manifest, cancel)

    # ---- parts ------------------------------------------------------------------------------

    def _publish_new(
        self,
        module: Module,
        published: home.ModuleEntry | None,
        wish: Wish,
        report: Report,
        cancel: CancelToken | None,
        *,
        source: str = "",
        supply: Callable[[Path], None] | None = None,
        known: Path | None = None,
    ) -> Installed:
        """Build the next generation, publish it, and drop the oldest ones."""
        started = time.perf_counter()
        name = module.name
        number = max([0, *inventory.numbers(self.data, name)]) + 1
        self._sweep(name, published.generation if published else 0)
        cancel = cancel or CancelToken()
        uv = Uv(self.data, self.settings, cancel)
        before = (read_manifest(published.folder) if published else None) or {}
        wish = wish.or_else(before)
        store = WheelStore(self.data)
        store.sweep(name)
        build = Build(module, number, self.data, uv, report, cancel, wish, source)
        build.supply, build.known = supply, known
        try:
            build.run()
            report(Stage("publish", "Publishing the environment"))
            cancel.check()
            self._publish(name, build.entry())
        except BaseException:
            if not self._is_published(name, number):  # Ctrl-C may come right after
                discard_if_free(build.folder, self.data.trash)
            uv_cache.sweep(self.data.uv_cache)  # uv leaves half a wheel when another one is wrong
            raise
        store.release(build.wheels, name)
        self._prune(name, number)
        return Installed(name, module.version, number, build.folder, True, _since(started))

    def _source_of_published(self, name: str) -> Module:
        """Return what the published generation was built from, to build the same again.

        Its own copies where they are intact, else the module's folder.
        """
        published, manifest = inventory.installed(self.data, name)
        copies = manifest.get("files", {})
        intact = bool(copies) and not any(health.copies(published.folder, manifest))
        return catalog.load(published.folder, name) if intact else catalog.find(name, self.data)

    def _rollback_target(self, name: str, published: home.ModuleEntry, wanted: int | None) -> int:
        complete = [
            number
            for number in inventory.numbers(self.data, name)
            if number != published.generation
            and read_manifest(self.data.generation(name, number)) is not None
        ]
        older = [number for number in complete if number < published.generation]
        if wanted is None and older:
            return older[-1]
        if wanted in complete:
            return int(wanted or 0)
        raise NotInstalled(
            f"{name} has no {'older generation' if wanted is None else f'generation {wanted}'}.",
            f"It can go back to: {', '.join(map(str, complete)) or 'none'}.",
            code="no_generation",
        )

    def _sweep(self, name: str, published: int) -> None:
        """Remove what an install that was killed left behind: generations without a manifest."""
        for number in inventory.numbers(self.data, name):
            folder = self.data.generation(name, number)
            if number == published or is_pinned(folder):
                continue
            if read_manifest(folder) is None and not workers.serves(self.data, name, number):
                discard_if_free(folder, self.data.trash)

    def _is_published(self, name: str, number: int) -> bool:
        try:
            published = inventory.usable(self.data, name)
        except ConfigError:  # the reason why it could not be published
            return False
        return published is not None and published.generation == number

    def _publish(self, name: str, entry: dict[str, Any]) -> None:
        if self.settings.idle_timeout_s:  # it may be newer than the entry of a rollback
            entry = entry | {"idle_timeout_s": self.settings.idle_timeout_s}
        config.change(self.data, lambda modules: modules.update({name: entry}))

    def _current(
        self, module: Module, published: home.ModuleEntry | None, wish: Wish
    ) -> int | None:
        """Return the published generation of the module's present files, if it is as wished.

        Where another complete generation of them lies here, it is published: an install that was
        killed at its very end left it, or ``config.json`` was lost.
        """
        if wish.backend == AUTO:
            choice = resolution.choose(module.lock, AUTO)
            wish = replace(wish, backend=choice.backend if choice else CPU)
        current = published and inventory.is_current(module, published)
        if published and current and wish.met_by(read_manifest(published.folder) or {}):
            return published.generation
        for number in reversed(inventory.numbers(self.data, module.name)):
            folder = self.data.generation(module.name, number)
            manifest = read_manifest(folder)
            if not manifest or manifest.get("source_sha256") != source_sha256(module):
                continue
            if not wish.met_by(manifest):
                continue
            if not health.verify(folder, manifest, quick=True):
                self._publish(module.name, manifest["entry"])
                return number
        return None

    def _prune(self, name: str, published: int) -> None:
        """Keep pins, those with a live worker, and as many others as the settings say."""
        older = [
            number
            for number in inventory.numbers(self.data, name)
            if number < published and not is_pinned(self.data.generation(name, number))
        ]
        for number in older[: max(0, len(older) - self.settings.generations_kept)]:
            if not workers.serves(self.data, name, number):
                discard_if_free(self.data.generation(name, number), self.data.trash)


def _since(started: float) -> float:
    return round(time.perf_counter() - started, 3)
