"""What goes into a call and what comes out of it, also where it fails: real processes."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from ga3_nodes import client, records
from ga3_nodes.errors import (
    BadInput,
    Cancelled,
    ConfigError,
    ModuleFailed,
    NotInstalled,
    WorkerTimeout,
)
from tests.support import ECHO_DECLARATION, publish

pytestmark = pytest.mark.windows

IMAGE = np.arange(12, dtype=np.uint16).reshape(3, 4)


def _call(**keywords):
    return client.call("echo", "segment", {"image": IMAGE}, **keywords)


def _labels(image, threshold=0.5):
    return np.cumsum(image > threshold).reshape(image.shape) * (image > threshold)


def test_labels_come_back_as_int32(echo):
    result = _call(parameters={"threshold": 4.0})
    assert result["labels"].dtype == np.int32
    np.testing.assert_array_equal(result["labels"], _labels(IMAGE, 4))
    assert result.device == "cpu"
    assert 0 < result.seconds < 60


def test_several_arrays_go_in_and_images_and_tables_come_out(echo):
    result = client.call("echo", "measure", {"image": IMAGE, "other": IMAGE.astype(np.uint8)})
    assert result["sum"].dtype == np.float32
    np.testing.assert_array_equal(result["sum"], IMAGE * 2.0)
    assert result["table"] == {"n": [1, 2], "name": ["a", "b"]}


@pytest.mark.parametrize(
    "image",
    [
        pytest.param(np.asfortranarray(IMAGE), id="column-major"),
        pytest.param(IMAGE.astype(">u2"), id="big-endian"),
        pytest.param(np.repeat(IMAGE, 2, axis=1)[:, ::2], id="strided"),
        pytest.param(IMAGE.astype(np.float64), id="float64"),
    ],
)
def test_any_memory_layout_gives_the_same_mask(echo, image):
    image.setflags(write=False)
    result = client.call("echo", "segment", {"image": image})
    np.testing.assert_array_equal(result["labels"], _labels(IMAGE))


def test_more_objects_than_uint16_can_count(echo):
    image = np.ones((300, 300), np.uint8)
    assert client.call("echo", "segment", {"image": image})["labels"].max() == 90_000


def test_frames_of_any_size_follow_each_other(echo):
    for shape in ((4, 4), (700, 900), (3, 5), (2, 300, 400), (1, 1)):
        image = np.random.default_rng(0).integers(0, 9, shape).astype(np.uint16)
        result = client.call("echo", "segment", {"image": image}, {"threshold": 4})
        np.testing.assert_array_equal(result["labels"], _labels(image, 4))


def test_a_copy_is_kept_and_a_view_is_overwritten(echo):
    copy = _call()["labels"]
    view = _call(copy=False)["labels"]
    _call(parameters={"threshold": 1e9})
    np.testing.assert_array_equal(copy, _labels(IMAGE))
    assert not view.any()


def test_threads_of_one_client_do_not_mix_up_their_images(echo):
    wrong = []

    def work(seed):
        image = np.random.default_rng(seed).integers(0, 99, (64, 64)).astype(np.uint16)
        for _ in range(20):
            result = client.call("echo", "segment", {"image": image}, {"threshold": 50})
            if not np.array_equal(result["labels"], _labels(image, 50)):
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive()
    assert not wrong


def test_the_modules_own_refusal_is_bad_input(echo):
    with pytest.raises(BadInput, match="The image is too dark"):
        _call(parameters={"mode": "refuse"})


def test_a_failure_brings_its_remote_traceback(echo):
    with pytest.raises(ModuleFailed, match="the model exploded") as caught:
        _call(parameters={"mode": "fail"})
    assert "worker.py" in caught.value.details["traceback"]


def test_a_call_ends_at_its_timeout_and_the_next_one_works(echo):
    _call()
    started = time.monotonic()
    with pytest.raises(WorkerTimeout):
        _call(parameters={"mode": "sleep"}, timeout=0.5)
    assert time.monotonic() - started < 20
    assert _call()["labels"].any()


WRONG = """
import numpy as np
def segment(image, *, axes="", threshold=0.5, mode="plain"):
    return {
        "plain": np.zeros((3, 3), int),
        "crash": -np.ones(image.shape, int),
        "fail": [[1], [1, 2]],
        "refuse": np.zeros(image.shape),
        "sleep": {"nothing": 1},
    }[mode]
