"""A volume for a function of 2-D frames: slice by slice, the next one handed over early."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

from ga3_nodes import client, frames, home, node, records
from ga3_nodes.errors import Cancelled, ModuleFailed, WorkerTimeout
from ga3_nodes.standin.limnode_types import ImageData
from tests.support import publish

pytestmark = pytest.mark.windows

DECLARATION = {
    "name": "flat",
    "version": "1.0.0",
    "functions": {
        "segment": {
            "inputs": {"image": {"axes": ["yx"]}},
            "outputs": {"labels": {"kind": "labels"}, "seen": {"kind": "image"}},
            "slice_by_slice": True,
        }
    },
}
# What a slice holds in its first pixel decides what becomes of it.
WORKER = """
import time
from pathlib import Path
import numpy as np
def segment(image, *, axes="", progress=None, note=None):
    value = int(image.flat[0])
    if value == 97:
        raise RuntimeError("the model exploded")
    if value == 98:  # goes on when the next slice is handed over
        deadline = time.monotonic() + 60
        while not Path(FLAG).exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
    while value == 99:
        progress(0.5)
        time.sleep(0.01)
    note(f"Slices are {axes}.")
    labels = np.arange(1, image.size + 1).reshape(image.shape) * (image > 10)
    return {"labels": labels, "seen": image / 2}
"""


@pytest.fixture
def flag(tmp_path):
    return tmp_path / "flag"


@pytest.fixture
def flat(data_folder, flag):
    publish(data_folder, DECLARATION, WORKER.replace("FLAG", repr(str(flag))))
    return node.ExternalModuleNode("flat")


def _volume(*first, size=6):
    """A volume of noise, with these values in the first pixels of its slices."""
    shape = (len(first), size, size + 1, 1)
    made = np.random.default_rng(1).integers(0, 99, shape).astype(np.uint16)
    made[:, 0, 0, 0] = first
    return made


def test_slices_give_what_single_frames_give(flat):
    volume = _volume(*range(9), size=300)
    result = flat.call_worker(volume)
    labels, seen, used = [], [], 0
    for frame in volume:
        one = client.call("flat", "segment", {"image": frame[..., 0]}, axes={"image": "yx"})
        labels.append(np.where(one["labels"], one["labels"] + used, 0))
        seen.append(one["seen"])
        used += one["labels"].max()
    np.testing.assert_array_equal(result["labels"], labels)
    np.testing.assert_array_equal(result["seen"], seen)
    assert result.notes == ["Slices are yx."]
    assert (result.worker_pid, result.device) == (one.worker_pid, "cpu")
    assert result.seconds > 0


def test_the_next_slice_is_handed_over_while_one_computes(flat, flag, monkeypatch):
    to_module, handed = frames.to_module, []

    def handing(frame, axes):
        handed.append(frame)
        if len(handed) == 2:
            flag.touch()  # for which the first slice waits
        return to_module(frame, axes)

    monkeypatch.setattr(frames, "to_module", handing)
    assert flat.call_worker(_volume(98, 1, 1))["labels"].shape == (3, 6, 7)


def test_volumes_after_each_other_use_one_connection(flat):
    for number in range(4):
        flat.call_worker(_volume(1, 2, 3, number))
    ((_, record),) = records.live(home.published("flat").root)
    assert len(client.status(record)["clients"]) == 2  # this program, and who asks


def test_abort_ends_a_volume_and_the_worker_lives_on(flat):
    pid = client.start("flat")
    ctx = SimpleNamespace(shouldAbort=False)
    timer = threading.Timer(0.5, lambda: setattr(ctx, "shouldAbort", True))
    started = time.monotonic()
    timer.start()
    with pytest.raises(Cancelled):
        flat.call_worker(_volume(1, 99, 1), ctx=ctx)
    assert time.monotonic() - started < 20
    assert flat.call_worker(_volume(1, 1)).worker_pid == pid


def test_a_slice_that_fails_or_takes_too_long_ends_the_volume(flat):
    pid = client.start("flat")
    binary = ImageData(np.zeros((4, 6, 7, 1), np.int32))
    with pytest.raises(ModuleFailed, match="exploded"):
        flat.call_worker(_volume(1, 97, 1, 1), out={"labels": binary})
    assert not binary.data.any()
    with pytest.raises(WorkerTimeout):
        flat.call_worker(_volume(1, 99, 1, 1), timeout=1.0)
    assert flat.call_worker(_volume(1, 1), timeout=60).worker_pid == pid
