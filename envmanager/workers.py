"""The workers that live on after the commands and nodes that started them."""

from __future__ import annotations

import contextlib
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import psutil

from envmanager.data.paths import DataFolder
from envmanager.data.users import User
from envmanager.processes import running
from ga3_nodes import client, home, leases, locks, records, spawn
from ga3_nodes.errors import GA3EnvError

_POLL_S = 0.02
_KILLED_S = 10.0  # how long a killed process may take to be gone


@dataclass(frozen=True)
class Worker:
    """A live worker; `clients` are the programs that are connected to it now.

    Each of them has ``program``, ``pid``, ``since`` (seconds since the epoch) and ``busy``. Where
    `responding` is False the worker does not answer: it counts as busy, and its clients are those
    that its lease names. `device` is where it computes, empty where unknown; `memory` are the
    bytes of main memory that it and the processes below it hold, as `measured` tells.
    """

    module: str
    generation: int
    pid: int
    since: float
    idle_s: float
    busy: bool
    clients: list[User]
    responding: bool = True
    device: str = ""
    memory: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


@dataclass(frozen=True)
class Stopped:
    """What became of workers that were told to end."""

    ended: list[Worker]
    still_running: list[Worker]


def live(data: DataFolder, module: str | None = None) -> list[Worker]:
    """Return this user's live workers."""
    return [worker for _, worker in _live(data, module)]


def measured(found: list[Worker]) -> list[Worker]:
    """Return the workers with the memory that each of them holds at this moment."""
    return [replace(worker, memory=_memory(worker.pid)) for worker in found]


def _memory(pid: int) -> int | None:
    """Return the bytes of a process and of those below it; None where it is gone."""
    try:
        process = psutil.Process(pid)
        held = int(process.memory_info().rss)
        below = process.children(recursive=True)
    except psutil.Error:
        return None
    for child in below:
        with contextlib.suppress(psutil.Error):  # it has just ended
            held += child.memory_info().rss
    return held


def _live(data: DataFolder, module: str | None) -> list[tuple[Path, Worker]]:
    found = []
    for stem, record in records.live(data.root):
        if module not in (None, record.module):
            continue
        try:
            worker = _worker(record, client.status(record))
        except (GA3EnvError, OSError):
            if not locks.is_locked(records.lease_path(stem)):
                continue  # it has just ended
            worker = _silent(data, record)
        found.append((stem, replace(worker, device=_device(data, record))))
    return found


def _device(data: DataFolder, record: records.WorkerRecord) -> str:
    """Return where a worker of the published generation computes; empty for any other."""
    try:
        published = home.read_config(data.root)["modules"].get(record.module)
        entry = home.entry(data.root, record.module, published) if published else None
    except GA3EnvError:
        return ""
    return entry.device if entry and entry.generation == record.generation else ""


def _worker(record: records.WorkerRecord, status: dict[str, Any]) -> Worker:
    busy = bool(status["busy"])
    return Worker(
        module=record.module,
        generation=record.generation,
        pid=record.pid,
        since=record.started,
        idle_s=float(status["idle_s"]),
        busy=busy,
        clients=_users(status["clients"], busy=busy, since=record.started),
    )


def _silent(data: DataFolder, record: records.WorkerRecord) -> Worker:
    told = [lease for lease in leases.held(data.root, record.module) if lease.pid == record.pid]
    found = Worker(
        module=record.module,
        generation=record.generation,
        pid=record.pid,
        since=record.started,
        idle_s=0.0,
        busy=True,
        clients=[],
        responding=False,
    )
    clients = _users(told[0].clients, busy=True, since=record.started) if told else []
    return replace(found, clients=clients)


def _users(clients: list[User], *, busy: bool, since: float | None) -> list[User]:
    """Return the programs among a worker's clients, each once, though it may be connected twice.

    A host of an older app says less of them.
    """
    found: dict[tuple[Any, Any], User] = {}
    for told in clients:
        user = {"since": since, "busy": busy, **told}
        if user.get("program") == client.MANAGER:
            continue
        known = found.setdefault((user.get("program"), user.get("pid")), user)
        known["busy"] = known["busy"] or user["busy"]
        known["since"] = min(known["since"] or 0.0, user["since"] or 0.0) or None
    return list(found.values())


