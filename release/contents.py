"""What a release holds of the project, and when and from what it was made."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from ga3_nodes import __version__
from release.errors import ReleaseError
from release.pythons import CarriedPython

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("app", "docs", "envmanager", "external", "ga3_nodes", "modules", "resources")
FILES = (
    "CHANGELOG.md",
    "LICENSE",
    "README.md",
    "requirements-dask.lock",
    "requirements.lock",
    "run.cmd",
)
_OLDEST_OF_ZIP = 315532800  # 1980-01-01


@dataclass(frozen=True)
class Release:
    """A release that is being built.

    `epoch` (seconds since 1970) is the time of all its files; `python` is the one that it carries.
    A `quick` build packs less tightly.
    """

    epoch: int
    commit: str
    offline: bool
    python: CarriedPython | None
    quick: bool = False

    @property
    def name(self) -> str:
        """How its files are called."""
        return f"GA3EnvManager-{__version__}" + ("-offline" if self.offline else "")

    def describe(self) -> str:
        """Return what ``release.json`` says: it also marks a folder as the app's own."""
        made = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.epoch))
        python = self.python and {"version": self.python.version, "sha256": self.python.sha256}
        data = {"schema": 1, "version": __version__, "commit": self.commit, "made": made}
        return json.dumps({**data, "offline": self.offline, "python": python}, indent=2) + "\n"


def commit() -> tuple[str, int]:
    """Return the id and the time of the checked-out commit, for the clock would not repeat.

    SOURCE_DATE_EPOCH is taken instead of the time where it is set. The id ends with ``-dirty``
    where what is shipped is not what was committed.

    Raises
    ------
    ReleaseError
        This is no git checkout.
    """
    found, seconds = _git("log", "-1", "--format=%H %ct").split()
    if _git("status", "--porcelain", "--", *FOLDERS, *FILES):
        found += "-dirty"
    return found, max(int(os.environ.get("SOURCE_DATE_EPOCH") or seconds), _OLDEST_OF_ZIP)


def files() -> list[str]:
    """List what is shipped, relative to the project and sorted; nothing that git ignores."""
    listed = _git("ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")
    shipped = {n for n in listed if n.partition("/")[0] in FOLDERS or n in FILES}
    return sorted(name for name in shipped if (ROOT / name).is_file())


def copy(stage: Path) -> None:
    """Copy the project's part of a release into a folder."""
    for name in files():
        target = stage / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, target)


def listed(stage: Path) -> list[str]:
    """List all files below a folder, with slashes, in the one order that releases use."""
    return sorted(p.relative_to(stage).as_posix() for p in stage.rglob("*") if p.is_file())


def set_times(stage: Path, epoch: int) -> None:
    """Give all files the same time."""
    for name in listed(stage):
        os.utime(stage / name, (epoch, epoch))


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)
    except FileNotFoundError:
        raise ReleaseError("There is no git on this computer.", "Install it.") from None
    if done.returncode:
        raise ReleaseError(
            f"This folder is no git checkout: {done.stderr.strip()[:300]}",
            "Build releases in a clone: its commit gives the release its date.",
        )
    return done.stdout.strip()
