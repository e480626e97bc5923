"""Sets this project up where that is still to do, then starts it. `run` and `run.cmd` come here.

Needs nothing but a Python 3.11 or newer. Two things are set up: the pinned uv in `external/UV/`
and the app's own environment `.venv`. When both are in place, a start reads one small file and
compares sizes and times; so modules that only a set-up needs are imported where they are used.
What may be killed at any moment leaves no stamp behind, and what has no stamp is built anew.
"""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import ModuleType

WINDOWS = sys.platform == "win32"
WINDOWLESS = Path(sys.executable).name.lower() == "pythonw.exe"  # no console, and none to open
ROOT = Path(__file__).resolve().parent.parent
TOOLS = ROOT / "external" / "tools.toml"
UV_DIR = ROOT / "external" / "UV"
UV = UV_DIR / ("uv.exe" if WINDOWS else "uv")
VENV = ROOT / ".venv"
VENV_PYTHON = VENV / ("Scripts/python.exe" if WINDOWS else "bin/python")
LOCKS = {
    "app": [ROOT / "requirements.lock"],
    "test": [ROOT / "requirements-test.lock", ROOT / "requirements.lock"],
}
# What is not a command of the engine; without an argument: the app.
PROGRAMS = {"app": "app", "screenshots": "app.screenshots", "build-windows": "release"}
WHEELS = ROOT / "wheels"  # those of the app's lock, in a release for computers without a network
STARTER = ROOT / "GA3EnvManager.exe"  # a release's: it shows a window while it sets up
SCHEMA = "1"  # of the stamps: a change makes every environment build anew
SCRATCH = ".setup-"  # how our temporary folders in external/UV begin
BY_HAND = "or put the program uv {version} for this system into external/UV yourself."


class SetupError(Exception):
    """A set-up that cannot go on: a token, one sentence, and what to do next."""

    def __init__(self, code: str, message: str, hint: str) -> None:
        super().__init__(message)
        self.code, self.message, self.hint = code, message, hint


def say(line: str) -> None:
    """Show progress; stdout belongs to the command."""
    if sys.stderr is not None:  # pythonw has none
        with suppress(OSError):  # the terminal may be gone, and we about to clean up for that
            print(line, file=sys.stderr, flush=True)


def base_python() -> str:
    """Give the interpreter that runs this, or the one below it when this is a venv's."""
    found = Path(getattr(sys, "_base_executable", "") or sys.executable)
    return str(found.with_name("python.exe") if found.name.lower() == "pythonw.exe" else found)


def identity() -> str:
    """Say for which folder and which Python an environment is made: another one, another venv."""
    version = f"{sys.implementation.name}-{sys.version_info[0]}.{sys.version_info[1]}"
    return "|".join([SCHEMA, str(ROOT), os.path.realpath(base_python()), version])


def site_packages() -> Path:
    """Name the folder of the installed packages."""
    lib = VENV / "Lib" if WINDOWS else next((VENV / "lib").glob("python3*"), VENV)
    return lib / "site-packages"


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


