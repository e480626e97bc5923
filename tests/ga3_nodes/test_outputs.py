"""Outputs that end in the caller's own arrays: the same numbers by every way, or nothing at all."""

from __future__ import annotations

import importlib
import sys
import threading

import numpy as np
import pytest

from ga3_nodes import client, connecting, functions, home, outputs, records
from ga3_nodes.errors import (
    BadInput,
    Cancelled,
    GA3EnvError,
    ModuleFailed,
    ProtocolError,
    WorkerCrashed,
    WorkerTimeout,
)
from ga3_nodes.results import Delivery, Result
from ga3_nodes.waiting import Patience
from tests.support import publish

pytestmark = pytest.mark.windows

AXES = {"axes": ["yx", "yxc", "zyx"]}
SEGMENT = {
    "inputs": {"image": AXES},
    "outputs": {"labels": {"kind": "labels"}},
    "parameters": {"dtype": {"type": "text", "default": "int32"}},
}
ANALYSE = {
    "inputs": {"image": AXES},
    "outputs": {
        "cells": {"kind": "labels"},
        "nuclei": {"kind": "labels"},
        "seen": {"kind": "image"},
        "objects": {"kind": "table"},
    },
    "parameters": {"mode": {"type": "text", "default": "plain"}},
}
DECLARATION = {
    "name": "lab",
    "version": "1.0.0",
    "functions": {"segment": SEGMENT, "analyse": ANALYSE},
}
WORKER = """
import os, time
import numpy as np

def segment(image, *, axes="", dtype="int32", progress=None, note=None):
    if progress:
        progress(0.5)
        note("A note.")
    plane = image[..., 0] if axes.endswith("c") else image
    return plane.astype(dtype)

def analyse(image, *, mode="plain", cancelled=None):
    made = {
        "cells": image > 0, "nuclei": image.astype(np.uint16), "seen": image / 4 - 10,
        "objects": {"id": [1, 2]},
    }
    if mode == "fail":
        raise RuntimeError("the model exploded")
    if mode == "refuse":
        raise ValueError("The image is too dark.")
    if mode == "crash":
        os._exit(7)
    while mode == "sleep" and not cancelled():
        time.sleep(0.01)
    if mode == "negative":
        made["nuclei"] = made["nuclei"] - 1.0
    if mode == "smaller":
        made["nuclei"] = made["nuclei"][1:]
    if mode == "lacking":
        del made["nuclei"]
    return made
"""
IMAGE = np.arange(24, dtype=np.uint16).reshape(4, 6)
UNTOUCHED = -7


@pytest.fixture
def lab(data_folder):
    publish(data_folder, DECLARATION, WORKER)
    return data_folder


@pytest.fixture(params=["worker", "inside"])
def both(request, data_folder):
    """A module with a worker, and one that computes in this process."""
    if request.param == "inside":
        _skip_where_python_is_mixed()
    inside = {
        "runtime": "host",
        "overlay": "envs/lab/1/overlay",
        "python_tag": sys.implementation.cache_tag,
    }
    publish(data_folder, DECLARATION, WORKER, **(inside if request.param == "inside" else {}))
    path = list(sys.path)
    yield request.param
    client.close()
    assert sys.path == path


def _skip_where_python_is_mixed():
    """In the Windows bench the library's files are older than what is frozen into the program."""
    try:
        importlib.invalidate_caches()
    except TypeError as error:
        pytest.skip(f"this Python is of two versions: {error}")


def target(*shape, dtype=np.int32):
    return np.full(shape, UNTOUCHED, dtype)


def segment(image, out, dtype="int32", **options):
    result = client.call("lab", "segment", {"image": image}, {"dtype": dtype}, out=out, **options)
    if out:
        assert result["labels"] is out["labels"]
    return result["labels"]


def analyse(out, mode="plain", image=IMAGE, **options):
    return client.call("lab", "analyse", {"image": image}, {"mode": mode}, out=out, **options)


# ---- labels --------------------------------------------------------------------------------------


TYPES = ["bool", "int8", "uint8", "int16", "uint16", ">u2", "int32", "uint32", "int64", "uint64"]


def test_labels_of_every_type_arrive_as_without_an_array(both):
    for dtype in TYPES:
        plain = segment(IMAGE, None, dtype)
        assert plain.dtype == np.int32
        for copy in (True, False):
            labels = segment(IMAGE, {"labels": target(4, 6)}, dtype, copy=copy)
            np.testing.assert_array_equal(labels, plain, err_msg=dtype)
        np.testing.assert_array_equal(plain, IMAGE.astype(dtype).astype(np.int32))


