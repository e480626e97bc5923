"""Builds one generation of a module's environment: aside, complete, and tested."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from envmanager import config, disk, files, health, process, resolution
from envmanager.catalog import Module
from envmanager.errors import CatalogError, InstallFailed
from envmanager.events import CancelToken, LogLine, Report, Stage
from envmanager.generations import COPIED, MANIFEST, requires_python, sha256, source_sha256
from envmanager.installation import Installation
from envmanager.lockfile import Wheel
from envmanager.paths import DataFolder, venv_python, venv_version
from envmanager.uv import Uv
from ga3_nodes import __version__

_T = TypeVar("_T")


@dataclass
class Build:
    """The work of building one generation.

    Attributes
    ----------
    fresh : bool
        Resolve the newest versions that the module's ``pyproject.toml`` allows, not its lock.
    source : str
        `source_sha256` of the module's folder, where a repair builds from a generation's copies.
    timings : dict of float
        Seconds that each stage took.
    """

    module: Module
    number: int
    data: DataFolder
    uv: Uv
    report: Report
    cancel: CancelToken
    fresh: bool = False
    source: str = ""
    timings: dict[str, float] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """The generation's folder."""
        return self.data.generation(self.module.name, self.number)

    @property
    def python(self) -> Path:
        """The environment's interpreter."""
        return venv_python(self.folder / ".venv")

    def run(self, python: str = "") -> dict[str, Any]:
        """Build and test; return the manifest, which is written last of all.

        Parameters
        ----------
        python : str
            A version or a path; by default what the module's ``pyproject.toml`` requires.

        Raises
        ------
        GA3EnvError
            The build failed or was cancelled; the caller removes the folder.
        """
        request = python or self.uv.settings.python or requires_python(self.module)
        self._stage("prepare", "Preparing the environment", lambda: self._prepare(request))
        wheels = self._stage("resolve", "Resolving the packages", self._resolve)
        packages = Installation(self.folder, wheels, self.uv, self.report, self.cancel)
        self._stage("install", "Downloading and installing", packages.install)
        self._stage("check", "Checking the installed files", packages.check)
        self._stage("warm-up", "Importing for the first time", self._warm_up)
        self._stage("self-test", "Testing the module", self._selftest)
        return self._write_manifest(wheels)

    def _stage(self, name: str, title: str, work: Callable[[], _T]) -> _T:
        self.cancel.check()
        self.report(Stage(name, title))
        started = time.perf_counter()
        outcome = work()
        self.timings[name] = round(time.perf_counter() - started, 3)
        return outcome

    def _prepare(self, request: str) -> None:
        self.folder.mkdir(parents=True)
        for name in COPIED:
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

    def _resolve(self) -> list[Wheel]:
        lock = self.folder / "requirements.lock"
        return resolution.resolve(lock, self.uv, self.python, fresh=self.fresh)

    def _warm_up(self) -> None:
        """Import what the module needs: proves that it loads, and writes the .pyc files."""
        self.uv.check(self.python)
        code = "import " + ", ".join(self.module.imports)
        self._require(self._run_python("-c", code), "import its packages")

    def _selftest(self) -> None:
        host = self.folder / "ga3_nodes" / "host.py"
        self._require(self._run_python(host, self.folder, "--selftest"), "pass its self-test")

    def _run_python(self, *arguments: str | Path) -> process.Finished:
        env = {"env": self.module.env}
        return health.run_python(self.folder, env, *arguments, cancel=self.cancel)

    def _require(self, finished: process.Finished, what: str) -> None:
        for line in finished.stdout.splitlines():
            self.report(LogLine(line))
        if finished.exit_code:
            raise InstallFailed(
                f"The new environment of {self.module.name} could not {what}.",
                "Nothing was changed. Try again; if it stays so, report it with the details.",
                details={
                    "exit_code": finished.exit_code,
                    "log_tail": (finished.stdout + finished.stderr)[-4000:],
                },
            )

    def _write_manifest(self, wheels: list[Wheel]) -> dict[str, Any]:
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
            "backend": "cpu",
            "imports": list(self.module.imports),
            "env": self.module.env,
            "entry": self.entry(),
            "files": self._file_hashes(),
            "packages": {wheel.package: wheel.version for wheel in wheels},
            "download_bytes": sum(wheel.size for wheel in wheels),
            "disk": disk.scan(self.folder, cancel=self.cancel).as_dict(),
            "timings_s": self.timings,
            "selftest": "passed",
            "finished": time.time(),
        }
        files.write_text(self.folder / MANIFEST, json.dumps(manifest, indent=2) + "\n")
        return manifest

    def _file_hashes(self) -> dict[str, str]:
        """Return the sha256 of each file that the generation copies or resolves."""
        names = [*COPIED, "module.json", "pylock.toml"]
        names += [f"ga3_nodes/{p.name}" for p in sorted(self.folder.glob("ga3_nodes/*.py"))]
        return {name: sha256(self.folder / name) for name in names}

    def entry(self) -> dict[str, Any]:
        """Return the module's part of ``config.json``."""
        return {
            "version": self.module.version,
            "generation": self.number,
            "dir": self.data.relative(self.folder),
            "python": self.data.relative(self.python),
            "state": "ready",
            "backend": "cpu",
            "device": "cpu",
            "functions": self.module.functions,
            "idle_timeout_s": self.module.idle_timeout_s,
            "env": self.module.env,
        }
