"""A build from first to last: a staged folder, then the ZIP and the installer of it."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from external.places import sha256
from external.telling import say
from release import contents, installer, pictures, portable, pythons, wheels
from release.contents import Release
from release.errors import ReleaseError

DRAWING = contents.ROOT / "resources" / "app.svg"


@dataclass(frozen=True)
class Wish:
    """What a release shall carry beside the app and uv."""

    offline: bool = False
    python_archive: Path | None = None
    python_sha256: str = ""
    quick: bool = False

    def check(self) -> None:
        """Refuse what cannot be built.

        Raises
        ------
        ReleaseError
            A Python without its sha256, or an offline release without a Python.
        """
        if self.python_archive and not self.python_sha256:
            raise ReleaseError(
                "The Python archive is given without its sha256.",
                "Add --python-sha256 with what the archive's publisher names.",
                code="sha256_missing",
            )
        if self.offline and not self.python_archive:
            raise ReleaseError(
                "An offline release needs a Python: nothing can be fetched where it is used.",
                "Add --python-archive FILE --python-sha256 HEX.",
                code="python_missing",
            )


@dataclass(frozen=True)
class Made:
    """A file of a release."""

    path: Path

    def describe(self) -> dict[str, Any]:
        """Return its path, size in bytes and sha256."""
        size = self.path.stat().st_size
        return {"path": str(self.path), "size": size, "sha256": sha256(self.path)}


def build(output: Path, wish: Wish) -> list[Made]:
    """Build a release; return the installer and the ZIP.

    Raises
    ------
    ReleaseError
        Something is missing, could not be fetched, or is not what it should be.
    SetupError
        A download failed.
    """
    wish.check()
    with tempfile.TemporaryDirectory(prefix="ga3-release-") as folder:
        work = Path(folder)
        stage = work / "stage"
        release = _stage(stage, wish)
        icon_file, banner = work / "app.ico", work / "banner.bmp"
        pictures.write_icon(DRAWING, icon_file)
        pictures.write_banner(DRAWING, banner)
        installer.compile_starter(stage / installer.STARTER, icon_file, release)
        contents.set_times(work, release.epoch)
        made = work / f"{release.name}-setup.exe", work / f"{release.name}-portable.zip"
        say("Making the installer ...")
        installer.compile_installer(made[0], stage, icon_file, banner, release)
        say("Making the portable ZIP ...")
        portable.write(stage, made[1], release.epoch, quick=wish.quick)
        output.mkdir(parents=True, exist_ok=True)
        return [Made(Path(shutil.move(file, output / file.name))) for file in made]


def _stage(stage: Path, wish: Wish) -> Release:
    """Lay out all files as they will be installed."""
    contents.copy(stage)
    say("Getting uv.exe ...")
    wheels.fetch_uv(stage / "external" / "UV")
    python = None
    if wish.python_archive:
        python = pythons.unpack(wish.python_archive, wish.python_sha256, stage / "python")
    if wish.offline and python:
        say("Getting the wheels of the app's environment ...")
        wheels.fetch_wheels(contents.ROOT / "requirements.lock", python.version, stage / "wheels")
    commit, epoch = contents.commit()
    release = Release(epoch, commit, wish.offline, python, wish.quick)
    (stage / "release.json").write_text(release.describe(), "utf-8")
    return release
