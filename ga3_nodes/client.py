"""Calls a module's function in its worker; this is what a GA3 node imports.

>>> from ga3_nodes import client                                            # doctest: +SKIP
>>> result = client.call("classic", "segment", {"image": image}, {"smoothing": 2.0})
>>> labels = result["labels"]

A call finds the live worker of the published environment or starts one; the worker outlives its
clients and keeps its model loaded. What reaches a worker is imported by the first call, so that
the import of this module costs a node little.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Generator, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ga3_nodes import home, params, results, waiting, weights
from ga3_nodes.errors import BadInput, Cancelled, GA3EnvError, WorkerStartFailed
from ga3_nodes.results import Array, Delivery, Inputs, Result
from ga3_nodes.running import Progress, Running
from ga3_nodes.waiting import Patience

if TYPE_CHECKING:
    import numpy as np

    from ga3_nodes.records import WorkerRecord

__all__ = [
    "Array",
    "Inputs",
    "Result",
    "call",
    "call_many",
    "close",
    "prewarm",
    "start",
    "status",
    "stop",
]

MANAGER = "manager"  # the program's name for questions that are not calls
_KEEP_FILES = "GA3ENV_KEEP_FILES"
_TRIES = 5


def call(
    module: str,
    function: str,
    arrays: Mapping[str, Array],
    parameters: Mapping[str, Any] | None = None,
    *,
    axes: Mapping[str, str] | None = None,
    timeout: float | None = None,
    cancelled: Callable[[], bool] | None = None,
    progress: Progress | None = None,
    copy: bool = True,
    out: Mapping[str, np.ndarray] | None = None,
    accept: Callable[[Result], object] | None = None,
) -> Result:
    """Call `function` of the published environment of `module`.

    Parameters
    ----------
    arrays : mapping of ndarray or path
        The inputs by name, of any memory layout and byte order. The full path of a ``.npy``,
        ``.tif`` or ``.zarr`` stands for what is in it: the worker opens it itself.
    parameters : mapping, optional
        Values that differ from the module's defaults.
    axes : mapping of str, optional
        The order of an input's axes where it is known, such as ``{"image": "zyx"}``.
    timeout : float, optional
        Seconds until the call is given up; without limit by default.
    cancelled : callable, optional
        Is asked many times a second; when it says True, the call ends. The module is asked to stop;
        a worker that goes on for 2 s is ended. The same holds for `timeout`.
    progress : callable, optional
        Is told the part that is done (0 to 1) and a text, where the module tells them.
    copy : bool
        False returns views that the next call to this module overwrites: one copy less.
    out : mapping of ndarray, optional
        Arrays of yours that take outputs, by name: each is written in one pass, cast on the way,
        and is then that output in the result. int32 takes labels; uint8, uint16 and floats take
        images, rounded and clipped to their range. Each has the shape of its output, but for axes
        of length 1, which may be missing or added. Nothing is written where the call fails.
    accept : callable, optional
        Gets the outputs when all have come, as views, before any is written into `out`: what it
        raises ends the call, and nothing is written. It must not call the module itself.

    Raises
    ------
    NotInstalled, ConfigError
        There is no usable environment.
    BadInput
        An input, a parameter or an array of `out` is refused.
    WeightsMissing
        The weights that a parameter names are not downloaded; no worker was started.
    ModuleFailed
        The function failed; the details hold the remote traceback.
    WorkerStartFailed, WorkerCrashed, WorkerTimeout, Cancelled
        What happened to the worker or the call.
    """
    entry = home.published(module)
    message = _message(entry, function, parameters, axes)
    results.named("inputs", arrays)
    patience = waiting.patience(timeout, cancelled)
    if out:
        delivery = _into(entry, message, arrays, copy, out, accept)
    else:
        delivery = Delivery(copy, accept=accept)
    place = _call_here if entry.runs_here else _call_worker
    run = functools.partial(place, entry, message, arrays, patience, progress, delivery)
    if folder := os.environ.get(_KEEP_FILES):
        from ga3_nodes import kept_files  # a call that keeps none shall not pay for its import

        return kept_files.keeping(Path(folder), entry, message, arrays, run)
    return run()


def call_many(
    module: str,
    function: str,
    images: Iterable[Mapping[str, Array]],
    parameters: Mapping[str, Any] | None = None,
    *,
    axes: Mapping[str, str] | None = None,
    timeout: float | None = None,
    cancelled: Callable[[], bool] | None = None,
    progress: Progress | None = None,
) -> Generator[Result | GA3EnvError, None, None]:
    """Call `function` for each of `images`, which are mappings as `call` takes them.

    While an image is computed, the next one is taken from `images` and handed over; at most three
    are held at once.

    Parameters
    ----------
    axes : mapping of str, optional
        As for `call`, for those of the images that are not `Inputs` with axes of their own.
    timeout : float, optional
        Seconds until an image is given up, from when it is waited for.
    progress : callable, optional
        As for `call`: of the image whose result comes next.

    Returns
    -------
    generator
        For each image, in their order and as it comes, its result or the error of its call.
        Closing it gives up what is under way.

    Raises
    ------
    NotInstalled, ConfigError, BadInput, WeightsMissing
        There is no usable environment or function, or a parameter is refused.
    WorkerStartFailed, WorkerTimeout, Cancelled
        No image more can be had; raised by the generator.
    """
    entry = home.published(module)
    message = _message(entry, function, parameters, axes)
    if entry.runs_here or os.environ.get(_KEEP_FILES):
        told: dict[str, Any] = {"timeout": timeout, "cancelled": cancelled, "progress": progress}
        one = functools.partial(call, module, function, parameters=parameters, **told)
        return (_outcome(functools.partial(one, i, axes=_axes(i, axes))) for i in images)
    from ga3_nodes.batch import Batch

    patience = functools.partial(waiting.patience, timeout, cancelled)
    return Batch(entry, message, patience, progress).run(images)


def _axes(
    arrays: Mapping[str, Array], of_all: Mapping[str, str] | None
) -> Mapping[str, str] | None:
    return arrays.axes if isinstance(arrays, Inputs) else of_all


def _outcome(run: Callable[[], Result]) -> Result | GA3EnvError:
    try:
        return run()
    except Cancelled:
        raise
    except GA3EnvError as error:
        return error


def _message(
    entry: home.ModuleEntry,
    function: str,
    parameters: Mapping[str, Any] | None,
    axes: Mapping[str, str] | None,
) -> dict[str, Any]:
    spec = entry.functions.get(function)
    if spec is None:
        raise BadInput(f"{entry.name} has no function {function!r}.", code="unknown_function")
    declared = spec.get("parameters", {})
    given = params.complete(declared, results.named("parameters", parameters or {}))
    return {
        "type": "call",
        "function": function,
        "params": weights.resolve(entry.name, entry.title, declared, given, home.roots(entry.root)),
        "axes": dict(results.named("axes", axes or {})),
    }


def _into(
    entry: home.ModuleEntry,
    message: dict[str, Any],
    arrays: Mapping[str, Array],
    copy: bool,
    out: Mapping[str, np.ndarray],
    accept: Callable[[Result], object] | None,
) -> Delivery:
    """Check the caller's arrays; let the worker know which labels need not be int32 yet."""
    from ga3_nodes import outputs  # a call without them shall not pay for its import

    function = entry.functions[message["function"]]
    outputs.check(out, function, arrays, message["axes"])
    message["small"] = outputs.small(out, function)
    return Delivery(copy, dict(out), function["outputs"], accept)


