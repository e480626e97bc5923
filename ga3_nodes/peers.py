"""The clients of a worker: their connections, the memory shared with each, and their calls."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from ga3_nodes import copying, data_files, functions, shm, wire
from ga3_nodes.errors import ProtocolError
from ga3_nodes.running import Progress

SLOTS = 2  # calls of one client that may be under way at once
_SEND_TIMEOUT_S = 10.0  # how long a client may leave a message unread: it may be suspended


@dataclass
class _Slot:
    inbox: shm.Inbox = field(default_factory=shm.Inbox)
    outbox: shm.Outbox = field(default_factory=shm.Outbox)


@dataclass
class Peer:
    """A connected client: its own segments, so that clients cannot mix up their data.

    `since` is seconds since the epoch; `asked` and `answered` count its calls.
    """

    connection: Connection
    about: dict[str, Any]
    since: float = field(default_factory=time.time)
    asked: int = 0
    answered: int = 0
    gone: bool = False
    _slots: list[_Slot] = field(default_factory=lambda: [_Slot() for _ in range(SLOTS)])
    _cancelled: int = 0  # the highest number of the calls that it wants no more
    _sending: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        """Take care that no client can keep the worker from serving the others."""
        self._sender = wire.Sender(self.connection, _SEND_TIMEOUT_S)

    def send(self, message: wire.Message) -> None:
        """Send a message; a client that is gone is not worth an error, nor one that is stuck."""
        try:
            with self._sending:
                self._sender.deliver(message)
        except wire.ConnectionLost:
            self.gone = True
            self._sender.drop()  # its reader wakes up and clears up

    def cancel(self, number: object) -> None:
        """Note that the client wants the call of that number, and all before, no more."""
        if isinstance(number, int):
            self._cancelled = max(self._cancelled, number)

    def wants(self, number: object) -> bool:
        """Tell whether the client still waits for the call of that number."""
        return not (self.gone or (isinstance(number, int) and number <= self._cancelled))

    def tell_started(self, message: wire.Message) -> None:
        """Let the client know that its call has begun, without waking it where it can look."""
        match message:
            case {"id": int(number), "mark": str(handle)} if 0 < number <= shm.MOST_MARK:
                try:
                    self._slot(message).inbox.mark(handle, number)
                    return
                except ProtocolError:
                    pass  # no segment of the client's: it is told as one of an older version
        self.send({"type": "started", "id": message.get("id")})

    def teller(self, message: wire.Message) -> Progress | None:
        """Return what tells the client the progress of its call, where it wants to know."""
        if message.get("progress") is not True:
            return None
        number = message.get("id")
        return lambda done, text: self.send(
            {"type": "progress", "id": number, "done": done, "text": text}
        )

    def inputs(self, message: wire.Message) -> dict[str, np.ndarray]:
        """Return the arrays of a call: in shared memory, or in files."""
        inbox = self._slot(message).inbox
        return {
            str(name): data_files.read(str(described["path"]))
            if isinstance(described, dict) and "path" in described
            else inbox.view(described)
            for name, described in message["arrays"].items()
        }

    def place(
        self, message: wire.Message, declared: dict[str, Any], results: dict[str, Any]
    ) -> dict[str, Any]:
        """Write the results of a call into shared memory, cast on the way; describe them."""
        arrays = {n: a for n, a in results.items() if isinstance(a, np.ndarray)}
        small = message.get("small")
        small = small if isinstance(small, list) else []
        wanted = [
            (a.shape, functions.wire_dtype(declared[n]["kind"], a, small=n in small))
            for n, a in arrays.items()
        ]
        sent: dict[str, Any] = {n: {"table": t} for n, t in results.items() if n not in arrays}
        places = self._slot(message).outbox.reserve(wanted)
        for (name, array), (description, view) in zip(arrays.items(), places, strict=True):
            copying.copy_into(view, array)
            sent[name] = description
        return {name: sent[name] for name in declared}

    def _slot(self, message: wire.Message) -> _Slot:
        return self._slots[1 if message.get("slot") == 1 else 0]

    def as_dict(self) -> dict[str, Any]:
        """Return what others may know of the client."""
        about = {"program": self.about.get("program"), "pid": self.about.get("pid")}
        return {**about, "since": self.since, "busy": self.asked > self.answered}
