"""Whether the app's environment is as the locks say: a stamp in it tells what it was made for.

What may be killed at any moment leaves no stamp behind, and what has no stamp is built anew.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from external.places import (
    LOCKS,
    ROOT,
    TOOLS,
    UV,
    VENV,
    VENV_PYTHON,
    base_python,
    sha256,
    site_packages,
)
from external.tools import run_tool

SCHEMA = "1"  # of the stamps: a change makes every environment build anew


def identity() -> str:
    """Say for which folder and which Python an environment is made: another one, another venv."""
    version = f"{sys.implementation.name}-{sys.version_info[0]}.{sys.version_info[1]}"
    return "|".join([SCHEMA, str(ROOT), os.path.realpath(base_python()), version])


def installed_names() -> str:
    """List the top of site-packages: what somebody removed or added by hand shows here."""
    return "|".join(sorted({e.name for e in site_packages().iterdir()} - {"__pycache__"}))


def quick_state(level: str) -> str:
    """Describe all that decides whether the environment fits, without reading a file."""
    VENV_PYTHON.stat()  # fails on a link to a Python that is gone
    stats = [file.stat() for file in (UV, TOOLS, VENV / "pyvenv.cfg", *LOCKS[level])]
    parts = [f"{stat.st_size},{stat.st_mtime_ns}" for stat in stats]
    return "|".join([identity(), *parts, installed_names()])


def content(level: str, version: str) -> str:
    """Describe what shall be installed: a new time stamp on the same lock changes nothing."""
    return "|".join([version, *(sha256(file) for file in LOCKS[level])])


def stamp_file(level: str) -> Path:
    """Name the stamp of a level; its lines: quick_state, identity, content, installed_names."""
    return VENV / f"ga3env-{level}.stamp"


def read_stamp(level: str) -> list[str]:
    """Read a stamp; none, half of one or nonsense gives no line that could fit."""
    try:
        return stamp_file(level).read_text("utf-8", "surrogateescape").split("\n")
    except OSError:
        return []


def is_ready(level: str) -> bool:
    """Say whether nothing is to do."""
    try:
        return read_stamp(level)[:1] == [quick_state(level)]
    except OSError:
        return False


def is_intact(stamp: list[str]) -> bool:
    """Say whether the environment with this stamp is ours, whole, and able to run."""
    try:
        whole = len(stamp) == 4 and stamp[1] == identity() and stamp[3] == installed_names()
        check = "import sys; sys.exit(sys.prefix == sys.base_prefix)"  # no pyvenv.cfg: they are
        return whole and run_tool([VENV_PYTHON, "-I", "-c", check], ROOT)[0] == 0
    except OSError:
        return False


def write_stamp(level: str, wanted: str) -> None:
    """Record that a level is complete, in one step."""
    lines = [quick_state(level), identity(), wanted, installed_names()]
    temporary = VENV / "ga3env.stamp.new"
    temporary.write_text("\n".join(lines), "utf-8", "surrogateescape")
    temporary.replace(stamp_file(level))
