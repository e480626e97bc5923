"""A worker that starts before its first call: at once, once, and without complaints."""

from __future__ import annotations

import time

import numpy as np
import pytest

from ga3_nodes import client, home, locks, prewarming, records
from tests.support import ECHO_DECLARATION, ECHO_WORKER, publish

pytestmark = pytest.mark.windows


def warmed(module, seconds=60):
    prewarming._threads[module].join(seconds)
    assert not prewarming._threads[module].is_alive()


def test_prewarming_returns_at_once_and_starts_one_worker(data_folder):
    slow = "import time\ntime.sleep(3)\n"
    publish(data_folder, ECHO_DECLARATION, slow + ECHO_WORKER.lstrip())
    started = time.monotonic()
    for _ in range(20):
        client.prewarm("echo")
    assert time.monotonic() - started < 3  # neither the start nor the import is waited for
    warmed("echo")
    ((_, record),) = records.live(data_folder)
    client.prewarm("echo")
    warmed("echo")
    result = client.call("echo", "segment", {"image": np.ones((2, 2), np.uint8)})
    assert result.worker_pid == record.pid
    log = (home.log_dir(data_folder) / "worker-echo.log").read_text("utf-8")
    assert log.count(" started\n") == 1
    assert "ends" not in log


def test_prewarming_replaces_a_worker_that_has_ended(data_folder):
    publish(data_folder, ECHO_DECLARATION, ECHO_WORKER)
    first = client.start("echo")
    ((stem, record),) = records.live(data_folder)
    client.stop(record)
    deadline = time.monotonic() + 20
    while locks.is_locked(records.lease_path(stem)):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    client.prewarm("echo")
    warmed("echo")
    ((_, record),) = records.live(data_folder)
    assert record.pid != first


@pytest.mark.parametrize("damage", ["missing", "interpreter", "config"])
def test_prewarming_what_cannot_start_only_leaves_a_line_in_the_log(data_folder, damage):
    if damage != "missing":
        python = "nowhere/python"
        publish(data_folder, ECHO_DECLARATION, ECHO_WORKER, python=python)
    if damage == "config":
        (data_folder / "config.json").write_text("{", "utf-8")
    client.prewarm("echo")
    warmed("echo")
    log = (home.log_dir(data_folder) / "worker-echo.log").read_text("utf-8")
    said = {"missing": "not installed", "interpreter": "damaged", "config": "is damaged"}
    assert "not started ahead" in log
    assert said[damage] in log


def test_a_wrong_name_is_no_path(data_folder):
    client.prewarm("../echo")
    warmed("../echo")
    assert not list(data_folder.parent.glob("*.log"))
