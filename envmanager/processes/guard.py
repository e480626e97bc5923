"""Ends the processes that an engine which died has left behind (Linux).

A program that the engine runs has a mark in its environment, which all that it starts inherits. The
guard is a small process beside it, started by path: it waits for the end of a pipe that only the
engine holds open, whatever ends the engine, and then kills all that bears the mark. A signal at the
parent's death (PR_SET_PDEATHSIG) would reach the program alone, not what it started. On Windows a
job object does all of this (`tree`).
"""

import os
import signal
import sys
import time

MARK = "GA3ENV_TREE"
_POLL_S = 0.02
_LEAST_S = 0.5  # a process between its fork and its start bears no mark yet
_MOST_S = 10.0


def marked(mark: str) -> list[int]:
    """Return the process ids of all that bear a mark; none where the system has no ``/proc``."""
    wanted = f"{MARK}={mark}".encode()
    try:
        numbers = [int(name) for name in os.listdir("/proc") if name.isdecimal()]  # noqa: PTH208
    except OSError:
        return []
    return [pid for pid in numbers if wanted in _environment(pid)]


def _environment(pid: int) -> list[bytes]:
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:  # noqa: PTH123 - pathlib starts slowly
            return file.read().split(b"\0")
    except OSError:  # it has ended, or is another user's
        return []


def kill(mark: str, seconds: float = _MOST_S) -> None:
    """Kill all that bears a mark, again until nothing is left: they may be starting others."""
    deadline = time.monotonic() + seconds
    while (found := marked(mark)) and time.monotonic() < deadline:
        for pid in found:
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                pass
        time.sleep(_POLL_S)


def _guard(mark: str) -> None:
    sys.stdin.buffer.read()
    deadline = time.monotonic() + _LEAST_S
    while time.monotonic() < deadline:
        kill(mark)
        time.sleep(_POLL_S)


if __name__ == "__main__":
    _guard(sys.argv[1])
