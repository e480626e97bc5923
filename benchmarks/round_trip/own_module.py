"""A data folder with one module, laid out as an install would: what our own transport calls."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import ga3_nodes
from benchmarks.round_trip import work

NAME = "round_trip"
_FUNCTION = {
    "inputs": {"image": {"axes": ["yx", "zyx"]}},
    "outputs": {"labels": {"kind": "labels"}},
    "parameters": {},
}
_IDLE_S = 30  # should this benchmark be killed, its worker does not stay


def publish(root: Path) -> Path:
    """Make the data folder, with this interpreter as the environment's; return it."""
    folder = root / "envs" / NAME / "1"
    package = Path(str(ga3_nodes.__file__)).parent
    shutil.copytree(package, folder / "ga3_nodes", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copyfile(work.__file__, folder / "worker.py")
    about = {"name": NAME, "version": "1", "functions": {"segment": _FUNCTION}}
    (folder / "module.json").write_text(json.dumps(about), "utf-8")
    entry = {
        "version": "1",
        "generation": 1,
        "dir": folder.relative_to(root).as_posix(),
        "python": sys.executable,
        "state": "ready",
        "functions": about["functions"],
        "idle_timeout_s": _IDLE_S,
    }
    config = {"schema": 1, "client_dir": str(package.parent), "modules": {NAME: entry}}
    (root / "config.json").write_text(json.dumps(config), "utf-8")
    return root
