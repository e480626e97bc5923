"""Puts a generation's packages into its environment, with progress, and proves each file."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from envmanager.data.paths import venv_packages, venv_python
from envmanager.environments import health
from envmanager.environments.downloads import Downloads
from envmanager.environments.large_wheels import LOCAL, LargeWheels
from envmanager.errors import InstallFailed
from envmanager.events import CancelToken, LogLine, Report
from envmanager.fetching.pace import Pace
from envmanager.packages.lockfile import Wheel
from envmanager.uv import cache as uv_cache
from envmanager.uv.program import Uv

_FETCHED = re.compile(r"^(Prepared|Uninstalled|Installed) \d+ packages? in")


@dataclass(frozen=True)
class Installation:
    """The packages of one generation: what its ``pylock.toml`` lists.

    `fetched` is called once all is downloaded and uv begins to install. `pylock` is the file that
    lists the packages, `target` a plain folder for them in place of the environment.
    """

    folder: Path
    wheels: list[Wheel]
    uv: Uv
    report: Report
    cancel: CancelToken
    fetched: Callable[[], None]
    pylock: str = "pylock.toml"
    target: Path | None = None

    @property
    def site(self) -> Path:
        """The folder that the packages come to lie in."""
        return self.target or venv_packages(self.folder / ".venv")

    def install(self) -> None:
        """Download the packages and link them into the environment.

        What is large we download before, so that it can be resumed. The rest and the install are
        one run of uv: a line of it tells when the second begins.
        """
        self._sync(self.fetched)

    def check(self, mending: Callable[[], object]) -> bool:
        """Compare each file with its wheel: uv links it from a cache that may be damaged.

        Parameters
        ----------
        mending : callable
            Is called before a damaged package is replaced: its files must not be in use.

        Returns
        -------
        bool
            Whether something was replaced.

        Raises
        ------
        InstallFailed
            A file differs even after it was fetched anew.
        """
        problems = self._problems()
        if not problems:
            return False
        mending()
        damaged = sorted({problem.package for problem in problems})
        self.report(LogLine(f"damaged in uv's cache, fetched anew: {', '.join(damaged)}"))
        self._sync(lambda: None, damaged)
        problems = self._problems()
        if problems:
            raise InstallFailed(
                f"The installed files are not those of the packages: {problems[0].message}",
                "Check the disk, and the program that protects this computer from viruses.",
                details={"log_tail": "\n".join(problem.message for problem in problems)},
            )
        return True

    def _sync(self, fetched: Callable[[], None], damaged: Sequence[str] = ()) -> None:
        cache, pace = self.uv.data.uv_cache, Pace()
        uv_cache.sweep(cache)  # what an engine that was killed has left
        python = venv_python(self.folder / ".venv")
        means = (self.report, self.cancel, pace, self.target)
        large = LargeWheels(self.uv, python, self.wheels, *means)
        provided = large.provide(self.folder / self.pylock, damaged)
        downloads = Downloads(cache, self.wheels, provided.packages, provided.fetched, pace)
        watch = _Watch(downloads, self.report, fetched)
        self.uv.sync(provided.pylock, python, watch.line, watch.poll, damaged, self.target)
        watch.end()
        (self.folder / LOCAL).unlink(missing_ok=True)  # its paths are for this install only

    def _problems(self) -> list[health.Problem]:
        wanted = {wheel.package: wheel.version for wheel in self.wheels}
        return health.packages_in(self.site, wanted, report=self.report, cancel=self.cancel)


class _Watch:
    """Turns what uv says and does into events."""

    def __init__(self, downloads: Downloads, report: Report, fetched: Callable[[], None]) -> None:
        self._downloads, self._report, self._fetched = downloads, report, fetched
        self._downloading = True

    def line(self, line: str) -> None:
        """Take a line of uv's."""
        self._downloads.heard(line)
        if _FETCHED.match(line) or self._downloads.needless:
            self.end()
        if not line.startswith("DEBUG "):
            self._report(LogLine(line))

    def poll(self) -> None:
        """Look how far the downloads are."""
        if self._downloading and (progress := self._downloads.look()):
            self._report(progress)

    def end(self) -> None:
        """Close the downloads, once."""
        if self._downloading:
            self._downloading = False
            self._report(self._downloads.end())
            self._fetched()
