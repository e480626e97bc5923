"""Shared memory: reuse, identity, bounds, and no way to leave anything behind."""

from __future__ import annotations

import contextlib
import gc
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ga3_nodes import shm
from ga3_nodes.errors import ProtocolError

pytestmark = pytest.mark.windows


def _sent(array: np.ndarray, outbox: shm.Outbox) -> dict:
    ((description, view),) = outbox.reserve([(array.shape, array.dtype)])
    np.copyto(view, array)
    return description


@pytest.mark.parametrize("dtype", sorted(shm.DTYPES))
def test_an_array_of_each_type_arrives(dtype):
    array = np.arange(24).reshape(2, 3, 4).astype(dtype)
    received = shm.Inbox().view(_sent(array, outbox := shm.Outbox()))
    assert received.dtype == array.dtype
    np.testing.assert_array_equal(received, array)
    del outbox


def test_several_arrays_do_not_overlap():
    outbox, inbox = shm.Outbox(), shm.Inbox()
    arrays = [np.full((5, 7), 3, np.uint8), np.full(11, 2.5), np.zeros((0, 4), np.int32)]
    placed = outbox.reserve([(a.shape, a.dtype) for a in arrays])
    for array, (_, view) in zip(arrays, placed, strict=True):
        np.copyto(view, array)
    for array, (description, _) in zip(arrays, placed, strict=True):
        np.testing.assert_array_equal(inbox.view(description), array)


def test_the_segment_is_reused_until_a_larger_array_comes():
    outbox = shm.Outbox()
    small = _sent(np.zeros(100), outbox)["segment"]
    assert _sent(np.ones(50), outbox)["segment"] == small
    assert _sent(np.ones(1 << 20), outbox)["segment"] != small


def test_a_view_outlives_the_segment_that_it_was_made_of():
    outbox, inbox = shm.Outbox(), shm.Inbox()
    view = inbox.view(_sent(np.arange(10), outbox))
    inbox.view(_sent(np.zeros(1 << 20), outbox))  # both sides drop the first segment
    gc.collect()
    np.testing.assert_array_equal(view, np.arange(10))


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"offset": 0}, id="into-the-header"),
        pytest.param({"offset": 1 << 40}, id="offset-beyond-the-end"),
        pytest.param({"shape": [1 << 40]}, id="shape-beyond-the-end"),
        pytest.param({"shape": [-1]}, id="negative-length"),
        pytest.param({"shape": [True]}, id="bool-as-length"),
        pytest.param({"shape": [1] * 9}, id="too-many-axes"),
        pytest.param({"dtype": "object"}, id="objects"),
        pytest.param({"dtype": "S100"}, id="bytes"),
        pytest.param({"segment": "nonsense"}, id="no-handle"),
        pytest.param({"segment": 5}, id="handle-of-wrong-type"),
    ],
)
def test_a_wrong_description_is_refused(change):
    outbox = shm.Outbox()
    description = _sent(np.arange(10), outbox) | change
    with pytest.raises(ProtocolError):
        shm.Inbox().view(description)


def test_a_segment_that_is_gone_is_an_error_and_no_zeros():
    outbox = shm.Outbox()
    description = _sent(np.ones(10), outbox)
    del outbox
    gc.collect()
    with pytest.raises(ProtocolError):
        shm.Inbox().view(description)


def test_a_mark_is_seen_by_the_maker_and_harms_no_array():
    outbox, inbox = shm.Outbox(), shm.Inbox()
    assert (outbox.handle, outbox.marked) == ("", 0)
    description = _sent(np.arange(10), outbox)
    for number in (1, shm.MOST_MARK):
        inbox.mark(outbox.handle, number)
        assert outbox.marked == number
    np.testing.assert_array_equal(inbox.view(description), np.arange(10))
    np.testing.assert_array_equal(shm.Inbox().view(description), np.arange(10))


def test_a_segment_without_room_for_a_mark_is_refused():
    place, _, token = _sent(np.arange(10), outbox := shm.Outbox())["segment"].rsplit(":", 2)
    with pytest.raises(ProtocolError, match="too small"):
        shm.Inbox().mark(f"{place}:17:{token}", 1)
    del outbox


def test_nothing_is_left_when_the_maker_is_killed():
    code = (
        "import sys, os, numpy as np\n"
        "sys.path.insert(0, sys.argv[1])\n"
        "from ga3_nodes import shm\n"
        "box = shm.Outbox()\n"
        "(d, v), = box.reserve([((1000,), np.dtype('f8'))])\n"
        "v[:] = float(sys.argv[2])\n"
        "print(d['segment'], flush=True)\n"
        "os._exit(9) if sys.platform == 'win32' else os.kill(os.getpid(), 9)\n"
    )
    root = str(Path(__file__).resolve().parents[2])
    number = random.random()
    words = [sys.executable, "-c", code, root, repr(number)]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode != 0
    with pytest.raises(ProtocolError):
        shm.attach(done.stdout.strip())
    assert _named_memory_with(np.full(1000, number).tobytes()) == []


def _named_memory_with(content: bytes) -> list[Path]:
    """Return the files in memory that hold something; other tests may have theirs there."""
    found = []
    for path in Path("/dev/shm").rglob("*"):
        with contextlib.suppress(OSError):
            if path.is_file() and content in path.read_bytes():
                found.append(path)
    return found
