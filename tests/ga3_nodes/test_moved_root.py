"""A data folder that is moved, replaced or swept under its live worker: nobody waits for ever."""

from __future__ import annotations

import contextlib
import shutil
import sys
import threading

import numpy as np
import psutil
import pytest

from ga3_nodes import client, home, records
from ga3_nodes.errors import GA3EnvError, NotInstalled
from tests.programs import python, until
from tests.support import ECHO_DECLARATION, publish

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="Windows moves and deletes no folder with open files"
)

DEADLINE_S = 60  # against hanging
WORKER = """
import time
from pathlib import Path
def segment(image, *, threshold=0.5, mode="plain", progress=None):
    while mode == "sleep" and not Path(FLAG).exists():
        progress(0.5)
        time.sleep(0.01)
    return (image > threshold) * 1
def measure(image, other):
    raise NotImplementedError
"""
IMAGE = np.ones((3, 4), np.uint8)


@pytest.fixture
def flag(tmp_path):
    """The file for which a call in the mode "sleep" waits."""
    return tmp_path / "flag"


@pytest.fixture
def root(data_folder, flag):
    _publish(data_folder, flag, 1)
    return data_folder


@pytest.fixture
def moved(root):
    """Where to the data folder is moved."""
    place = root.with_name("moved")
    yield place
    client.close()
    for _, record in records.live(place) if place.exists() else []:
        with contextlib.suppress(OSError, GA3EnvError):  # it is just ending
            client.stop(record)


def _publish(root, flag, value, generation=1):
    """Publish a module whose masks hold `value`."""
    root.mkdir(exist_ok=True)
    code = WORKER.replace("FLAG", repr(str(flag))).replace("* 1", f"* {value}")
    publish(root, ECHO_DECLARATION, code, generation=generation)


def _call(**keywords):
    """Return the value in the mask, and the process that made it."""
    result = client.call("echo", "segment", {"image": IMAGE}, timeout=DEADLINE_S, **keywords)
    return int(result["labels"].max()), result.worker_pid


def _ended(pid):
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


@contextlib.contextmanager
def _computing(flag):
    """Let a call compute meanwhile, and look at its result afterwards."""
    found = []
    thread = threading.Thread(target=lambda: found.append(_call(parameters={"mode": "sleep"})))
    pid = client.start("echo")
    ((_, record),) = [one for one in _live() if one[1].pid == pid]
    thread.start()
    until(lambda: client.status(record)["busy"])
    yield
    flag.touch()
    thread.join(DEADLINE_S)
    assert found == [(1, pid)]


def _live():
    return records.live(home.published("echo").root)


def test_moved_while_idle(root, moved, monkeypatch):
    _, first = _call()
    root.rename(moved)
    with pytest.raises(NotInstalled):
        _call()
    monkeypatch.setenv("GA3ENV_HOME", str(moved))
    assert _call()[0] == 1
    until(lambda: _ended(first))  # it would look for its files at the old place
    value, second = _call()
    assert (value, second != first) == (1, True)
    client.close()
    assert _call() == (1, second)


def test_moved_while_a_call_computes(root, moved, flag, monkeypatch):
    with _computing(flag):
        root.rename(moved)
        with pytest.raises(NotInstalled):
            _call()
        monkeypatch.setenv("GA3ENV_HOME", str(moved))
    assert _call()[0] == 1


def test_who_comes_to_the_new_place_waits_for_the_call_and_no_longer(
    root, moved, flag, monkeypatch
):
    with _computing(flag):
        root.rename(moved)
        code = (
            "import numpy as np; from ga3_nodes import client\n"
            "result = client.call('echo', 'segment', {'image': np.ones((3, 4))})\n"
            "print(result['labels'].max())"
        )
        other = python(code, GA3ENV_HOME=str(moved))
        ((_, record),) = records.live(moved)
        until(lambda: len([c for c in client.status(record)["clients"] if c["busy"]]) == 2)
    out, err = other.communicate(timeout=DEADLINE_S)
    assert out.strip() == "1", err
    monkeypatch.setenv("GA3ENV_HOME", str(moved))


@pytest.mark.parametrize(("generation", "new_client"), [(1, False), (1, True), (2, False)])
def test_replaced_while_idle(root, moved, flag, monkeypatch, generation, new_client):
    _, first = _call()
    root.rename(moved)
    _publish(root, flag, 5, generation)
    if new_client:
        client.close()
    value, second = _call()
    assert value == 5
    client.close()
    monkeypatch.setenv("GA3ENV_HOME", str(moved))
    assert _call()[0] == 1  # the moved one serves as well
    until(lambda: _ended(first))
    assert _call()[0] == 1
    client.close()
    monkeypatch.setenv("GA3ENV_HOME", str(root))
    assert _call() == (5, second)  # the end of the first took nothing of the second with it


@pytest.mark.parametrize("generation", [1, 2])
def test_replaced_while_a_call_computes(root, moved, flag, generation):
    with _computing(flag):
        root.rename(moved)
        _publish(root, flag, 5, generation)
        assert _call()[0] == 5
    assert _call()[0] == 5


@pytest.mark.parametrize("new_client", [False, True])
def test_the_run_folder_is_deleted(root, new_client):
    _, first = _call()
    shutil.rmtree(root / "run")
    if new_client:
        client.close()
    value, second = _call()
    assert value == 1
    until(lambda: _ended(first))  # nobody could find it any more
    client.close()
    assert _call() == (1, second)
    log = (root / "logs" / "worker-echo.log").read_text("utf-8")
    assert "Traceback" not in log


def test_the_run_folder_is_deleted_while_a_call_computes(root, flag):
    with _computing(flag):
        shutil.rmtree(root / "run")
        assert _call()[0] == 1
    assert _call()[0] == 1


def test_only_the_record_is_deleted(root):
    _, first = _call()
    for record in (root / "run").glob("*.json"):
        record.unlink()
    client.close()
    assert _call()[0] == 1
    until(lambda: _ended(first))


def test_everything_is_deleted_while_a_call_computes(root, flag):
    with _computing(flag):
        shutil.rmtree(root)
        with pytest.raises(NotInstalled):
            _call()