@pytest.mark.parametrize("dtype", [np.int8, np.int32, np.int64])
def test_negative_numbers_do_not_become_objects_on_the_way(dtype):
    labels = np.array([[-1, 0], [7, 100]], dtype)
    travels = functions.wire_dtype("labels", labels, small=True)
    np.testing.assert_array_equal(labels.astype(travels).astype(np.int32), labels)


def test_frames_and_volumes_of_any_layout(both):
    frame = np.arange(300 * 300, dtype=np.uint32).reshape(300, 300)  # more objects than 65,535
    cases = [
        (IMAGE, "yx", target(4, 6)),
        (IMAGE, "", target(1, 4, 6, 1)),  # as of NIS
        (IMAGE, "yx", target(8, 12)[::2, ::-2]),
        (IMAGE, "yx", target(6, 4).T),
        (IMAGE[..., np.newaxis], "yxc", target(4, 6)),
        (IMAGE.reshape(2, 2, 6), "zyx", target(2, 2, 6, 1)),
        (IMAGE[:1, :1], "yx", target(1, 1, 1, 1)),
        (IMAGE[:0], "yx", target(0, 6)),
        (frame, "yx", target(1, 300, 300, 1)),
    ]
    for image, axes, out in cases:
        for dtype in ("uint16", "int64"):
            labels = segment(image, {"labels": out}, dtype, axes={"image": axes})
            expected = image.astype(dtype).reshape(out.shape)
            np.testing.assert_array_equal(labels, expected)


def test_large_masks_arrive_whole(both):
    image = np.random.default_rng(1).integers(0, 2, (1501, 1999), np.uint8)
    labels = segment(image, {"labels": target(1, 1501, 1999, 1)}, "bool")
    np.testing.assert_array_equal(labels[0, ..., 0], image)


def received(monkeypatch):
    """Return a list that takes the types in which labels come out of the worker."""
    seen, write = [], outputs.write

    def looking(delivery, result):
        seen.append(result["labels"].dtype.name)
        write(delivery, result)

    monkeypatch.setattr(outputs, "write", looking)
    return seen


def test_labels_travel_small_only_where_an_array_takes_them(lab, monkeypatch):
    seen = received(monkeypatch)
    for dtype in TYPES:
        segment(IMAGE, {"labels": target(4, 6)}, dtype)
    assert seen == ["bool", "int8", "uint8", "int16", "uint16", "uint16"] + ["int32"] * 4
    seen.clear()
    for highest in (0, 255, 256, 65_535, 65_536):
        image = np.array([[highest, 1]], np.uint32)
        labels = segment(image, {"labels": target(1, 2)}, "int64")
        np.testing.assert_array_equal(labels, image)
    assert seen == ["int32"] * 5
    seen.clear()
    for dtype in TYPES:
        assert segment(IMAGE, None, dtype, copy=False).dtype == np.int32
    assert seen == ["int32"] * len(TYPES)


def test_a_worker_of_an_older_version_sends_int32(data_folder, monkeypatch):
    peers = publish(data_folder, DECLARATION, WORKER) / "ga3_nodes" / "peers.py"
    text = peers.read_text("utf-8")
    assert text.count('message.get("small")') == 1
    peers.write_text(text.replace('message.get("small")', "None"), "utf-8")
    seen = received(monkeypatch)
    labels = segment(IMAGE, {"labels": target(4, 6)}, "bool")
    np.testing.assert_array_equal(labels, IMAGE > 0)
    assert seen == ["int32"]


def test_a_client_of_an_older_version_gets_int32(lab):
    """It does not ask for less, and what is no list of names asks for nothing."""
    entry = home.published("lab")
    message = client._message(entry, "segment", {"dtype": "bool"}, None)
    link = connecting.own_link(entry, Patience())
    for asked in ({}, *({"small": what} for what in (None, 1, "labels", ["other", 7], {}))):
        result = link.call({**message, **asked}, {"image": IMAGE}, Patience())
        assert result["labels"].dtype == np.int32
    link.close()


