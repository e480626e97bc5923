"""From here to the app, the engine or the tests: this process becomes them, or waits for them."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from external.places import LOCKS, ROOT, STARTER, VENV_PYTHON, WINDOWLESS
from external.stamps import stamp_file
from external.tools import child_environment

# What is not a command of the engine; without an argument: the app.
PROGRAMS = {"app": "app", "screenshots": "app.screenshots", "build-windows": "release"}


def command_for(args: list[str]) -> tuple[list[str], Path | None]:
    """Give what to start and where: the app in the user's folder, its tests in the project's."""
    python = str(VENV_PYTHON.with_name("pythonw.exe") if WINDOWLESS else VENV_PYTHON)
    if not args or args[0] in PROGRAMS:
        options = ["-X", "faulthandler"] if WINDOWLESS else []
        return [python, *options, "-P", "-m", PROGRAMS[args[0]] if args else "app", *args[1:]], None
    if args[0] != "test":
        return [python, "-P", "-m", "envmanager", *args], None  # -P: import nothing from the cwd
    rest = [arg for arg in args[1:] if arg != "--windows"]
    if "--windows" in args:
        return [python, str(ROOT / "tests" / "windows_bench.py"), *rest], ROOT
    return [python, "-m", "pytest", *rest], ROOT


def launch(command: list[str], folder: Path | None = None) -> int:
    """Become the command (POSIX), or run it and give its exit code (Windows cannot become it)."""
    if folder is not None:
        os.chdir(folder)
    if sys.platform != "win32":
        os.execve(command[0], command, child_environment())
    import signal
    import subprocess

    # Ctrl-C reaches the child too, which decides; we stay to pass its exit code on.
    for number in (signal.SIGINT, signal.SIGBREAK):
        signal.signal(number, lambda *_: None)
    code = subprocess.call(command, env=child_environment())
    return code - 2**32 if code >= 2**31 else code  # 0xC0000005 and the like do not fit sys.exit


def launch_windowless(command: list[str]) -> int:
    """Run the app, and stay to tell of an error: it has no console that could."""
    from external import windowless

    code, said, early = windowless.run(command, child_environment())
    why = windowless.reason(code, said)
    if not why:
        return 0
    if windowless.tell_end(why, may_set_up=early and STARTER.is_file()):
        for level in LOCKS:  # what has no stamp is built anew
            stamp_file(level).unlink(missing_ok=True)
        start_starter([])
    return 1


def start_starter(args: list[str]) -> int:
    """Set up in a window of the starter, which starts the app with these arguments then."""
    import subprocess

    subprocess.Popen([str(STARTER), "/SETUP", *args], env=child_environment())
    return 0
