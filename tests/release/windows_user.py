"""A Windows of its own under Wine, with one user who has a space and umlauts in his name.

It is the bench's, without its Python: made of hard links in a second, thrown away after. `programs`
is where the app lies: where the installer puts it, or a folder that a test chooses.
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
from typing import Any

from tests.windows_bench import BENCH, wine_environment

NAME = "Jörg Müller"
PATIENCE_S = 300  # above that of _WINDOWS
QUIET_S = 0.3
_COPIED = ("system.reg", "user.reg", "userdef.reg", ".update-timestamp")
# No program on the virtual screen manages windows: Wine would wait 2 s for it at the end of each.
_UNMANAGED = '\n[Software\\\\Wine\\\\X11 Driver]\n"Managed"="N"\n'
_LINKED = ("windows", "Program Files", "Program Files (x86)", "ProgramData")
# Prints class, title and texts of each window that is seen. A word CLASS|TITLE|WHAT presses a
# button of one: WHAT is its number, or its text; "close" is the window's own. After the word "wait"
# it is a window with such a text that is waited for, before the next words press.
_WINDOWS = """
import ctypes, json, sys, time
from ctypes import wintypes as w
user, found = ctypes.windll.user32, []
CLOSE, TEXT, COMMAND, CLICK = 0x10, 0x0D, 0x111, 0xF5
Each = ctypes.WINFUNCTYPE(w.BOOL, w.HWND, w.LPARAM)
def text(window):
    buffer = ctypes.create_unicode_buffer(2000)
    user.SendMessageTimeoutW(w.HWND(window), TEXT, 2000, buffer, 2, 2000, None)
    return buffer.value
def kind(window):
    buffer = ctypes.create_unicode_buffer(300)
    user.GetClassNameW(w.HWND(window), buffer, 300)
    return buffer.value
def below(window):
    children = []
    user.EnumChildWindows(w.HWND(window), Each(lambda h, _: children.append(h) or True), 0)
    return children
@Each
def look(window, _):
    title = ctypes.create_unicode_buffer(300)
    user.InternalGetWindowText(w.HWND(window), title, 300)
    if user.IsWindowVisible(w.HWND(window)) and title.value:
        dialog = kind(window) == "#32770"
        texts = [text(child) for child in below(window)] if dialog else []
        found.append([kind(window), title.value, [t for t in texts if t]])
        for word in presses:
            known, name, what = word.split("|")
            if kind(window).startswith(known) and title.value.startswith(name):
                if what == "close":
                    user.PostMessageW(w.HWND(window), CLOSE, 0, 0)
                elif what.isdigit():
                    user.PostMessageW(w.HWND(window), COMMAND, int(what), 0)
                else:
                    for child in below(window):
                        if text(child) == what:
                            user.PostMessageW(w.HWND(child), CLICK, 0, 0)
    return True
waits, end = sys.argv[1:2] == ["wait"], time.monotonic() + 270
presses = [] if waits else sys.argv[1:]
while True:
    found.clear()
    user.EnumWindows(look, 0)
    if not waits:
        break
    known, name, what = sys.argv[2].split("|")
    fits = [t for k, n, t in found if k.startswith(known) and n.startswith(name)]
    if any(not what or any(what in one for one in texts) for texts in fits):
        break
    if time.monotonic() > end:
        break
    time.sleep(0.2)
told = list(found)
if presses := sys.argv[3:] if waits else []:
    user.EnumWindows(look, 0)
print(json.dumps(told))
"""
# Waits until a program's file can be written: until nobody runs it.
_ENDED = """
import sys, time
while True:
    try:
        open(sys.argv[1], "r+b").close()
        break
    except OSError:
        time.sleep(0.2)