def users(data: DataFolder, module: str) -> list[User]:
    """Return the programs that use a module, also those of other accounts.

    Each has ``program``, ``pid``, ``since`` (seconds since the epoch) and ``busy``: whether a call
    of it runs, or waits for its turn. What runs in another account has ``user`` too.
    """
    found: list[User] = []
    own = live(data, module)
    for worker in own:
        found += worker.clients
        if not worker.responding:
            hung = {"program": "its worker", "pid": worker.pid, "since": worker.since}
            found.append({**hung, "busy": True})
    known = {worker.pid for worker in own}
    for lease in held(data, module):
        if lease.pid not in known:
            told = _users(lease.clients, busy=False, since=lease.since)
            found += [{**user, "user": lease.user} for user in told]
    return found


def held(data: DataFolder, module: str) -> list[leases.Held]:
    """Return the claims of live workers on a module, of whatever account.

    In the data folder of all accounts only administrators can leave a lease that others see, so
    there the other workers are found among the processes of the computer: the system says whose
    they are, and nobody can hide or pretend to be another. For whom they work stands in a private
    folder of each, into which an administrator may look.
    """
    found = leases.held(data.root, module)
    if not home.is_shared(data.root):
        return found
    place, known = data.module(module), {lease.pid for lease in found}
    return found + [
        _claim(data, module, user)
        for user in running.below(place)
        if not known.intersection(user.pids)
    ]


def _claim(data: DataFolder, module: str, user: running.Running) -> leases.Held:
    environ, place = user.environment(), data.module(module)
    folder = home.own_run_dir(data.root, environ) if environ else None
    if folder and (noted := leases.noted(folder, module, user.pids)):
        return replace(noted, user=user.account)
    generation = user.file.relative_to(place).parts[0]
    worker = {"program": "its worker", "pid": user.pid, "since": user.since, "busy": False}
    number = int(generation) if generation.isdecimal() else 0
    return leases.Held(module, number, user.pid, user.account, user.since, [worker])


def serves(data: DataFolder, module: str, generation: int) -> bool:
    """Tell whether a worker of that generation is alive, of whatever account."""
    return any(lease.generation == generation for lease in held(data, module))


def stop(
    data: DataFolder,
    module: str | None = None,
    patience_s: float = 15.0,
    *,
    force: bool = False,
) -> Stopped:
    """End this user's workers after the call that they run.

    Parameters
    ----------
    patience_s : float
        Seconds to wait for their end.
    force : bool
        Kill those that run on then, with all that they started.
    """
    told = _live(data, module)
    _tell(data, module)
    deadline = time.monotonic() + patience_s
    found = Stopped([], [])
    for stem, worker in told:
        gone = _has_ended(stem, deadline)
        if not gone and force:
            _kill(worker)
            gone = _has_ended(stem, time.monotonic() + _KILLED_S)
        (found.ended if gone else found.still_running).append(worker)
    if force:  # sweep what the killed ones left
        records.live(data.root)
        leases.held(data.root)
    return found


def _has_ended(stem: Path, deadline: float) -> bool:
    while locks.is_locked(records.lease_path(stem)):
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL_S)
    return True


def _kill(worker: Worker) -> None:
    """Kill a worker with its process tree; its lease is held, so that the pid is its own."""
    try:
        family = psutil.Process(worker.pid).children(recursive=True)
    except psutil.Error:
        family = []
    spawn.kill(worker.pid)
    for child in family:
        try:
            child.kill()
        except psutil.Error:
            pass
    psutil.wait_procs(family, timeout=_KILLED_S)


def retire(data: DataFolder, module: str, patience_s: float) -> list[User]:
    """End all workers of an unpublished module; return those that live on after all.

    Other accounts' workers cannot be told: they see by themselves that nothing is published.
    """
    deadline = time.monotonic() + patience_s
    stop(data, module, patience_s)
    while left := held(data, module):
        if time.monotonic() >= deadline:
            return [_as_user(lease) for lease in left]
        time.sleep(_POLL_S)
    return []


def _as_user(lease: leases.Held) -> User:
    found = {"program": "its worker", "pid": lease.pid, "since": lease.since, "busy": True}
    return found if lease.user == leases.user_name() else {**found, "user": lease.user}


def _tell(data: DataFolder, module: str | None) -> None:
    for _, record in records.live(data.root):
        if module in (None, record.module):
            try:
                client.stop(record)
            except (GA3EnvError, OSError):
                pass  # it has just ended, or does not answer


def start(module: str) -> int:
    """Start the worker of a published module without a call; return its pid.

    Raises
    ------
    NotInstalled, WorkerStartFailed
        There is nothing to start, or it does not start.
    """
    return client.start(module)
