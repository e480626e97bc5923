"""Many images in one command: progress, notes, little memory, what is wrong for all, Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import tracemalloc

import numpy as np
import psutil
import pytest
import tifffile
import zarr

from envmanager import cli, console, events, images, segmentation
from envmanager.errors import Cancelled
from ga3_nodes import client
from ga3_nodes.errors import GA3EnvError, ModuleFailed, WorkerCrashed
from tests.programs import answer, command, until
from tests.support import ECHO_DECLARATION, publish

pytestmark = pytest.mark.windows
same_everywhere = pytest.mark.skipif(
    sys.platform == "win32", reason="takes seconds there; Linux shows the same"
)

# What an image holds in its first pixel decides what becomes of it.
WORKER = """
import os, time
from pathlib import Path
def segment(image, *, axes="", threshold=0.5, mode="plain", progress=None, note=None):
    value = int(image.flat[0])
    if value in (5, 6):
        progress(0.4, "tile 2 of 5")
        note("The CPU was used.")
        note(f"Value {value}.")
    if value == 7:  # goes on when another image is read
        deadline = time.monotonic() + 60
        while not Path(FLAG).exists():
            assert time.monotonic() < deadline
            progress(0.5)
            time.sleep(0.01)
    if value == 8:
        time.sleep(100)
    if value == 9:
        while True:
            progress(0.5)
            time.sleep(0.01)
    if value == 10:  # the module breaks: no other worker will start
        while not (Path(FLAG).parent / "masks" / "0_labels.tif").exists():
            progress(0.5)
        Path(__file__).write_text("import no_such_package", "utf-8")
        os._exit(3)
    if value == 11:
        os._exit(3)
    return (image > threshold) * len(axes)
def measure(image, other):
    raise NotImplementedError
