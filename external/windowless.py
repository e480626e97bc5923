"""The app without a console: where it ends by an error, a message box says so.

``pythonw.exe`` has no streams, so what a program says before its end would be lost. It goes to
``logs/start.log`` of the data folder, which the message names.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import IO

TITLE = "GA3 Environment Manager"
LARGEST_LOG = 1 << 20  # bytes
EARLY_S = 60.0  # who ends by an error before that may never have shown a window
LONGEST_LINE = 500  # letters
CRASHED = 0xC0000000  # and above: the exit codes of Windows' own
CRASHES = ("Windows fatal exception: ", "Fatal Python error: ")
MB_ICONERROR, MB_YESNO, MB_SETFOREGROUND, IDYES = 0x10, 0x4, 0x10000, 6


def log_file() -> Path:
    """Name the log; it lies in the user's own place, also where the data folder was moved."""
    place = os.environ.get("GA3ENV_HOME") or Path(os.environ["LOCALAPPDATA"], "GA3EnvManager")
    return Path(place, "logs", "start.log")


def run(command: list[str], environment: dict[str, str]) -> tuple[int, str, bool]:
    """Run a program to its end; give its exit code, what it said, and whether it ended early.

    Where no log can be written, what it says is lost.
    """
    began = time.monotonic()
    try:
        stream = open_log(log_file())
    except OSError:
        return subprocess.call(command, env=environment), "", time.monotonic() - began < EARLY_S
    environment = environment | {"PYTHONIOENCODING": "utf-8:backslashreplace"}  # of the log
    with stream:
        size = stream.tell()
        code = subprocess.call(command, env=environment, stdout=stream, stderr=stream)
        stream.seek(size)
        said = stream.read().decode("utf-8", "replace")
    return code, said, time.monotonic() - began < EARLY_S


def open_log(log: Path) -> IO[bytes]:
    """Open the log at its end; a large one begins anew."""
    log.parent.mkdir(parents=True, exist_ok=True)
    stream = log.open("a+b")
    stream.seek(0, os.SEEK_END)
    if stream.tell() > LARGEST_LOG:
        stream.truncate(0)
        stream.seek(0)
    now = time.strftime("%Y-%m-%d %H:%M:%S")
    stream.write(f"{now} start\n".encode())
    stream.flush()
    return stream


def reason(code: int, said: str) -> str:
    """Pick what a person wants to read; empty where nothing failed.

    A program that somebody has ended gives an exit code too, but no error.
    """
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    crashes = [line for line in lines if line.startswith(CRASHES)]
    errors = [line for line in lines if line.startswith(("error: ", "Fatal Python error: "))]
    if not code:
        return ""
    if code >= CRASHED:
        found = crashes or [f"its process ended with the code {code:#x}"]
    elif "Traceback (most recent call last)" in said:
        found = lines
    else:
        found = errors or [""]
    return found[-1][:LONGEST_LINE]


def tell_end(why: str, *, may_set_up: bool) -> bool:
    """Show why the app has ended; tell whether the user wants it set up anew."""
    parts = [
        "The app has ended because of an error:",
        why,
        f"All that it said lies in\n{log_file()}",
    ]
    if not may_set_up:
        show(parts)
        return False
    parts.append(
        "Set it up anew? That takes minutes at most; environments, weights and settings stay. "
        "Where it does not help, install the app again."
    )
    return show(parts, MB_YESNO) == IDYES


def show(parts: list[str], buttons: int = 0) -> int:
    """Show a message box, paragraph by paragraph; give the button that was pressed."""
    if sys.platform != "win32":
        return 0
    import ctypes

    style = buttons | MB_ICONERROR | MB_SETFOREGROUND
    return int(ctypes.windll.user32.MessageBoxW(None, "\n\n".join(parts), TITLE, style))
