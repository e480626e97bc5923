"""Runs the images of a pipeline on a Dask cluster: each worker uses the environment of its machine.

An image is one task, so a machine that goes down costs the images that it worked on, and those are
done again elsewhere: files come to their places whole or not at all. The machines must see the
images and the output folder under the same paths, and have this app, and the modules at the same
versions; each task checks that before it computes.
"""

from __future__ import annotations

import platform
import queue
import uuid
from collections.abc import Generator
from dataclasses import replace
from typing import Any

from envmanager import failures
from envmanager.errors import Cancelled, ConfigError, GA3EnvError
from envmanager.events import CancelToken
from envmanager.pipelines import records, running
from envmanager.pipelines.plan import Plan
from envmanager.pipelines.records import ImageRecord
from envmanager.pipelines.running import Part, Task, Work

# Dask's own types are incomplete.
Client = Any
Future = Any

_CONNECT_S = "15s"
_POLL_S = 0.2  # how often the user's wish to stop is looked at
_WAITS_S = 5.0  # without a result, until it is looked whether there are workers at all


def work_on(address: str) -> Work:
    """Return what does the images of a plan on the cluster of the scheduler at `address`.

    Raises
    ------
    GA3EnvError
        Dask is not installed here.
    """
    try:
        import distributed
    except ImportError as error:
        raise GA3EnvError(
            "Dask is not installed in this Python.",
            "Install requirements-dask.lock into the environment of your cluster, and start "
            "`python -m envmanager pipeline` with it. See docs/pipelines.md.",
            code="dask_missing",
        ) from error

    def work(
        plan: Plan, wanted: list[Task], progress: Part, cancel: CancelToken
    ) -> Generator[ImageRecord, None, None]:
        if not wanted:
            return
        with _connected(distributed, address) as client:
            yield from _Cluster(client, plan, progress, cancel).do(wanted)

    return work


def _connected(distributed: Any, address: str) -> Client:
    try:
        return distributed.Client(
            address, timeout=_CONNECT_S, set_as_default=False, name="ga3-pipeline"
        )
    except (OSError, ValueError, TimeoutError) as error:
        raise GA3EnvError(
            f"There is no Dask scheduler at {address} ({type(error).__name__}: {error}).",
            "Check the address, as tcp://host:8786, and that the cluster runs.",
            code="cluster_unreachable",
        ) from error


def _light(plan: Plan) -> Plan:
    """Return a plan for the tasks, of which each names its own image: not with all other names."""
    return replace(plan, load=replace(plan.load, files=plan.load.files[:2]))


class _Cluster:
    """The tasks of one run on a cluster."""

    def __init__(self, client: Client, plan: Plan, progress: Part, cancel: CancelToken) -> None:
        self._client, self._plan = client, plan
        self._progress, self._cancel = progress, cancel
        self._ended: queue.SimpleQueue[Future] = queue.SimpleQueue()

    def do(self, wanted: list[Task]) -> Generator[ImageRecord, None, None]:
        """Give the record of each image as it is done, in any order."""
        facts = [records.call_facts(call) for call in self._plan.calls]
        run, by_key = uuid.uuid4().hex[:8], {}
        plan = _light(self._plan)
        futures = []
        for number, task in enumerate(wanted):
            name = f"ga3-{run}-{number}"
            by_key[name] = task
            future = self._client.submit(process, plan, task, facts, key=name, pure=False)
            future.add_done_callback(self._ended.put)
            futures.append(future)
        try:
            while by_key:
                future = self._next()
                yield _record(future, by_key.pop(future.key))
                future.release()
        finally:
            self._client.cancel(futures, force=True)

    def _next(self) -> Future:
        waited = 0.0
        while True:
            if self._cancel.cancelled:
                raise Cancelled(
                    "The run was cancelled.",
                    "The cluster ends the images that it has begun. Start it again: it goes on.",
                )
            try:
                return self._ended.get(timeout=_POLL_S)
            except queue.Empty:
                waited += _POLL_S
            if waited >= _WAITS_S:
                waited = 0.0
                self._tell_of_workers()

    def _tell_of_workers(self) -> None:
        if self._client.status != "running":
            raise GA3EnvError(
                "The connection to the Dask scheduler is lost.",
                "Start it again when the cluster runs: what is done is kept.",
                code="cluster_lost",
            )
        if not self._client.scheduler_info()["workers"]:
            self._progress(0.0, "waiting for the cluster: it has no workers")


def _record(future: Future, task: Task) -> ImageRecord:
    """Return the record of a task that has ended; one that the cluster lost has failed."""
    try:
        record: ImageRecord = future.result()
    except Exception as error:  # whatever the cluster or a foreign Python comes up with
        return running.failed(task, _told(error))
    return record


def _told(error: Exception) -> GA3EnvError:
    if isinstance(error, GA3EnvError):
        return error
    if isinstance(error, ModuleNotFoundError) or "deserializ" in str(error).lower():
        return GA3EnvError(
            f"The cluster lacks this app, or a package of it ({error}).",
            "Put this app's folder into PYTHONPATH of the scheduler and of all workers, and "
            "install requirements-dask.lock there.",
            code="cluster_lacks_app",
        )
    message = f"The cluster could not do it ({type(error).__name__}: {error})."
    return GA3EnvError(message, "Look into the log of the cluster's workers.", code="cluster")


# ---- on the cluster's machines -------------------------------------------------------------------


def process(plan: Plan, task: Task, facts: list[dict[str, Any]]) -> ImageRecord:
    """Do one image on this machine; what fails is in the record."""
    host = platform.node()
    try:
        _check_same(plan, facts, host)
        (record,) = running.do(plan, [task], lambda done, text: None, CancelToken())
    except Exception as error:
        known = error if isinstance(error, GA3EnvError) else failures.as_error(error)
        record = running.failed(task, known)
    return replace(record, host=host)


def _check_same(plan: Plan, facts: list[dict[str, Any]], host: str) -> None:
    """Refuse a machine whose environments would compute something else.

    Raises
    ------
    ConfigError
        A module has another version, lock or weights there.
    """
    for call, wanted in zip(plan.calls, facts, strict=True):
        found = records.call_facts(call)
        for name in ("version", "source_sha256", "packages", "weights"):
            if found[name] != wanted[name]:
                raise ConfigError(
                    f"{call.module} on {host} is not the one of this computer: {name} differs.",
                    f"Install the same version there: ./run install {call.module}",
                    code="environments_differ",
                )
