"""Running pipelines with a real worker on real files."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import tifffile

from envmanager.errors import Cancelled
from envmanager.events import CancelToken, Items
from envmanager.pipelines import running
from envmanager.reading.series import open_series
from tests.pipeline_module import STEPS
from tests.support import PROJECT

pytestmark = pytest.mark.slow
windows = pytest.mark.windows
MEASURED = """  - name: Measure
    module: tiny
    function: measure
    inputs: {image: steps.Load.outputs.images, labels: steps.Work.outputs.found}
  - name: Table
    module: bioimage_pipeline_utils
    function: save_table
    inputs: {table: steps.Measure.outputs.objects, path: "%OUTPUT_DIR%/%STEM%.csv"}
"""
STACK = """
pipeline_name: Stack
steps:
  - name: Load
    module: bioimage_pipeline_utils
    function: load_tczyx_image
    inputs: {{path: "%INPUT_DIR%/*.tif"{selection}}}
  - name: Work
    module: tiny
    function: {function}
    {loop}
    inputs: {{image: steps.Load.outputs.images}}
    outputs: [found]
  - name: Save
    module: bioimage_pipeline_utils
    function: save_tczyx_image
    inputs: {{image: steps.Work.outputs.found, path: "%OUTPUT_DIR%/%STEM%_found.tif"}}
