"""A program with all that it starts: it ends as a whole, and with the engine, whatever ends that.

Linux: a mark in the environment and a guard (`guard.py`). Windows: a job object, which the system
ends when the engine's last handle to it is closed, so also when the engine is killed.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from envmanager.processes import guard

_POLL_S = 0.02
_LAST_WORDS_S = 2.0  # for what a program that has ended leaves running
_KILL_S = 5.0


class ProcessTree:
    """A running program with what it starts; a context manager that leaves nothing of it.

    When the program has ended, what it left running gets a moment, then it is killed. When the
    body of the ``with`` fails, all is killed at once.

    Attributes
    ----------
    process : Popen
        The program, with pipes as its output.
    """

    process: subprocess.Popen[bytes]

    def __init__(self, arguments: Sequence[str], cwd: Path, environment: Mapping[str, str]) -> None:
        self._bonds = _Bonds()
        try:
            self.process = self._bonds.start(arguments, cwd, environment)
        except BaseException:  # Ctrl-C too
            self._bonds.kill()
            self._bonds.close()
            raise

    def __enter__(self) -> ProcessTree:
        """Return the tree."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: object, trace: TracebackType | None
    ) -> None:
        """Leave nothing running."""
        try:
            if kind is None:
                self._wait_for_the_rest()
            self.kill()
        finally:
            self._bonds.close()

    def ended(self, seconds: float) -> bool:
        """Tell whether the program has ended, after so many seconds at most."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def kill(self) -> None:
        """Kill all of it, and wait for its end."""
        self._bonds.kill(self.process if self.process.poll() is None else None)
        self.ended(_KILL_S)

    def _wait_for_the_rest(self) -> None:
        deadline = time.monotonic() + _LAST_WORDS_S
        while self._bonds.alive() and time.monotonic() < deadline:
            time.sleep(_POLL_S)


if sys.platform == "win32":
    import ctypes
    from ctypes import wintypes

    _SUSPENDED = 0x4
    _BASIC_ACCOUNTING, _EXTENDED_LIMITS = 1, 9
    # Workers, which a node may start, break away: they are to survive.
    _KILL_ON_JOB_CLOSE, _BREAKAWAY_OK = 0x2000, 0x800

    class _BasicLimits(ctypes.Structure):
        _fields_ = (
            ("PerProcessUserTimeLimit", wintypes.LARGE_INTEGER),
            ("PerJobUserTimeLimit", wintypes.LARGE_INTEGER),
            ("LimitFlags", wintypes.DWORD),
            ("MinimumWorkingSetSize", ctypes.c_size_t),
            ("MaximumWorkingSetSize", ctypes.c_size_t),
            ("ActiveProcessLimit", wintypes.DWORD),
            ("Affinity", ctypes.c_size_t),
            ("PriorityClass", wintypes.DWORD),
            ("SchedulingClass", wintypes.DWORD),
        )

    class _ExtendedLimits(ctypes.Structure):
        _fields_ = (
            ("BasicLimitInformation", _BasicLimits),
            ("IoInfo", ctypes.c_ulonglong * 6),
            ("ProcessMemoryLimit", ctypes.c_size_t),
            ("JobMemoryLimit", ctypes.c_size_t),
            ("PeakProcessMemoryUsed", ctypes.c_size_t),
            ("PeakJobMemoryUsed", ctypes.c_size_t),
        )

    class _Accounting(ctypes.Structure):
        _fields_ = (
            ("Times", wintypes.LARGE_INTEGER * 4),
            ("TotalPageFaultCount", wintypes.DWORD),
            ("TotalProcesses", wintypes.DWORD),
            ("ActiveProcesses", wintypes.DWORD),
            ("TotalTerminatedProcesses", wintypes.DWORD),
        )

    class _Bonds:
        """A job object."""

        def __init__(self) -> None:
            kernel = ctypes.WinDLL("kernel32", use_last_error=True)
            kernel.CreateJobObjectW.restype = wintypes.HANDLE
            kernel.CreateJobObjectW.argtypes = [wintypes.LPVOID, wintypes.LPCWSTR]
            about: list[Any] = [wintypes.HANDLE, ctypes.c_int, wintypes.LPVOID, wintypes.DWORD]
            kernel.SetInformationJobObject.argtypes = about
            kernel.QueryInformationJobObject.argtypes = [*about, wintypes.LPVOID]
            kernel.AssignProcessToJobObject.argtypes = [wintypes.HANDLE, wintypes.HANDLE]
            kernel.TerminateJobObject.argtypes = [wintypes.HANDLE, wintypes.UINT]
            kernel.CloseHandle.argtypes = [wintypes.HANDLE]
            self._kernel = kernel
            self._job = kernel.CreateJobObjectW(None, None)
            limits = _ExtendedLimits()
            limits.BasicLimitInformation.LimitFlags = _KILL_ON_JOB_CLOSE | _BREAKAWAY_OK
            if not kernel.SetInformationJobObject(
                self._job, _EXTENDED_LIMITS, ctypes.byref(limits), ctypes.sizeof(limits)
            ):
                raise ctypes.WinError(ctypes.get_last_error())

        def start(
            self, arguments: Sequence[str], cwd: Path, environment: Mapping[str, str]
        ) -> subprocess.Popen[bytes]:
            """Start the program suspended: before it is in the job, it must not start others."""
            flags = subprocess.CREATE_NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP
            process = subprocess.Popen(
                arguments,
                cwd=cwd,
                env=dict(environment),
                creationflags=flags | _SUSPENDED,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
            handle = wintypes.HANDLE(int(process._handle))  # type: ignore[attr-defined]
            if not self._kernel.AssignProcessToJobObject(self._job, handle):
                error = ctypes.WinError(ctypes.get_last_error())
                process.kill()
                raise error
            ctypes.WinDLL("ntdll").NtResumeProcess(handle)
            return process

        def alive(self) -> bool:
            """Tell whether any process is left in the job."""
            found = _Accounting()
            size = ctypes.sizeof(found)
            self._kernel.QueryInformationJobObject(
                self._job, _BASIC_ACCOUNTING, ctypes.byref(found), size, None
            )
            return bool(found.ActiveProcesses)

        def kill(self, process: subprocess.Popen[bytes] | None = None) -> None:
            """End all of them: what they have open cannot be deleted before."""
            self._kernel.TerminateJobObject(self._job, 1)
            deadline = time.monotonic() + _KILL_S
            while self.alive() and time.monotonic() < deadline:
                time.sleep(_POLL_S)

        def close(self) -> None:
            """Give the job back."""
            self._kernel.CloseHandle(self._job)

else:

    class _Bonds:
        """A mark that is inherited, and a guard that looks for it."""

        def __init__(self) -> None:
            self._mark = secrets.token_hex(16)
            # The guard itself bears no mark: neither ours nor that of who runs this engine.
            environment = {k: v for k, v in os.environ.items() if k != guard.MARK}
            self._guard = subprocess.Popen(
                [sys.executable, "-I", "-S", guard.__file__, self._mark],
                cwd="/",
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )

        def start(
            self, arguments: Sequence[str], cwd: Path, environment: Mapping[str, str]
        ) -> subprocess.Popen[bytes]:
            """Start the program in a session of its own: Ctrl-C is for us to handle."""
            return subprocess.Popen(
                arguments,
                cwd=cwd,
                env={**environment, guard.MARK: self._mark},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )

        def alive(self) -> bool:
            """Tell whether any process bears the mark."""
            return bool(guard.marked(self._mark))

        def kill(self, process: subprocess.Popen[bytes] | None = None) -> None:
            """End all of them; `process` is the program where it still runs."""
            if process:  # those too that have thrown the mark away
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, signal.SIGKILL)  # it leads its session's group
            guard.kill(self._mark, _KILL_S)

        def close(self) -> None:
            """End the guard."""
            self._guard.kill()
            self._guard.communicate()
