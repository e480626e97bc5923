"""Builds one generation of a module's environment: aside, complete, and tested.

``envs/<module>/<n>/`` holds all that a call runs: the virtual environment and copies of the
module's files and of the host, so that an upgrade of the app changes no published environment.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import time
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from envmanager import config, disk, files, health, lockfile, process
from envmanager.catalog import Module
from envmanager.errors import CatalogError, InstallFailed
from envmanager.events import CancelToken, LogLine, Progress, Report, Stage
from envmanager.paths import DataFolder, venv_python, venv_version
from envmanager.uv import Uv
from ga3_nodes import __version__

MANIFEST = "manifest.json"
_COPIED = ("worker.py", "test_worker.py", "module.toml", "pyproject.toml", "requirements.lock")
_DOWNLOADED = re.compile(r"^\s*Downloaded (\S+)")


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
        self._stage("resolve", "Resolving the packages", self._resolve)
        wheels = lockfile.check(self.folder / "requirements.lock", self.folder / "pylock.toml")
        self._stage("install", "Downloading and installing", lambda: self._install(wheels))
        self._stage("check", "Checking the installed files", lambda: self._check(wheels))
        self._stage("warm-up", "Importing for the first time", self._warm_up)
        self._stage("self-test", "Testing the module", self._selftest)
        return self._write_manifest(wheels)

    def _stage(self, name: str, title: str, work: Any) -> None:
        self.cancel.check()
        self.report(Stage(name, title))
        started = time.perf_counter()
        work()
        self.timings[name] = round(time.perf_counter() - started, 3)

    def _prepare(self, request: str) -> None:
        self.folder.mkdir(parents=True)
        for name in _COPIED:
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

    def _resolve(self) -> None:
        lock = self.folder / "requirements.lock"
        if self.fresh:
            self.uv.lock(self.folder / "pyproject.toml", lock)
        self.uv.resolve(lock, self.python, self.folder / "pylock.toml")

    def _check(self, wheels: list[lockfile.Wheel]) -> None:
        """Compare each file with its wheel: uv links it from a cache that may be damaged."""
        wanted = {wheel.package: wheel.version for wheel in wheels}
        venv = self.folder / ".venv"
        problems = health.packages(venv, wanted, cancel=self.cancel)
        if not problems:
            return
        damaged = sorted({problem.package for problem in problems})
        self.report(LogLine(f"damaged in uv's cache, fetched anew: {', '.join(damaged)}"))
        self._install(wheels, damaged)
        problems = health.packages(venv, wanted, cancel=self.cancel)
        if problems:
            raise InstallFailed(
                f"The installed files are not those of the packages: {problems[0].message}",
                "Check the disk, and the program that protects this computer from viruses.",
                details={"log_tail": "\n".join(problem.message for problem in problems)},
            )

    def _install(self, wheels: list[lockfile.Wheel], damaged: Sequence[str] = ()) -> None:
        sizes = {wheel.package: wheel.size for wheel in wheels}
        total, done = sum(sizes.values()), 0
        self.report(Progress(0, total))

        def on_line(line: str) -> None:
            # uv has no other progress; a line that reads differently costs a step of the bar only.
            nonlocal done
            if match := _DOWNLOADED.match(line):
                done += sizes.get(match[1], 0)
                self.report(Progress(done, total))
            self.report(LogLine(line))

        self.uv.sync(self.folder / "pylock.toml", self.python, on_line, damaged)
        self.report(Progress(total, total))

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

    def _write_manifest(self, wheels: list[lockfile.Wheel]) -> dict[str, Any]:
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
        names = [*_COPIED, "module.json", "pylock.toml"]
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


def plan(
    module: Module, uv: Uv, python: Path, folder: Path, *, fresh: bool = False
) -> list[lockfile.Wheel]:
    """Resolve in an empty `folder` what a build with this interpreter would install."""
    lock = folder / "requirements.lock"
    shutil.copyfile(module.lock, lock)
    if fresh:
        uv.lock(module.folder / "pyproject.toml", lock)
    uv.resolve(lock, python, folder / "pylock.toml")
    return lockfile.check(lock, folder / "pylock.toml")


def requires_python(module: Module) -> str:
    """Return ``requires-python`` of the module's ``pyproject.toml``.

    Raises
    ------
    CatalogError
        The file is missing or broken.
    """
    path = module.folder / "pyproject.toml"
    try:
        return str(tomllib.loads(path.read_text("utf-8"))["project"]["requires-python"])
    except (OSError, ValueError, KeyError) as error:
        raise CatalogError(
            f"{path}: project.requires-python cannot be read ({error!r}).", "Correct the file."
        ) from error


def sha256(path: Path) -> str:
    """Return the sha256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def source_sha256(module: Module) -> str:
    """Return one sha256 over all files of the module that a generation copies."""
    digest = hashlib.sha256()
    for name in _COPIED:
        path = module.folder / name
        digest.update(name.encode() + b"\0" + (path.read_bytes() if path.is_file() else b""))
    return digest.hexdigest()


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """Return a generation's manifest, or None where the generation is not complete."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return manifest if isinstance(manifest, dict) else None
