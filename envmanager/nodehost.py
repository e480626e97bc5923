"""A Python as NIS has it, with numpy and nothing else, in which the stand-in runs node scripts."""

from __future__ import annotations

import hashlib
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from envmanager.files import discard
from envmanager.paths import NODE_PACKAGE, DataFolder, venv_python
from envmanager.uv import Uv
from ga3_nodes.standin.out_of_process import prepare_site

NIS_PYTHON = "3.12"
_LOCK = NODE_PACKAGE / "standin" / "requirements.lock"


@dataclass(frozen=True)
class NodeHost:
    """The interpreter of a node's process, and the folder with its numpy and `limnode`."""

    python: Path
    site: Path


def prepare(data: DataFolder, uv: Uv) -> NodeHost:
    """Return the node host, made at the first use: with NIS's Python version where one is found.

    Raises
    ------
    ToolFailed
        uv could not make it.
    """
    base = uv.find_python(NIS_PYTHON) or Path(sys.executable).resolve()
    digest = hashlib.sha256(_LOCK.read_bytes() + str(base).encode()).hexdigest()[:12]
    folder = data.node_hosts / digest
    if not folder.is_dir():
        building = data.node_hosts / f"{digest}.{os.getpid()}.tmp"
        building.mkdir(parents=True)
        try:
            _build(building, base, uv)
            building.rename(folder)
        except BaseException:
            discard(building, data.trash)
            raise
    prepare_site(folder / "site")
    # On Windows a node's interpreter is a full Python folder. Elsewhere an empty environment keeps
    # the packages of the system's Python out.
    python = base if sys.platform == "win32" else venv_python(folder / ".venv")
    return NodeHost(python, folder / "site")


def _build(folder: Path, base: Path, uv: Uv) -> None:
    uv.make_venv(folder / ".venv", str(base))
    uv.install_into(folder / "site", _LOCK, venv_python(folder / ".venv"))