"""


@windows
def test_a_folder_of_images(imaging):
    for number in range(4):
        imaging.add(f"image {number}.tif", 200 + number)
    events = []
    done = running.run(imaging.plan(threshold=150.0), imaging.results, report=events.append)
    assert (done.images, done.done, done.skipped, done.failed) == (4, 4, 0, [])
    for number in range(4):
        mask = imaging.mask(f"image {number}_masks.tif")
        assert mask.dtype == np.uint16
        assert mask[0, 0] == 200 + number
        assert np.count_nonzero(mask) == 35
    assert imaging.litter() == []
    counts = [event.done for event in events if isinstance(event, Items)]
    assert counts == sorted(counts)
    assert counts[-1] == 4


def test_one_image_keeps_the_name_that_is_given(imaging):
    imaging.add("only.tif", 200)
    imaging.run()
    assert (imaging.results / "masks.tif").is_file()


@windows
def test_what_is_done_is_skipped_and_what_has_changed_is_not(imaging):
    for name in "abc":
        imaging.add(f"{name}.tif", 200)
    imaging.run()
    assert imaging.run().skipped == 3
    imaging.add("b.tif", 300)
    again = imaging.run()
    assert (again.done, again.skipped) == (1, 2)
    assert imaging.mask("b_masks.tif").max() == 300
    (imaging.results / "c_masks.tif").unlink()
    assert (imaging.run().done, imaging.mask("c_masks.tif").max()) == (1, 200)
    assert imaging.run(threshold=150.0).done == 3  # another parameter
    assert running.run(imaging.plan(threshold=150.0), imaging.results, force=True).done == 3


def test_a_broken_image_fails_alone_and_says_why(imaging):
    for name in "abc":
        imaging.add(f"{name}.tif", 200)
    (imaging.images / "b.tif").write_bytes(b"II*\x00 not a picture")
    done = imaging.run()
    assert done.done == 2
    assert [failed.input for failed in done.failed] == [str(imaging.images / "b.tif")]
    assert "b.tif" in done.failed[0].error["message"]
    assert not (imaging.results / "b_masks.tif").exists()
    assert imaging.run().skipped == 2  # and what failed is tried again


@windows
def test_a_crash_of_the_worker_is_tried_once_more(imaging, tmp_path):
    for name, value in (("a", 200), ("b", 5000), ("c", 200)):
        imaging.add(f"{name}.tif", value)
    once = tmp_path / "crash"
    once.touch()
    done = imaging.run(crash=str(once))
    assert (done.done, done.failed) == (3, [])
    assert not once.exists()  # it did crash
    assert imaging.mask("b_masks.tif").max() == 5000


def test_an_image_that_always_crashes_the_worker_fails_alone(imaging, tmp_path):
    for name, value in (("a", 200), ("b", 5000), ("c", 200)):
        imaging.add(f"{name}.tif", value)
    done = imaging.run(crash=str(tmp_path))
    assert done.done == 2
    assert done.failed[0].error["code"] == "worker_crashed"
    assert sorted(path.name for path in imaging.results.glob("*.tif")) == [
        "a_masks.tif",
        "c_masks.tif",
    ]


@windows
def test_a_cancelled_run_leaves_no_litter_and_goes_on(imaging):
    for number in range(6):
        imaging.add(f"{number}.tif", 200)
    cancel, told = CancelToken(), []

    def after_two(record):
        told.append(record)
        if len(told) == 2:
            cancel.cancel()

    plan = imaging.plan(wait=0.2)
    with pytest.raises(Cancelled):
        running.run(plan, imaging.results, cancel=cancel, told=after_two)
    assert imaging.litter() == []
    (run,) = imaging.results.glob("runs/*/run.json")
    assert json.loads(run.read_text("utf-8"))["state"] == "cancelled"
    again = running.run(plan, imaging.results)
    assert again.skipped >= 2
    assert again.skipped + again.done == 6


def test_a_killed_run_goes_on_where_it_was(imaging):
    for number in range(8):
        imaging.add(f"{number}.tif", 200)
    imaging.plan(wait=0.3)
    words = ["pipeline", imaging.images.parent / "pipeline.yaml"]
    words += ["--input-dir", imaging.images, "--output-dir", imaging.results]
    run = subprocess.Popen(
        [sys.executable, "-m", "envmanager", *words], cwd=PROJECT, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 60
    while len(list(imaging.results.glob("*.tif"))) < 3:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    run.kill()
    run.wait()
    again = running.run(imaging.plan(wait=0.3), imaging.results)
    assert again.skipped >= 2
    assert again.skipped + again.done == 8
    assert imaging.litter() == []


def test_ctrl_c_ends_a_run_cleanly(imaging):
    for number in range(8):
        imaging.add(f"{number}.tif", 200)
    imaging.plan(wait=0.3)
    words = ["pipeline", imaging.images.parent / "pipeline.yaml", "--json"]
    words += ["--input-dir", imaging.images, "--output-dir", imaging.results]
    run = subprocess.Popen(
        [sys.executable, "-m", "envmanager", *words],
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 60
    while not list(imaging.results.glob("*.tif")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    run.send_signal(signal.SIGINT)
    told = json.loads(run.communicate(timeout=60)[0])
    assert run.returncode == 130
    assert told["error"]["code"] == "cancelled"
    assert imaging.litter() == []


# ---- loops -------------------------------------------------------------------------------------


def _series(imaging, shape, axes):
    pixels = np.random.default_rng(1).integers(0, 4000, shape).astype(np.uint16)
    tifffile.imwrite(
        imaging.images / "series.ome.tif",
        pixels,
        metadata={"axes": axes, "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5, "PhysicalSizeZ": 2.0},
    )
    return pixels


@windows
def test_times_are_looped_and_slices_and_channels_go_in_together(imaging):
    pixels = _series(imaging, (3, 2, 4, 16, 18), "TCZYX")
    imaging.run(STACK.format(function="segment", selection="", loop=""))
    found = imaging.mask("series_found.tif")
    expected = [np.where(p.max(axis=0) > 100, p.max(), 0) for p in pixels]
    np.testing.assert_array_equal(found, expected)
    size = open_series(imaging.results / "series_found.tif").pixel_size
    assert (size.y, size.x, size.z) == (0.5, 0.5, 2.0)


def test_a_function_of_one_plane_gets_each_slice_of_each_channel(imaging):
    pixels = _series(imaging, (2, 2, 3, 16, 18), "TCZYX")
    imaging.run(STACK.format(function="plane", selection="", loop=""))
    means = pixels.mean(axis=(3, 4), keepdims=True)
    np.testing.assert_array_equal(imaging.mask("series_found.tif"), pixels > means)


def test_a_step_may_ask_for_single_slices(imaging):
    pixels = _series(imaging, (2, 3, 16, 18), "TZYX")
    imaging.run(STACK.format(function="segment", selection="", loop="loop: z"))
    expected = [[np.where(plane > 100, plane.max(), 0) for plane in stack] for stack in pixels]
    np.testing.assert_array_equal(imaging.mask("series_found.tif"), expected)


def test_what_is_selected(imaging):
    pixels = _series(imaging, (4, 2, 3, 16, 18), "TCZYX")
    chosen = ', times: "2-3", channels: 2, slices: [1, 3]'
    imaging.run(STACK.format(function="double", selection=chosen, loop=""))
    expected = pixels[1:3, 1][:, [0, 2]].astype(np.float32) * 2
    np.testing.assert_array_equal(imaging.mask("series_found.tif"), expected)


def test_a_selection_that_an_image_lacks_fails_that_image(imaging):
    _series(imaging, (2, 16, 18), "CYX")
    done = imaging.run(STACK.format(function="segment", selection=", channels: 3", loop=""))
    assert "no channel 3" in done.failed[0].error["message"]


def test_each_position_has_files_of_its_own(imaging):
    with tifffile.TiffWriter(imaging.images / "plate.ome.tif", ome=True) as file:
        for value in (200, 300):
            file.write(np.full((16, 18), value, np.uint16), metadata={"axes": "YX"})
    done = imaging.run(STACK.format(function="segment", selection="", loop=""))
    assert done.images == 1
    assert [imaging.mask(f"plate_p0{n}_found.tif").max() for n in (1, 2)] == [200, 300]
    imaging.run()  # without %STEM% in the name
    assert [imaging.mask(f"plate_p0{n}_masks.tif").max() for n in (1, 2)] == [200, 300]


def test_what_is_saved_beside_the_images_is_no_image_of_the_next_run(imaging):
    imaging.results = imaging.images
    for name in "ab":
        imaging.add(f"{name}.tif", 200)
    assert imaging.run().done == 2
    assert imaging.run().skipped == 2
    imaging.add("c.tif", 200)
    again = imaging.run()
    assert (again.done, again.skipped) == (1, 2)


def test_steps_that_build_on_each_other(imaging):
    pixels = _series(imaging, (2, 3, 16, 18), "TZYX")
    imaging.run(
        STACK.format(function="segment", selection="", loop="").replace(
            "  - name: Save",
            MEASURED
            + """  - name: Objects
    module: bioimage_pipeline_utils
    function: save_objects_csv
    inputs:
      labels: steps.Work.outputs.found
      image: steps.Load.outputs.images
      path: "%OUTPUT_DIR%/%STEM%_objects.csv"
  - name: Overlay
    module: bioimage_pipeline_utils
    function: save_overlay_png
    inputs:
      labels: steps.Work.outputs.found
      image: steps.Load.outputs.images
      path: "%OUTPUT_DIR%/%STEM%.png"
  - name: Save""",
        )
    )
    with (imaging.results / "series.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["t"], row["z"]) for row in rows] == [(t, z) for t in "12" for z in "123"]
    for row, plane in zip(rows, pixels.reshape(6, 16, 18), strict=True):
        assert float(row["mean"]) == pytest.approx(plane[plane > 100].mean())
    one = STACK.format(function="segment", selection=", slices: 2", loop="").replace(
        "  - name: Save", MEASURED + "  - name: Save"
    )
    imaging.run(one)
    with (imaging.results / "series.csv").open(encoding="utf-8") as file:
        assert [(row["t"], row.get("z")) for row in csv.DictReader(file)] == [
            ("1", None),
            ("2", None),
        ]
    imaging.run(
        one.replace(", slices: 2", "").replace(
            "function: segment", "function: segment\n    loop: z"
        )
    )
    with (imaging.results / "series.csv").open(encoding="utf-8") as file:
        assert [(r["t"], r["z"]) for r in csv.DictReader(file)] == [
            (t, z) for t in "12" for z in "123"
        ]
    with (imaging.results / "series_objects.csv").open(encoding="utf-8") as file:
        objects = list(csv.DictReader(file))
    assert [row["t"] for row in objects] == ["1", "2"]
    assert int(objects[0]["volume_px"]) == (pixels[0] > 100).sum()
    assert sorted(p.name for p in imaging.results.glob("*.png")) == [
        "series_t001.png",
        "series_t002.png",
    ]


# ---- what is kept of a run ---------------------------------------------------------------------


def test_two_runs_give_the_same_masks_and_the_run_folder_says_how(imaging):
    for name in "ab":
        imaging.add(f"{name}.tif", 200)
    first = imaging.run(threshold=120)
    masks = [(imaging.results / f"{name}_masks.tif").read_bytes() for name in "ab"]
    second = running.run(imaging.plan(threshold=120), imaging.results, force=True)
    assert [(imaging.results / f"{name}_masks.tif").read_bytes() for name in "ab"] == masks
    run = json.loads((first.run_dir / "run.json").read_text("utf-8"))
    assert run["state"] == "done"
    assert [image["state"] for image in run["images"]] == ["done", "done"]
    (step,) = run["steps"]
    assert (step["module"], step["version"]) == ("tiny", "1.0.0")
    assert step["parameters"] == {"threshold": 120.0, "crash": "", "wait": 0.0}
    assert len(step["lock_sha256"]) == 64
    assert step["packages"]["numpy"]
    assert run["machine"]["cpus"] == os.cpu_count()
    assert run["inputs"]["files"] == [str(imaging.images / f"{name}.tif") for name in "ab"]
    text = (second.run_dir / "pipeline.yaml").read_text("utf-8")
    assert text == STEPS.format(parameters=", threshold: 120")


def test_two_runs_do_not_write_into_one_folder(imaging):
    for number in range(3):
        imaging.add(f"{number}.tif", 200)
    plan = imaging.plan(wait=0.5)
    first = threading.Thread(target=running.run, args=(plan, imaging.results))
    first.start()
    deadline = time.monotonic() + 60
    while not list(imaging.results.glob("runs/*/run.json")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    with pytest.raises(Exception, match="Another run writes"):
        running.run(plan, imaging.results)
    first.join()


@pytest.mark.skipif(sys.platform != "linux", reason="reads VmHWM of Linux")
def test_the_memory_does_not_grow_with_the_series(imaging):
    shape = (60, 1, 1, 1024, 1024)  # 126 MB of uint16
    with tifffile.TiffWriter(imaging.images / "long.ome.tif", ome=True) as file:
        plane = np.random.default_rng(0).integers(0, 4000, shape[3:]).astype(np.uint16)
        file.write((plane for _ in range(60)), shape=shape, dtype="u2", metadata={"axes": "TCZYX"})
    imaging.plan(STACK.format(function="segment", selection="", loop=""))
    code = (
        "import sys; from envmanager.cli import main; code = main(sys.argv[1:]); "
        "print(open('/proc/self/status').read().partition('VmHWM:')[2].split()[0], code)"
    )
    words = ["pipeline", imaging.images.parent / "pipeline.yaml"]
    words += ["--input-dir", imaging.images, "--output-dir", imaging.results]
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    )
    peak, exit_code = done.stdout.splitlines()[-1].split()
    assert exit_code == "0"
    assert imaging.mask("long_found.tif").shape == (60, 1024, 1024)
    assert int(peak) < 190_000  # KB; without the series about 100,000


@pytest.mark.skipif(not shutil.which("unshare"), reason="there is no unshare")
def test_a_full_disk_stops_the_run_and_what_is_done_stays(imaging):
    """The output folder is a real volume of 2 MB, in a mount namespace of its own."""
    for number in range(9):
        noise = np.random.default_rng(number).integers(101, 60000, (400, 500)).astype(np.uint16)
        tifffile.imwrite(imaging.images / f"{number}.tif", noise)
    imaging.plan(STACK.format(function="double", selection="", loop=""))  # 0.8 MB each, or so
    kept = imaging.images.parent / "kept"
    imaging.results.mkdir()
    command = [
        sys.executable,
        "-m",
        "envmanager",
        "pipeline",
        imaging.images.parent / "pipeline.yaml",
    ]
    command += ["--input-dir", imaging.images, "--output-dir", imaging.results, "--json"]
    script = """mount -t tmpfs -o size=2m none "$1" || exit 99
        out="$1"; kept="$2"; shift 2; "$@"; code=$?; cp -r "$out" "$kept"; exit $code"""
    words = ["unshare", "-rm", "sh", "-c", script, "sh", imaging.results, kept]
    done = subprocess.run(
        [*words, *command], cwd=PROJECT, capture_output=True, text=True, check=False
    )
    if done.returncode == 99:
        pytest.skip("nothing can be mounted here")
    assert done.returncode == 1, done.stderr
    assert json.loads(done.stdout)["error"]["code"] == "disk_full"
    whole = sorted(kept.glob("*.tif"))
    assert 1 <= len(whole) < 9
    for path in whole:
        source = tifffile.imread(imaging.images / f"{path.name[0]}.tif")
        np.testing.assert_array_equal(tifffile.imread(path), source.astype(np.float32) * 2)
    assert [path for path in kept.rglob("*") if ".tmp" in path.name] == []
