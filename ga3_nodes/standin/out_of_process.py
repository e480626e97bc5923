"""NIS's "Run out of process": the script runs in a Python of its own, which answers over a pipe."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

from ga3_nodes.standin import limnode_types as types
from ga3_nodes.standin.limnode_types import Array, Definition, TableData
from ga3_nodes.standin.nis import (
    Aborted,
    ChildDied,
    ChildHangs,
    Input,
    Nis,
    NodeFailed,
    PipesKeptOpen,
)
from ga3_nodes.standin.shared_memory import SharedMemory

ABORT_POLL_S = 0.1  # how often NIS looks at its Abort button
WINDOWS = sys.platform == "win32"


def prepare_site(folder: Path) -> Path:
    """Put our `limnode` into the folder that will be the child's current one, and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("limnode.py", "limnode_types.py"):
        shutil.copyfile(Path(__file__).with_name(name), folder / name)
    return folder


class OutOfProcessNis(Nis):
    """Runs the script in a child process, which starts with the first call and lives between runs.

    Parameters
    ----------
    script, version, outputs
        As for every host.
    python : Path
        The interpreter. On Windows the python.exe of a full Python folder: PYTHONHOME becomes its
        folder, and a venv's launcher fails, as in NIS.
    site : Path
        The child's current folder, first on its `sys.path`; see `prepare_site`.
    timeout_s : float
        How long one answer may take. NIS itself waits for ever.
    close_timeout_s : float
        How long the child's end, and that of its stdout and stderr, may take.
    """

    def __init__(
        self,
        script: str,
        version: int = 6,
        *,
        python: Path,
        site: Path,
        outputs: Sequence[str] = ("binary",),
        timeout_s: float = 600.0,
        close_timeout_s: float = 5.0,
    ) -> None:
        super().__init__(script, version, outputs)
        self._python, self._site = python.absolute(), site  # not resolved: a venv's is a link
        self._ready = False
        self._timeout_s, self._close_timeout_s = timeout_s, close_timeout_s
        self._memory = SharedMemory()
        self._child: subprocess.Popen[bytes] | None = None
        self._connection: Any = None
        self._log = ""
        self._problem: Exception | None = None

    @property
    def log(self) -> str:
        """The stdout and stderr of the children that have ended: they are not read before."""
        return self._log

    @property
    def pid(self) -> int | None:
        """The living child's process id."""
        return None if self._child is None else self._child.pid

    def close(self) -> None:
        """End the child.

        Raises
        ------
        PipesKeptOpen
            A process that a child started holds the stdout or stderr of that child.
        ChildHangs
            The child did not end by itself.
        """
        try:
            self._end()
        finally:
            self._memory.close()
        problem, self._problem = self._problem, None
        if problem is not None:
            raise problem

    def _output(
        self, inputs: Sequence[types.Wire], outputs: Sequence[types.Wire]
    ) -> list[types.Wire]:
        answer = self._ask({"function": "output", "inputs": inputs, "outputs": outputs})
        return cast("list[types.Wire]", answer)

    def _build(self, loops: Any) -> tuple[str, tuple[str, ...]] | None:
        answer = self._ask({"function": "build", "loops": loops})
        return cast("tuple[str, tuple[str, ...]] | None", answer)

    def _run(
        self,
        inputs: Sequence[Input],
        outputs: Sequence[Definition],
        abort: Callable[[], bool] | None,
        context: dict[str, Any],
    ) -> list[Array | TableData]:
        slots = self._memory.slots([*(i.definition for i in inputs), *outputs])
        given, wanted = slots[: len(inputs)], slots[len(inputs) :]
        for slot, item in zip(given, inputs, strict=True):
            slot.fill(item)
        for slot in wanted:
            slot.fill(None)
        request = {
            "function": "run",
            "ticket": self._memory.ticket,
            "inputs": [slot.message(i.columns) for slot, i in zip(given, inputs, strict=True)],
            "outputs": [slot.message({}) for slot in wanted],
            "context": context,
        }
        rows = self._ask(request, abort)
        return [slot.take(row) for slot, row in zip(wanted, rows, strict=True)]

    def _ask(self, request: dict[str, Any], abort: Callable[[], bool] | None = None) -> Any:
        if self._child is None:
            self._start()
        try:
            answer = self._exchange({**request, "version": self._version}, abort)
        except BaseException:  # also the caller's own: the child must not answer the next request
            self._end(kill=True)
            raise
        if answer is None:
            raise ChildDied(*self._end())
        outcome, value = answer
        if outcome == "failed":
            raise NodeFailed(request["function"], *value)
        return value

    def _start(self) -> None:
        ours, theirs = multiprocessing.Pipe()
        handle = theirs.fileno()
        inherited = () if WINDOWS else (handle, *self._memory.inherited)
        self._child = subprocess.Popen(
            [str(self._python), "-", str(handle)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=self._site,
            env=child_environment(self._python),
            pass_fds=inherited,
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
        if WINDOWS:
            theirs._handle = None  # type: ignore[attr-defined]  # the child takes it and closes it here
        else:
            theirs.close()
        self._connection, self._ready = ours, False
        stdin, self._child.stdin = self._child.stdin, None
        assert stdin is not None
        with contextlib.suppress(OSError):  # a dead child: its exit code comes with the answer
            stdin.write(self._script.encode())
        with contextlib.suppress(OSError):
            stdin.close()  # only now does Python execute it

    def _exchange(self, request: dict[str, Any], abort: Callable[[], bool] | None) -> Any:
        """Return the child's answer, None when it is dead."""
        try:
            if not self._ready:
                self._ready = self._receive(abort) is not None
            self._connection.send(request)
        except (BrokenPipeError, ConnectionResetError):
            return None
        return self._receive(abort)

    def _receive(self, abort: Callable[[], bool] | None) -> Any:
        assert self._child is not None
        deadline = time.monotonic() + self._timeout_s
        while not self._answered():
            if self._child.poll() is not None and not self._answered():
                return None
            if abort is not None and abort():
                raise Aborted("the run was aborted and the node's process killed")
            if time.monotonic() > deadline:
                raise ChildHangs(f"no answer from the node's process in {self._timeout_s:g} s")
        try:
            return self._connection.recv()
        except (EOFError, OSError):
            return None

    def _answered(self) -> bool:
        try:
            return bool(self._connection.poll(ABORT_POLL_S))
        except OSError:  # a broken pipe: the attempt to read it tells
            return True

    def _end(self, *, kill: bool = False) -> tuple[int, str]:
        """End the child, by closing its pipe or by a kill; return its exit code and its text."""
        child, self._child = self._child, None
        if child is None:
            return 0, ""
        self._connection.close()
        if kill:
            child.kill()  # the child alone: what it started lives on, as in NIS
        text = "".join(part.decode(errors="replace") for part in self._last_words(child))
        self._log += text
        return child.wait(), text

    def _last_words(self, child: subprocess.Popen[bytes]) -> tuple[bytes, bytes]:
        """Read stdout and stderr to their end, which comes when their last holder has ended."""
        try:
            return child.communicate(timeout=self._close_timeout_s)
        except subprocess.TimeoutExpired:
            if child.poll() is None:
                self._problem = ChildHangs(
                    f"the node's process did not end in {self._close_timeout_s:g} s and was killed"
                )
                child.kill()
        try:
            return child.communicate(timeout=1)
        except subprocess.TimeoutExpired as late:
            self._problem = PipesKeptOpen(
                f"inherited pipes kept open: the node's process {child.pid} is dead, but a process "
                "that it started holds its stdout or stderr"
            )
            if not WINDOWS:  # there, threads of `communicate` still read them and close them
                for pipe in (child.stdout, child.stderr):
                    assert pipe is not None
                    pipe.close()
            return late.output or b"", late.stderr or b""


def child_environment(python: Path) -> dict[str, str]:
    """Return the environment that NIS gives to its child: no PYTHONPATH, PYTHONHOME set.

    On Linux that PYTHONHOME would kill the child itself, so `poison/sitecustomize.py` puts it into
    `os.environ` before the script runs: what the child starts inherits it.
    """
    home = str(python.parent)
    environment = {
        name: value
        for name, value in os.environ.items()
        if name.upper() not in ("PYTHONPATH", "PYTHONHOME")
    }
    environment["PATH"] = home + os.pathsep + environment.get("PATH", "")
    if WINDOWS:
        environment["PYTHONHOME"] = home
    else:
        environment["GA3_STANDIN_PYTHONHOME"] = home
        environment["PYTHONPATH"] = str(Path(__file__).resolve().parent / "poison")
    return environment
