"""NIS-Elements' own Python: where it is and what it ships. It is asked, and never written to."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from envmanager.data.settings import Settings
from envmanager.errors import ToolFailed
from envmanager.events import CancelToken
from envmanager.processes import process
from ga3_nodes import spawn

PYTHON = "3.12"  # what every known NIS has, where none lies here to be asked
SHIPS = frozenset({"numpy", "matplotlib"})  # likewise; their versions are not public
_TOOLS = {"pip", "setuptools", "wheel"}
_ASK = """
import importlib.metadata, json, sys
found = {d.metadata["Name"]: d.version for d in importlib.metadata.distributions()}
print(json.dumps({"version": "%d.%d.%d" % sys.version_info[:3], "packages": found}))
"""


@dataclass(frozen=True)
class NisPython:
    """The Python of an installed NIS-Elements; `packages` maps names (PEP 503) to versions."""

    python: Path
    version: str
    packages: dict[str, str]


def find(settings: Settings, cancel: CancelToken | None = None) -> NisPython | None:
    """Return NIS's Python, or None where none lies here: of several NIS, that of the last name.

    Raises
    ------
    ToolFailed
        The folder of the setting ``nis_python`` holds no Python that runs.
    """
    if settings.nis_python:
        found = _ask(Path(settings.nis_python), cancel)
        if found is None:
            raise ToolFailed(
                f"There is no Python that runs in {settings.nis_python}.",
                "Correct the setting nis_python, or drop it: ./run settings nis_python --unset",
            )
        return found
    from envmanager.machine import windows

    folders = [nis.folder / "Python" for nis in windows.nis_installations() if nis.has_python]
    return next(filter(None, (_ask(folder, cancel) for folder in reversed(folders))), None)


def run(
    python: Path, *arguments: str | Path, cwd: Path, cancel: CancelToken | None = None
) -> process.Finished:
    """Run NIS's Python so that it leaves nothing in its own folder, not even what it compiles."""
    command = [python, "-s", "-B", "-X", "utf8", *arguments]
    environment = spawn.worker_environment({})
    return process.run(command, cwd=cwd, env=environment, inherit=False, cancel=cancel)


def _ask(folder: Path, cancel: CancelToken | None) -> NisPython | None:
    for python in (folder / "python.exe", folder / "bin" / "python3"):
        if not python.is_file():
            continue
        try:
            finished = run(python, "-c", _ASK, cwd=folder, cancel=cancel)
            told = json.loads(finished.stdout)
        except (OSError, ValueError):
            return None
        names = {re.sub(r"[-_.]+", "-", n).lower(): v for n, v in told["packages"].items()}
        packages = {name: version for name, version in names.items() if name not in _TOOLS}
        return NisPython(python, told["version"], packages)
    return None
