"""Worker records: how a client finds a live worker, and what ``workers list`` shows.

Each worker has three files in the user's private run folder: the record (address, key, identity),
the lease (an OS lock: as long as it is held the worker lives; see `leases`), and, during a start,
the start lock that lets only one client start it.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from ga3_nodes import home, locks


@dataclass(frozen=True)
class WorkerRecord:
    """A worker that serves one generation of a module to one user.

    `key` is the shared secret in hex; `started` is seconds since the epoch.
    """

    module: str
    generation: int
    pid: int
    started: float
    address: str
    key: str
    log: str


def stem(root: Path, module: str, generation: int) -> Path:
    """Return the common beginning of a worker's files."""
    return home.run_dir(root) / f"{module}-{generation}{home.logon_tag()}"


def record_path(stem: Path) -> Path:
    """Return the path of the record."""
    return stem.with_name(stem.name + ".json")


def lease_path(stem: Path) -> Path:
    """Return the path of the lease."""
    return stem.with_name(stem.name + ".lease")


def socket_path(stem: Path) -> Path:
    """Return the path of the socket; Windows has a named pipe instead."""
    return stem.with_name(stem.name + ".sock")


def start_lock_path(stem: Path) -> Path:
    """Return the path of the start lock."""
    return stem.with_name(stem.name + ".start")


def write(stem: Path, record: WorkerRecord) -> None:
    """Publish a record atomically; only the user can read it."""
    path = record_path(stem)
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        json.dump(asdict(record), file)
        file.flush()
        os.fsync(file.fileno())
    home.patiently(lambda: temporary.replace(path))


def read(stem: Path) -> WorkerRecord | None:
    """Return the record, or None where there is none that can be read."""
    try:
        text = home.patiently(lambda: record_path(stem).read_text("utf-8"))
        record = WorkerRecord(**json.loads(text))
        socket = socket_path(stem)
        if record.address.endswith(f"/{socket.name}"):  # in a data folder that was moved
            return replace(record, address=str(socket))
        return record
    except (OSError, ValueError, TypeError, AttributeError):
        return None


def remove(stem: Path) -> None:
    """Remove the record; the lease goes with its lock."""
    home.patiently(lambda: record_path(stem).unlink(missing_ok=True))


def live(root: Path) -> list[tuple[Path, WorkerRecord]]:
    """Return the workers of this user and data folder that are alive; sweep dead ones' files."""
    found = []
    for path in sorted(home.run_dir(root).glob("*.json")):
        stem = path.with_suffix("")
        lease = locks.FileLock(lease_path(stem))
        if lease.acquire():  # nobody lives there, and nobody can start while we sweep
            sweep(stem)
            lease.release()
        elif record := read(stem):
            found.append((stem, record))
    return found


def sweep(stem: Path) -> None:
    """Remove what a killed worker left: its record and its socket; hold its lease meanwhile."""
    remove(stem)
    socket_path(stem).unlink(missing_ok=True)


def valid_name(name: str) -> bool:
    """Tell whether `name` can be a module's name: it becomes a part of paths."""
    return re.fullmatch(r"[a-z][a-z0-9_]{0,39}", name) is not None
