"""Modules that run inside NIS: an overlay folder of packages behind those that NIS ships.

The generation of such a module holds an ``overlay`` for NIS to import from, and beside it a small
environment as NIS has it: the same Python version with numpy, and the overlay behind that on its
`sys.path`. In it the overlay is tested, and a worker runs for callers that are no such Python.
Where NIS's own Python lies here, the packages must fit what it ships, and are tested in it too.
"""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import tomlkit
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from envmanager.data.paths import venv_packages, venv_python, venv_version
from envmanager.environments.generations import OVERLAY
from envmanager.environments.installation import Installation
from envmanager.environments.runtimes import Packages, Runtime
from envmanager.errors import BadInput, InstallFailed
from envmanager.events import CancelToken, LogLine, Report
from envmanager.machine import nis
from envmanager.modules import catalog
from envmanager.modules.catalog import Module
from envmanager.packages.lockfile import Wheel
from envmanager.packages.resolution import Resolved
from envmanager.processes import process
from envmanager.uv.program import Uv

# Names that NIS and its scripts import; of the overlay they would not be found, or be wrong.
_RESERVED = nis.SHIPS | {"limnode", "ga3_nodes", "worker"}
_STANDARD = "import sys; print(*sys.stdlib_module_names)"
_IN_NIS = """
import runpy, sys
host, folder, overlay = sys.argv[1:4]
sys.path.append(overlay)
sys.argv = [host, folder, "--selftest"]
runpy.run_path(host, run_name="__main__")
"""


def runtime(module: Module, uv: Uv) -> Runtime:
    """Return where a module's code runs."""
    return Overlay(module, uv) if module.runtime == catalog.HOST else Runtime(module, uv)


@dataclass(frozen=True)
class Overlay(Runtime):
    """A module whose functions run inside NIS."""

    @cached_property
    def nis(self) -> nis.NisPython | None:
        """The Python of the NIS that lies here, if one does."""
        return nis.find(self.uv.settings, self.uv.cancel)

    def python(self, wanted: str) -> str:
        """Return NIS's Python version."""
        if wanted:
            raise BadInput(
                f"{self.module.name} runs inside NIS-Elements, so its Python is that of NIS.",
                "Leave --python out.",
            )
        return ".".join(self.nis.version.split(".")[:2]) if self.nis else nis.PYTHON

    def packages(
        self,
        folder: Path,
        resolved: Resolved,
        report: Report,
        cancel: CancelToken,
        fetched: Callable[[], None],
    ) -> Packages:
        """Return what installs NIS's own packages into the environment, others into the overlay."""
        if resolved.choice:
            raise InstallFailed(
                f"{self.module.name} needs torch, which must not run inside NIS-Elements.",
                'Take runtime = "host" out of its module.toml.',
                code="not_for_host",
            )
        overlaid = [wheel for wheel in resolved.wheels if wheel.package not in self._shipped]
        shipped = [wheel for wheel in resolved.wheels if wheel not in overlaid]
        return _Pair(
            folder,
            _part(folder, "nis", shipped, None, (self.uv, report, cancel, _nothing)),
            _part(folder, OVERLAY, overlaid, folder / OVERLAY, (self.uv, report, cancel, fetched)),
            self.nis,
        )

    @property
    def _shipped(self) -> frozenset[str]:
        return frozenset(self.nis.packages) | nis.SHIPS if self.nis else nis.SHIPS

    def prove(self, folder: Path, report: Report, cancel: CancelToken) -> None:
        """Run the module's tests in NIS's own Python, where it lies here."""
        if self.nis is None:
            report(LogLine("No NIS-Elements was found: tested in a Python like that of NIS only."))
            return
        host, overlay = folder / "ga3_nodes" / "host.py", folder / OVERLAY
        arguments = ("-c", _IN_NIS, host, folder, overlay)
        finished = nis.run(self.nis.python, *arguments, cwd=folder, cancel=cancel)
        if finished.exit_code:
            raise InstallFailed(
                f"{self.module.name} does not work in the Python of NIS-Elements.",
                "Nothing was changed. The reason is in the details.",
                code="does_not_fit_nis",
                details={
                    "exit_code": finished.exit_code,
                    "log_tail": (finished.stdout + finished.stderr)[-4000:],
                },
            )

    def manifest(self, folder: Path) -> dict[str, Any]:
        """Return which of the packages lie in the overlay, and for which NIS."""
        lock = tomlkit.parse((folder / f"pylock.{OVERLAY}.toml").read_text("utf-8")).unwrap()
        found = {"python": str(self.nis.python), "version": self.nis.version} if self.nis else None
        return {"overlaid": [p["name"] for p in lock.get("packages", [])], "nis": found}

    def entry(self, folder: Path) -> dict[str, Any]:
        """Return the overlay, and the Python (as `sys.implementation.cache_tag`) that it is for."""
        major, minor = venv_version(folder / ".venv").split(".")[:2]
        return {
            "runtime": catalog.HOST,
            "overlay": self.uv.data.relative(folder / OVERLAY),
            "python_tag": f"cpython-{major}{minor}",
        }


