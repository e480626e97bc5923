"""Calls a light module inside this process: in NIS's own Python, without a worker.

The module's overlay goes behind everything else on `sys.path`, so that nothing of NIS is replaced.
What the module raises comes out as the same errors as from a worker; a crash of compiled code, or a
call that does not end, cannot be kept from NIS. That is why modules must be made for it.

A generation that was loaded is held by a lease until this process ends: its files are in use.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from ga3_nodes import data_files, functions, home, leases, records, shm, spawn
from ga3_nodes.errors import BadInput, Cancelled, GA3EnvError
from ga3_nodes.results import Delivery
from ga3_nodes.running import Running

_COPIES = Delivery()
_Key = tuple[Path, str]
_Stamp = tuple[int, int]  # a generation's number may be used again after a removal


@dataclass(frozen=True)
class _Loaded:
    """The code of one generation; `name` is its name in `sys.modules`."""

    stamp: _Stamp
    overlay: str
    name: str
    declaration: dict[str, Any]
    worker: ModuleType


_loaded: dict[_Key, _Loaded] = {}
_locks: dict[_Key, threading.Lock] = {}
_held: dict[Path, leases.Lease] = {}


def lock(entry: home.ModuleEntry) -> threading.Lock:
    """Return the lock under which to `run`: calls come one after the other, as in a worker."""
    return _locks.setdefault((entry.root, entry.name), threading.Lock())


def run(
    entry: home.ModuleEntry,
    function: str,
    arrays: Mapping[str, np.ndarray | str | os.PathLike[str]],
    parameters: dict[str, Any],
    axes: dict[str, str],
    running: Running | None = None,
    delivery: Delivery = _COPIES,
) -> tuple[dict[str, Any], float]:
    """Call a function; return its outputs by name, and the seconds that it took.

    Parameters
    ----------
    running : Running, optional
        What the function may tell its caller, and hear of him.
    delivery : Delivery, optional
        Without copies, labels and images are as the function made them, where their type fits.
        What the caller's own arrays take is left to him to write (`outputs.write`).

    Raises
    ------
    BadInput
        An input is refused.
    ModuleFailed
        The module cannot be imported, or its function failed.
    """
    loaded = _load(entry)
    started = time.perf_counter()
    given = {name: _input(name, array) for name, array in arrays.items()}
    try:
        with np.errstate():  # what the function sets there shall not stay
            results = functions.run_function(
                loaded.worker, loaded.declaration, function, given, axes, parameters, running
            )
    except GA3EnvError as error:
        if isinstance(error.__cause__, KeyboardInterrupt):
            raise error.__cause__ from None
        _log(entry, error)
        raise
    declared = loaded.declaration["functions"][function]["outputs"]
    outputs = {
        name: _output(spec["kind"], results[name], delivery.copy, name in delivery.out)
        for name, spec in declared.items()
    }
    return outputs, time.perf_counter() - started


def _load(entry: home.ModuleEntry) -> _Loaded:
    """Return the code of the published generation, imported anew where another was published."""
    assert entry.overlay is not None
    key, stamp = (entry.root, entry.name), _stamp(entry)
    before = _loaded.get(key)
    if before and before.stamp == stamp:
        return before
    overlay, name = str(entry.overlay), f"ga3_{entry.name}_{stamp[0]}_{stamp[1]:x}"
    _hold(entry)
    _forget(key)
    if overlay not in sys.path:
        sys.path.append(overlay)
    importlib.invalidate_caches()  # the folder may be younger than what Python knows of it
    try:
        declaration = functions.read_declaration(entry.folder)
        worker = functions.load_worker(entry.folder, declaration, name)
    except Exception as error:
        sys.path.remove(overlay)
        sys.modules.pop(name, None)
        failure = error if isinstance(error, GA3EnvError) else functions.failure(error)
        _log(entry, failure)
        raise failure from error
    _loaded[key] = _Loaded(stamp, overlay, name, declaration, worker)
    return _loaded[key]


def _hold(entry: home.ModuleEntry) -> None:
    """Tell all programs that this one has the generation's files loaded, and cannot let them go."""
    since, program = time.time(), Path(sys.executable or "unknown").name
    client = {"program": program, "pid": os.getpid(), "since": since, "busy": True}
    note = {"pid": os.getpid(), "user": leases.user_name(), "since": since, "clients": [client]}
    with contextlib.suppress(OSError, GA3EnvError):  # a data folder that this user only reads
        stem = records.stem(entry.root, entry.name, entry.generation)
        lease = leases.Lease(entry.root, stem.with_name(f"{stem.name}-in{os.getpid()}"))
        if stem not in _held and lease.acquire(0.0):
            _held[stem] = lease
            lease.write_note(note)


def close() -> None:
    """Give back what keeps others from removing the loaded modules; their packages stay."""
    for key in list(_loaded):
        _forget(key)
    while _held:
        _held.popitem()[1].release()


def _stamp(entry: home.ModuleEntry) -> _Stamp:
    try:
        return entry.generation, (entry.folder / "worker.py").stat().st_mtime_ns
    except OSError:
        return entry.generation, 0  # its import will say what is wrong


def _forget(key: _Key) -> None:
    """Take an older generation's code away; packages imported from its overlay stay."""
    if old := _loaded.pop(key, None):
        sys.modules.pop(old.name, None)
        if old.overlay in sys.path:
            sys.path.remove(old.overlay)  # ours: nothing new shall come from it


def _input(name: str, array: Any) -> np.ndarray:
    """Return an input as a worker would get it, and so that NIS's image cannot be written to."""
    file = isinstance(array, (str, os.PathLike))
    found = data_files.read(array) if file else np.asarray(array)
    if found.dtype.name not in shm.DTYPES:
        raise BadInput(f"The input {name!r} has the unusable type {found.dtype}.")
    view = np.asarray(found, found.dtype.newbyteorder("="), order="C").view()
    view.flags.writeable = False
    return view


def _output(kind: str, value: Any, copy: bool, written: bool) -> Any:
    """Return an output as from a worker; one that is then written elsewhere needs no copy."""
    if kind == "table":
        return value
    if written and kind == "labels" and np.can_cast(value.dtype, np.int32):
        return value
    with np.errstate(all="ignore"):
        dtype = functions.wire_dtype(kind, value)
        found = value.astype(dtype, order="C", copy=copy and not written)
        # What lies on an input is no array for whoever wants to change the result.
        return found if written or found.flags.writeable else found.copy()


def _log(entry: home.ModuleEntry, error: GA3EnvError) -> None:
    """Write a failure where that of a worker would stand; NIS shows one sentence of it only."""
    if isinstance(error, (BadInput, Cancelled)):
        return
    text = f"{time.strftime('%Y-%m-%d %H:%M:%S')} {error.details.get('traceback', error)}\n"
    with contextlib.suppress(OSError, GA3EnvError):
        path = spawn.log_path(entry)
        spawn.rotate(path)
        with path.open("a", encoding="utf-8") as file:
            file.write(text)
