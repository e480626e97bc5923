"""Calls a module's function in its worker; this is what a GA3 node imports.

>>> from ga3_nodes import client                                            # doctest: +SKIP
>>> result = client.call("classic", "segment", {"image": image}, {"smoothing": 2.0})
>>> labels = result["labels"]

A call finds the live worker of the published environment or starts one; the worker outlives its
clients and keeps its model loaded.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from ga3_nodes import __version__, home, locks, params, records, shm, spawn, wire
from ga3_nodes.errors import (
    BadInput,
    Cancelled,
    GA3EnvError,
    ProtocolError,
    WorkerCrashed,
    WorkerStartFailed,
    WorkerTimeout,
    from_dict,
)

START_TIMEOUT_S = 120.0
_POLL_S = 0.05  # how often a wait looks at `cancelled`; a reply is seen at once
_DEATH_S = 1.0  # how long the lease of a worker may outlive its connections
_TRIES = 5
_ROOM = 1 << 16  # bytes that a worker needs on the disk for its record and its log
MANAGER = "manager"  # the program's name for questions that are not calls


class Result(dict[str, Any]):
    """The outputs of a call by name: ndarray, or dict of columns for a table.

    Attributes
    ----------
    seconds : float
        Time that the function took inside the worker.
    device : str
        Where it ran, such as ``"cpu"``.
    worker_pid : int
        The process that ran it.
    """

    seconds: float = 0.0
    device: str = ""
    worker_pid: int = 0


def call(
    module: str,
    function: str,
    arrays: Mapping[str, np.ndarray],
    parameters: Mapping[str, Any] | None = None,
    *,
    axes: Mapping[str, str] | None = None,
    timeout: float | None = None,
    cancelled: Callable[[], bool] | None = None,
    copy: bool = True,
) -> Result:
    """Call `function` of the published environment of `module`.

    Parameters
    ----------
    arrays : mapping of ndarray
        The inputs by name, of any memory layout and byte order.
    parameters : mapping, optional
        Values that differ from the module's defaults.
    axes : mapping of str, optional
        The order of an input's axes where it is known, such as ``{"image": "zyx"}``.
    timeout : float, optional
        Seconds until the call is given up and its worker ended; without limit by default.
    cancelled : callable, optional
        Is asked many times a second; when it says True, the call ends and so does its worker.
    copy : bool
        False returns views that the next call to this module overwrites: one copy less.

    Raises
    ------
    NotInstalled, ConfigError
        There is no usable environment.
    BadInput
        An input or a parameter is refused.
    ModuleFailed
        The function failed; the details hold the remote traceback.
    WorkerStartFailed, WorkerCrashed, WorkerTimeout, Cancelled
        What happened to the worker or the call.
    """
    entry = home.published(module)
    spec = entry.functions.get(function)
    if spec is None:
        raise BadInput(f"{module} has no function {function!r}.", code="unknown_function")
    message = {
        "type": "call",
        "function": function,
        "params": params.complete(spec.get("parameters", {}), parameters or {}),
        "axes": dict(axes or {}),
    }
    deadline = None if timeout is None else time.monotonic() + timeout
    patience = _Patience(deadline, cancelled or (lambda: False))
    if entry.runs_here:
        return _call_here(entry, message, arrays, patience, copy)
    for _ in range(_TRIES):
        try:
            return _link(entry, patience).call(message, arrays, patience, copy)
        except wire.ConnectionLost:
            continue  # the worker ended before it began with this call
    raise WorkerStartFailed(
        f"The workers of {module} end before they take a call.",
        f"Repair {module} in GA3 Environment Manager.",
        details=_evidence(entry, 0),
    )


def _call_here(
    entry: home.ModuleEntry,
    message: wire.Message,
    arrays: Mapping[str, np.ndarray],
    patience: _Patience,
    copy: bool,
) -> Result:
    """Call a light module without a worker: this is a Python that its overlay was made for."""
    from ga3_nodes import inprocess  # nodes of other modules shall not pay for its import

    if error := patience.exhausted():
        raise error
    with _held(inprocess.lock(entry), patience):
        given = (message["function"], arrays, message["params"], message["axes"])
        outputs, seconds = inprocess.run(entry, *given, copy=copy)
    result = Result(outputs)
    result.seconds, result.device, result.worker_pid = seconds, entry.device, os.getpid()
    return result


def start(module: str) -> int:
    """Start the worker of a module where none lives; return its pid. It loads on by itself.

    A light module that runs in this process needs none; the pid is that of this process.

    Raises
    ------
    NotInstalled, ConfigError, WorkerStartFailed
        There is no environment, or its worker does not start.
    """
    entry = home.published(module)
    if entry.runs_here:
        return os.getpid()
    link = _link(entry, patience := _Patience(None, lambda: False))
    if not _is_alive(records.stem(entry.root, module, entry.generation)):
        link.close()  # it has ended, idle for long
        link = _link(entry, patience)
    return link.pid


def prewarm(module: str) -> None:
    """Let the worker of a module start in the background; return at once, and raise nothing."""
    from ga3_nodes import prewarming  # it imports this module

    prewarming.begin(module)


@dataclass(frozen=True)
class _Patience:
    """How long the caller is willing to wait."""

    deadline: float | None
    cancelled: Callable[[], bool]

    def exhausted(self) -> GA3EnvError | None:
        if self.cancelled():
            return Cancelled("The call was cancelled.")
        if self.deadline is not None and time.monotonic() >= self.deadline:
            return WorkerTimeout(
                "The call took longer than its timeout.", "Allow more time or use a smaller image."
            )
        return None


@contextmanager
def _held(lock: threading.Lock, patience: _Patience) -> Iterator[None]:
    """Hold a lock that another thread may keep for the time of its call."""
    while not lock.acquire(timeout=_POLL_S):
        if error := patience.exhausted():
            raise error
    try:
        yield
    finally:
        lock.release()


class _Link:
    """The connection to one worker, with the memory that both share."""

    def __init__(
        self, entry: home.ModuleEntry, connection: Connection, welcome: wire.Message
    ) -> None:
        self.entry = entry
        self.connection = connection
        self.pid = int(welcome["pid"])
        self.log = Path(str(welcome.get("log", "")))
        self.process: subprocess.Popen[bytes] | None = None
        self.lock = threading.Lock()
        self._inbox = shm.Inbox()
        self._outbox = shm.Outbox()
        self._number = 0
        self._started = False
        self._log_start = 0

    def close(self) -> None:
        with self.lock:  # not under a call of another thread
            self.connection.close()

    def call(
        self,
        message: wire.Message,
        arrays: Mapping[str, np.ndarray],
        patience: _Patience,
        copy: bool,
    ) -> Result:
        with _held(self.lock, patience):
            self._log_start = spawn.log_size(self.log)
            try:
                self._check_alive()
                self._number += 1
                placed = self._place(arrays)
                wire.send(self.connection, {**message, "id": self._number, "arrays": placed})
                return self._result(self._reply(patience), copy)
            except wire.ConnectionLost:
                self.connection.close()
                raise
            except KeyboardInterrupt:
                self._give_up()
                raise

    def _check_alive(self) -> None:
        """Between two calls a worker sends nothing: a readable connection is one that has ended."""
        try:
            ended = self.connection.closed or self.connection.poll(0)
        except OSError:
            ended = True
        if ended:
            raise wire.ConnectionLost("The worker has ended.")

    def _place(self, arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
        given = {name: np.asarray(array) for name, array in arrays.items()}
        for name, array in given.items():
            if array.dtype.name not in shm.DTYPES:
                raise BadInput(f"The input {name!r} has the unusable type {array.dtype}.")
        places = self._outbox.reserve([(a.shape, a.dtype) for a in given.values()])
        described = {}
        for (name, array), (description, view) in zip(given.items(), places, strict=True):
            np.copyto(view, array)
            described[name] = description
        return described

    def _reply(self, patience: _Patience) -> wire.Message:
        self._started = False
        while True:
            try:
                while not self.connection.poll(_POLL_S):
                    if error := patience.exhausted():
                        self._give_up()
                        raise error
                reply = wire.receive(self.connection)
            except (OSError, EOFError, wire.ConnectionLost) as error:
                if not self._started:
                    raise wire.ConnectionLost("The worker has ended.") from error
                raise self._lost() from error
            if reply.get("id") not in (self._number, None):
                continue  # of a call that was given up
            if reply.get("type") == "started":
                self._started = True
            elif reply.get("type") == "error":
                raise from_dict(reply["error"])
            else:
                return reply

    def _result(self, reply: wire.Message, copy: bool) -> Result:
        result = Result()
        for name, value in reply["outputs"].items():
            if "table" in value:
                result[name] = value["table"]
            else:
                view = self._inbox.view(value)
                result[name] = view.copy() if copy else view
        result.seconds = float(reply["seconds"])
        result.device = str(reply["device"])
        result.worker_pid = self.pid
        return result

    def _give_up(self) -> None:
        """Leave a call; a computation that runs can only be stopped with its process."""
        if self._started:
            spawn.kill(self.pid)
        self.connection.close()

    def _lost(self) -> GA3EnvError:
        """Say why the connection ended in the middle of a call."""
        if not self._lives_on():
            return self._crash()
        self.connection.close()
        return WorkerTimeout(
            f"The worker of {self.entry.name} gave this program up: it did not take its answer.",
            "Was it suspended? Call again.",
        )

    def _lives_on(self) -> bool:
        stem = records.stem(self.entry.root, self.entry.name, self.entry.generation)
        deadline = time.monotonic() + _DEATH_S
        while time.monotonic() < deadline:
            record = records.read(stem)
            if not record or record.pid != self.pid or not _is_alive(stem):
                return False
            time.sleep(_POLL_S)
        return True

    def _crash(self) -> WorkerCrashed:
        exit_code = None
        if self.process:
            try:
                exit_code = self.process.wait(5.0)
            except subprocess.TimeoutExpired:
                pass
        self.connection.close()
        outcome = "" if exit_code is None else f" (exit code {exit_code})"
        return WorkerCrashed(
            f"The worker of {self.entry.name} crashed during the call{outcome}.",
            "The next call starts a new one. If it happens again, repair the module.",
            details={
                "exit_code": exit_code,
                "log": str(self.log),
                "log_tail": spawn.log_tail(self.log, self._log_start),
            },
        )


_Key = tuple[Path, str, int]
_links: dict[_Key, _Link] = {}
_opening: dict[_Key, threading.Lock] = {}


def _link(entry: home.ModuleEntry, patience: _Patience) -> _Link:
    """Return this process's connection to the worker, made new where it has ended."""
    key = (entry.root, entry.name, entry.generation)
    with _held(_opening.setdefault(key, threading.Lock()), patience):
        link = _links.get(key)
        if link is None or link.connection.closed:
            link = _links[key] = _connect_or_start(entry, patience)
        return link


