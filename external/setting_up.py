"""Sets up what is missing: uv, and the app's environment as its lock says."""

from __future__ import annotations

import os
import time

from external.pinned_uv import Pin, ensure_uv
from external.places import (
    LOCKS,
    ROOT,
    UV,
    VENV,
    VENV_PYTHON,
    WHEELS,
    WINDOWS,
    base_python,
    site_packages,
)
from external.setup_lock import scratch, setup_lock
from external.stamps import content, is_intact, is_ready, read_stamp, stamp_file, write_stamp
from external.telling import SetupError, refuse, say
from external.tools import run_tool


def set_up(level: str) -> None:
    """Make uv and the environment as the locks say, after another start that does."""
    with setup_lock():
        if not is_ready(level):  # the other one has done it
            complete(level)


def complete(level: str) -> None:
    """Make what is missing or not as the locks say. Called under the lock."""
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
