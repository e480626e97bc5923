"""Runs other programs: a clean environment, no console window, output as it comes, cancel."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import psutil

from envmanager.events import CancelToken

_POLL_S = 0.05
_LAST_WORDS_S = 2.0
# Each of these makes another Python take a wrong prefix or wrong packages. NIS sets PYTHONHOME;
# an activated conda or virtual environment sets the others.
_HARMFUL_PREFIXES = ("PYTHON", "CONDA", "VIRTUAL_ENV", "PIP_", "UV_", "LD_PRELOAD", "__PYVENV")


@dataclass(frozen=True)
class Finished:
    """A program that has ended, with what it printed."""

    exit_code: int
    stdout: str
    stderr: str


def clean_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return this process's environment without what would harm a Python that is started in it."""
    kept = {k: v for k, v in os.environ.items() if not k.upper().startswith(_HARMFUL_PREFIXES)}
    return {**kept, **(extra or {})}


def run(
    arguments: Sequence[str | Path],
    *,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    inherit: bool = True,
    cancel: CancelToken | None = None,
    on_line: Callable[[str], None] | None = None,
) -> Finished:
    """Run a program to its end.

    Parameters
    ----------
    env : mapping, optional
        Variables of the program, beside those of `clean_environment` where `inherit` is True.
    cancel : CancelToken, optional
        Ends the program and all that it started.
    on_line : callable, optional
        Gets each line of stderr as it comes.

    Raises
    ------
    Cancelled
        `cancel` was set; the process tree is gone.
    """
    process = subprocess.Popen(
        [str(argument) for argument in arguments],
        cwd=cwd,
        env=clean_environment(env) if inherit else dict(env or {}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **_own_group(),
    )
    out: list[str] = []
    err: list[str] = []
    readers = [_reader(process.stdout, out, None), _reader(process.stderr, err, on_line)]
    try:
        while not _ended(process):
            if cancel:
                cancel.check()
        _drain(process, readers)
    except BaseException:  # Ctrl-C too: nothing may go on behind the user's back
        kill_tree(process)
        for reader in readers:
            reader.join(_LAST_WORDS_S)
        raise
    finally:
        for stream, reader in zip((process.stdout, process.stderr), readers, strict=True):
            if stream and not reader.is_alive():  # else closing would wait for the reader
                stream.close()
    return Finished(process.returncode, "".join(out), "".join(err))


def _drain(process: subprocess.Popen[bytes], readers: list[threading.Thread]) -> None:
    """Read what is left; end those that the program left behind with its output in their hands."""
    for reader in readers:
        reader.join(_LAST_WORDS_S)
    if any(reader.is_alive() for reader in readers):
        _kill_group(process)
        for reader in readers:
            reader.join(_LAST_WORDS_S)


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    if sys.platform != "win32":
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)  # `_own_group` made it the leader


def _ended(process: subprocess.Popen[bytes]) -> bool:
    try:
        process.wait(_POLL_S)
    except subprocess.TimeoutExpired:
        return False
    return True


def _own_group() -> dict[str, Any]:
    """Keep Ctrl-C and console windows away from the program: its end is our decision."""
    if sys.platform == "win32":
        flags = subprocess.CREATE_NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP
        return {"creationflags": flags}
    return {"start_new_session": True}


def _reader(
    stream: IO[bytes] | None, lines: list[str], on_line: Callable[[str], None] | None
) -> threading.Thread:
    def read() -> None:
        assert stream is not None
        for raw in stream:
            line = raw.decode("utf-8", "replace").replace("\r\n", "\n")
            lines.append(line)
            if on_line:
                on_line(line.rstrip())

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    return thread


def kill_tree(process: subprocess.Popen[bytes]) -> None:
    """Kill a program with all that it started, and wait for their end."""
    try:
        family = psutil.Process(process.pid).children(recursive=True)
    except psutil.Error:
        family = []
    process.kill()
    _kill_group(process)
    for child in family:
        try:
            child.kill()
        except psutil.Error:
            pass
    psutil.wait_procs(family, timeout=5)
    process.wait()
