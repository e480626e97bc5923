"""Many images in one go: in order, one failing alone, the next handed over early."""

from __future__ import annotations

import contextlib
import time

import numpy as np
import psutil
import pytest

from ga3_nodes import client, records
from ga3_nodes.errors import (
    BadInput,
    Cancelled,
    ModuleFailed,
    NotInstalled,
    WorkerCrashed,
    WorkerTimeout,
)
from tests.support import ECHO_DECLARATION, publish

pytestmark = pytest.mark.windows

WORKER = """
import os, time
import numpy as np
def segment(image, *, axes="", threshold=0.5, mode="plain", progress=None):
    value = int(image.flat[0])
    if value == 99:
        os._exit(9)
    if value == 98:
        raise RuntimeError("the model exploded")
    while value == 97:
        progress(0.5)
    if value == 96:
        progress(0.25, axes)
    if mode == "sleep":
        for _ in range(20):
            progress(0.5)
            time.sleep(0.01)
    return image.astype(int) * 2
def measure(image, other):
    return {"sum": image, "table": {"n": list(range(20000))}}
"""


@pytest.fixture
def module(data_folder):
    publish(data_folder, ECHO_DECLARATION, WORKER)
    return data_folder


def _images(values):
    """Images of different shapes; the third and every third after it is much larger."""
    for i, value in enumerate(values):
        size = 700 if i % 3 == 2 else 5 + i
        yield {"image": np.full((size, 4 + i), value, np.uint16)}


def _run(values, **keywords):
    return client.call_many("echo", "segment", _images(values), **keywords)


def _check(results, values):
    for i, (result, value) in enumerate(zip(results, values, strict=True)):
        expected = next(iter(list(_images(values))[i].values())).astype(int) * 2
        np.testing.assert_array_equal(result["labels"], expected)
        assert value * 2 in result["labels"]


def test_results_of_any_shape_come_in_order(module):
    values = [3, 1, 4, 1, 5, 9, 2, 6, 5]
    results = list(_run(values))
    _check(results, values)
    assert len({result.worker_pid for result in results}) == 1
    assert list(client.call_many("echo", "segment", [])) == []


def test_one_failing_image_stops_no_other(module):
    outcomes = list(_run([1, 98, 2, 98, 98, 3]))
    failed = [i for i, outcome in enumerate(outcomes) if isinstance(outcome, ModuleFailed)]
    assert failed == [1, 3, 4]
    _check([outcomes[0], outcomes[2], outcomes[5]][:1], [1])
    assert outcomes[5]["labels"].max() == 6
    assert len({o.worker_pid for i, o in enumerate(outcomes) if i not in failed}) == 1


def test_an_image_that_crashes_the_worker_takes_no_other_with_it(module):
    outcomes = list(_run([1, 99, 2, 3]))
    assert isinstance(outcomes[1], WorkerCrashed)
    assert [o["labels"].max() for i, o in enumerate(outcomes) if i != 1] == [2, 4, 6]


def test_an_input_that_is_refused_has_its_place_in_the_order(module):
    images = [{"image": np.ones((2, 2), kind)} for kind in (np.uint8, complex, np.uint8)]
    kinds = [type(outcome) for outcome in client.call_many("echo", "segment", images)]
    assert kinds == [client.Result, BadInput, client.Result]


def test_the_next_image_is_taken_while_one_computes(module):
    taken = []

    def images():
        for i in range(3):
            taken.append(i)
            yield {"image": np.full((3, 3), i, np.uint8)}

    results = client.call_many("echo", "segment", images(), {"mode": "sleep"})
    next(results)
    assert taken == [0, 1, 2]
    assert len(list(results)) == 2


def test_another_function_may_be_called_between_two_results(module):
    other = np.ones((3, 3), np.uint8)
    for result in _run([1, 2, 3]):
        again = client.call("echo", "measure", {"image": result["labels"], "other": other})
        assert len(again["table"]["n"]) == 20000


def test_a_cancelled_batch_keeps_its_worker(module):
    pid = client.start("echo")
    got = []
    results = _run([1] * 50, parameters={"mode": "sleep"}, cancelled=lambda: len(got) > 1)
    got += [next(results), next(results)]
    with pytest.raises(Cancelled):
        next(results)
    (after,) = _run([7])
    assert (after.worker_pid, after["labels"].max()) == (pid, 14)


def test_a_batch_that_is_left_disturbs_nobody(module):
    results = _run([1] * 50, parameters={"mode": "sleep"})
    pid = next(results).worker_pid
    results.close()
    assert client.call("echo", "segment", {"image": np.ones((2, 2))}).worker_pid == pid
    ((_, record),) = records.live(module)
    deadline = time.monotonic() + 20
    while len(client.status(record)["clients"]) > 2:  # this program, and who asks
        assert time.monotonic() < deadline


def test_a_worker_that_is_killed_meanwhile_is_replaced(module):
    seen = set()
    outcomes = []
    for i, outcome in enumerate(_run([1] * 6)):
        outcomes.append(outcome)
        if i == 2:
            psutil.Process(outcome.worker_pid).kill()
    for outcome in outcomes:
        if isinstance(outcome, WorkerCrashed):
            continue  # the one that was being computed
        assert outcome["labels"].max() == 2
        seen.add(outcome.worker_pid)
    assert len(seen) == 2
    assert len(outcomes) == 6
    assert sum(isinstance(outcome, WorkerCrashed) for outcome in outcomes) <= 1


def test_an_image_that_takes_too_long_is_given_up_alone(module):
    pid = client.start("echo")
    outcomes = list(_run([1, 97, 97, 3], timeout=2.0))
    slow = [i for i, outcome in enumerate(outcomes) if isinstance(outcome, WorkerTimeout)]
    assert slow == [1, 2]
    assert [o["labels"].max() for i, o in enumerate(outcomes) if i not in slow] == [2, 6]
    assert outcomes[-1].worker_pid == pid


def test_each_image_may_have_its_own_axes_and_tells_its_progress(module):
    told = []
    image = np.full((3, 3), 96, np.uint8)
    images = [client.Inputs({"image": image}, {"image": "yx"}), {"image": image[np.newaxis]}]
    results = client.call_many(
        "echo", "segment", images, axes={"image": "zyx"}, progress=lambda *one: told.append(one)
    )
    for number, result in enumerate(results, 1):
        assert result["labels"].max() == 192
        assert len(told) == number
    assert told == [(0.25, "yx"), (0.25, "zyx")]


def test_the_next_batch_takes_the_connection_of_the_last_one(module):
    for _ in range(3):
        _check(list(_run([1, 2, 3])), [1, 2, 3])
    with contextlib.closing(_run([1, 2, 3])) as first, contextlib.closing(_run([4, 5])) as second:
        assert [next(one)["labels"].max() for one in (first, second)] == [2, 8]
    assert [outcome["labels"].max() for outcome in _run([6])] == [12]
    ((_, record),) = records.live(module)
    deadline = time.monotonic() + 20
    while len(client.status(record)["clients"]) > 2:  # this program, and who asks
        assert time.monotonic() < deadline


def test_what_is_wrong_for_all_is_told_at_once(module):
    with pytest.raises(NotInstalled):
        client.call_many("nothing", "segment", [])
    with pytest.raises(BadInput):
        client.call_many("echo", "nothing", [])
