"""The workers that live on after the commands and nodes that started them."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from envmanager.paths import DataFolder
from ga3_nodes import client, locks, records
from ga3_nodes.errors import GA3EnvError


@dataclass(frozen=True)
class Worker:
    """A live worker; `clients` are the programs that are connected to it now.

    One that holds its lease and does not answer (`responding` is False) counts as busy.
    """

    module: str
    generation: int
    pid: int
    idle_s: float
    busy: bool
    clients: list[dict[str, Any]]
    responding: bool = True

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def live(data: DataFolder, module: str | None = None) -> list[Worker]:
    """Return this user's live workers."""
    return [worker for _, worker in _live(data, module)]


def _live(data: DataFolder, module: str | None) -> list[tuple[Path, Worker]]:
    found = []
    for stem, record in records.live(data.root):
        if module not in (None, record.module):
            continue
        try:
            status = client.status(record)
        except (GA3EnvError, OSError):
            if not locks.is_locked(records.lease_path(stem)):
                continue  # it has just ended
            silent = Worker(record.module, record.generation, record.pid, 0.0, True, [], False)
            found.append((stem, silent))
            continue
        clients = [c for c in status["clients"] if c["program"] != client.MANAGER]
        worker = Worker(
            module=record.module,
            generation=record.generation,
            pid=record.pid,
            idle_s=float(status["idle_s"]),
            busy=bool(status["busy"]),
            clients=clients,
        )
        found.append((stem, worker))
    return found


def users(data: DataFolder, module: str) -> list[dict[str, Any]]:
    """Return the programs that use a module: name, pid, and whether a call is running."""
    found = []
    for worker in live(data, module):
        found += [{**user, "busy": worker.busy} for user in worker.clients]
        if not worker.responding:
            found.append({"program": "its worker", "pid": worker.pid, "busy": True})
    return found


def serves(data: DataFolder, module: str, generation: int) -> bool:
    """Tell whether a worker of that generation is alive."""
    return locks.is_locked(records.lease_path(records.stem(data.root, module, generation)))


def stop(data: DataFolder, module: str | None = None, patience_s: float = 15.0) -> list[Worker]:
    """End workers after the call that they run; return those that have ended."""
    told = _live(data, module)
    _tell(data, module)
    deadline = time.monotonic() + patience_s
    ended = []
    for stem, worker in told:
        while locks.is_locked(records.lease_path(stem)) and time.monotonic() < deadline:
            time.sleep(0.02)
        if not locks.is_locked(records.lease_path(stem)):
            ended.append(worker)
    return ended


def retire(data: DataFolder, module: str, patience_s: float) -> bool:
    """End all workers of a module; tell whether they are gone."""
    stop(data, module, patience_s)
    return not any(record.module == module for _, record in records.live(data.root))


def _tell(data: DataFolder, module: str | None) -> None:
    for _, record in records.live(data.root):
        if module in (None, record.module):
            try:
                client.stop(record)
            except (GA3EnvError, OSError):
                pass  # it has just ended


def start(module: str) -> int:
    """Start the worker of a published module without a call; return its pid.

    Raises
    ------
    NotInstalled, WorkerStartFailed
        There is nothing to start, or it does not start.
    """
    return client.start(module)
