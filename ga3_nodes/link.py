"""The connection to one worker, with the memory that both share."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from ga3_nodes import (
    copying,
    data_files,
    home,
    locks,
    outputs,
    records,
    shm,
    spawn,
    waiting,
    wire,
)
from ga3_nodes.errors import (
    BadInput,
    GA3EnvError,
    ProtocolError,
    WorkerCrashed,
    WorkerTimeout,
    from_dict,
)
from ga3_nodes.results import Array, Delivery, Result
from ga3_nodes.running import Progress
from ga3_nodes.waiting import Patience

SLOTS = 2  # one call computes while the next is handed over
_GRACE_S = 2.0  # how long a cancelled call may take to stop by itself
_DEATH_S = 1.0  # how long the lease of a worker may outlive its connections
_COPIES = Delivery()


@dataclass
class _Slot:
    """Memory for one call that is under way: it is written over by the next in the same slot."""

    inbox: shm.Inbox = field(default_factory=shm.Inbox)
    outbox: shm.Outbox = field(default_factory=shm.Outbox)
    log_start: int = 0  # where the worker's log ended before the call


class Link:
    """The connection to one worker; one thread uses it at a time.

    Parameters
    ----------
    welcome : dict
        What the worker told of itself.
    stem : Path
        The common beginning of the worker's files.
    """

    def __init__(
        self, entry: home.ModuleEntry, connection: Connection, welcome: wire.Message, stem: Path
    ) -> None:
        self.entry = entry
        self.connection = connection
        self._watch = wire.Watch(connection)
        self.stem = stem
        self.pid = int(welcome["pid"])
        self.log = Path(str(welcome.get("log", "")))
        self.slots = 1  # calls that may be under way at once
        self._offered = welcome.get("slots")
        self.process: subprocess.Popen[bytes] | None = None
        self.lock = threading.Lock()
        self._slots = [_Slot() for _ in range(SLOTS)]
        self._number = 0
        self._collected = 0  # the number of the call that is waited for
        self._told = False  # whether the worker said that it has begun with it
        self._log_start = 0

    def close(self) -> None:
        """Close the connection, not under a call of another thread."""
        with self.lock:
            self.connection.close()

    def widen(self) -> None:
        """Let `SLOTS` calls be under way; a worker of an older generation takes one at a time."""
        self.slots = SLOTS if self._offered == SLOTS else 1

    def call(
        self,
        message: wire.Message,
        arrays: Mapping[str, Array],
        patience: Patience,
        progress: Progress | None = None,
        delivery: Delivery = _COPIES,
    ) -> Result:
        """Hand over one call and wait for its result.

        Raises
        ------
        ConnectionLost
            The worker ended before it began with the call, or before its result was taken.
        GA3EnvError
            What `client.call` tells.
        """
        with waiting.held(self.lock, patience):
            self._check_alive()
            number = self.submit(message, arrays, wants_progress=progress is not None)
            return self.collect(number, patience, progress, delivery)

    def _check_alive(self) -> None:
        """Between two calls a worker sends nothing: a readable connection is one that has ended."""
        try:
            ended = self.connection.closed or self._watch.poll(0)
        except OSError:
            ended = True
        if ended:
            self.connection.close()
            raise wire.ConnectionLost("The worker has ended.")

    def submit(
        self, message: wire.Message, arrays: Mapping[str, Array], *, wants_progress: bool = False
    ) -> int:
        """Hand over a call; return its number. At most `slots` may be under way.

        Raises
        ------
        BadInput
            An input is refused.
        ConnectionLost
            The worker has ended.
        """
        if wants_progress:
            message = {**message, "progress": True}
        number = self._number + 1
        slot = number % self.slots
        outbox = self._slots[slot].outbox
        self._slots[slot].log_start = spawn.log_size(self.log)
        placed = self._place(arrays, outbox)
        handed = {"id": number, "slot": slot, "arrays": placed, "mark": outbox.handle}
        try:
            wire.send(self.connection, {**message, **handed})
        except wire.ConnectionLost:
            self.connection.close()
            raise
        self._number = number
        return number

    @staticmethod
    def _place(arrays: Mapping[str, Array], outbox: shm.Outbox) -> dict[str, Any]:
        described: dict[str, Any] = dict.fromkeys(arrays)  # in their order: labels lie on the first
        given = {}
        for name, array in arrays.items():
            if isinstance(array, (str, os.PathLike)):
                described[name] = {"path": str(data_files.checked(array))}
                continue
            given[name] = np.asarray(array)
            if given[name].dtype.name not in shm.DTYPES:
                raise BadInput(f"The input {name!r} has the unusable type {given[name].dtype}.")
        places = outbox.reserve([(a.shape, a.dtype) for a in given.values()])
        for (name, array), (description, view) in zip(given.items(), places, strict=True):
            copying.copy_into(view, array)
            described[name] = description
        return described

    def collect(
        self,
        number: int,
        patience: Patience,
        progress: Progress | None = None,
        delivery: Delivery = _COPIES,
    ) -> Result:
        """Wait for the result of a call; calls are answered in the order of their numbers."""
        self._collected, self._told = number, False
        self._log_start = self._slots[number % self.slots].log_start
        try:
            reply = self._reply(number, patience, progress)
        except wire.ConnectionLost as error:
            if not self._started():
                self.connection.close()
                raise
            raise self._lost() from error
        except BaseException:  # also of `progress`, `cancelled` and the keyboard
            self._leave()
            raise
        if reply["type"] == "error":
            raise from_dict(reply["error"])
        return self._result(reply, self._slots[number % self.slots].inbox, delivery)

    def _reply(
        self, number: int, patience: Patience, progress: Progress | None = None
    ) -> wire.Message:
        """Return the result or the error of a call, and tell its progress until then."""
        while True:
            reply = self._receive(patience)
            if reply.get("id") not in (number, None):
                continue  # of a call that was given up
            match reply.get("type"):
                case "started":
                    self._told = True
                case "progress":
                    if progress:
                        progress(float(reply["done"]), str(reply["text"]))
                case "result" | "error":
                    return reply

    def _receive(self, patience: Patience) -> wire.Message:
        try:
            while not self._watch.poll(waiting.POLL_S):
                if error := patience.exhausted():
                    raise error
            return wire.receive(self.connection)
        except (OSError, EOFError) as error:
            raise wire.ConnectionLost("The worker has ended.") from error

    def _started(self) -> bool:
        """Whether the worker has begun with the call that is waited for."""
        marked = self._slots[self._collected % self.slots].outbox.marked
        return self._told or marked == self._collected

    def _result(self, reply: wire.Message, inbox: shm.Inbox, delivery: Delivery) -> Result:
        result = Result(
            (name, value["table"] if "table" in value else self._view(inbox, value))
            for name, value in reply["outputs"].items()
        )
        outputs.write(delivery, result)
        for name, value in result.items():
            if delivery.copy and name not in delivery.out and isinstance(value, np.ndarray):
                result[name] = copying.copied(value)
        result.seconds = float(reply["seconds"])
        result.device = str(reply["device"])
        result.worker_pid = self.pid
        result.notes = [str(note) for note in reply.get("notes", [])]
        return result

    def _view(self, inbox: shm.Inbox, described: object) -> np.ndarray:
        try:
            return inbox.view(described)
        except ProtocolError as error:
            if self._lives_on():
                raise
            self.connection.close()
            raise wire.ConnectionLost("The worker ended, and its result with it.") from error

    def _leave(self) -> None:
        """Give up what is under way: the worker may stop it, else it ends with its process."""
        if not self._started() or self.slots > 1:
            # The worker leaves out a call that nobody waits for, and soon stops one that it runs.
            self.connection.close()
            return
        patience = Patience(time.monotonic() + _GRACE_S)
        try:
            wire.send(self.connection, {"type": "cancel", "id": self._number})
            self._reply(self._number, patience)  # after those of all earlier calls
        except wire.ConnectionLost:
            self.connection.close()
        except BaseException as error:  # it does not stop, or the keyboard says so once more
            spawn.kill(self.pid)
            self.connection.close()
            if not isinstance(error, GA3EnvError):
                raise

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
        deadline = time.monotonic() + _DEATH_S
        while time.monotonic() < deadline:
            record = records.read(self.stem)
            if not record or record.pid != self.pid:
                return False
            if not locks.is_locked(records.lease_path(self.stem)):
                return False
            time.sleep(waiting.POLL_S)
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