def _connect_or_start(entry: home.ModuleEntry, patience: _Patience) -> _Link:
    stem = records.stem(entry.root, entry.name, entry.generation)
    link = _connect(entry, stem)
    if link:
        return link
    start_lock = locks.FileLock(records.start_lock_path(stem))
    while not start_lock.acquire(timeout=_POLL_S):  # another client is starting it
        if error := patience.exhausted():
            raise error
    try:
        return _connect(entry, stem) or _start(entry, stem, patience)
    finally:
        start_lock.release()


def _connect(entry: home.ModuleEntry, stem: Path) -> _Link | None:
    record = records.read(stem)
    if record is None or not _is_alive(stem):
        return None
    about = {
        "protocol": wire.PROTOCOL,
        "app_version": __version__,
        "program": Path(sys.executable or "unknown").name,
        "pid": os.getpid(),
    }
    try:
        connection = wire.connect(record.address)
    except OSError:
        return None
    try:
        welcome = wire.greet(connection, bytes.fromhex(record.key), about)
    except wire.ConnectionLost:
        connection.close()
        return None
    except ProtocolError:
        connection.close()
        raise
    return _Link(entry, connection, {**welcome, "log": record.log})


def _is_alive(stem: Path) -> bool:
    return locks.is_locked(records.lease_path(stem))


