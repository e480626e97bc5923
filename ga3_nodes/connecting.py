"""Finds the live worker of a module or starts one; of clients that come at once only one starts."""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ga3_nodes import __version__, devmode, home, locks, records, spawn, waiting, wire
from ga3_nodes.errors import ProtocolError, WorkerStartFailed
from ga3_nodes.link import Link
from ga3_nodes.waiting import Patience

START_TIMEOUT_S = 120.0
_ROOM = 1 << 16  # bytes that a worker needs on the disk for its record and its log

_Key = tuple[Path, str, int, bool]


@dataclass(frozen=True)
class _Kept:
    """A connection, and the lease of its worker as it was found."""

    link: Link
    lease: Path
    state: os.stat_result | None

    @classmethod
    def of(cls, link: Link) -> _Kept:
        lease = records.lease_path(link.stem)
        return cls(link, lease, _state(lease))

    def serves(self) -> bool:
        """Tell whether the worker is still that of its data folder, which may be replaced."""
        now = _state(self.lease)
        same = now is not None and self.state is not None and os.path.samestat(now, self.state)
        return same and not self.link.connection.closed


_links: dict[_Key, _Kept] = {}
_spare: dict[Path, _Kept] = {}  # by the common beginning of the worker's files
_opening: dict[_Key, threading.Lock] = {}


def shared_link(entry: home.ModuleEntry, patience: Patience) -> Link:
    """Return this process's connection to the worker, made new where it has ended."""
    key = (entry.root, entry.name, entry.generation, devmode.wanted(entry))
    with waiting.held(_opening.setdefault(key, threading.Lock()), patience):
        kept = _links.get(key)
        if kept is None or not kept.serves():
            kept = _links[key] = _Kept.of(own_link(entry, patience))
        return kept.link


def lent_link(entry: home.ModuleEntry, patience: Patience) -> Link:
    """Return a connection that nobody else uses; the caller gives it back, or closes it."""
    kept = _spare.pop(_stem(entry), None)
    return kept.link if kept and kept.serves() else own_link(entry, patience)


def give_back(link: Link) -> None:
    """Take a connection for the next one who wants to lend it: new memory would cost him time."""
    kept = _Kept.of(link)
    for stem, other in list(_spare.items()):
        if not other.serves() and _spare.pop(stem, None) is other:
            other.link.close()
    if not kept.serves() or _spare.setdefault(link.stem, kept) is not kept:
        link.close()


def _state(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None


def own_link(entry: home.ModuleEntry, patience: Patience) -> Link:
    """Return a connection that nobody else uses; the caller closes it.

    Raises
    ------
    WorkerStartFailed
        No worker lives, and none can be started.
    """
    stem, dev = _stem(entry), devmode.wanted(entry)
    if link := _connect(entry, stem):
        return link
    start_lock = locks.FileLock(records.start_lock_path(stem))
    while not start_lock.acquire(timeout=waiting.POLL_S):  # another client is starting it
        if error := patience.exhausted():
            raise error
    try:
        return _connect(entry, stem) or _start(entry, stem, patience, dev=dev)
    finally:
        start_lock.release()


def _stem(entry: home.ModuleEntry) -> Path:
    dev = devmode.wanted(entry)
    return devmode.stem(entry.root, entry.name, entry.generation, dev=dev)


def close() -> None:
    """Close this process's connections; the workers live on."""
    for kept in (_links, _spare):
        while kept:
            kept.popitem()[1].link.close()


def is_alive(link: Link) -> bool:
    """Tell whether the worker of a connection still lives."""
    return locks.is_locked(records.lease_path(link.stem))


def _connect(entry: home.ModuleEntry, stem: Path) -> Link | None:
    record = records.read(stem)
    if record is None or not locks.is_locked(records.lease_path(stem)):
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
        if records.read(stem) != record:
            return None  # it was the key of a worker that was killed, at its successor's socket
        if not locks.is_locked(records.lease_path(stem)):
            return None  # it has died just now, and a copy of its process keeps the socket open
        raise
    return Link(entry, connection, {**welcome, "log": record.log}, stem)


def _start(entry: home.ModuleEntry, stem: Path, patience: Patience, *, dev: bool) -> Link:
    deadline = time.monotonic() + START_TIMEOUT_S
    log_start = spawn.log_size(spawn.log_path(entry))
    process = spawn.spawn(entry, dev=dev)
    while True:
        if link := _connect(entry, stem):
            link.process = process
            return link
        error = patience.exhausted()
        if error is None and time.monotonic() >= deadline:
            error = WorkerStartFailed(
                f"The worker of {entry.name} did not start within {START_TIMEOUT_S:.0f} s.",
                "Look into its log.",
                details=evidence(entry, log_start),
            )
        if error:
            process.kill()
            raise error
        code = process.poll()
        if code == spawn.EXIT_TAKEN:  # one that is about to end still holds the lease
            process = spawn.spawn(entry, dev=dev)
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
        details={"exit_code": code, **evidence(entry, log_start)},
    )


def evidence(entry: home.ModuleEntry, log_start: int = 0) -> dict[str, Any]:
    """Return the path and the end of the worker's log, for an error's details."""
    log = spawn.log_path(entry)
    return {"log": str(log), "log_tail": spawn.log_tail(log, log_start)}
