"""Puts a generation's packages into its environment, with progress, and proves each file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from envmanager import health
from envmanager.errors import InstallFailed
from envmanager.events import CancelToken, LogLine, Progress, Report
from envmanager.lockfile import Wheel
from envmanager.paths import venv_python
from envmanager.uv import Uv

_DOWNLOADED = re.compile(r"^\s*Downloaded (\S+)")


@dataclass(frozen=True)
class Installation:
    """The packages of one generation: what its ``pylock.toml`` lists."""

    folder: Path
    wheels: list[Wheel]
    uv: Uv
    report: Report
    cancel: CancelToken

    def install(self, damaged: Sequence[str] = ()) -> None:
        """Download and link the packages; `damaged` ones are fetched anew."""
        sizes = {wheel.package: wheel.size for wheel in self.wheels}
        total, done = sum(sizes.values()), 0
        self.report(Progress(0, total))

        def on_line(line: str) -> None:
            # uv has no other progress; a line that reads differently costs a step of the bar only.
            nonlocal done
            if match := _DOWNLOADED.match(line):
                done += sizes.get(match[1], 0)
                self.report(Progress(done, total))
            self.report(LogLine(line))

        python = venv_python(self.folder / ".venv")
        self.uv.sync(self.folder / "pylock.toml", python, on_line, damaged)
        self.report(Progress(total, total))

    def check(self) -> None:
        """Compare each file with its wheel: uv links it from a cache that may be damaged.

        Raises
        ------
        InstallFailed
            A file differs even after it was fetched anew.
        """
        problems = self._problems()
        if not problems:
            return
        damaged = sorted({problem.package for problem in problems})
        self.report(LogLine(f"damaged in uv's cache, fetched anew: {', '.join(damaged)}"))
        self.install(damaged)
        problems = self._problems()
        if problems:
            raise InstallFailed(
                f"The installed files are not those of the packages: {problems[0].message}",
                "Check the disk, and the program that protects this computer from viruses.",
                details={"log_tail": "\n".join(problem.message for problem in problems)},
            )

    def _problems(self) -> list[health.Problem]:
        wanted = {wheel.package: wheel.version for wheel in self.wheels}
        return health.packages(self.folder / ".venv", wanted, cancel=self.cancel)
