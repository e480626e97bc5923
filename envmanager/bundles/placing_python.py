"""Puts the Python of a bundle where uv finds it: below ``ROOT/python``, as one that it manages."""

from __future__ import annotations

from contextlib import ExitStack
from os import getpid
from pathlib import Path

import psutil

from envmanager.bundles import interpreter
from envmanager.bundles.reading import Bundle
from envmanager.data import files, fulldisk
from envmanager.data.paths import DataFolder, venv_base
from envmanager.errors import BadInput
from envmanager.events import Report, Stage
from envmanager.machine import permissions
from envmanager.processes import process
from envmanager.uv.program import Uv
from ga3_nodes import home

_ASIDE = ".bundle-"  # uv takes no folder that begins with a dot
_VERSION = "import platform; print(platform.python_version())"


def is_needed(bundle: Bundle, uv: Uv) -> bool:
    """Tell whether this computer lacks the Python that a bundle is for.

    One in somebody's home folder does not serve the data folder of all accounts.
    """
    found = uv.find_python(bundle.manifest.target.python)
    return found is None or (home.is_shared(uv.data.root) and permissions.is_private(found))


def put(bundle: Bundle, uv: Uv, report: Report, undo: ExitStack) -> None:
    """Unpack the Python of a bundle, start it, and let uv have it; `undo` takes it out again.

    Raises
    ------
    BadInput
        Its archive must not be unpacked, or is not the Python that it should be.
    DiskFull, Cancelled
        Nothing of it is left.
    """
    target, folder = bundle.manifest.target, uv.data.python
    report(Stage("python", f"Unpacking Python {target.python}"))
    _sweep(uv.data)
    aside = folder / f"{_ASIDE}{getpid()}"
    try:
        with fulldisk.named(uv.data.root):
            aside.mkdir(parents=True)
            archive = aside / Path(bundle.manifest.interpreter).name
            bundle.extract(bundle.manifest.interpreter, archive)
            unpacked = aside / "python"
            unpacked.mkdir()
            program = interpreter.unpack(archive, target, unpacked, bundle.cancel, report)
        place = folder / target.uv_python_of(_version(bundle, program))
        if _placed(unpacked, place):
            undo.callback(_take_out, place, uv.data)
    finally:
        files.discard_if_free(aside, uv.data.trash)


def _placed(unpacked: Path, place: Path) -> bool:
    """Put a Python in its place, unless another install was quicker; tell whether that was so."""
    if place.exists():
        return False
    try:
        home.patiently(lambda: unpacked.rename(place), seconds=10.0)
    except OSError:
        if not place.exists():
            raise
        return False
    return True


def _version(bundle: Bundle, program: Path) -> str:
    """Return the version that a Python says it has: this proves that it runs here."""
    command: list[str | Path] = [program, "-I", "-B", "-c", _VERSION]
    try:
        finished = process.run(command, cwd=program.parent, cancel=bundle.cancel)
        version, why = finished.stdout.strip(), finished.stderr.strip()
    except OSError as error:
        version, why = "", str(error)
    wanted = bundle.manifest.target.python
    if not version.startswith(f"{wanted}."):
        raise BadInput(
            f"The Python in {bundle.path.name} does not run here as Python {wanted}: "
            f"{version or why[-300:] or 'it says nothing'}.",
            f"Install Python {wanted} (64 bit) on this computer, or make the bundle with another "
            "archive: --python-archive",
            code="python_archive",
        )
    return version


def _sweep(data: DataFolder) -> None:
    """Delete what installs that were killed have left."""
    for leftover in data.python.glob(f"{_ASIDE}*"):
        pid = leftover.name.removeprefix(_ASIDE)
        if not pid.isdecimal() or int(pid) == getpid() or not psutil.pid_exists(int(pid)):
            files.discard_if_free(leftover, data.trash)


def _take_out(place: Path, data: DataFolder) -> None:
    """Delete a Python, unless an environment was made with it meanwhile."""
    bases = (venv_base(venv) for venv in data.root.glob("envs/*/*/.venv"))
    if not any(base and place in (base, *base.parents) for base in bases):
        files.discard_if_free(place, data.trash)