"""


@pytest.fixture
def flag(tmp_path):
    return tmp_path / "flag"


@pytest.fixture
def module(data_folder, flag):
    return publish(data_folder, ECHO_DECLARATION, WORKER.replace("FLAG", repr(str(flag))))


@pytest.fixture
def files(tmp_path):
    """Return what writes images: one of each value, or of an array as it is."""

    def write(*values):
        paths = []
        for number, value in enumerate(values):
            pixels = np.full((4, 5), value, np.uint8) if np.isscalar(value) else value
            paths.append(tmp_path / f"{number}.tif")
            tifffile.imwrite(paths[-1], pixels, photometric="minisblack")
        return paths

    return write


def _segment(paths, place, **keywords):
    outputs = segmentation.output_paths(paths, place)
    return segmentation.segment_files("echo", paths, outputs, {}, **keywords)


def _messages(error):
    return [str(one.error) for one in error if isinstance(one, segmentation.Failed)]


def test_progress_and_notes_are_told(module, files, tmp_path):
    paths, told = files(5, 1, 6), []
    (tmp_path / "1.tif").write_text("no image")
    first, bad, last = _segment(paths, tmp_path / "masks", report=told.append)
    assert isinstance(bad, segmentation.Failed)
    assert (first.notes, last.notes) == (
        ("The CPU was used.", "Value 5."),
        ("The CPU was used.", "Value 6."),
    )
    assert told[0] == events.Stage("segment", "Segmenting 3 images")
    assert [event.text for event in told if isinstance(event, events.Notice)] == [
        "0.tif: The CPU was used.",
        "0.tif: Value 5.",
        "2.tif: Value 6.",
    ]
    counted = [event for event in told if isinstance(event, events.Items)]
    assert counted == [
        events.Items(0.4, 3, "0.tif 40 %, tile 2 of 5"),
        events.Items(1, 3),
        events.Items(1.4, 3, "2.tif 40 %, tile 2 of 5"),
        events.Items(2, 3),
        events.Items(3, 3),
    ]


def test_the_command_shows_them_and_its_json_keeps_the_notes(
    module, files, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(console, "_LINES_S", 0.0)
    words = ["segment", "echo", *map(str, files(5, 6)), "-o", str(tmp_path / "masks")]
    assert cli.main([*words, "--json"]) == 0
    out, err = capsys.readouterr()
    rows = json.loads(out)["data"]["outputs"]
    assert rows[0].keys() == {"input", "output", "objects", "seconds", "device", "notes"}
    assert rows[0]["notes"] == ["The CPU was used.", "Value 5."]
    assert err.splitlines() == [
        "Segmenting 2 images ...",
        "  0 of 2, 0.tif 40 %, tile 2 of 5",
        "notice: 0.tif: The CPU was used.",
        "notice: 0.tif: Value 5.",
        "  1 of 2",
        "  1 of 2, 1.tif 40 %, tile 2 of 5",
        "notice: 1.tif: Value 6.",
        "  2 of 2",
    ]


def test_images_of_different_axes_go_through_one_worker(module, files, tmp_path):
    plane, volume = np.ones((4, 5), np.uint8), np.ones((2, 4, 5), np.uint8)
    done = list(_segment(files(plane, volume, plane), tmp_path / "masks"))
    assert [one.labels.max() for one in done] == [2, 3, 2]
    assert [tifffile.imread(one.output).shape for one in done] == [(4, 5), (2, 4, 5), (4, 5)]


def test_images_are_read_while_one_computes(module, files, flag, tmp_path, monkeypatch):
    read, paths = images.read, files(7, 1, 2)

    def reading(path):
        if path == paths[-1]:
            flag.touch()  # for which the first image waits
        return read(path)

    monkeypatch.setattr(images, "read", reading)
    assert len(_messages(_segment(paths, tmp_path / "masks"))) == 0


@same_everywhere
def test_a_long_row_of_images_needs_the_memory_of_few(module, tmp_path):
    size, count = 8_000_000, 12
    pixels = np.ones((1000, 1000))
    assert pixels.nbytes == size
    paths = [tmp_path / f"{number}.npy" for number in range(count)]
    for path in paths:
        np.save(path, pixels)
    held = []
    tracemalloc.start()
    try:
        for done in _segment(paths, tmp_path / "masks"):
            assert done.objects == 1
            held.append(tracemalloc.get_traced_memory()[0] / size)
    finally:
        tracemalloc.stop()
    print(f"at most {max(held):.1f} of {count} images were held")
    assert 1 < max(held) < 5


@same_everywhere
def test_a_broken_module_is_said_once(module, files, tmp_path, capsys):
    (module / "worker.py").write_text("import no_such_package", "utf-8")
    words = ["segment", "echo", *map(str, files(1, 2, 3)), "-o", str(tmp_path / "masks")]
    assert cli.main(words) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("worker.py cannot be imported") == 1
    assert cli.main([*words, "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "import_failed"


@same_everywhere
def test_a_module_that_breaks_on_the_way_loses_no_mask(module, files, tmp_path, capsys):
    words = ["segment", "echo", *map(str, files(1, 10, 2, 3)), "-o", str(tmp_path / "masks")]
    assert cli.main([*words, "--json"]) == 1
    data = json.loads(capsys.readouterr().out)["data"]
    assert [row["objects"] for row in data["outputs"]] == [1]
    assert [row["input"][-5:] for row in data["failed"]] == ["1.tif", "2.tif", "3.tif"]
    assert "crashed" in data["failed"][0]["message"]
    assert "no_such_package" in data["failed"][1]["message"]
    assert data["failed"][1]["message"] == data["failed"][2]["message"]


def test_the_same_reason_is_said_once(module, files, tmp_path, capsys):
    colours = np.ones((4, 5, 3), np.uint8)
    paths = files(colours, 1, colours)
    for path in (paths[0], paths[2]):
        tifffile.imwrite(path, colours, photometric="rgb")
    assert cli.main(["segment", "echo", *map(str, paths), "-o", str(tmp_path / "masks")]) == 1
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "failed" in line]
    assert line.startswith(f"{paths[0]}, {paths[2]}: failed: echo cannot work on")


@pytest.mark.parametrize(("value", "error"), [(11, WorkerCrashed), ("broken", ModuleFailed)])
def test_the_error_of_a_single_image_is_raised(module, files, tmp_path, value, error):
    if value == "broken":
        (module / "worker.py").write_text("import no_such_package", "utf-8")
        value = 1
    with pytest.raises(error):
        list(_segment(files(value), tmp_path / "mask.tif"))


def test_a_cancel_keeps_the_masks_and_the_loaded_worker(module, files, tmp_path):
    pid, done = client.start("echo"), []
    started = []

    def cancelled():
        if done and not started:
            started.append(time.monotonic())
        return bool(done)

    with pytest.raises(Cancelled):
        done.extend(_segment(files(1, 9, 2), tmp_path / "masks", cancelled=cancelled))
    print(f"ended {time.monotonic() - started[0]:.2f} s after the cancel")
    assert time.monotonic() - started[0] < 20
    assert [path.name for path in (tmp_path / "masks").iterdir()] == ["0_labels.tif"]
    assert tifffile.imread(done[0].output).max() == 2
    assert client.start("echo") == pid


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C as a signal of POSIX")
@pytest.mark.parametrize("value", [8, 9])
def test_ctrl_c_keeps_the_masks_and_ends_soon(module, files, tmp_path, value):
    masks = tmp_path / "masks"
    pid = client.start("echo")
    process = command("segment", "echo", *files(1, 3, value, 2), "-o", masks)
    until(lambda: (masks / "1_labels.tif").exists())
    time.sleep(0.3)  # the third image computes
    started = time.monotonic()
    process.send_signal(signal.SIGINT)
    code, error = answer(process)
    print(f"ended {time.monotonic() - started:.2f} s after Ctrl-C")
    assert (code, error["code"]) == (130, "cancelled")
    assert time.monotonic() - started < 20
    assert sorted(path.name for path in masks.iterdir()) == ["0_labels.tif", "1_labels.tif"]
    assert all(tifffile.imread(path).max() == 2 for path in masks.iterdir())
    # Who does not listen is ended; who does keeps its model.
    if value == 8:
        until(lambda: not _computes(pid))
    else:
        assert client.start("echo") == pid


def _computes(pid):
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def test_a_function_without_a_mask_is_refused_before_an_image_is_read(module, tmp_path):
    with pytest.raises(GA3EnvError, match="gives no label mask"):
        list(_segment([tmp_path / "no.tif"], tmp_path / "masks", function="measure"))


# ---- files, folders and patterns -----------------------------------------------------------------


@pytest.fixture
def folder(module, tmp_path, monkeypatch):
    """Return a current folder with images, others below it, and what is no image."""
    folder = tmp_path / "Bilder [é] 1"
    for name in ("a10.tif", "a2.TIF", "b [1].tif", "b1.tif", "sub/c.tif", "sub/deeper/d.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(".png"):
            images.write_labels(folder / name, np.ones((4, 5), np.int32))
        else:
            tifffile.imwrite(folder / name, np.ones((4, 5), np.uint8))
    for name in ("notes.txt", ".a3.tif", "a3.tif.tmp"):
        (folder / name).write_text("no image")
    monkeypatch.chdir(folder)
    return folder


def _inputs(capsys, *words, output="../masks"):
    assert cli.main(["segment", "echo", *words, "-o", output, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["data"]["outputs"]
    return [row["input"].replace(os.sep, "/") for row in rows]


ALL = ["a2.TIF", "a10.tif", "b1.tif", "b [1].tif"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        pytest.param(["*.tif"], ALL, id="star"),
        pytest.param(["a?.tif"], ["a2.TIF"], id="one-character"),
        pytest.param(["a1[0-9].tif"], ["a10.tif"], id="one-of-some"),
        pytest.param(["b [1].tif"], ["b [1].tif"], id="a-name-like-a-pattern"),
        pytest.param(["b*[[]1].tif"], ["b [1].tif"], id="a-bracket-in-a-pattern"),
        pytest.param(["**/*.tif"], [*ALL, "sub/c.tif"], id="all-folders"),
        pytest.param(["sub/**"], ["sub/c.tif", "sub/deeper/d.png"], id="all-below"),
        pytest.param(["s*/*.tif"], ["sub/c.tif"], id="in-a-folder"),
        pytest.param(["."], ALL, id="this-folder"),
        pytest.param(["sub/", "b1.tif"], ["sub/c.tif", "b1.tif"], id="folder-and-file"),
        pytest.param(["b1.tif", "*.tif", "a*"], ["b1.tif", *ALL[:2], ALL[3]], id="once"),
    ],
)
def test_patterns_and_folders_become_files(folder, capsys, words, expected):
    assert _inputs(capsys, *words) == expected


def test_a_pattern_with_a_full_path_gives_full_paths(folder, capsys):
    assert _inputs(capsys, str(folder / "a*.tif")) == [
        (folder / name).as_posix() for name in ("a2.TIF", "a10.tif")
    ]


def test_a_pattern_of_one_image_may_go_to_one_file(folder, capsys):
    assert _inputs(capsys, "a1?.tif", output="mask.tif") == ["a10.tif"]
    assert tifffile.imread(folder / "mask.tif").shape == (4, 5)


@pytest.mark.parametrize(
    ("words", "code", "message", "hint"),
    [
        (["*.nd2"], "image_unusable", "There is no image file *.nd2.", "holds 4 .tif"),
        (["no/*.tif"], "image_unusable", "There is no image file no/*.tif.", "There is no folder"),
        (["b1.tif", "x*"], "image_unusable", "There is no image file x*.", "1 .txt"),
        (["empty"], "image_unusable", "There is no image file empty.", "is empty"),
        (["**/*.tif", "-o", "sub"], "usage", "", ""),  # some would replace what others read
    ],
)
def test_a_pattern_that_cannot_be_used_is_one_clear_error(
    folder, capsys, words, code, message, hint
):
    (folder / "empty").mkdir()
    tifffile.imwrite(folder / "sub" / "b1_labels.tif", np.ones((4, 5), np.uint8))
    before = sorted(folder.rglob("*"))
    place = [] if "-o" in words else ["-o", "../masks"]
    assert cli.main(["segment", "echo", *words, *place, "--json"]) == (2 if code == "usage" else 1)
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["code"] == code
    assert error["message"].startswith(message)
    assert hint in error["hint"]
    assert sorted(folder.rglob("*")) == before
    assert not (folder.parent / "masks").exists()


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() == 0, reason="root may read all")
def test_a_folder_that_may_not_be_read_is_told(folder, capsys):
    (folder / "sub").chmod(0)
    try:
        assert cli.main(["segment", "echo", "sub", "-o", "../masks"]) == 1
    finally:
        (folder / "sub").chmod(0o755)
    assert "sub cannot be looked through" in capsys.readouterr().err


def test_a_zarr_folder_is_one_image(folder, capsys):
    for name in ("plane.zarr", "without suffix"):
        zarr.save_array(name, np.ones((4, 5), np.uint8))
    assert _inputs(capsys, "plane.zarr", "without suffix") == ["plane.zarr", "without suffix"]
    assert _inputs(capsys, "p*.zarr") == ["plane.zarr"]


def test_a_runner_that_knows_no_shell_hands_patterns_over(folder):
    """As the lists of "commands" of other runners do, and cmd.exe."""
    code, data = answer(command("segment", "echo", folder / "*.tif", "-o", folder.parent / "masks"))
    assert (code, len(data["outputs"]), data["failed"]) == (0, 4, [])


def test_images_of_the_same_name_in_several_folders_keep_their_folders(folder, capsys):
    for name in ("one", "two"):
        place = folder / "plates" / name
        place.mkdir(parents=True)
        tifffile.imwrite(place / "a.tif", np.zeros((4, 5), np.uint16))
    _inputs(capsys, "plates/**/*.tif", output="masks")
    found = sorted(path.relative_to(folder).as_posix() for path in folder.glob("masks/**/*.tif"))
    assert found == ["masks/one/a_labels.tif", "masks/two/a_labels.tif"]
