"""Runs other programs: a clean environment, no console window, output as it comes, cancel."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from envmanager.events import CancelToken
from envmanager.processes.tree import ProcessTree

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
    on_poll: Callable[[], None] | None = None,
) -> Finished:
    """Run a program to its end; what it leaves running is ended as well.

    Nothing of it outlives this process either, not even where that is killed.

    Parameters
    ----------
    env : mapping, optional
        Variables of the program, beside those of `clean_environment` where `inherit` is True.
    cancel : CancelToken, optional
        Ends the program and all that it started.
    on_line : callable, optional
        Gets each line of stderr as it comes, in the thread of the caller.
    on_poll : callable, optional
        Is called some 20 times a second while the program runs.

    Raises
    ------
    Cancelled
        `cancel` was set; the process tree is gone.
    """
    environment = clean_environment(env) if inherit else dict(env or {})
    command = [str(argument) for argument in arguments]
    readers: list[_Reader] = []
    try:
        with ProcessTree(command, cwd, environment) as tree:
            out, err = _Reader(tree.process.stdout), _Reader(tree.process.stderr)
            readers = [out, err]
            while not tree.ended(_POLL_S):
                if cancel:
                    cancel.check()
                err.hand_over(on_line)
                if on_poll:
                    on_poll()
    finally:  # nobody is left who could still write
        for reader in readers:
            reader.close()
    err.hand_over(on_line)
    return Finished(tree.process.returncode, out.text(), err.text())


class _Reader:
    """Reads a program's output in a thread, so that neither waits for the other."""

    def __init__(self, stream: IO[bytes] | None) -> None:
        assert stream is not None
        self._stream = stream
        self._lines: list[str] = []
        self._handed_over = 0
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        for raw in self._stream:
            self._lines.append(raw.decode("utf-8", "replace").replace("\r\n", "\n"))

    def hand_over(self, on_line: Callable[[str], None] | None) -> None:
        """Give the lines that have come since the last time."""
        while on_line and self._handed_over < len(self._lines):
            self._handed_over += 1
            on_line(self._lines[self._handed_over - 1].rstrip())

    def text(self) -> str:
        """Return all that has come."""
        return "".join(self._lines)

    def close(self) -> None:
        """Read what is left, and close."""
        self._thread.join(_LAST_WORDS_S)
        if not self._thread.is_alive():  # else closing would wait for the reader
            self._stream.close()
