"""Runs the tests marked `windows` with a real Windows CPython under Wine: `./run test --windows`.

What builds the bench lives outside of the project, in the folder GA3ENV_WINDOWS_BENCH (default
`../shared/windows-bench`). Arguments go to pytest; `--limit SECONDS` bounds the whole run.
The project is seen on drive Z:. All that a run writes stays on drive C:, in the bench.

A last step runs the app's smoke test (`ON_A_SCREEN`) with real windows on a virtual screen, and
keeps pictures of it in the bench's folder `screenshots`. Wine's desktop stays on the screen that
was there at its start, so that step has a Wine of its own, with the same drive C: but for what is
written. Where tests are named, it runs only for those of that file.
"""

import argparse
import contextlib
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BENCH = ROOT / ".cache" / "windows-bench"
LOCK = ROOT / "requirements-test.lock"
HOME = BENCH / "prefix" / "drive_c" / "ga3env"  # C:\ga3env
VENV = HOME / "venv"
UV = r"C:\uv\uv.exe"
BUILD_LIMIT = 1800
ON_A_SCREEN = "tests/app/test_windows_smoke.py"
SCREENSHOTS = BENCH / "screenshots"
SCREEN_LIMIT = 300
# At times, with much to do, Wine starts no process: ERROR_INTERNAL_ERROR. Such a test runs again.
START_REFUSED = r"\b(WinError|os error) 1359\b"


class BenchError(Exception):
    """The bench is there but does not work."""


def say(line):
    print(f"windows bench: {line}", flush=True)


def digest(*files):
    return "\n".join(hashlib.sha256(file.read_bytes()).hexdigest() for file in files)


def wine_environment():
    """Give the host's variables without those that mean something else inside of Wine."""
    prefixes = ("QT_", "PYTHON", "PIP_", "UV_", "CONDA_", "XDG_", "GA3ENV_", "WINE", "VIRTUAL_ENV")
    # UV_INDEX, UV_DEFAULT_INDEX, UV_INDEX_URL, UV_HTTP_TIMEOUT ...: the user's way to a registry
    kept = {k: v for k, v in os.environ.items() if k.startswith("UV_") and "INDEX" in k}
    kept |= {k: v for k, v in os.environ.items() if not k.startswith(prefixes)}
    for name in ("TMPDIR", "TEMP", "TMP", "DISPLAY", "WAYLAND_DISPLAY"):
        kept.pop(name, None)
    return kept | {
        "GA3ENV_UV": UV,
        "UV_CACHE_DIR": r"C:\ga3env\uv-cache",
        "UV_PYTHON_DOWNLOADS": "never",
        "PYTHONPYCACHEPREFIX": r"C:\ga3env\pycache",  # both systems write the same names
        "HYPOTHESIS_STORAGE_DIRECTORY": r"C:\ga3env\hypothesis",
    }


def run_logged(command, log, env=None, limit=BUILD_LIMIT):
    """Run a step of the build; its output is shown only when it fails."""
    with log.open("wb") as stream:
        try:
            code = subprocess.run(
                command,
                cwd=ROOT,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                timeout=limit,
            ).returncode
        except subprocess.TimeoutExpired:
            code = f"over {limit} s"
    if code:
        output = log.read_text("utf-8", "replace")
        raise BenchError(f"{' '.join(map(str, command))} failed ({code}):\n{output[-6000:]}")


def build(scripts):
    """Build the bench itself, unless it stands as these scripts make it."""
    setup, stamp = scripts / "setup.sh", BENCH / "ga3env-setup.stamp"
    if not setup.is_file():
        raise BenchError(f"there is no setup.sh in {scripts}")
    made = digest(setup)
    if stamp.is_file() and stamp.read_text() == made and shutil.which("wine"):
        return
    say(f"building it in {BENCH} ...")
    stamp.unlink(missing_ok=True)
    run_logged(["bash", setup, BENCH], BENCH.with_suffix(".log"))
    stamp.write_text(made)


