"""Light modules run inside the caller's process: the same results and errors, and no traces."""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time

import numpy as np
import pytest

from envmanager import workers
from envmanager.data.paths import DataFolder
from envmanager.environments import removal
from envmanager.errors import ModuleInUse
from ga3_nodes import client, home, records, spawn
from ga3_nodes.errors import BadInput, Cancelled, ModuleFailed, WorkerTimeout
from tests import programs
from tests.support import ECHO_DECLARATION, ECHO_WORKER, publish

TAG = sys.implementation.cache_tag
IMAGE = np.array([[0, 50], [150, 250]], np.uint16)
DECLARATION = {
    "name": "light",
    "version": "1.0.0",
    "functions": {
        "segment": {
            "title": "Label",
            "inputs": {"image": {"axes": ["yx"]}},
            "outputs": {"labels": {"kind": "labels"}},
            "parameters": {"threshold": {"type": "float", "default": 100.0, "min": 0.0}},
        },
    },
}
WORKER = """
import numpy as np
import light_core

def segment(image, *, axes="", threshold=100.0):
    return (image > threshold) * light_core.NUMBER
"""


@pytest.fixture(autouse=True)
def as_before():
    """Forget what a test imported; the path must be as long as before, but for our own folders."""
    path, modules = list(sys.path), set(sys.modules)
    yield
    assert [p for p in sys.path if p in path] == path
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if name.startswith(("ga3_light", "ga3_echo", "light_")):
            del sys.modules[name]


def overlay(root, number=1, generation=1, worker=WORKER, **entry):
    """Publish a module whose overlay holds a package with a number; return the overlay."""
    placed = f"envs/light/{generation}/overlay"
    entry = {"runtime": "host", "overlay": placed, "python_tag": TAG, **entry}
    folder = publish(root, DECLARATION, worker, generation=generation, **entry)
    package = root / placed / "light_core"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(f"NUMBER = {number}\n", "utf-8")
    return folder / "overlay"


def segment(image=IMAGE, **options):
    return client.call("light", "segment", {"image": image}, **options)


def test_a_call_stays_in_this_process(data_folder):
    overlay(data_folder, number=7)
    result = segment()
    assert result["labels"].tolist() == [[0, 0], [7, 7]]
    assert result["labels"].dtype == np.int32
    assert result.worker_pid == os.getpid()
    assert result.device == "cpu"
    assert result.seconds > 0
    assert client.start("light") == os.getpid()
    assert records.live(data_folder) == []


def test_another_python_gets_a_worker(data_folder, monkeypatch):
    folder = overlay(data_folder, python_tag="cpython-399")
    # What the .pth file does in the environment of a real generation.
    monkeypatch.setattr(
        spawn, "worker_environment", lambda extra: {**os.environ, "PYTHONPATH": str(folder)}
    )
    result = segment()
    assert result["labels"].tolist() == [[0, 0], [1, 1]]
    assert result.worker_pid != os.getpid()
    assert "light_core" not in sys.modules


def test_the_overlay_lies_behind_everything_and_only_once(data_folder):
    folder = overlay(data_folder)
    before = list(sys.path)
    for _ in range(3):
        segment()
    assert sys.path == [*before, str(folder)]