def measure(image, other):
    return {"sum": image, "table": {"when": [object()]}}
"""


@pytest.mark.parametrize("mode", ["plain", "crash", "fail", "refuse", "sleep"])
def test_a_wrong_result_is_refused_and_the_worker_lives_on(data_folder, mode):
    publish(data_folder, ECHO_DECLARATION, WRONG)
    pid = client.start("echo")
    with pytest.raises(ModuleFailed):
        _call(parameters={"mode": mode})
    with pytest.raises(ModuleFailed, match="no table"):
        client.call("echo", "measure", {"image": IMAGE, "other": IMAGE})
    assert client.start("echo") == pid


def test_a_declared_function_that_is_missing_is_named(data_folder):
    publish(data_folder, ECHO_DECLARATION, "def segment(image):\n    return image\n")
    with pytest.raises(ModuleFailed, match="no function 'measure'"):
        _call()


def test_a_timeout_holds_while_another_thread_computes(echo):
    pid = client.start("echo")
    ended = threading.Event()

    def compute():
        with pytest.raises(Cancelled):
            _call(parameters={"mode": "sleep"}, cancelled=ended.is_set)

    thread = threading.Thread(target=compute)
    thread.start()
    ((_, record),) = records.live(echo)
    deadline = time.monotonic() + 30
    while not client.status(record)["busy"]:
        assert time.monotonic() < deadline
    with pytest.raises(WorkerTimeout):
        _call(timeout=0.3)
    assert client.status(record)["busy"]  # the other call was not disturbed
    assert client.status(record)["ready"]
    ended.set()
    thread.join(30)
    assert pid == record.pid


def test_a_module_that_is_not_installed(echo):
    with pytest.raises(NotInstalled, match="is not installed") as caught:
        client.call("cellpose", "segment", {"image": IMAGE})
    assert "Install" in str(caught.value)


@pytest.mark.parametrize(
    ("function", "arrays", "parameters"),
    [
        pytest.param("nothing", {"image": IMAGE}, {}, id="unknown-function"),
        pytest.param("segment", {}, {}, id="no-image"),
        pytest.param("segment", {"picture": IMAGE}, {}, id="wrong-input-name"),
        pytest.param("segment", {"image": IMAGE.astype(complex)}, {}, id="complex-numbers"),
        pytest.param("segment", {"image": np.array([["a"]])}, {}, id="text"),
        pytest.param("segment", {"image": IMAGE}, {"threshold": "high"}, id="parameter-type"),
        pytest.param("segment", {"image": IMAGE}, {"treshold": 1}, id="parameter-name"),
    ],
)
def test_bad_input_is_refused_and_the_worker_lives_on(echo, function, arrays, parameters):
    pid = _call().worker_pid
    with pytest.raises(BadInput):
        client.call("echo", function, arrays, parameters)
    assert _call().worker_pid == pid


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "config_invalid"),
        ('{"schema": 1, "modules"', "config_invalid"),
        ("[]", "config_invalid"),
        ('{"schema": 99, "modules": {}}', "config_too_new"),
        ('{"schema": 1, "modules": {"echo": {"version": 1}}}', "config_invalid"),
    ],
)
def test_a_damaged_config_is_named(echo, text, code):
    (echo / "config.json").write_text(text, "utf-8")
    with pytest.raises(ConfigError) as caught:
        _call()
    assert caught.value.code == code
    assert "config.json" in caught.value.message
    (echo / "config.json").unlink()