def test_every_way_of_calling_gives_the_same(lab, tmp_path, monkeypatch):
    np.save(tmp_path / "image.npy", IMAGE)
    told = []
    ways = [
        {"image": IMAGE},
        {"image": str(tmp_path / "image.npy")},
        {"image": tmp_path / "image.npy", "axes": {"image": "yx"}},
        {"image": IMAGE, "progress": lambda done, text: told.append(done), "timeout": 60},
    ]
    for way in ways:
        image = way.pop("image")
        labels = segment(image, {"labels": target(4, 6)}, "uint16", **way)
        np.testing.assert_array_equal(labels, IMAGE)
    assert told == [0.5]
    monkeypatch.setenv("GA3ENV_KEEP_FILES", str(tmp_path / "kept"))
    labels = segment(IMAGE, {"labels": target(4, 6)}, "bool")
    kept = np.load(tmp_path / "kept" / "000001" / "output-labels.npy")
    assert kept.dtype == np.int32
    np.testing.assert_array_equal(kept, labels)
    monkeypatch.delenv("GA3ENV_KEEP_FILES")
    edited = lab / "modules" / "lab" / "worker.py"
    edited.parent.mkdir(parents=True)
    edited.write_text(WORKER.replace("plane.astype(dtype)", "(plane + 1).astype(dtype)"), "utf-8")
    monkeypatch.setenv("GA3ENV_DEV", "1")
    labels = segment(IMAGE, {"labels": target(4, 6)}, "uint8")
    np.testing.assert_array_equal(labels, IMAGE + 1)


def test_threads_do_not_mix_up_their_arrays(lab):
    wrong = []

    def work(seed):
        image = np.random.default_rng(seed).integers(0, 9_999, (64, 64)).astype(np.uint16)
        out = {"labels": target(64, 64)}
        for number in range(25):
            segment(image + number, out, "uint16", copy=False)
            if not np.array_equal(out["labels"], image + number):
                wrong.append((seed, number))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive()
    assert not wrong


# ---- images, and several at once -----------------------------------------------------------------


def test_an_image_is_rounded_and_clipped_and_never_wraps(both):
    image = np.array([[0, 40, 44, 46], [1060, 2000, 65_000, 600]], np.uint16)
    for dtype in (np.uint8, np.int8, np.uint16, np.float32, np.float64, ">f4"):
        seen = np.zeros((1, 2, 4, 1), dtype)
        assert analyse({"seen": seen}, image=image)["seen"] is seen
        wanted = image / 4 - 10
        if np.dtype(dtype).kind != "f":
            limits = np.iinfo(dtype)
            wanted = np.rint(np.clip(wanted, limits.min, limits.max))
        np.testing.assert_array_equal(seen[0, ..., 0], wanted, err_msg=str(dtype))


def test_only_what_is_named_is_written(both):
    out = {"nuclei": target(4, 6)}
    result = analyse(out)
    assert result["nuclei"] is out["nuclei"]
    np.testing.assert_array_equal(out["nuclei"], IMAGE)
    np.testing.assert_array_equal(result["cells"], IMAGE > 0)
    assert (result["cells"].dtype, result["seen"].dtype) == (np.int32, np.float32)
    assert result["objects"] == {"id": [1, 2]}


# ---- what fails ----------------------------------------------------------------------------------


FAILURES = {
    "fail": ModuleFailed,
    "refuse": BadInput,
    "negative": ModuleFailed,
    "smaller": ModuleFailed,
    "lacking": ModuleFailed,
    "sleep": WorkerTimeout,
    "crash": WorkerCrashed,
}


def test_a_call_that_fails_writes_nothing(both):
    out = {"cells": target(4, 6), "nuclei": target(4, 6), "seen": target(4, 6, dtype=np.float32)}
    for mode, error in FAILURES.items():
        if (both, mode) == ("inside", "crash"):
            continue  # it would be the end of this process
        with pytest.raises(error):
            analyse(out, mode, timeout=0.3 if mode == "sleep" else None)
        assert all((array == UNTOUCHED).all() for array in out.values()), mode
    analyse(out)
    np.testing.assert_array_equal(out["nuclei"], IMAGE)


def test_a_cancelled_call_writes_nothing(both):
    out = {"cells": target(4, 6)}
    started = threading.Event()
    threading.Timer(0.5, started.set).start()
    with pytest.raises(Cancelled):
        analyse(out, "sleep", cancelled=started.is_set)
    assert (out["cells"] == UNTOUCHED).all()


