"""Many calls, many clients, kills at random moments, and messages of every kind of nonsense."""

from __future__ import annotations

import contextlib
import json
import random
import subprocess
import sys
import threading
import time

import numpy as np
import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ga3_nodes import client, home, records, wire
from ga3_nodes.errors import GA3EnvError, WorkerCrashed
from tests.support import ECHO_DECLARATION, PROJECT, publish

pytestmark = pytest.mark.slow
PATIENCE_S = 300
WORKER = """
import time
import numpy as np
def segment(image, *, threshold=0.5, mode="plain"):
    if mode == "sleep":
        time.sleep(threshold)
    return image + np.uint16(1)
def measure(image, other):
    return {"sum": image, "table": {}}
"""
# Each image has a shape and numbers of its own: whoever gets another's sees it.
CLIENT = """
import sys
import numpy as np
from ga3_nodes import client
who, calls = int(sys.argv[1]), int(sys.argv[2])
wrong = 0
for number in range(calls):
    random = np.random.default_rng([who, number])
    image = random.integers(0, 60_000, (8 + number % 50, 8 + who), np.uint16)
    how = {"out": {"labels": np.empty(image.shape, np.int32)}} if who < 4 else {"copy": who < 6}
    got = client.call("echo", "segment", {"image": image}, **how)["labels"]
    wrong += not np.array_equal(got, image.astype(int) + 1)
print(wrong)
"""


@pytest.fixture
def module(data_folder):
    publish(data_folder, ECHO_DECLARATION, WORKER, idle_timeout_s=600)
    return data_folder


def _program(code: str, *arguments: object) -> subprocess.Popen[str]:
    words = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(words, cwd=PROJECT, stdout=subprocess.PIPE, text=True)


def _call(value: int = 7, **parameters: object) -> client.Result:
    image = np.full((20, 30), value, np.uint16)
    result = client.call("echo", "segment", {"image": image}, parameters)
    assert (result["labels"] == value + 1).all()
    return result


def test_eight_clients_at_once_get_their_own_results(module, tried):
    tried("calls of 8 clients at once", 8 * 250)
    clients = [_program(CLIENT, who, 250) for who in range(8)]
    wrong = [int(one.communicate(timeout=PATIENCE_S)[0]) for one in clients]
    assert wrong == [0] * 8


def test_20_000_calls_leave_nothing_behind(module, tried):
    tried("calls of one client", 20_000)
    worker = psutil.Process(_call().worker_pid)
    both = (psutil.Process(), worker)
    for number in range(20_000):
        _call(number % 60_000)
        if number == 2_000:
            before = [_held(one) for one in both]
    after = [_held(one) for one in both]
    assert _call().worker_pid == worker.pid
    for (memory, handles, threads), (memory_then, *then) in zip(after, before, strict=True):
        assert (handles, threads) == tuple(then)
        assert memory < memory_then + (4 << 20)  # bytes


def _held(process: psutil.Process) -> tuple[int, int, int]:
    handles = process.num_handles() if sys.platform == "win32" else process.num_fds()
    return process.memory_info().rss, handles, process.num_threads()


def test_kills_at_random_moments(module, tried):
    """A worker is killed in mid-call, a client in mid-call: the next call is right."""
    kills = 60
    tried("SIGKILL of a worker or a client", kills)
    choose = random.Random(11)
    _call()
    before = psutil.Process().num_fds() if sys.platform != "win32" else 0
    crashed = 0
    for number in range(kills):
        if number % 2:
            crashed += _kill_a_worker(choose.uniform(0, 0.06))
        else:
            _kill_a_client(choose.uniform(0.1, 0.5))
        _call(number)
    assert crashed, "no kill met a call"
    client.close()
    if before:
        assert psutil.Process().num_fds() <= before
    live = [record.pid for _, record in records.live(module)]
    assert len(live) == 1
    left = {path.suffix for path in home.run_dir(module).iterdir() if path.is_file()}
    assert left <= {".json", ".lease", ".sock"}


def _kill_a_worker(after_s: float) -> bool:
    """Kill the worker so long after a call began; tell whether the call met its end."""
    pid = _call().worker_pid
    killer = threading.Timer(after_s, _kill, (pid,))
    killer.start()
    try:
        _call(5, mode="sleep", threshold=0.03)
    except WorkerCrashed:
        return True
    finally:
        killer.join()
    return False


def _kill_a_client(after_s: float) -> None:
    other = _program(CLIENT, 1, 1_000_000)
    time.sleep(after_s)
    for one in [*psutil.Process(other.pid).children(), psutil.Process(other.pid)]:
        _kill(one.pid)
    other.communicate()


def _kill(pid: int) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        psutil.Process(pid).kill()


# ---- messages -----------------------------------------------------------------------------------

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=10,
)
_CALL = {
    "type": "call",
    "id": 1,
    "function": "segment",
    "params": {"threshold": 0.5, "mode": "plain"},
    "axes": {},
    "arrays": {"image": {"shape": [4, 5], "dtype": "uint16", "offset": 0, "path": "/etc/passwd"}},
}
_MUTATED = st.builds(
    lambda key, value: json.dumps(_CALL | {key: value}).encode(), st.sampled_from([*_CALL]), _JSON
)
_NONSENSE = (
    st.binary(max_size=200)
    | _MUTATED
    | _JSON.map(lambda value: json.dumps(value).encode())
    | st.builds(
        lambda cut, data: data[: cut % len(data)] + b"\0" * (cut % 3),
        st.integers(0, 10_000),
        st.just(json.dumps(_CALL).encode()),
    )
)
_SEVERAL = st.lists(_NONSENSE, min_size=5, max_size=5)  # made one by one they take thrice as long
_MANY = settings(
    max_examples=1_000,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)


class Door:
    """A connection to the worker that is made anew where nonsense has ended it."""

    def __init__(self, record: records.WorkerRecord, *, greeted: bool) -> None:
        self.record, self.greeted = record, greeted
        self.connection = None

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        if self.connection:
            self.connection.close()

    def push(self, data: bytes) -> list[dict]:
        """Send bytes; return what the worker answers until it is silent or hangs up."""
        if self.connection is None:
            self.connection = wire.connect(self.record.address)
            if self.greeted:
                about = {"protocol": wire.PROTOCOL, "program": "fuzz", "pid": 1}
                wire.greet(self.connection, bytes.fromhex(self.record.key), about)
        heard = []
        try:
            self.connection.send_bytes(data)
            while self.connection.poll(0.001 if self.greeted else 0.2):
                heard.append(wire.receive(self.connection))
        except (GA3EnvError, OSError, EOFError):
            self.connection.close()
            self.connection = None
        return heard


def test_nonsense_from_a_client_harms_nothing(module, tried):
    tried("nonsense from a client", 5_000)
    pid = _call().worker_pid
    with Door(_record(module), greeted=True) as door:

        @_MANY
        @given(_SEVERAL)
        def push(several):
            for data in several:
                door.push(data)

        push()
    assert _call().worker_pid == pid


def test_nobody_answers_an_unproven_peer(module, tried):
    tried("nonsense from a stranger", 5_000)
    pid = _call().worker_pid
    with Door(_record(module), greeted=False) as door:

        @_MANY
        @given(_SEVERAL)
        def push(several):
            for data in several:
                for answer in door.push(data):
                    assert set(answer) <= {"challenge", "error"}, answer

        push()
    assert _call().worker_pid == pid


def _record(root) -> records.WorkerRecord:
    ((_, record),) = records.live(root)
    return record