def python_in_wine():
    """Name the bench's Python, as Windows sees it."""
    found = sorted(HOME.parent.glob("Python3*/python.exe"))
    if not found:
        raise BenchError("setup.sh has made no Python")
    return f"C:\\{found[0].parent.name}\\python.exe"


def sync():
    """Make the Windows environment of the tests, unless it stands as the lock says."""
    stamp, log = VENV / "ga3env.stamp", BENCH.with_suffix(".log")
    made = digest(LOCK, BENCH / "ga3env-setup.stamp")
    if stamp.is_file() and stamp.read_text() == made:
        return
    say("setting up the Windows environment of the tests ...")
    shutil.rmtree(VENV, ignore_errors=True)
    HOME.mkdir(exist_ok=True)
    env, uv = wine_environment(), [BENCH / "wexec", UV]
    venv, python = r"C:\ga3env\venv", r"C:\ga3env\venv\Scripts\python.exe"
    run_logged([*uv, "venv", "--no-project", "--python", python_in_wine(), venv], log, env)
    options = ["--require-hashes", "--python", python]
    run_logged([*uv, "pip", "sync", *options, LOCK.name], log, env)
    stamp.write_text(made)


def prepare(scripts):
    """Build what is missing; a second run at the same time waits."""
    import fcntl  # not on Windows, where main() needs no bench

    BENCH.parent.mkdir(exist_ok=True)
    with BENCH.with_suffix(".lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        build(scripts)
        sync()


def run_tests(marked, arguments, limit, *, wine=None, env=None, home=HOME):
    """Run pytest under Wine, and end everything there when it takes too long."""
    report = home / f"report-{os.getpid()}.xml"
    command = [*(wine or [BENCH / "wexec"]), r"C:\ga3env\venv\Scripts\python.exe"]
    command += ["-m", "pytest", "-m", marked]
    command += ["-p", "no:cacheprovider", "-o", "tmp_path_retention_policy=failed"]
    command += ["--reruns", "2", "--only-rerun", START_REFUSED]
    command += [f"--junitxml=C:\\ga3env\\{report.name}", *arguments]
    env = wine_environment() | (env or {})
    process = subprocess.Popen(
        command, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, start_new_session=True
    )
    try:
        code = process.wait(limit)
    except KeyboardInterrupt:
        code = 130
    except subprocess.TimeoutExpired:
        say(f"no end after {limit} s: ending all Windows programs")
        stop_wine(home.parents[1])
        code = 1
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return summary(code, report)


def stop_wine(prefix):
    """End every Windows program of a Wine: a kill of the shell above does not."""
    wineserver = f'. "{BENCH}/env.sh" && WINEPREFIX="$1" wineserver -k'
    command = ["bash", "-c", wineserver, "stop", prefix]
    subprocess.run(command, stdin=subprocess.DEVNULL, timeout=60)


# ---- the step with a screen ----------------------------------------------------------------------


@contextlib.contextmanager
def second_wine():
    """Give a Wine with the same programs as the bench's, that ends and goes with the block."""
    drive = BENCH / "prefix" / "drive_c"
    with tempfile.TemporaryDirectory(prefix="screen-", dir=BENCH, ignore_cleanup_errors=True) as at:
        prefix = Path(at)
        for file in (".update-timestamp", *(p.name for p in (BENCH / "prefix").glob("*.reg"))):
            shutil.copy2(BENCH / "prefix" / file, prefix / file)
        (prefix / "dosdevices").mkdir()
        (prefix / "dosdevices" / "c:").symlink_to("../drive_c")
        (prefix / "dosdevices" / "z:").symlink_to("/")
        home = prefix / "drive_c" / HOME.name
        home.mkdir(parents=True)
        (HOME / "pycache").mkdir(exist_ok=True)
        for name in ("venv", "pycache"):
            (home / name).symlink_to(HOME / name)
        programs = [*drive.glob("Python3*"), *drive.glob("Program*")]
        for folder in (*programs, drive / "windows", drive / "uv"):
            (prefix / "drive_c" / folder.name).symlink_to(folder)
        for user in (drive / "users").iterdir():
            (prefix / "drive_c" / "users" / user.name / "Temp").mkdir(parents=True)
        try:
            yield home
        finally:
            stop_wine(prefix)


@contextlib.contextmanager
def screen():
    """Give a virtual screen by its name for DISPLAY."""
    command = ["Xvfb", "-displayfd", "1", "-screen", "0", "1280x900x24", "-nolisten", "tcp"]
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as server:
        try:
            number = server.stdout.readline().decode().strip()
            if not number:
                raise BenchError("Xvfb gives no screen")
            yield f":{number}"
        finally:
            server.terminate()


def run_on_a_screen(marked, arguments):
    """Run the smoke test of the app with real windows; return the exit code."""
    if not shutil.which("Xvfb"):
        say("no step with a screen: there is no Xvfb")
        return 0
    say(f"on a screen ({SCREENSHOTS.relative_to(ROOT)} keeps pictures) ...")
    shutil.rmtree(SCREENSHOTS, ignore_errors=True)
    SCREENSHOTS.mkdir()
    # As `wexec` does, which knows one Wine only.
    start = f'. "{BENCH}/env.sh"; export WINEPREFIX="$1"; shift; wine "$@" 2>&1 | cat'
    start += "; exit ${PIPESTATUS[0]}"
    with second_wine() as home, screen() as display:
        wine = ["bash", "-c", start, "wine", home.parents[1]]
        env = {"DISPLAY": display, "GA3ENV_SCREENSHOTS": f"Z:{SCREENSHOTS}"}
        return run_tests(marked, arguments, SCREEN_LIMIT, wine=wine, env=env, home=home)


def summary(code, report):
    """Say how many tests ran; none at all is a failure, for nothing was shown."""
    try:
        suite = next(ET.parse(report).iter("testsuite"))
        count = {k: int(suite.get(k, 0)) for k in ("tests", "skipped", "failures", "errors")}
    except (OSError, ET.ParseError, StopIteration):
        say(f"FAILED: pytest gave no report (exit code {code})")
        return code or 1
    finally:
        report.unlink(missing_ok=True)
    passed = count["tests"] - count["skipped"] - count["failures"] - count["errors"]
    failed = count["failures"] + count["errors"]
    text = f"{passed} passed, {failed} failed, {count['skipped']} skipped under Wine"
    if not passed and not failed:
        text, code = f"{text}: no test ran", code or 1
    say(f"{'FAILED: ' if code else ''}{text}")
    return code


def main(arguments):
    parser = argparse.ArgumentParser(allow_abbrev=False, add_help=False)
    parser.add_argument("-m", dest="expression")
    parser.add_argument("--limit", type=float, default=1800)
    options, rest = parser.parse_known_args(arguments)
    marked = f"windows and ({options.expression})" if options.expression else "windows"
    if sys.platform == "win32":  # the real thing
        return subprocess.call([sys.executable, "-m", "pytest", "-m", marked, *rest], cwd=ROOT)
    place = os.environ.get("GA3ENV_WINDOWS_BENCH")
    scripts = Path(place) if place else ROOT.parent / "shared" / "windows-bench"
    if not scripts.is_dir():
        say(f"skipped, no test ran: there is no folder {scripts} (GA3ENV_WINDOWS_BENCH names it)")
        return 0
    try:
        prepare(scripts)
    except BenchError as error:
        say(f"FAILED: {error}")
        return 1
    named = [word for word in rest if (ROOT / word.partition("::")[0]).exists()]
    failed = run_tests(marked, rest, options.limit)
    if not named or any(word.startswith(ON_A_SCREEN) for word in named):
        words = [word for word in named if word.startswith(ON_A_SCREEN)] or [ON_A_SCREEN]
        failed = run_on_a_screen(marked, ["-q", *words]) or failed
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
