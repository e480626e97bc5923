"""A Python as NIS has it, with numpy and nothing else, in which the stand-in runs node scripts."""

from __future__ import annotations

import hashlib
import sys
from dataclasses import dataclass
from pathlib import Path

from envmanager.data.files import discard
from envmanager.data.paths import NODE_PACKAGE, DataFolder, base_python, venv_python, venv_version
from envmanager.machine import nis
from envmanager.uv.program import Uv
from ga3_nodes.locks import FileLock
from ga3_nodes.standin.out_of_process import prepare_site

_DONE = "done"
_LOCK = NODE_PACKAGE / "standin" / "requirements.lock"


@dataclass(frozen=True)
class NodeHost:
    """The interpreter of a node's process, and the folder with its numpy and `limnode`."""

    python: Path
    version: str
    site: Path


def prepare(data: DataFolder, uv: Uv) -> NodeHost:
    """Return the node host, made at the first use: with NIS's Python version where one is found.

    Raises
    ------
    ToolFailed
        uv could not make it.
    """
    base = uv.find_python(nis.PYTHON) or base_python()
    digest = hashlib.sha256(_LOCK.read_bytes() + str(base).encode()).hexdigest()[:12]
    folder = data.node_hosts / digest
    data.node_hosts.mkdir(parents=True, exist_ok=True)
    with FileLock(data.node_hosts / "lock"):
        if not (folder / _DONE).exists():
            discard(folder, data.trash)  # of a command that was killed
            _build(folder, base, uv)
        prepare_site(folder / "site")
    # On Windows a node's interpreter is a full Python folder. Elsewhere an empty environment keeps
    # the packages of the system's Python out.
    python = base if sys.platform == "win32" else venv_python(folder / ".venv")
    return NodeHost(python, venv_version(folder / ".venv"), folder / "site")


def _build(folder: Path, base: Path, uv: Uv) -> None:
    """Build in place, since a virtual environment cannot be moved; the stamp comes last."""
    folder.mkdir()
    uv.make_venv(folder / ".venv", str(base))
    uv.install_into(folder / "site", _LOCK, venv_python(folder / ".venv"))
    (folder / _DONE).touch()
