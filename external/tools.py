"""Programs that we start: in an environment that bends no Python, and pip, uv and venv in it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from external.places import WINDOWLESS, WINDOWS
from external.telling import say

if TYPE_CHECKING:
    from collections.abc import Sequence


def child_environment() -> dict[str, str]:
    """Give the user's variables without those that bend a Python: NIS and conda set them."""
    names = {"PYTHONHOME", "PYTHONPATH", "PYTHONEXECUTABLE", "PYTHONSTARTUP", "PYTHONPLATLIBDIR"}
    names |= {"VIRTUAL_ENV", "VIRTUAL_ENV_PROMPT", "__PYVENV_LAUNCHER__"}
    ours = ("CONDA_", "_GA3ENV_")  # _GA3ENV_: run.cmd's own
    return {k: v for k, v in os.environ.items() if k not in names and not k.startswith(ours)}


def run_tool(command: Sequence[str | Path], folder: Path) -> tuple[int, list[str]]:
    """Run pip, uv or venv; give exit code and output lines. uv's downloads show as they come."""
    import subprocess

    with subprocess.Popen(
        [str(part) for part in command],
        cwd=folder,
        env=child_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        close_fds=WINDOWS,  # elsewhere the lock must pass; Python's files do not pass by themselves
        creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0) if WINDOWLESS else 0,
    ) as process:
        lines = []
        try:
            for line in process.stdout or ():
                lines.append(line.rstrip())
                if line.startswith(("Downloading ", "Building ")):
                    say("  " + line.rstrip())
            process.wait()
        except BaseException:
            process.kill()
            raise
    return process.returncode, lines