def _start(entry: home.ModuleEntry, stem: Path, patience: _Patience) -> _Link:
    deadline = time.monotonic() + START_TIMEOUT_S
    log_start = spawn.log_size(spawn.log_path(entry))
    process = spawn.spawn(entry)
    while True:
        link = _connect(entry, stem)
        if link:
            link.process = process
            return link
        error = patience.exhausted()
        if error is None and time.monotonic() >= deadline:
            error = WorkerStartFailed(
                f"The worker of {entry.name} did not start within {START_TIMEOUT_S:.0f} s.",
                "Look into its log.",
                details=_evidence(entry, log_start),
            )
        if error:
            process.kill()
            raise error
        code = process.poll()
        if code == spawn.EXIT_TAKEN:  # one that is about to end still holds the lease
            process = spawn.spawn(entry)
        elif code is not None:
            raise _did_not_start(entry, code, log_start)
        time.sleep(0.01)


def _did_not_start(entry: home.ModuleEntry, code: int, log_start: int) -> WorkerStartFailed:
    if code == spawn.EXIT_RETIRED:
        return WorkerStartFailed(
            f"Another version of {entry.name} was installed just now.", "Run again."
        )
    if shutil.disk_usage(entry.root).free < _ROOM:
        return WorkerStartFailed(
            f"The worker of {entry.name} did not start: the disk of {entry.root} is full.",
            "Free some space on it, then try again.",
            code="disk_full",
        )
    return WorkerStartFailed(
        f"The worker of {entry.name} did not start (exit code {code}).",
        f"Repair {entry.name} in GA3 Environment Manager.",
        details={"exit_code": code, **_evidence(entry, log_start)},
    )


def _evidence(entry: home.ModuleEntry, log_start: int) -> dict[str, Any]:
    log = spawn.log_path(entry)
    return {"log": str(log), "log_tail": spawn.log_tail(log, log_start)}


def status(record: records.WorkerRecord) -> dict[str, Any]:
    """Ask a live worker for its state: ready, busy, idle_s, clients."""
    return _ask(record, {"type": "status"})


def stop(record: records.WorkerRecord) -> None:
    """Ask a worker to end after the call that it runs."""
    _ask(record, {"type": "stop"})


def _ask(record: records.WorkerRecord, question: wire.Message) -> dict[str, Any]:
    connection = wire.connect(record.address)
    try:
        about = {"protocol": wire.PROTOCOL, "program": MANAGER, "pid": os.getpid()}
        wire.greet(connection, bytes.fromhex(record.key), about)
        wire.send(connection, question)
        return wire.receive(connection, wire.GREETING_TIMEOUT_S)
    finally:
        connection.close()


def close() -> None:
    """Close this process's connections; the workers live on."""
    while _links:
        _links.popitem()[1].close()
    if here := sys.modules.get("ga3_nodes.inprocess"):
        here.close()