def sha256(file: Path) -> str:
    """Hash a file."""
    import hashlib

    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def try_lock(stream: IO[bytes]) -> bool:
    """Take the OS lock on an open file; the system gives it back however we end."""
    if sys.platform == "win32":
        import msvcrt

        try:
            stream.seek(0)
            msvcrt.locking(stream.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
    else:
        import fcntl

        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        # What we start inherits the lock: were we killed, the next start would otherwise work on
        # the environment while our uv still does.
        os.set_inheritable(stream.fileno(), True)
    return True


@contextmanager
def setup_lock() -> Iterator[None]:
    """Hold off other starts, then sweep what a killed one left."""
    import shutil
    import time

    UV_DIR.mkdir(parents=True, exist_ok=True)
    with (UV_DIR / ".lock").open("a+b") as stream:
        if not try_lock(stream):
            say("Another start is setting the app up; waiting for it ...")
            while not try_lock(stream):
                time.sleep(0.1)
        for left in UV_DIR.glob(SCRATCH + "*"):
            shutil.rmtree(left, ignore_errors=True)
        yield


@contextmanager
def scratch() -> Iterator[Path]:
    """Give a temporary folder on the same volume as what will be moved out of it."""
    import shutil
    import tempfile

    folder = Path(tempfile.mkdtemp(prefix=SCRATCH, dir=UV_DIR))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


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


def first_error(lines: list[str]) -> str:
    """Pick from the output of pip or uv what a person wants to read."""
    retries = [line for line in lines if "connection broken by" in line]
    if retries:  # pip's errors then say that no such package exists
        return f"no connection ({retries[-1].partition('connection broken by ')[2][:200]})"
    errors = [line[7:] for line in lines if line.lower().startswith("error: ")]
    causes = [line.strip()[7:] for line in lines if line.strip().startswith("cause: ")]
    return ": ".join(errors[-1:] + causes[-1:] or lines[-1:])[:500]


def refuse(lines: list[str], code: str, what: str, hint: str) -> NoReturn:
    """Turn the output of a failed pip or uv into a SetupError."""
    text = "\n".join(lines)
    if "No space left" in text or "os error 28" in text or "os error 112" in text:
        raise SetupError("disk_full", f"{what}: the disk is full.", "Free some space, start again.")
    if "DO NOT MATCH THE HASHES" in text or "Hash mismatch" in text:
        hint = "What the index or a proxy gave is not what this version names. " + hint
        raise SetupError("hash_mismatch", f"{what}: a fetched file has the wrong sha256.", hint)
    raise SetupError(code, f"{what}: {first_error(lines) or 'no reason was given'}", hint)


# ---- uv --------------------------------------------------------------------------------------


class Pin:
    """What tools.toml says about uv on a platform, by default this one."""

    def __init__(self, platform: str = "") -> None:
        import sysconfig
        import tomllib

        if platform:
            self.platform = platform
        elif sys.platform == "win32":
            self.platform = sysconfig.get_platform().replace("win-amd64", "windows-x86_64")
        else:
            system = "macos" if sys.platform == "darwin" else sys.platform
            self.platform = f"{system}-{os.uname().machine}"
        try:
            table = tomllib.loads(TOOLS.read_text("utf-8"))["uv"]
            self.version: str = table["version"]
            entry = table.get(self.platform, {"wheel_sha256": [], "binary_sha256": []})
            self.wheels: list[str] = entry["wheel_sha256"]
            self.binaries: list[str] = entry["binary_sha256"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            hint = "Restore the file, for example with: git checkout -- external/tools.toml"
            message = f"external/tools.toml cannot be read: {error}"
            raise SetupError("checkout_damaged", message, hint) from None
        if not self.wheels:
            hint = "It is made for 64-bit Windows, Linux (x86_64, aarch64) and macOS."
            message = f"This project names no uv for the platform {self.platform}."
            raise SetupError("platform_unknown", message, hint)


def ensure_uv(pin: Pin) -> None:
    """Have the pinned uv in external/UV; a good one that lies there already is kept."""
    if UV.is_file():
        if sha256(UV) in pin.binaries:
            if not WINDOWS and not os.access(UV, os.X_OK):
                UV.chmod(0o755)  # put there by hand
            return
        say(f"external/UV/{UV.name} is not the uv {pin.version} that this project names.")
    say(f"Getting uv {pin.version} ...")
    with scratch() as folder:
        binary = unpack_uv(download_uv(pin, folder), folder)
        if sha256(binary) not in pin.binaries:
            message = f"The fetched uv {pin.version} has not the sha256 in external/tools.toml."
            raise SetupError("hash_mismatch", message, "Do not use it; report this.")
        binary.chmod(0o755)
        try:
            binary.replace(UV)
        except PermissionError:
            message = f"external/UV/{UV.name} cannot be replaced: it is in use or not writable."
            raise SetupError("in_use", message, "Close the app, then start again.") from None


def download_uv(pin: Pin, folder: Path) -> Path:
    """Fetch uv's wheel with pip: it knows the user's index, proxy and certificates."""
    hashes = "".join(f" --hash=sha256:{value}" for value in pin.wheels)
    (folder / "uv.txt").write_text(f"uv=={pin.version}{hashes}\n", "utf-8")
    command = ["-P", "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input"]
    command += ["-q", "--disable-pip-version-check", "--require-hashes", "-dwheel", "-r", "uv.txt"]
    code, lines = run_tool([sys.executable, *command], folder)
    if code and any("No module named pip" in line for line in lines):
        code, lines = run_tool([pip_of_our_own(pin, folder), *command], folder)
    wheels = list((folder / "wheel").glob("uv-*.whl"))
    if code or not wheels:
        hint = "Check the network, the proxy and pip's settings (pip config list), "
        what = f"uv {pin.version} could not be fetched"
        refuse(lines, "uv_not_fetched", what, hint + BY_HAND.format(version=pin.version))
    return wheels[0]


def pip_of_our_own(pin: Pin, folder: Path) -> Path:
    """Make a temporary environment that has pip, for a Python without."""
    say("  (this Python has no pip; making a temporary one)")
    if run_tool([sys.executable, "-I", "-m", "venv", "pip"], folder)[0]:
        message = f"uv cannot be fetched: {sys.executable} has no pip and cannot make one."
        hint = "Install pip for it (Debian, Ubuntu: sudo apt install python3-pip), "
        raise SetupError("no_pip", message, hint + BY_HAND.format(version=pin.version))
    return folder / "pip" / VENV_PYTHON.relative_to(VENV)


def unpack_uv(wheel: Path, folder: Path, name: str = UV.name) -> Path:
    """Take the one program out of the wheel, and have it on the disk before it gets its name."""
    import zipfile

    target = folder / name
    with zipfile.ZipFile(wheel) as archive, target.open("wb") as stream:
        member = next(n for n in archive.namelist() if n.endswith(f"/scripts/{name}"))
        stream.write(archive.read(member))
        stream.flush()
        os.fsync(stream.fileno())
    return target


# ---- the app's environment -------------------------------------------------------------------


def is_intact(stamp: list[str]) -> bool:
    """Say whether the environment with this stamp is ours, whole, and able to run."""
    try:
        whole = len(stamp) == 4 and stamp[1] == identity() and stamp[3] == installed_names()
        check = "import sys; sys.exit(sys.prefix == sys.base_prefix)"  # no pyvenv.cfg: they are
        return whole and run_tool([VENV_PYTHON, "-I", "-c", check], ROOT)[0] == 0
    except OSError:
        return False


def set_up(level: str) -> None:
    """Make uv and the environment as the locks say. Called under the lock."""
    if is_ready(level):  # another start has done it while this one waited
        return
    pin = Pin()
    wanted = content(level, pin.version)
    ensure_uv(pin)
    stamps = {name: stamp for name in LOCKS if is_intact(stamp := read_stamp(name))}
    if level in stamps and stamps[level][2] == wanted:
        write_stamp(level, wanted)  # only sizes or times had changed
        return
    for name in LOCKS if VENV.is_dir() else ():
        stamp_file(name).unlink(missing_ok=True)
    try:
        if not stamps:
            make_venv()
        sync(level)
    except SetupError:
        if stamps and is_intact(next(iter(stamps.values()))):  # uv failed before it changed a thing
            for name, stamp in stamps.items():
                stamp_file(name).write_text("\n".join(stamp), "utf-8", "surrogateescape")
        raise
    if level == "test":  # it holds all that the app needs
        write_stamp("app", content("app", pin.version))
    write_stamp(level, wanted)


def make_venv() -> None:
    """Make an empty `.venv`, in the place of one that is broken, foreign or half-made."""
    if VENV.exists() or VENV.is_symlink():
        say("The app's environment .venv is not complete or not of this folder: making it anew ...")
        remove_venv()
    options = ["--no-project", "--color", "never", "--python", base_python()]
    code, lines = run_tool([UV, "venv", *options, VENV.name], ROOT)
    if code:
        hint = "Check that this folder is writable, or set GA3ENV_PYTHON to another Python."
        refuse(lines, "venv_failed", "The app's environment could not be made", hint)
    # Makes `.venv/bin/python -m envmanager` work from any folder without PYTHONPATH, which would
    # pass to every program below. As code when not ASCII: how a .pth is decoded depends on Python.
    root = str(ROOT)
    line = f"import sys; {root!a} in sys.path or sys.path.append({root!a})"
    (site_packages() / "ga3env.pth").write_text(root if root.isascii() else line, "ascii")
    if base_python().isascii() or not WINDOWS:  # cmd.exe would misread other letters
        (VENV / "ga3env-python").write_bytes(os.fsencode(base_python()) + b"\n")


def remove_venv() -> None:
    """Move `.venv` away and delete it; on Windows nothing moves while a program runs from it."""
    import time

    if VENV.is_symlink() or VENV.is_file():
        VENV.unlink()
        return
    with scratch() as folder:
        for _ in range(50 if WINDOWS else 1):  # 10 s: a killed start's uv may still be at work
            try:
                VENV.rename(folder / "venv")
                return
            except PermissionError:
                time.sleep(0.2)
    message = "The app's environment .venv must be made anew, but it is in use or not writable."
    hint = "Close the app and all programs that run from .venv, then start again."
    raise SetupError("in_use", message, hint)


def sync(level: str) -> None:
    """Install what the lock names, with every hash checked."""
    lock = LOCKS[level][0]
    pins = lock.read_text("utf-8").splitlines()
    count = len({line.split("==")[0] for line in pins if "==" in line and line[0] not in " #"})
    tests = " and its tests" if level == "test" else ""
    say(f"Setting up the app{tests} ({count} package{'s' * (count != 1)}) ...")
    options = ["--require-hashes", "--color", "never", "--python", str(VENV_PYTHON)]
    options += ["--no-index", "--find-links", str(WHEELS)] if WHEELS.is_dir() else []
    code, lines = run_tool([UV, "pip", "sync", *options, lock.name], ROOT)
    if code:
        hint = "Check the network and the proxy, then start again: it goes on where it stopped."
        refuse(lines, "install_failed", "The app's packages could not be installed", hint)


def write_stamp(level: str, wanted: str) -> None:
    """Record that a level is complete, in one step."""
    lines = [quick_state(level), identity(), wanted, installed_names()]
    temporary = VENV / "ga3env.stamp.new"
    temporary.write_text("\n".join(lines), "utf-8", "surrogateescape")
    temporary.replace(stamp_file(level))


def heed_signals() -> None:
    """Let a closed terminal or a shutdown end the set-up, and what it runs, as Ctrl-C does."""
    import signal

    for name in {"SIGTERM", "SIGHUP", "SIGBREAK"} & set(dir(signal)):
        if signal.getsignal(number := getattr(signal, name)) == signal.SIG_DFL:  # not with nohup
            signal.signal(number, signal.default_int_handler)


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
    windowless = windowless_tools()
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


def windowless_tools() -> ModuleType:
    """Import what shows message boxes; nothing of the project is on the path of this file."""
    sys.path.append(str(ROOT))
    from external import windowless

    return windowless


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


def start(args: list[str]) -> int:
    """Set up what is missing, then start."""
    level = "test" if args[:1] == ["test"] else "app"
    if level == "test" and not LOCKS["test"][0].is_file():
        hint = "Run them in a clone of the repository."
        raise SetupError("no_tests", "This copy of the project holds no tests.", hint)
    if args[:1] == ["build-windows"] and not (ROOT / "release").is_dir():
        hint = "Build releases in a clone of the repository."
        raise SetupError("no_release_tools", "This copy of the project builds no releases.", hint)
    if not is_ready(level):
        if WINDOWLESS and STARTER.is_file() and "_GA3ENV_SET_UP" not in os.environ:
            return start_starter(args[1:])
        if VENV in Path(sys.executable).parents:  # .venv is activated, and cannot rebuild itself
            return launch([base_python(), "-IS", __file__, *args])
        heed_signals()
        with setup_lock():
            set_up(level)
    if args == ["set-up"]:
        return 0
    command, folder = command_for(args)
    return launch_windowless(command) if WINDOWLESS else launch(command, folder)


def report(error: SetupError, as_json: bool) -> int:
    """Tell the user, and with --json the caller."""
    say(f"error: {error.message}\nhint: {error.hint}")
    if WINDOWLESS:
        windowless_tools().show([error.message, error.hint])
    if as_json:
        import json

        print(json.dumps({"ok": False, "error": vars(error)}), flush=True)
    return 130 if error.code == "cancelled" else 1


def main(args: list[str]) -> int:
    """Start, or say in one sentence why not."""
    try:
        return start(args)
    except SetupError as error:
        failure = error
    except KeyboardInterrupt:
        failure = SetupError("cancelled", "Set-up interrupted.", "Start again: it goes on.")
    except OSError as error:
        import errno

        where = f": {error.filename}" if error.filename else ""
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        hint = "Free some space" if full else "Check this file or folder"
        message = f"Set-up failed: {error.strerror or error}{where}"
        code = "disk_full" if full else "setup_failed"
        failure = SetupError(code, message, f"{hint}, then start again.")
    return report(failure, "--json" in args)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
