"""Finds the live worker of a module or starts one; of clients that come at once only one starts."""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
from pathlib import Path
from typing import Any

from ga3_nodes import __version__, devmode, home, locks, records, spawn, waiting, wire
from ga3_nodes.errors import ProtocolError, WorkerStartFailed
from ga3_nodes.link import Link
from ga3_nodes.waiting import Patience

START_TIMEOUT_S = 120.0
_ROOM = 1 << 16  # bytes that a worker needs on the disk for its record and its log

_Key = tuple[Path, str, int, bool]
_links: dict[_Key, Link] = {}
_opening: dict[_Key, threading.Lock] = {}


def shared_link(entry: home.ModuleEntry, patience: Patience) -> Link:
    """Return this process's connection to the worker, made new where it has ended."""
    key = (entry.root, entry.name, entry.generation, devmode.wanted(entry))
    with waiting.held(_opening.setdefault(key, threading.Lock()), patience):
        link = _links.get(key)
        if link is None or link.connection.closed:
            link = _links[key] = own_link(entry, patience)
        return link


def own_link(entry: home.ModuleEntry, patience: Patience) -> Link:
    """Return a connection that nobody else uses; the caller closes it.

    Raises
    ------
    WorkerStartFailed
        No worker lives, and none can be started.
    """
    dev = devmode.wanted(entry)
    stem = devmode.stem(entry.root, entry.name, entry.generation, dev=dev)
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


def close() -> None:
    """Close this process's connections; the workers live on."""
    while _links:
        _links.popitem()[1].close()


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