def test_what_the_host_has_wins_over_the_overlay(data_folder):
    folder = overlay(data_folder)
    for name in ("numpy", "json"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text("raise ImportError('shadowed')", "utf-8")
    assert segment()["labels"].max() == 1


def test_no_bare_name_is_taken(data_folder):
    overlay(data_folder)
    segment()
    assert "worker" not in sys.modules
    assert [name for name in sys.modules if name.startswith("ga3_light")] != []


def test_two_modules_do_not_mix_up_their_workers(data_folder):
    overlay(data_folder, number=3)
    placed = {"runtime": "host", "overlay": "envs/echo/1/overlay", "python_tag": TAG}
    publish(data_folder, ECHO_DECLARATION, ECHO_WORKER, **placed)
    for _ in range(2):
        assert segment()["labels"].max() == 3
        assert client.call("echo", "segment", {"image": IMAGE})["labels"].tolist() == [
            [0, 1],
            [2, 3],
        ]


def test_it_gives_what_a_worker_gives(data_folder):
    """Labels, image and table, their types, and the errors: the same in both."""
    arrays = {"image": IMAGE.astype(">u2")[::-1], "other": IMAGE[:, ::-1]}
    calls = [
        ("segment", {"image": IMAGE}, {"threshold": 60.0}),
        ("segment", {"image": IMAGE}, {"threshold": -1.0}),
        ("segment", {"image": IMAGE}, {"mode": "refuse"}),
        ("segment", {"image": IMAGE}, {"mode": "fail"}),
        ("segment", {"image": IMAGE.astype(complex)}, {}),
        ("segment", {"picture": IMAGE}, {}),
        ("measure", arrays, {}),
        ("nothing", arrays, {}),
    ]

    def outcome(call):
        try:
            result = client.call("echo", *call)
        except (BadInput, ModuleFailed) as error:
            return type(error), error.code, error.message, error.hint, sorted(error.details)
        return {
            name: (value.tolist(), value.dtype.str) if isinstance(value, np.ndarray) else value
            for name, value in result.items()
        }

    publish(data_folder, ECHO_DECLARATION, ECHO_WORKER)
    expected = [outcome(call) for call in calls]
    shutil.rmtree(data_folder / "envs" / "echo")
    placed = {"runtime": "host", "overlay": "envs/echo/1/overlay", "python_tag": TAG}
    publish(data_folder, ECHO_DECLARATION, ECHO_WORKER, **placed)
    assert [outcome(call) for call in calls] == expected


def test_a_failure_stands_in_the_log(data_folder):
    overlay(
        data_folder, worker="def segment(image, *, threshold=1.0):\n    raise OSError('broken')\n"
    )
    with pytest.raises(ModuleFailed, match="OSError: broken"):
        segment()
    log = spawn.log_path(home.published("light"))
    assert "in segment" in log.read_text("utf-8")


@pytest.mark.parametrize("how", ["sys.exit(3)", "raise MemoryError", "raise SystemExit"])
def test_nothing_that_a_module_raises_ends_the_host(data_folder, how):
    overlay(data_folder, worker=f"import sys\ndef segment(image, *, threshold=1.0):\n    {how}\n")
    with pytest.raises(ModuleFailed):
        segment()


def test_ctrl_c_stays_ctrl_c(data_folder):
    worker = "def segment(image, *, threshold=1.0):\n    raise KeyboardInterrupt\n"
    overlay(data_folder, worker=worker)
    with pytest.raises(KeyboardInterrupt):
        segment()


def test_the_image_of_the_host_cannot_be_written_to(data_folder):
    overlay(data_folder, worker="def segment(image, *, threshold=1.0):\n    image[:] = 0\n")
    image = IMAGE.copy()
    with pytest.raises(BadInput, match="read-only"):
        segment(image)
    assert np.array_equal(image, IMAGE)
    assert image.flags.writeable


def test_what_a_function_sets_in_numpy_does_not_stay(data_folder):
    worker = """
import numpy as np

def segment(image, *, threshold=1.0):
    np.seterr(all="raise")
    return image > 1
"""
    overlay(data_folder, worker=worker)
    before = np.geterr()
    segment()
    assert np.geterr() == before


def test_a_module_that_cannot_be_imported_leaves_the_path_as_it_was(data_folder):
    before = list(sys.path)
    overlay(data_folder, worker="import not_there\n")
    for _ in range(2):
        with pytest.raises(ModuleFailed, match="not_there") as caught:
            segment()
    assert caught.value.code == "import_failed"
    assert sys.path == before
    assert not [name for name in sys.modules if name.startswith("ga3_light")]


def test_a_new_generation_is_used_by_the_next_call(data_folder):
    old = overlay(data_folder, number=1)
    assert segment()["labels"].max() == 1
    worker = WORKER.replace("light_core.NUMBER", "(light_core.NUMBER + light_more.NUMBER)")
    worker = worker.replace("import light_core", "import light_core, light_more")
    new = overlay(data_folder, number=2, generation=2, worker=worker)
    (new / "light_more.py").write_text("NUMBER = 10\n", "utf-8")
    (old / "light_more.py").write_text("NUMBER = 90\n", "utf-8")
    # The new code, a package that is new from the new overlay; one that is imported stays.
    assert segment()["labels"].max() == 1 + 10
    assert str(new) in sys.path
    assert str(old) not in sys.path
    assert len([name for name in sys.modules if name.startswith("ga3_light")]) == 1


def test_a_number_that_is_used_again_is_another_generation(data_folder):
    overlay(data_folder, worker="def segment(image, *, threshold=1.0):\n    return image > 1\n")
    assert segment()["labels"].max() == 1
    shutil.rmtree(data_folder / "envs" / "light")
    overlay(data_folder, worker="def segment(image, *, threshold=1.0):\n    return image\n")
    assert segment()["labels"].max() == 250


def test_a_loaded_generation_is_told_as_in_use(data_folder):
    """Its files are loaded: on Windows they could not even be deleted."""
    overlay(data_folder)
    segment()
    data = DataFolder(data_folder)
    (user,) = workers.users(data, "light")
    assert user["pid"] == os.getpid()
    assert user["busy"] is True
    assert workers.serves(data, "light", 1)
    with pytest.raises(ModuleInUse, match=f"PID {os.getpid()}"):
        removal.remove(data, "light")
    overlay(data_folder, generation=2)
    segment()
    assert workers.serves(data, "light", 1)
    assert workers.serves(data, "light", 2)
    client.close()
    assert workers.users(data, "light") == []
    assert segment()["labels"].max() == 1


def test_calls_come_one_after_the_other(data_folder):
    worker = """
import threading, time

BUSY = threading.Lock()

def segment(image, *, threshold=1.0):
    assert BUSY.acquire(blocking=False), "two at once"
    time.sleep(0.01)
    BUSY.release()
    return image + image.max()
"""
    overlay(data_folder, worker=worker)
    wrong = []

    def many(value):
        for _ in range(10):
            labels = segment(np.full((8, 8), value, np.uint16))["labels"]
            if not (labels == 2 * value).all():
                wrong.append(value)

    threads = [threading.Thread(target=many, args=(value,)) for value in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert wrong == []
    assert not any(thread.is_alive() for thread in threads)


def test_who_has_no_patience_does_not_begin(data_folder, tmp_path):
    worker = f"""
import time
from pathlib import Path

def segment(image, *, threshold=1.0):
    Path({str(tmp_path / "begun")!r}).touch()
    while not Path({str(tmp_path / "enough")!r}).exists():
        time.sleep(0.01)
    return image
"""
    overlay(data_folder, worker=worker)
    with pytest.raises(Cancelled):
        segment(cancelled=lambda: True)
    assert not (tmp_path / "begun").exists()
    thread = threading.Thread(target=segment)
    thread.start()
    programs.until((tmp_path / "begun").exists)  # it has the module for itself now
    with pytest.raises(WorkerTimeout):
        segment(timeout=0.1)
    (tmp_path / "enough").touch()
    thread.join(60)
    assert not thread.is_alive()


def test_without_a_copy_nothing_is_copied_that_fits(data_folder):
    worker = """
import numpy as np

KEPT = np.ones((4, 4), np.int32)

def segment(image, *, threshold=1.0):
    return KEPT
"""
    overlay(data_folder, worker=worker)
    image = np.zeros((4, 4), np.uint16)
    assert np.shares_memory(
        segment(image, copy=False)["labels"], segment(image, copy=False)["labels"]
    )
    first = segment(image)["labels"]
    first[:] = 9
    assert segment(image)["labels"].max() == 1


TALKATIVE = """
def segment(image, *, threshold=100.0, progress=None, cancelled=None, note=None):
    progress(0.5, "half")
    note("a note")
    while threshold == 1.0:
        progress(0.7)
    while threshold == 2.0 and not cancelled():
        pass
    return image > threshold
"""


def test_progress_and_notes_and_paths_as_with_a_worker(data_folder, tmp_path):
    overlay(data_folder, worker=TALKATIVE)
    np.save(tmp_path / "image.npy", IMAGE)
    told = []
    result = segment(tmp_path / "image.npy", progress=lambda *what: told.append(what))
    assert told == [(0.5, "half")]
    assert result.notes == ["a note"]
    assert result["labels"].tolist() == [[0, 0], [1, 1]]


@pytest.mark.parametrize("threshold", [1.0, 2.0])
def test_a_module_that_asks_can_be_stopped(data_folder, threshold):
    overlay(data_folder, worker=TALKATIVE)
    started = time.monotonic()
    wait = {"parameters": {"threshold": threshold}}
    if threshold == 1.0:
        with pytest.raises(WorkerTimeout):
            segment(timeout=0.2, **wait)
    with pytest.raises(Cancelled):
        segment(cancelled=lambda: time.monotonic() > started + 0.5, **wait)


def test_of_many_images_one_that_fails_stops_no_other(data_folder):
    overlay(data_folder)
    images = [{"image": image} for image in (IMAGE, IMAGE.astype(complex), IMAGE)]
    outcomes = list(client.call_many("light", "segment", images))
    assert [type(outcome) for outcome in outcomes] == [client.Result, BadInput, client.Result]
