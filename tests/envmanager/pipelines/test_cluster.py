"""A pipeline on a real Dask cluster of two processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import distributed
import pytest

from envmanager.errors import Cancelled, GA3EnvError
from envmanager.events import CancelToken
from envmanager.pipelines import cluster, running
from tests.support import PROJECT

pytestmark = pytest.mark.slow


@pytest.fixture
def scheduler(imaging, monkeypatch):
    """Return a cluster whose workers see the test's data folder, and not more."""
    monkeypatch.setenv("PYTHONPATH", str(PROJECT))
    with distributed.LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        processes=True,
        dashboard_address=None,
        protocol="tcp",
        host="127.0.0.1",
        silence_logs=50,
    ) as made:
        yield made


def _run(imaging, scheduler, *, told=lambda record: None, cancel=None, **parameters):
    work = cluster.work_on(scheduler.scheduler_address)
    plan = imaging.plan(**parameters)
    return running.run(plan, imaging.results, work=work, told=told, cancel=cancel)


def _pixels(imaging):
    return {p.name: imaging.mask(p.name).tobytes() for p in imaging.results.glob("*.tif")}


def test_a_cluster_gives_the_same_and_a_killed_worker_loses_nothing(imaging, scheduler):
    for number in range(10):
        imaging.add(f"{number}.tif", 200 + number)
    (imaging.images / "broken.tif").write_bytes(b"II*\x00 not a picture")
    local = imaging.run(wait=0.2)
    expected = _pixels(imaging)
    for path in imaging.results.glob("*.tif"):
        path.unlink()
    killed = []

    def kill_one(record):
        if not killed:
            killed.append(scheduler.workers[0].pid)
            os.kill(killed[0], signal.SIGKILL if sys.platform != "win32" else signal.SIGTERM)

    done = _run(imaging, scheduler, told=kill_one, wait=0.2)
    assert killed
    assert (done.done, len(done.failed), done.skipped) == (10, 1, 0)
    assert _pixels(imaging) == expected
    assert done.failed[0].error["code"] == local.failed[0].error["code"]
    assert imaging.litter() == []
    assert _run(imaging, scheduler, wait=0.2).skipped == 10


def test_a_cluster_is_cancelled(imaging, scheduler):
    for number in range(10):
        imaging.add(f"{number}.tif", 200)
    cancel = CancelToken()
    with pytest.raises(Cancelled):
        _run(imaging, scheduler, told=lambda record: cancel.cancel(), cancel=cancel, wait=0.3)
    assert 1 <= _run(imaging, scheduler, wait=0.3).skipped < 10


def test_a_machine_with_another_version_is_refused(imaging, scheduler, monkeypatch):
    imaging.add("a.tif", 200)
    facts = running.records.call_facts

    def other(call):
        return facts(call) | {"version": "0.9.0"}

    monkeypatch.setattr(cluster.records, "call_facts", other)  # of this process only
    done = _run(imaging, scheduler)
    assert done.failed[0].error["code"] == "environments_differ"


def test_a_scheduler_that_is_not_there(imaging, monkeypatch):
    imaging.add("a.tif", 200)
    monkeypatch.setattr(cluster, "_CONNECT_S", "1s")
    with pytest.raises(GA3EnvError, match="no Dask scheduler"):
        running.run(imaging.plan(), imaging.results, work=cluster.work_on("tcp://127.0.0.1:9"))


def test_without_dask_it_is_said_what_to_install(imaging, tmp_path):
    (tmp_path / "distributed.py").write_text("raise ImportError('not here')", "utf-8")
    imaging.add("a.tif", 200)
    imaging.plan()
    words = ["pipeline", imaging.images.parent / "pipeline.yaml", "--scheduler", "tcp://x:1"]
    words += ["--input-dir", imaging.images, "--output-dir", imaging.results]
    done = subprocess.run(
        [sys.executable, "-m", "envmanager", *words],
        cwd=PROJECT,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "requirements-dask.lock" in done.stderr


def test_a_cluster_that_has_no_workers_yet_is_waited_for(imaging, scheduler, monkeypatch):
    """A queue such as SLURM's gives machines when it has some."""
    imaging.add("a.tif", 200)
    scheduler.scale(0)
    with distributed.Client(scheduler, set_as_default=False) as client:
        while client.scheduler_info()["workers"]:
            time.sleep(0.05)
    monkeypatch.setattr(cluster, "_WAITS_S", 0.2)
    texts = []

    def report(event):
        text = getattr(event, "text", "")
        if "no workers" in text and not texts:
            scheduler.scale(1)
        texts.extend([text] if "no workers" in text else [])

    work = cluster.work_on(scheduler.scheduler_address)
    done = running.run(imaging.plan(), imaging.results, work=work, report=report)
    assert texts
    assert done.done == 1
