"""The life of module environments: install, list, status, remove.

An environment is published by rewriting ``config.json``; until then whatever goes wrong leaves the
published generation as it was.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from envmanager import catalog, config, workers
from envmanager.catalog import Module
from envmanager.errors import CatalogError, ModuleInUse, NotInstalled, UnknownModule
from envmanager.events import CancelToken, Report, Stage, ignore
from envmanager.files import discard, empty_trash
from envmanager.generations import Build, read_manifest, source_sha256
from envmanager.paths import DataFolder
from envmanager.settings import Settings
from envmanager.uv import Uv
from ga3_nodes import home, locks

_PATIENCE_S = 15.0  # for a worker that was told to end


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
class ModuleStatus:
    """A module and its environment, as ``list`` and ``status`` show it."""

    name: str
    title: str
    version: str
    installed_version: str | None
    state: str
    generation: int | None
    generations: list[int]
    disk: dict[str, int]
    backend: str | None
    device: str | None
    in_use_by: list[dict[str, Any]]
    problems: list[str] = field(default_factory=list)
    manifest: dict[str, Any] | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


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
        report: Report = ignore,
        cancel: CancelToken | None = None,
    ) -> Installed:
        """Build, test and publish a module's environment; do nothing where it is up to date.

        Raises
        ------
        GA3EnvError
            What went wrong; the published environment, if any, is as it was.
        """
        started = time.perf_counter()
        module = catalog.find(name, self.data)
        with self._writer(module, report):
            published = self._published(name)
            if published and self._is_current(module, published):
                folder, number = published.folder, published.generation
                return Installed(name, module.version, number, folder, False, _since(started))
            number = max([0, *self._numbers(name)]) + 1
            self._sweep(name, published)
            build = Build(
                module=module,
                number=number,
                data=self.data,
                uv=Uv(self.data, self.settings, cancel),
                report=report,
                cancel=cancel or CancelToken(),
            )
            try:
                build.run(python)
            except BaseException:
                discard(build.folder, self.data.trash)
                raise
            report(Stage("publish", "Publishing the environment"))
            config.change(self.data, lambda modules: modules.update({name: build.entry()}))
            self._prune(name, number)
        return Installed(name, module.version, number, build.folder, True, _since(started))

    def remove(self, name: str) -> int:
        """Remove a module's environments; return the bytes of its own that this frees.

        Raises
        ------
        NotInstalled
            There is none.
        ModuleInUse
            A worker is in the middle of a call.
        """
        module_dir = self.data.module(name)
        entries = home.read_config(self.data.root)["modules"]
        if name not in entries and not module_dir.is_dir():
            catalog.find(name, self.data)
            raise NotInstalled(f"The module {name!r} is not installed.", "There is nothing to do.")
        with self._sole_change(name):
            freed = sum(self._disk(number, name)["own"] for number in self._numbers(name))
            self._refuse_if_busy(name)
            config.change(self.data, lambda modules: modules.pop(name, None))
            # A worker re-reads the config after it has taken its lease: none can start from now on.
            if not workers.retire(self.data, name, _PATIENCE_S):
                config.change(self.data, lambda modules: modules.update({name: entries[name]}))
                self._refuse_if_busy(name)
                raise ModuleInUse(f"A worker of {name} does not end.", "Try again later.")
            for number in self._numbers(name):
                discard(self.data.generation(name, number), self.data.trash)
        shutil.rmtree(module_dir, ignore_errors=True)
        return freed

    # ---- questions --------------------------------------------------------------------------

    def statuses(self) -> list[ModuleStatus]:
        """Return the status of every module of the catalog, and of installed ones without."""
        installed = home.read_config(self.data.root)["modules"]
        return [self.status(name) for name in sorted({*catalog.names(self.data), *installed})]

    def status(self, name: str) -> ModuleStatus:
        """Return the status of one module."""
        problems = []
        module = None
        published = self._published(name)
        try:
            module = catalog.find(name, self.data)
        except CatalogError as error:
            problems.append(str(error))
        except UnknownModule:
            if not published:
                raise
        manifest = read_manifest(published.folder) if published else None
        state = self._state(module, published, manifest, problems)
        return ModuleStatus(
            name=name,
            title=module.title if module else name,
            version=module.version if module else "",
            installed_version=published.version if published else None,
            state=state,
            generation=published.generation if published else None,
            generations=self._numbers(name),
            disk=manifest["disk"] if manifest else {"own": 0, "shared": 0},
            backend=manifest["backend"] if manifest else None,
            device=published.device if published else None,
            in_use_by=workers.users(self.data, name),
            problems=problems,
            manifest=manifest,
        )

    def _state(
        self,
        module: Module | None,
        published: home.ModuleEntry | None,
        manifest: dict[str, Any] | None,
        problems: list[str],
    ) -> str:
        if not published:
            return "broken" if problems else "not_installed"
        if not published.python.exists() or manifest is None:
            problems.append(f"A part of {published.folder} is missing. Install the module again.")
            return "broken"
        if module and not self._is_current(module, published):
            return "update_available"
        return "ready"

    # ---- parts ------------------------------------------------------------------------------

    @contextmanager
    def _writer(self, module: Module, report: Report) -> Iterator[None]:
        """Be the only writer of a module's environments, across processes."""
        empty_trash(self.data.trash)
        self.data.module(module.name).mkdir(parents=True, exist_ok=True)
        lock = locks.FileLock(self._lock_path(module.name))
        if not lock.acquire():
            report(Stage("wait", f"Waiting for another change of {module.name}"))
            while not lock.acquire(timeout=0.2):
                pass
        try:
            yield
        finally:
            lock.release()

    @contextmanager
    def _sole_change(self, name: str) -> Iterator[None]:
        module_lock = self._lock_path(name)
        module_lock.parent.mkdir(parents=True, exist_ok=True)
        lock = locks.FileLock(module_lock)
        if not lock.acquire():
            raise ModuleInUse(
                f"Another program is changing {name} right now.", "Wait until it is done."
            )
        try:
            yield
        finally:
            lock.release()

    def _lock_path(self, name: str) -> Path:
        return self.data.root / "envs" / f"{name}.lock"

    def _published(self, name: str) -> home.ModuleEntry | None:
        data = home.read_config(self.data.root)["modules"].get(name)
        return home.entry(self.data.root, name, data) if data else None

    def _is_current(self, module: Module, published: home.ModuleEntry) -> bool:
        manifest = read_manifest(published.folder)
        return (
            manifest is not None
            and published.python.exists()
            and manifest.get("source_sha256") == source_sha256(module)
        )

    def _numbers(self, name: str) -> list[int]:
        folder = self.data.module(name)
        if not folder.is_dir():
            return []
        return sorted(int(path.name) for path in folder.iterdir() if path.name.isdecimal())

    def _disk(self, number: int, name: str) -> dict[str, int]:
        manifest = read_manifest(self.data.generation(name, number))
        return manifest["disk"] if manifest else {"own": 0, "shared": 0}

    def _sweep(self, name: str, published: home.ModuleEntry | None) -> None:
        """Remove what an install that was killed left behind."""
        current = published.generation if published else 0
        for number in self._numbers(name):
            folder = self.data.generation(name, number)
            if number > current or (number < current and read_manifest(folder) is None):
                discard(folder, self.data.trash)

    def _prune(self, name: str, published: int) -> None:
        """Keep as many older generations as the settings say, and those with a live worker."""
        older = [number for number in self._numbers(name) if number < published]
        kept = self.settings.generations_kept
        for number in older[: len(older) - kept] if kept else older:
            if not workers.serves(self.data, name, number):
                discard(self.data.generation(name, number), self.data.trash)

    def _refuse_if_busy(self, name: str) -> None:
        busy = [user for user in workers.users(self.data, name) if user["busy"]]
        if busy:
            who = ", ".join(f"{user['program']} (PID {user['pid']})" for user in busy)
            raise ModuleInUse(
                f"{name} is in use by {who}.", "Wait for its end, or close that program."
            )


def _since(started: float) -> float:
    return round(time.perf_counter() - started, 3)
