"""`./run pipeline` and `./run new-pipeline`, as a user or a script calls them."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tifffile

from envmanager import cli
from envmanager.pipelines import composing
from envmanager.reading.series import open_series
from tests.pipeline_module import STEPS

pytestmark = pytest.mark.slow
windows = pytest.mark.windows


@pytest.fixture
def run(imaging, capsys):
    """Return what runs a command: its exit code and its JSON object."""
    place = imaging.images.parent / "pipeline.yaml"
    place.write_text(STEPS.format(parameters=""), "utf-8")
    folders = ["--input-dir", imaging.images, "--output-dir", imaging.results]

    def command(*words, on=place):
        given = [*words[:1], on, *words[1:], *folders] if words[0] == "pipeline" else words
        code = cli.main([*map(str, given), "--json"])
        return code, json.loads(capsys.readouterr().out)

    return command


@windows
def test_the_contract(run, imaging):
    for name in "ab":
        imaging.add(f"{name}.tif", 200)
    code, told = run("pipeline")
    assert (code, told["ok"], told["command"]) == (0, True, "pipeline")
    data = told["data"]
    assert (data["images"], data["done"], data["skipped"], data["failed"]) == (2, 2, 0, [])
    (imaging.images / "b.tif").write_bytes(b"no picture")
    code, told = run("pipeline")
    assert (code, told["ok"]) == (1, True)
    assert (told["data"]["done"], told["data"]["skipped"]) == (0, 1)
    (failed,) = told["data"]["failed"]
    assert failed["input"] == str(imaging.images / "b.tif")
    assert failed["message"]
    assert run("pipeline", "--force")[1]["data"]["done"] == 1


def test_a_dry_run_says_what_would_run_on_what_and_writes_nothing(run, imaging):
    imaging.add("a.tif", 200)
    tifffile.imwrite(
        imaging.images / "b.tif", np.zeros((3, 2, 8, 9), np.uint8), metadata={"axes": "TCYX"}
    )
    (imaging.images / "c.tif").write_bytes(b"no picture")
    code, told = run("pipeline", "--dry-run")
    assert code == 1  # one would fail
    a, b, c = told["data"]["would_run"]
    assert (a["state"], a["shape"], a["frames"]) == ("to do", "30 x 20", 1)
    assert a["outputs"] == [str(imaging.results / "a_masks.tif")]
    assert (b["shape"], b["frames"]) == ("3 times, 2 channels, 9 x 8", 3)
    assert "c.tif" in c["problem"]
    assert not imaging.results.exists()
    (imaging.images / "c.tif").unlink()
    run("pipeline")
    states = [one["state"] for one in run("pipeline", "--dry-run")[1]["data"]["would_run"]]
    assert states == ["done before"] * 2


def test_what_is_wrong_is_told_before_any_work(run, imaging, tmp_path):
    imaging.add("a.tif", 200)
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(STEPS.format(parameters=", threshold: -1, treshold: 5"), "utf-8")
    code, told = run("pipeline", on=wrong)
    assert (code, told["error"]["code"]) == (1, "bad_pipeline")
    problems = told["error"]["details"]["problems"]
    assert len(problems) == 2
    assert {problem["step"] for problem in problems} == {"Segment"}
    assert not imaging.results.exists()


@windows
def test_a_new_pipeline_runs(run, imaging, tmp_path):
    imaging.add("a.tif", 200)
    made = tmp_path / "new.yaml"
    words = ["-o", made, "--function", "segment", "-p", "threshold=150"]
    code, told = run("new-pipeline", "tiny", *words, "--csv", "--overlay", "--rois")
    assert (code, told["data"]["path"]) == (0, str(made))
    code, told = run("pipeline", on=made)
    assert (code, told["data"]["done"]) == (0, 1)
    found = sorted(path.name for path in imaging.results.iterdir() if path.is_file())
    assert found == ["a_labels.ome.tif", "a_objects.csv", "a_overlay.png", "a_rois.zip"]


def test_a_new_pipeline_with_a_wrong_parameter_is_not_made(run, tmp_path):
    made = tmp_path / "new.yaml"
    for words in (["-p", "threshold=-5"], ["-p", "other=1"], ["--function", "none"]):
        code, told = run("new-pipeline", "tiny", "-o", made, *words)
        assert code == 1, told
        assert not made.exists()


def test_a_pipeline_of_every_function_can_be_composed(imaging):
    imaging.add("a.tif", 200)
    for function, outputs in (("double", {"image": "image"}), ("plane", {"labels": "labels"})):
        batch = composing.Batch(module="tiny", function=function, outputs=outputs, parameters={})
        assert imaging.run(composing.text_of(batch)).failed == []
    assert (imaging.results / "a_result.ome.tif").is_file()


def test_a_percent_sign_in_a_value_is_no_variable(imaging):
    imaging.add("100%PATH%.tif", 200)
    batch = composing.Batch(
        module="tiny",
        function="segment",
        outputs={"labels": "labels"},
        parameters={"crash": "%PATH% 50 %"},
        pattern="100%PATH%.tif",
    )
    plan = imaging.plan(composing.text_of(batch))
    assert plan.calls[0].parameters["crash"] == "%PATH% 50 %"
    assert [path.name for path in plan.load.files] == ["100%PATH%.tif"]


def test_ome_zarr_in_and_out(imaging):
    pixels = np.random.default_rng(2).integers(0, 900, (2, 3, 20, 30)).astype(np.uint16)
    tifffile.imwrite(
        imaging.images / "a.ome.tif",
        pixels,
        metadata={"axes": "TZYX", "PhysicalSizeX": 0.3, "PhysicalSizeY": 0.3},
    )
    to_zarr = STEPS.format(parameters="").replace("masks.tif", "%STEM%.ome.zarr")
    assert imaging.run(to_zarr).failed == []
    labels = open_series(imaging.results / "a.ome.zarr")
    assert (labels.times, labels.slices, labels.pixel_size.x) == (2, 3, 0.3)
    back = to_zarr.replace("%INPUT_DIR%/*.tif", "%OUTPUT_DIR%/*.zarr")
    back = back.replace("%STEM%.ome.zarr", "again.tif").replace(
        "inputs: {image:", "inputs: {image:"
    )
    assert imaging.run(back).failed == []
    expected = np.array([np.where(p > 100, p.max(), 0) for p in pixels])
    np.testing.assert_array_equal(imaging.mask("again.tif"), (expected > 100) * expected)