"""
DIALOG = "#32770"
OK, CANCEL, YES, NO = 1, 2, 6, 7  # an installer's way on is OK, too


class WindowsUser:
    """Runs programs as that user; `profile` is his folder, seen from here."""

    def __init__(self) -> None:
        self._prefix = Path(tempfile.mkdtemp(prefix="windows-user-", dir=BENCH.parent))
        drive = self._prefix / "drive_c"
        drive.mkdir()
        for name in _COPIED:
            shutil.copyfile(BENCH / "prefix" / name, self._prefix / name)
        with (self._prefix / "user.reg").open("a") as registry:
            registry.write(_UNMANAGED)
        for name in _LINKED:
            source = BENCH / "prefix" / "drive_c" / name
            shutil.copytree(source, drive / name, copy_function=os.link, symlinks=True)
        devices = self._prefix / "dosdevices"
        devices.mkdir()
        (devices / "c:").symlink_to("../drive_c")
        (devices / "z:").symlink_to("/")
        self.other_disk = self._prefix / "disk"  # D:
        self.other_disk.mkdir()
        (devices / "d:").symlink_to("../disk")
        (devices / "e:").symlink_to("/proc")  # where not even root makes a file
        self.profile = drive / "users" / NAME
        self.programs = self.profile / "AppData" / "Local" / "Programs" / "GA3EnvManager"
        (self.profile / "Desktop").mkdir(parents=True)  # else Wine takes the one of our own user
        self._screen, display = _screen()
        self._environment = self._variables(display)
        self._started: list[subprocess.Popen[bytes]] = []
        self._log_on()

    def _log_on(self) -> None:
        """Start Windows with a program that stays; else each program starts and ends all of it.

        What runs beside the programs has its output, not theirs.
        """
        self._first = subprocess.Popen(
            ["wine", "cmd"],
            cwd=self._prefix,
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert self._first.stdout
        self._first.stdout.read(1)  # now there is a profile, too

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

    def run(
        self, *command: object, code: int = 0, offline: bool = False, **variables: str
    ) -> tuple[str, str]:
        """Run a program to its end; what it has started may go on. Return what it has said.

        `offline`: all ways to the network lead nowhere.
        """
        said = Said(), Said()
        process = self.start(*command, said=said, offline=offline, **variables)
        try:
            finished = process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            finished = None
        output, errors = (stream.text() for stream in said)
        assert finished == code, (command, finished, output, errors)
        return output, errors

    def run_in(self, folder: Path | str, program: object, *switches: str, **how: Any) -> str:
        """Run an installer for a folder, or an uninstaller in one; return what it has said last.

        Such a folder stands at the end of the line, without quotes; Wine sets quotes around words
        with spaces.
        """
        key = "_?" if str(program).endswith("Uninstall.exe") else "/D"
        seen = folder if isinstance(folder, str) else self.seen(folder)
        return self.run(program, *switches, *f"{key}={seen}".split(" "), **how)[1]

    def start(
        self,
        *command: object,
        said: tuple[Said, Said] | None = None,
        offline: bool = False,
        **variables: str,
    ) -> subprocess.Popen[bytes]:
        """Start a program; without `said` nobody reads what it says."""
        dead = {f"{kind}_PROXY": "http://127.0.0.1:9" for kind in ("HTTP", "HTTPS", "ALL")}
        out, errors = (said[0].end, said[1].end) if said else (subprocess.DEVNULL,) * 2
        process = subprocess.Popen(
            ["wine", *map(str, command)],
            cwd=self._prefix,
            env=self._environment | (dead if offline else {}) | variables,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=errors,
        )
        self._started.append(process)
        return process

    def start_and_wait(self, code: str) -> subprocess.Popen[bytes]:
        """Start a Python of the bench with some code, after which it stays; wait until it has."""
        done = self._prefix / "done"
        done.unlink(missing_ok=True)
        code += f"\nopen({'Z:' + str(done)!r}, 'w').close(); import time; time.sleep(600)"
        process = self.start(_bench_python(), "-c", code)
        self.wait_for(done.exists)
        return process

    def code_of(self, process: subprocess.Popen[bytes]) -> int:
        """Wait for the end of a program; return its exit code."""
        return process.wait(PATIENCE_S)

    def python(self) -> str:
        """Name the Python that the installed release carries, or has fetched."""
        return self.seen(sorted((self.programs / "python").glob("*/python.exe"))[0])

    def seen(self, path: Path) -> str:
        """Name a file of one of the user's disks as Windows does; it need not be there."""
        disk, top = ("D", "disk") if path.is_relative_to(self.other_disk) else ("C", "drive_c")
        return f"{disk}:\\" + str(path.relative_to(self._prefix / top)).replace("/", "\\")

    def windows(self, *presses: str) -> list[list[Any]]:
        """List class, title and texts of all windows on the screen; press what is given."""
        output, _ = self.run(_bench_python(), "-c", _WINDOWS, *presses)
        return json.loads(output)

    def press(self, kind: str, title: str, what: int | str) -> None:
        """Press a button of a window: by its number, or its text; ``close`` closes the window."""
        self.windows(f"{kind}|{title}|{what}")

    def wait_for_window(
        self, kind: str, title: str, text: str = "", press: int | str | None = None
    ) -> str:
        """Wait until a window is on the screen, one with this text where it is given.

        Return all of its texts; with `press` as in the function of that name.
        """
        words = ["wait", f"{kind}|{title}|{text}"]
        words += [f"{kind}|{title}|{press}"] if press is not None else []
        windows = self.windows(*words)
        for found, name, texts in windows:
            if found.startswith(kind) and name.startswith(title) and text in "\n".join(texts):
                return "\n".join(texts)
        raise AssertionError(f"no window {title!r} with {text!r}, but {windows}")

    def close_app(self) -> None:
        """Close the app's window, and wait until nothing runs from its environment."""
        self.press("Qt", "", "close")
        program = self.seen(self.programs / ".venv" / "Scripts" / "pythonw.exe")
        self.run(_bench_python(), "-c", _ENDED, program)

    def files(self) -> set[str]:
        """List all files of the user."""
        walk = os.walk(self.profile)  # skips what is just being deleted
        paths = (Path(folder, name) for folder, _, names in walk for name in names)
        return {path.relative_to(self.profile).as_posix() for path in paths}

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Wait until something is so."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.1)

    def wait_for_files(self, wanted: set[str]) -> None:
        """Wait until the user has these files, and no others."""
        deadline = time.monotonic() + PATIENCE_S
        while (found := self.files()) != wanted:
            assert time.monotonic() < deadline, sorted(found ^ wanted)[:20]
            time.sleep(0.1)

    def switch_off(self) -> None:
        """End all programs of this Windows at once, and start it again."""
        self._end()
        self._log_on()

    def _end(self) -> None:
        subprocess.run(["wineserver", "-k"], env=self._environment, timeout=60)
        subprocess.run(["wineserver", "-w"], env=self._environment, timeout=60)
        for process in (self._first, *self._started):
            process.communicate()

    def close(self) -> None:
        """End this Windows, and throw it away."""
        self._end()
        self._screen.kill()
        self._screen.wait()
        shutil.rmtree(self._prefix, ignore_errors=True)


def _bench_python() -> str:
    """Name the bench's own Python, which this user has not."""
    (found,) = (BENCH / "prefix" / "drive_c").glob("Python3*/python.exe")
    return f"Z:{found}"


class Said:
    """One output of a program, read as it comes: a pipe, for Wine takes no file.

    What the program has started may hold the pipe open for long.
    """

    def __init__(self) -> None:
        self._reading, self.end = os.pipe()
        self._bytes = bytearray()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def text(self) -> str:
        """Return what came, after the program's end: all until it has been quiet for a while."""
        os.close(self.end)
        known = -1
        while known < len(self._bytes) and self._thread.is_alive():
            known = len(self._bytes)
            self._thread.join(QUIET_S)
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
