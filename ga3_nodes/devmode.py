"""Development: a user's own module is served from ``ROOT/modules/M``, as it was last edited.

It is asked for with GA3ENV_DEV=1 in the caller's environment, and only then: everybody else is
served from the generation, which holds copies that nobody edits. Such a worker is a process of its
own, beside the generation's. ``module.toml`` and the packages are still the installed ones.
"""

from __future__ import annotations

import os
from pathlib import Path

from ga3_nodes import home, records

SWITCH = "GA3ENV_DEV"
_TAG = "-dev"


def folder(root: Path, module: str) -> Path:
    """Return the folder of a user's own module."""
    return root / "modules" / module


def wanted(entry: home.ModuleEntry) -> bool:
    """Tell whether this program shall be served from the module's own folder."""
    if os.environ.get(SWITCH) != "1":
        return False
    return (folder(entry.root, entry.name) / "worker.py").is_file()


def stem(root: Path, module: str, generation: int, *, dev: bool) -> Path:
    """Return the common beginning of a worker's files, which two kinds of workers do not share."""
    usual = records.stem(root, module, generation)
    return usual.with_name(usual.name + _TAG) if dev else usual