def _call_worker(
    entry: home.ModuleEntry,
    message: dict[str, Any],
    arrays: Mapping[str, Array],
    patience: Patience,
    progress: Progress | None,
    delivery: Delivery,
) -> Result:
    from ga3_nodes import connecting, wire

    for _ in range(_TRIES):
        link = connecting.shared_link(entry, patience)
        try:
            return link.call(message, arrays, patience, progress, delivery)
        except wire.ConnectionLost:
            continue  # the worker ended before it began with this call
    raise WorkerStartFailed(
        f"The workers of {entry.name} end before they take a call.",
        f"Repair {entry.name} in GA3 Environment Manager.",
        details=connecting.evidence(entry),
    )


def _call_here(
    entry: home.ModuleEntry,
    message: dict[str, Any],
    arrays: Mapping[str, Array],
    patience: Patience,
    progress: Progress | None,
    delivery: Delivery,
) -> Result:
    """Call a light module without a worker: this is a Python that its overlay was made for."""
    from ga3_nodes import inprocess, outputs  # nodes of other modules shall not pay for them

    if error := patience.exhausted():
        raise error
    running = Running(entry.device, progress, lambda: patience.exhausted() is not None)
    with waiting.held(inprocess.lock(entry), patience):
        given = (message["params"], message["axes"], running, delivery)
        try:
            found, seconds = inprocess.run(entry, message["function"], arrays, *given)
        except Cancelled as error:
            raise (patience.exhausted() or error) from error
        if running.stopped:  # the outputs are of a part of the work
            raise patience.exhausted() or Cancelled("The call was cancelled.")
        result = Result(found)
        outputs.write(delivery, result)
    result.seconds, result.device, result.worker_pid = seconds, entry.device, os.getpid()
    result.notes = running.notes
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
    from ga3_nodes import connecting

    link = connecting.shared_link(entry, Patience())
    if not connecting.is_alive(link):
        link.close()  # it has ended, idle for long
        link = connecting.shared_link(entry, Patience())
    return link.pid


def prewarm(module: str) -> None:
    """Let the worker of a module start in the background; return at once, and raise nothing."""
    from ga3_nodes import prewarming  # it imports this module

    prewarming.begin(module)


def status(record: WorkerRecord) -> dict[str, Any]:
    """Ask a live worker for its state: ready, busy, idle_s, clients."""
    return _ask(record, {"type": "status"})


def stop(record: WorkerRecord) -> None:
    """Ask a worker to end after the call that it runs."""
    _ask(record, {"type": "stop"})


def _ask(record: WorkerRecord, question: dict[str, Any]) -> dict[str, Any]:
    from ga3_nodes import wire

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
    if connecting := sys.modules.get("ga3_nodes.connecting"):
        connecting.close()
    if here := sys.modules.get("ga3_nodes.inprocess"):
        here.close()
