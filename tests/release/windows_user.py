"""A Windows of its own under Wine, with one user who has a space and umlauts in his name.

It is the bench's, without its Python: made of hard links in a second, thrown away after.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from tests.windows_bench import BENCH, wine_environment

NAME = "Jörg Müller"
PATIENCE_S = 120
_COPIED = ("system.reg", "user.reg", "userdef.reg", ".update-timestamp")
_LINKED = ("windows", "Program Files", "Program Files (x86)", "ProgramData")
# Prints the class and title of each window that is seen; closes those of the class it is given.
_WINDOWS = """
import ctypes, json, sys
from ctypes import wintypes as w
user, found = ctypes.windll.user32, []
@ctypes.WINFUNCTYPE(w.BOOL, w.HWND, w.LPARAM)
def look(window, _):
    title, kind = (ctypes.create_unicode_buffer(300) for _ in "tk")
    user.GetWindowTextW(w.HWND(window), title, 300)
    user.GetClassNameW(w.HWND(window), kind, 300)
    if user.IsWindowVisible(w.HWND(window)) and title.value:
        found.append([kind.value, title.value])
        if len(sys.argv) > 1 and kind.value.startswith(sys.argv[1]):
            user.PostMessageW(w.HWND(window), 16, 0, 0)  # WM_CLOSE
    return True
user.EnumWindows(look, 0)
print(json.dumps(found))
"""


class WindowsUser:
    """Runs programs as that user; `profile` is his folder, seen from here."""

    def __init__(self) -> None:
        self._prefix = Path(tempfile.mkdtemp(prefix="windows-user-", dir=BENCH.parent))
        drive = self._prefix / "drive_c"
        drive.mkdir()
        for name in _COPIED:
            shutil.copyfile(BENCH / "prefix" / name, self._prefix / name)
        for name in _LINKED:
            source = BENCH / "prefix" / "drive_c" / name
            shutil.copytree(source, drive / name, copy_function=os.link, symlinks=True)
        devices = self._prefix / "dosdevices"
        devices.mkdir()
        (devices / "c:").symlink_to("../drive_c")
        (devices / "z:").symlink_to("/")
        self.profile = drive / "users" / NAME
        (self.profile / "Desktop").mkdir(parents=True)  # else Wine takes the one of our own user
        self._screen, display = _screen()
        self._environment = self._variables(display)

    def _variables(self, display: str) -> dict[str, str]:
        script = f'. "{BENCH}/env.sh" && env -0'
        told = subprocess.run(["bash", "-c", script], env=wine_environment(), capture_output=True)
        variables = dict(v.split("=", 1) for v in told.stdout.decode().split("\0") if "=" in v)
        for name in ("GA3ENV_UV", "UV_CACHE_DIR", "UV_PYTHON_DOWNLOADS", "PYTHONPYCACHEPREFIX"):
            variables.pop(name, None)  # the bench's, not the user's
        overrides = variables["WINEDLLOVERRIDES"] + ";winemenubuilder.exe=d"  # no menus of ours
        own = {"WINEPREFIX": str(self._prefix), "HOME": str(self._prefix), "DISPLAY": display}
        own |= {"USER": NAME, "LOGNAME": NAME, "WINEDLLOVERRIDES": overrides}
        return variables | own

    def run(self, *command: object, code: int = 0, offline: bool = False) -> tuple[str, str]:
        """Run a program to its end; what it has started may go on. Return what it has said.

        `offline`: all ways to the network lead nowhere.
        """
        dead = {f"{kind}_PROXY": "http://127.0.0.1:9" for kind in ("HTTP", "HTTPS", "ALL")}
        said = Said(), Said()
        process = subprocess.Popen(
            ["wine", *map(str, command)],
            cwd=self._prefix,
            env=self._environment | (dead if offline else {}),
            stdin=subprocess.DEVNULL,
            stdout=said[0].end,
            stderr=said[1].end,
        )
        try:
            finished = process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            finished = None
        ended = time.monotonic()
        output, errors = (stream.text(until=ended + 5) for stream in said)
        assert finished == code, (command, finished, output, errors)
        return output, errors

    def python(self) -> str:
        """Name the Python that the installed release carries."""
        (found,) = (self.programs / "python").glob("*/python.exe")
        return self.seen(found)

    @property
    def programs(self) -> Path:
        """Where the installer puts the app."""
        return self.profile / "AppData" / "Local" / "Programs" / "GA3EnvManager"

    def seen(self, path: Path) -> str:
        """Name a file of drive C: as Windows does."""
        return "C:\\" + str(path.relative_to(self._prefix / "drive_c")).replace("/", "\\")

    def windows(self, close: str = "") -> list[list[str]]:
        """List class and title of all windows on the screen; close those of a class."""
        arguments = [close] if close else []
        output, _ = self.run(self.python(), "-c", _WINDOWS, *arguments)
        return json.loads(output)

    def wait_for_window(self, kind: str, title: str) -> None:
        """Wait until a window is on the screen."""
        self.wait_for(lambda: any(k.startswith(kind) and t == title for k, t in self.windows()))

    def files(self) -> set[str]:
        """List all files of the user."""
        found = (p.relative_to(self.profile).as_posix() for p in self.profile.rglob("*"))
        return {name for name in found if (self.profile / name).is_file()}

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Wait until something is so."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.1)

    def close(self) -> None:
        """End all programs of this Windows, and throw it away."""
        subprocess.run(["wineserver", "-k"], env=self._environment, timeout=60)
        subprocess.run(["wineserver", "-w"], env=self._environment, timeout=60)
        self._screen.kill()
        self._screen.wait()
        shutil.rmtree(self._prefix, ignore_errors=True)


class Said:
    """One output of a program, read as it comes: a pipe, for Wine takes no file.

    What the program has started may hold the pipe open for long.
    """

    def __init__(self) -> None:
        self._reading, self.end = os.pipe()
        self._bytes = bytearray()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def text(self, until: float) -> str:
        """Return what came, after the program's end; wait until then for what it has started."""
        os.close(self.end)
        self._thread.join(max(0.1, until - time.monotonic()))
        return self._bytes.decode("utf-8", "replace").replace("\r\n", "\n")

    def _read(self) -> None:
        while chunk := os.read(self._reading, 1 << 16):
            self._bytes += chunk
        os.close(self._reading)


def _screen() -> tuple[subprocess.Popen[bytes], str]:
    """Start a virtual screen; give its process and its name."""
    command = ["Xvfb", "-displayfd", "1", "-screen", "0", "1400x900x24", "-nolisten", "tcp"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout
    number = process.stdout.readline().decode().strip()
    process.stdout.close()
    return process, f":{number}"