def test_a_caller_who_refuses_the_result_finds_its_arrays_as_they_were(both):
    out, seen = {"cells": target(4, 6)}, []

    def refuse(result):
        seen.append(int(result["nuclei"][0, 5]))
        raise BadInput("Not these.")

    with pytest.raises(BadInput, match=r"Not these\."):
        analyse(out, accept=refuse)
    assert (out["cells"] == UNTOUCHED).all()
    result = analyse(out, accept=lambda found: seen.append(found["cells"] is out["cells"]))
    assert result["cells"] is out["cells"]
    np.testing.assert_array_equal(out["cells"], IMAGE > 0)
    analyse(None, accept=lambda found: seen.append(list(found)))
    assert seen == [5, False, ["cells", "nuclei", "seen", "objects"]]


REFUSED = {
    "name": ({"masks": target(4, 6)}, r"no output 'masks'.*It has cells, nuclei, seen, objects"),
    "table": ({"objects": target(4, 6)}, "'objects' is a table"),
    "no-array": ({"cells": [[0] * 6] * 4}, "'cells' shall be written into is no array"),
    "labels-type": ({"cells": target(4, 6, dtype=np.int64)}, r"type int64.*one of int32"),
    "labels-small": ({"cells": np.zeros((4, 6), np.uint16)}, r"uint16.*one of int32"),
    "image-type": ({"seen": target(4, 6)}, r"type int32.*uint8, uint16 or float32"),
    "image-bool": ({"seen": np.zeros((4, 6), bool)}, r"type bool.*uint8, uint16 or float32"),
    "shape": ({"cells": target(6, 4)}, r"'cells' has the shape \(6, 4\), not \(4, 6\)"),
    "axes": ({"cells": target(4, 6, 2)}, r"\(4, 6, 2\), not \(4, 6\).*Only axes of length 1"),
    "second": ({"nuclei": target(4, 6), "cells": target(6)}, r"'cells' has the shape \(6,\)"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_an_array_that_does_not_fit_is_refused_before_a_worker_starts(lab, case):
    out, sentence = REFUSED[case]
    with pytest.raises(BadInput, match=sentence):
        analyse(out, axes={"image": "yx"})
    assert records.live(lab) == []
    assert all((np.asarray(array) == UNTOUCHED).all() for array in out.values() if case == "second")


def test_an_array_that_is_read_only_is_refused(lab):
    out = target(4, 6)
    out.flags.writeable = False
    with pytest.raises(BadInput, match=r"'cells'.*no array for that"):
        analyse({"cells": out})


def test_what_is_known_only_afterwards_is_refused_then(both, tmp_path):
    """The shape of an image, and of what lies in a file."""
    out = {"cells": target(4, 6), "seen": target(4, 5, dtype=np.float32)}
    with pytest.raises(BadInput, match=r"'seen' has the shape \(4, 5\), not \(4, 6\)"):
        analyse(out)
    np.save(tmp_path / "image.npy", IMAGE)
    other = {"nuclei": target(4, 6), "cells": target(3, 6)}
    with pytest.raises(BadInput, match=r"'cells' has the shape \(3, 6\), not \(4, 6\)"):
        analyse(other, image=tmp_path / "image.npy")
    assert all((array == UNTOUCHED).all() for array in [*out.values(), *other.values()])


@pytest.mark.parametrize(
    ("nuclei", "sentence"),
    [
        (np.zeros((4, 6), np.float32), "labels 'nuclei' of type float32"),
        (np.zeros((4, 6), np.int64), "labels 'nuclei' of type int64"),
        ({"id": [1]}, "no array as 'nuclei'"),
        (None, "no array as 'nuclei'"),
    ],
)
def test_what_a_worker_may_not_send_is_not_written(nuclei, sentence):
    out = {"cells": target(4, 6), "nuclei": target(4, 6)}
    result = Result(cells=IMAGE > 0, nuclei=nuclei)
    with pytest.raises(ProtocolError, match=sentence):
        outputs.write(Delivery(out=out, outputs=ANALYSE["outputs"]), result)
    assert all((array == UNTOUCHED).all() for array in out.values())


def test_a_place_outside_of_the_shared_memory_is_not_read(data_folder):
    peers = publish(data_folder, DECLARATION, WORKER) / "ga3_nodes" / "peers.py"
    text = peers.read_text("utf-8")
    wrong = 'sent[name] = {**description, "offset": 1 << 40} if name == "nuclei" else description'
    assert text.count("sent[name] = description") == 1
    peers.write_text(text.replace("sent[name] = description", wrong), "utf-8")
    out = {"cells": target(4, 6), "nuclei": target(4, 6)}
    with pytest.raises(GA3EnvError, match="does not fit its shared memory"):
        analyse(out)
    assert all((array == UNTOUCHED).all() for array in out.values())
