"""Builds one generation of a module's environment: aside, complete, and tested."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeVar

from envmanager import disk
from envmanager.data import config, files, fulldisk
from envmanager.data.paths import DataFolder, venv_base, venv_python, venv_version
from envmanager.environments import devices, health, overlay
from envmanager.environments.devices import Device
from envmanager.environments.generations import MANIFEST, copied, sha256, source_sha256
from envmanager.environments.runtimes import Packages, Runtime
from envmanager.errors import CatalogError, InstallFailed, ToolFailed
from envmanager.events import CancelToken, LogLine, Notice, Report, Stage
from envmanager.machine import permissions
from envmanager.modules.catalog import Module
from envmanager.packages import resolution, trust
from envmanager.packages.backends import AUTO
from envmanager.packages.lockfile import Wheel
from envmanager.packages.resolution import Resolved
from envmanager.processes import process
from envmanager.uv.program import Uv
from ga3_nodes import __version__, home

_T = TypeVar("_T")


@dataclass(frozen=True)
class Wish:
    """What the user asks of a build; what is empty stays as it is in the published one.

    Parameters
    ----------
    python : str
        A version or a path.
    backend : str
        The build of torch: ``auto``, ``cpu`` or a CUDA build.
    fresh : bool
        Resolve the newest versions that the module's ``pyproject.toml`` allows, not its lock.
    """

    python: str = ""
    backend: str = ""
    fresh: bool = False

    def or_else(self, manifest: dict[str, Any]) -> Wish:
        """Fill in what was wished for the published generation."""
        python = self.python or manifest.get("python_wanted", "")
        return Wish(python, self.backend or manifest.get("backend_wanted", AUTO), self.fresh)

    def met_by(self, manifest: dict[str, Any]) -> bool:
        """Tell whether a generation is as wished."""
        pythons = (manifest.get("python_wanted"), manifest.get("python"))
        near = str(manifest.get("python", "")).startswith(f"{self.python}.")
        same_python = not self.python or self.python in pythons or near
        return same_python and self.backend in ("", manifest.get("backend"))


@dataclass
class Build:
    """The work of building one generation.

    Attributes
    ----------
    source : str
        `source_sha256` of the module's folder, where a repair builds from a generation's copies.
    timings : dict of float
        Seconds that each stage took.
    wheels : list of Wheel
        What the environment is made of, once that is resolved.
    supply : callable, optional
        Is given the generation's folder, and puts a ``pylock.toml`` there in the place of looking
        the packages up, and their files into the `WheelStore`.
    known : Path, optional
        The ``pylock.toml`` of before, for where the packages cannot be looked up.
    """

    module: Module
    number: int
    data: DataFolder
    uv: Uv
    report: Report
    cancel: CancelToken
    wish: Wish
    source: str = ""
    device: Device = field(default_factory=Device)
    timings: dict[str, float] = field(default_factory=dict)
    wheels: list[Wheel] = field(default_factory=list)
    supply: Callable[[Path], None] | None = None
    known: Path | None = None
    _running: tuple[str, float] = ("", 0.0)

    @cached_property
    def _runtime(self) -> Runtime:
        return overlay.runtime(self.module, self.uv)

    @property
    def folder(self) -> Path:
        """The generation's folder."""
        return self.data.generation(self.module.name, self.number)

    @property
    def python(self) -> Path:
        """The environment's interpreter."""
        return venv_python(self.folder / ".venv")

    def run(self) -> dict[str, Any]:
        """Build and test; return the manifest, which is written last of all.

        Raises
        ------
        GA3EnvError
            The build failed or was cancelled; the caller removes the folder.
        """
        wanted = self.wish.backend
        resolution.check_driver(resolution.choose(self.module.lock, wanted), wanted)
        request = self._runtime.python(self.wish.python)
        self._stage("prepare", "Preparing the environment", lambda: self._prepare(request))
        resolved = self._stage("resolve", "Resolving the packages", self._resolve)
        self.wheels = resolved.wheels
        self._warn_of_space(resolved)
        packages = self._runtime.packages(
            self.folder, resolved, self.report, self.cancel, self._begin_install
        )
        self._stage("download", "Downloading the packages", packages.install)
        self._check_and_import(packages)
        if resolved.choice:
            self._stage("device", "Computing on the device", lambda: self._prove(resolved))
        self._stage("self-test", "Testing the module", self._selftest)
        self._runtime.prove(self.folder, self.report, self.cancel)
        trust.remember(self.data, resolved.trusted)
        return self._write_manifest(resolved)

    def _stage(self, name: str, title: str, work: Callable[[], _T]) -> _T:
        self._begin(name, title)
        with fulldisk.named(self.data.root, self.data.uv_cache):
            outcome = work()
        self._end()
        return outcome

    def _begin_install(self) -> None:
        """Follow uv from the download to the install: both are one run of it."""
        self._end()
        self._begin("install", "Installing the packages")

    def _begin(self, name: str, title: str) -> None:
        self.cancel.check()
        self.report(Stage(name, title))
        self._running = (name, time.perf_counter())

    def _end(self) -> None:
        name, started = self._running
        self.timings[name] = round(time.perf_counter() - started, 3)

    def _prepare(self, request: str) -> None:
        self.folder.mkdir(parents=True)
        for name in copied(self.module.folder):
            source = self.module.folder / name
            if not source.is_file():
                raise CatalogError(
                    f"The module {self.module.name} lacks {source}.", "See docs/modules.md."
                )
            shutil.copyfile(source, self.folder / name)
        config.copy_node_package(self.folder)
        declaration = json.dumps(self.module.declaration(), indent=2, ensure_ascii=False)
        (self.folder / "module.json").write_text(declaration, "utf-8")
        self.uv.make_venv(self.folder / ".venv", request)
        self._refuse_private_python()

    def _refuse_private_python(self) -> None:
        """Raise InstallFailed for a Python that not all accounts can run who will use it."""
        base = venv_base(self.folder / ".venv")
        if base and home.is_shared(self.data.root) and permissions.is_private(base):
            raise InstallFailed(
                f"The Python in {base} is of one account alone: the others cannot run it.",
                "Name one for all with --python, or have one in the data folder: ./run settings "
                "python_source managed",
                code="python_private",
            )

    def _resolve(self) -> Resolved:
        resolved = self._found()
        if resolved.choice:
            self.report(LogLine(resolved.choice.sentence))
            if resolved.choice.problem:
                self.report(Notice(resolved.choice.problem))
        return resolved

    def _found(self) -> Resolved:
        """Look the packages up, or take those that are given; without a network those of before."""
        backend = self.wish.backend
        if self.supply:
            self.supply(self.folder)
            return resolution.adopt(self.folder, self.uv, backend)
        try:
            return resolution.resolve(
                self.folder, self.uv, self.python, backend=backend, fresh=self.wish.fresh
            )
        except ToolFailed as error:
            if self.known is None or error.code != ToolFailed.code:
                raise
            self.report(LogLine(error.message))
            self.report(Notice("The packages cannot be looked up: the same files as before serve."))
            shutil.copyfile(self.known, self.folder / "pylock.toml")
            return resolution.adopt(self.folder, self.uv, backend)

    def _warn_of_space(self, resolved: Resolved) -> None:
        """Say that it may not fit, and go on: an estimate must not keep a user from trying."""
        prediction = disk.predict(self.data, resolved.wheels)
        tell = LogLine if prediction.fits else Notice
        self.report(tell(prediction.sentence))

    def _prove(self, resolved: Resolved) -> None:
        """Compute on the chosen device; the CPU in its place is never silent."""
        self.device = devices.prove(self.folder, resolved.choice, self.module.env, self.cancel)
        told = resolved.choice.problem if resolved.choice else None
        if self.device.problem and self.device.problem != told:
            self.report(Notice(self.device.problem))

    @property
    def _env(self) -> dict[str, str]:
        return self.module.env | self.device.environment

    def _check_and_import(self, packages: Packages) -> None:
        """Import while the files are checked: each takes seconds, and damage is rare."""
        with ThreadPoolExecutor(1) as pool:
            importing = pool.submit(self._import)
            try:
                checking = partial(packages.check, lambda: wait([importing]))
                mended = self._stage("check", "Checking the installed files", checking)
                title = "Importing for the first time"
                found = self._stage("warm-up", title, self._import if mended else importing.result)
            except BaseException:
                self.cancel.cancel()  # ends the import too; the build is over
                raise
        self._require(found, "import its packages")

    def _import(self) -> process.Finished:
        """Import what the module needs: proves that it loads, and writes the .pyc files."""
        self.uv.check(self.python)
        return self._run_python("-c", "import " + ", ".join(self.module.imports))

    def _selftest(self) -> None:
        host = self.folder / "ga3_nodes" / "host.py"
        self._require(self._run_python(host, self.folder, "--selftest"), "pass its self-test")

    def _run_python(self, *arguments: str | Path) -> process.Finished:
        env = {"env": self._env}
        return health.run_python(self.folder, env, *arguments, cancel=self.cancel)

    def _require(self, finished: process.Finished, what: str) -> None:
        for line in finished.stdout.splitlines():
            self.report(LogLine(line))
        if finished.exit_code:
            if fulldisk.explains(finished.stdout + finished.stderr, self.data.root):
                raise fulldisk.failure(self.data.root, log_tail=finished.stderr[-4000:])
            raise InstallFailed(
                f"The new environment of {self.module.name} could not {what}.",
                "Nothing was changed. Try again; if it stays so, report it with the details.",
                details={
                    "exit_code": finished.exit_code,
                    "log_tail": (finished.stdout + finished.stderr)[-4000:],
                },
            )

    def _write_manifest(self, resolved: Resolved) -> dict[str, Any]:
        manifest = {
            "schema": 1,
            "module": self.module.name,
            "version": self.module.version,
            "generation": self.number,
            "app_version": __version__,
            "lock_sha256": sha256(self.folder / "requirements.lock"),
            "source_sha256": self.source or source_sha256(self.module),
            "uv": self.uv.version(),
            "python": venv_version(self.folder / ".venv"),
            "backend": self.device.backend,
            "backend_wanted": self.wish.backend,
            "python_wanted": self.wish.python,
            "backend_why": self.device.why,
            "device": self.device.name,
            "device_problem": self.device.problem,
            "kernel": self.device.kernel,
            "trusted": resolved.trusted,
            "imports": list(self.module.imports),
            "env": self._env,
            "entry": self.entry(),
            "files": self._file_hashes(),
            "packages": {wheel.package: wheel.version for wheel in resolved.wheels},
            "download_bytes": sum(wheel.size for wheel in resolved.wheels),
            "disk": disk.scan(self.folder, cancel=self.cancel).as_dict(),
            "timings_s": self.timings,
            "selftest": "passed",
            "finished": time.time(),
            **self._runtime.manifest(self.folder),
        }
        files.write_text(self.folder / MANIFEST, json.dumps(manifest, indent=2) + "\n")
        return manifest

    def _file_hashes(self) -> dict[str, str]:
        """Return the sha256 of each file that the generation copies or resolves."""
        names = [*copied(self.folder), "module.json", "pylock.toml"]
        names += [f"ga3_nodes/{p.name}" for p in sorted(self.folder.glob("ga3_nodes/*.py"))]
        return {name: sha256(self.folder / name) for name in names}

    def entry(self) -> dict[str, Any]:
        """Return the module's part of ``config.json``."""
        return {
            "title": self.module.title,
            "version": self.module.version,
            "generation": self.number,
            "dir": self.data.relative(self.folder),
            "python": self.data.relative(self.python),
            "state": "ready",
            "backend": self.device.backend,
            "device": self.device.name,
            "functions": self.module.functions,
            "idle_timeout_s": self.uv.settings.idle_timeout_s or self.module.idle_timeout_s,
            "env": self._env,
            **self._runtime.entry(self.folder),
        }
