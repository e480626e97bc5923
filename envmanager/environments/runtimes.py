"""Where a module's code runs, and what its generation holds for that.

`Runtime` is the ordinary case: a worker process in an environment of its own. `overlay.Overlay` is
the other one: inside NIS.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from envmanager.environments.generations import requires_python
from envmanager.environments.installation import Installation
from envmanager.events import CancelToken, Report
from envmanager.modules.catalog import Module
from envmanager.packages.resolution import Resolved
from envmanager.uv.program import Uv


class Packages(Protocol):
    """The packages of a generation that is being built; see `Installation`."""

    def install(self) -> None:
        """Download and install them."""

    def check(self, mending: Callable[[], object]) -> bool:
        """Prove each file."""


@dataclass(frozen=True)
class Runtime:
    """A module whose functions run in a worker."""

    module: Module
    uv: Uv

    def python(self, wanted: str) -> str:
        """Return the version or path to build with; `wanted` is the user's, and may be empty.

        Raises
        ------
        BadInput
            The module cannot have what is wanted.
        """
        return wanted or self.uv.settings.python or requires_python(self.module)

    def packages(
        self,
        folder: Path,
        resolved: Resolved,
        report: Report,
        cancel: CancelToken,
        fetched: Callable[[], None],
    ) -> Packages:
        """Return what installs the packages into the generation.

        Raises
        ------
        InstallFailed
            They cannot run where the module runs.
        """
        return Installation(folder, resolved.wheels, self.uv, report, cancel, fetched)

    def prove(self, folder: Path, report: Report, cancel: CancelToken) -> None:
        """Test the generation once more where it will run, as far as that is another place.

        Raises
        ------
        InstallFailed
            It does not work there.
        """

    def manifest(self, folder: Path) -> dict[str, Any]:
        """Return what the manifest says beside what it says of every module."""
        return {}

    def entry(self, folder: Path) -> dict[str, Any]:
        """Return what ``config.json`` says beside what it says of every module."""
        return {}