@dataclass(frozen=True)
class _Pair:
    """The packages of both places."""

    folder: Path
    shipped: Installation
    overlay: Installation
    host: nis.NisPython | None

    def install(self) -> None:
        self.overlay.site.mkdir()
        site = venv_packages(self.folder / ".venv")
        # Python appends what a .pth file names, so the overlay comes behind the other packages.
        behind = os.path.relpath(self.overlay.site, site)
        (site / "ga3_overlay.pth").write_text(f"{behind}\n", "utf-8")
        for part in (self.shipped, self.overlay):
            part.install()

    def check(self, mending: Callable[[], object]) -> bool:
        mended = [part.check(mending) for part in (self.shipped, self.overlay)]
        self._refuse_shadows()
        self._refuse_what_does_not_fit()
        return any(mended)

    def _refuse_shadows(self) -> None:
        """Refuse a name that Python or NIS has: nobody could say which of the two is imported."""
        python = venv_python(self.folder / ".venv")
        standard = process.run([python, "-I", "-c", _STANDARD], cwd=self.folder)
        taken = _RESERVED | set(standard.stdout.split())
        taken |= set(_names(venv_packages(self.folder / ".venv")))
        shadows = sorted(taken.intersection(_names(self.overlay.site)))
        if shadows:
            raise InstallFailed(
                f"A package brings its own {', '.join(shadows)}, which NIS-Elements has already.",
                'Such a package cannot run inside NIS: take runtime = "host" out of module.toml.',
                code="shadows_nis",
            )

    def _refuse_what_does_not_fit(self) -> None:
        """Compare what the overlay's packages ask for with the versions that NIS ships."""
        if self.host is None:
            return
        minor = ".".join(self.host.version.split(".")[:2])
        versions = {"python_full_version": self.host.version, "python_version": minor}
        for found in importlib.metadata.distributions(path=[str(self.overlay.site)]):
            for wanted in map(Requirement, found.requires or ()):
                has = self.host.packages.get(canonicalize_name(wanted.name))
                applies = wanted.marker is None or wanted.marker.evaluate({**versions, "extra": ""})
                if has and applies and not wanted.specifier.contains(has, prereleases=True):
                    raise InstallFailed(
                        f"{found.name} {found.version} does not fit the packages of the Python in "
                        f"{self.host.python.parent}: it needs {wanted.name}{wanted.specifier}, and "
                        f"NIS-Elements has {has}.",
                        "It needs another version of NIS-Elements, or of the module.",
                        code="does_not_fit_nis",
                    )


def _names(site: Path) -> Iterator[str]:
    """Return the names that can be imported from a folder."""
    for path in site.iterdir():
        name = path.name.partition(".")[0]
        if name.isidentifier() and (path.is_dir() or path.suffix in (".py", ".so", ".pyd")):
            yield name


_Means = tuple[Uv, Report, CancelToken, Callable[[], None]]


def _part(
    folder: Path, name: str, wheels: list[Wheel], target: Path | None, means: _Means
) -> Installation:
    """Write the part of ``pylock.toml`` that holds these wheels; return what installs it."""
    wanted = {wheel.package for wheel in wheels}
    document = tomlkit.parse((folder / "pylock.toml").read_text("utf-8"))
    packages = tomlkit.aot()
    for package in document.unwrap().get("packages", []):
        if package["name"] in wanted:
            packages.append(tomlkit.item(package))
    document["packages"] = packages
    pylock = folder / f"pylock.{name}.toml"
    pylock.write_text(tomlkit.dumps(document), "utf-8")
    return Installation(folder, wheels, *means, pylock=pylock.name, target=target)


def _nothing() -> None:
    pass
