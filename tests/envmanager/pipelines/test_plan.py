"""The complete check of a pipeline before any work, and the plan that comes of it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from envmanager.data.paths import SHIPPED_MODULES
from envmanager.errors import CatalogError, PipelineError
from envmanager.modules import catalog
from envmanager.pipelines import plan
from envmanager.pipelines.plan import Selection
from ga3_nodes import home
from tests.envmanager.conftest import TOML, write_module
from tests.envmanager.pipelines.conftest import LOAD, REFERENCE, RUN, SAVE, pipeline, step
from tests.support import publish

LABELS = "steps.Find.outputs.labels"
IMAGES = "steps.Load.outputs.images"


def _told(found):
    return [f"{one['line']} {one['step']}: {one['message']} {one['hint']}" for one in found]


# ---- the reference pipeline ----------------------------------------------------------------------


def _add_weights(root: Path) -> None:
    folder = home.weights_folder(root, "cellpose")
    folder.mkdir(parents=True)
    (folder / "cyto3").write_bytes(b"weights")
    facts = {"path": "cyto3", "files": {"cyto3": {"size": 7, "sha256": "0" * 64}}}
    (folder / "weights.json").write_text(json.dumps({"schema": 1, "sets": {"cyto3": facts}}))


def _check_reference(made: plan.Plan, images: Path, out: Path) -> None:
    assert made.name == "Cellpose Segmentation (UV)"
    assert [path.name for path in made.load.files] == ["a2.TIF", "a10.tif"]
    assert (made.load.base, made.load.output) == (images, (0, "images"))
    assert made.load.selection == Selection()
    (call,) = made.calls
    assert (call.module, call.function) == ("cellpose", "segment")
    assert call.inputs == {"image": (0, "images")}
    assert call.outputs == {"labels": (1, "masks")}
    assert call.kinds == {"labels": "labels"}
    assert call.axes == {"image": ("yx", "yxc", "zyx", "zyxc")}
    assert (call.parameters["model"], call.parameters["diameter"]) == ("cyto3", 30.0)
    assert call.parameters["flow_threshold"] == 0.4  # the others have their defaults
    assert "model_type" not in call.parameters
    (save,) = made.saves
    assert (save.function, save.inputs) == ("save_tczyx_image", {"image": (1, "masks")})
    assert Path(save.path) == out / "masks.tif"
    assert save.options == {"compression": "zlib"}
    assert plan.output_folder(made) == out
    assert made.variables == {"INPUT_DIR": str(images), "OUTPUT_DIR": str(out)}
    assert (made.text, made.warnings) == (REFERENCE, ())


@pytest.mark.slow
def test_the_reference_pipeline_runs_unchanged_once_cellpose_is_installed(
    environments, tiny_lock, cellpose_toml, check, problems, images, tmp_path
):
    root = environments.data.root
    (told,) = problems(REFERENCE)
    assert "./run install cellpose" in told["hint"]
    worker = "import numpy as np\ndef segment(image, *, axes='', model='', **others):\n"
    write_module(
        root / "modules" / "cellpose",
        tiny_lock,
        toml=cellpose_toml,
        worker=worker + "    return (image > 100).astype(np.int32)\n",
    )
    environments.install("cellpose")
    (told,) = problems(REFERENCE)
    assert (told["line"], "./run weights cellpose get cyto3" in told["hint"]) == (15, True)
    _add_weights(root)
    _check_reference(check(REFERENCE), images, tmp_path / "out")


def test_the_reference_pipeline_with_the_shipped_declaration(
    data_folder, cellpose_toml, check, images, tmp_path
):
    folder = data_folder / "modules" / "cellpose"
    folder.mkdir(parents=True)
    (folder / "module.toml").write_text(cellpose_toml, "utf-8")
    declaration = catalog.load(folder).declaration()
    publish(data_folder, declaration, "", title="Cellpose 3")
    _add_weights(data_folder)
    _check_reference(check(REFERENCE), images, tmp_path / "out")


# ---- what comes of a right one -------------------------------------------------------------------


def test_a_path_is_relative_to_the_file(lab, check, images, tmp_path, monkeypatch):
    monkeypatch.chdir(lab)
    load = LOAD.replace("%INPUT_DIR%/*.tif", f"{images.name}/a*.tif")
    save = SAVE.replace("%OUTPUT_DIR%/masks.tif", "results\\\\%STEM%.tif")
    made = check(pipeline(load, RUN, save))
    assert len(made.load.files) == 2
    assert Path(made.saves[0].path) == tmp_path / "results" / "%STEM%.tif"
    assert made.variables == {}


@pytest.mark.parametrize(
    ("given", "name", "value"),
    [
        ("size: 30", "size", 30.0),
        ("size: '30'", "size", 30.0),
        ("size: '%SIZE%'", "size", 12.5),
        ("size:", "size", 0.0),
        ("count: 3.0", "count", 3),
        ("number: 3", "count", 3),
        ("n: '3'", "count", 3),
        ("fill: false", "fill", False),
        ("fill: 'no'", "fill", False),
        ("channel: 1", "channel", "1"),
        ("channel: '2'", "channel", "2"),
        ("title: 5", "title", "5"),
        ("title: 100%%", "title", "100%"),
        ("title: true", "title", "true"),
    ],
)
def test_values_of_parameters(lab, check, given, name, value):
    made = check(pipeline(LOAD, RUN + f"      {given}\n", SAVE), SIZE="12.5")
    found = made.calls[0].parameters[name]
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize("key", ["image", "images", "picture"])
def test_the_one_array_may_have_any_name(lab, check, key):
    made = check(pipeline(LOAD, RUN.replace("image:", f"{key}:", 1), SAVE))
    assert made.calls[0].inputs == {"image": (0, "images")}


def test_the_last_missing_array_may_have_any_name(lab, check):
    measure = step("M", "measure", "lab", masks=LABELS, image=IMAGES)
    table = step("T", "save_table", table="steps.M.outputs.table", path="t.csv")
    made = check(pipeline(LOAD, RUN, measure, table))
    assert list(made.calls[1].inputs.items()) == [
        ("image", (0, "images")),
        ("labels", (1, "labels")),
    ]


@pytest.mark.parametrize(
    ("outputs", "found"),
    [
        ("", {"labels": "labels", "objects": "objects"}),
        ("[masks]", {"labels": "masks", "objects": "objects"}),
        ("[masks, rows]", {"labels": "masks", "objects": "rows"}),
        ("[objects, masks]", {"labels": "masks", "objects": "objects"}),
        ("[{name: objects}]", {"labels": "labels", "objects": "objects"}),
    ],
)
def test_outputs_are_mapped_by_name_then_by_place(lab, check, outputs, found):
    run = RUN + (f"    outputs: {outputs}\n" if outputs else "")
    save = SAVE.replace("outputs.labels", f"outputs.{found['labels']}")
    made = check(pipeline(LOAD, run, save))
    assert made.calls[0].outputs == {key: (1, name) for key, name in found.items()}


@pytest.mark.parametrize(
    ("given", "places"),
    [
        ("times: all", {}),
        ("times: 3", {"times": (3,)}),
        ("times: '2-4'", {"times": (2, 3, 4)}),
        ("times: [1, '3-4', 3]", {"times": (1, 3, 4)}),
        ("slices: '1, 5 - 6'", {"slices": (1, 5, 6)}),
        ("positions: '%WELL%'", {"positions": (7,)}),
        ("channels: [DAPI, 2]", {"channels": ("DAPI", 2)}),
        ("channels: Alexa-488", {"channels": ("Alexa-488",)}),
    ],
)
def test_what_is_selected_of_a_file(lab, check, given, places):
    load = LOAD.replace('*.tif"', f'*.tif", {given}')
    assert check(pipeline(load, RUN, SAVE), WELL="7").load.selection == Selection(**places)


def test_a_step_that_is_switched_off_does_not_count(lab, check):
    off = RUN.replace("name: Find", "name: Find more\n    enabled: false").replace("lab", "nothing")
    made = check(pipeline(LOAD, off, RUN, SAVE))
    assert [call.name for call in made.calls] == ["Find"]
    assert made.saves[0].inputs == {"labels": (2, "labels")}


def test_loops(lab, check):
    made = check(pipeline(LOAD, RUN + "    loop: [z, c]\n", SAVE))
    assert made.calls[0].loop == {"z", "c"}


def test_several_patterns(lab, check, images):
    load = LOAD.replace('"%INPUT_DIR%/*.tif"', '["%INPUT_DIR%/a2.*", "%INPUT_DIR%/a10.tif"]')
    made = check(pipeline(load, RUN, SAVE))
    assert [path.name for path in made.load.files] == ["a2.TIF", "a10.tif"]
    assert made.load.pattern == f"{images}/a2.*; {images}/a10.tif"


def test_earlier_results_below_the_images_are_left_out(lab, check, images):
    (images / "out").mkdir()
    (images / "out" / "a2_masks.tif").write_bytes(b"")
    load = LOAD.replace("*.tif", "**/*.tif")
    made = check(pipeline(load, RUN, SAVE), OUTPUT_DIR=str(images / "out"))
    assert len(made.load.files) == 2
    assert made.warnings == ("1 image is left out: they lie where the outputs go.",)


def test_what_is_odd_is_a_warning(lab, check):
    looked_at = step("Again", "segment", "lab", image=LABELS)
    again, unused = check(pipeline(LOAD, RUN, looked_at, SAVE)).warnings
    assert "Again: image takes an image and gets labels" in again
    assert unused == "No step uses what Again makes."
    named = check(pipeline(LOAD, RUN + "    outputs: [labels, rows]\n", SAVE))
    assert named.warnings == ("Find: no step uses rows.",)


# ---- what is wrong -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        # modules, functions, parameters
        ((LOAD, RUN.replace("lab", "labb"), SAVE), 8, "no module 'labb'"),
        ((LOAD, RUN.replace("lab", "clasic"), SAVE), 8, "Did you mean 'classic'?"),
        ((LOAD, RUN.replace("lab", "ga3_classic_node"), SAVE), 8, "./run install classic"),
        ((LOAD, RUN.replace("lab", "../lab"), SAVE), 8, "no module '../lab'"),
        ((LOAD, RUN + "    function: segmnt\n", SAVE), 11, "Did you mean 'segment'?"),
        ((LOAD, RUN + "      sice: 5\n", SAVE), 11, "Did you mean 'size'?"),
        ((LOAD, RUN + "      size: 500\n", SAVE), 11, "from 0 to 100"),
        ((LOAD, RUN + "      size: big\n", SAVE), 11, "cannot be 'big'"),
        ((LOAD, RUN + "      size: [1, 2]\n", SAVE), 11, "cannot be a list"),
        ((LOAD, RUN + "      size: '%NOTHING%'\n", SAVE), 11, "%NOTHING% has no value"),
        ((LOAD, RUN + "      count: 1.5\n", SAVE), 11, "a whole number"),
        ((LOAD, RUN + "      channel: 3\n", SAVE), 11, "one of mean, 1, 2"),
        ((LOAD, RUN + f"      size: {IMAGES}\n", SAVE), 11, "not an earlier result"),
        ((LOAD, RUN + "      n: 1\n      count: 1\n", SAVE), 12, "are the same"),
        # arrays
        ((LOAD, RUN.replace(IMAGES, "a.tif"), SAVE), 10, "must be an earlier result"),
        ((LOAD, RUN.replace("image:", "size:"), SAVE), 9, "'image' is missing"),
        ((LOAD, RUN + f"      other: {IMAGES}\n", SAVE), 11, "no input 'other'"),
        ((LOAD, RUN.replace("Load.out", "Laod.out"), SAVE), 10, "Did you mean 'Load'?"),
        ((LOAD, RUN.replace("Load.out", "Save.out"), SAVE), 10, "comes later"),
        ((RUN, LOAD, SAVE), 6, "comes later"),
        (
            (LOAD, RUN, SAVE.replace("labels}", "x}").replace("outputs.labels", "outputs.x")),
            14,
            "Its",
        ),
        (
            (LOAD, step("M", "measure", "lab", image=IMAGES, labels=IMAGES), SAVE),
            12,
            "takes labels",
        ),
        ((LOAD, RUN + "    outputs: [a, b, c]\n", SAVE), 11, "there are 2"),
        ((LOAD, RUN + "    loop: z\n    function: track\n", SAVE), 11, "takes zyx"),
        # reading
        ((LOAD.replace("*.tif", "*.nd2"), RUN, SAVE), 6, "2 .tif"),
        ((LOAD.replace("*.tif", "x/*.tif"), RUN, SAVE), 6, "no folder"),
        ((LOAD.replace("*.tif", "*.txt"), RUN, SAVE), 6, "no known image format"),
        ((LOAD.replace("INPUT_DIR", "STEM"), RUN, SAVE), 6, "path of an output"),
        ((LOAD.replace('"%INPUT_DIR%/*.tif"', "5"), RUN, SAVE), 6, "file or pattern"),
        ((LOAD.replace('"%INPUT_DIR%/*.tif"', "[]"), RUN, SAVE), 6, "file or pattern"),
        ((LOAD.replace('"%INPUT_DIR%/*.tif"', '["%INPUT_DIR%/a*", x.tif]'), RUN, SAVE), 6, "x.tif"),
        ((LOAD.replace('tif"', 'tif", time: 1'), RUN, SAVE), 6, "Did you mean 'times'?"),
        ((LOAD.replace('tif"', 'tif", times: 0'), RUN, SAVE), 6, "a number from 1"),
        ((LOAD.replace('tif"', 'tif", times: 5-1'), RUN, SAVE), 6, "'times' cannot be"),
        ((LOAD.replace('tif"', 'tif", times: 1.5'), RUN, SAVE), 6, "'times' cannot be"),
        ((LOAD.replace('tif"', 'tif", times: 1-99999999'), RUN, SAVE), 6, "'times' cannot be"),
        ((LOAD.replace('tif"', 'tif", slices: DAPI'), RUN, SAVE), 6, "'slices' cannot be"),
        ((LOAD.replace('tif"', 'tif", channels: []'), RUN, SAVE), 6, "such as"),
        ((LOAD.replace('tif"', 'tif", channels: true'), RUN, SAVE), 6, "'channels' cannot be"),
        ((LOAD + "    outputs: [images, b]\n", RUN, SAVE), 7, "one output"),
        ((LOAD + "    loop: z\n", RUN, SAVE), 7, "steps of modules"),
        ((LOAD, LOAD.replace("name: Load", "name: B"), RUN, SAVE), 9, "a second one"),
        # keeping
        ((LOAD, RUN, SAVE.replace(".tif", ".jpg")), 14, "'masks.jpg'"),
        ((LOAD, RUN, SAVE.replace("/masks.tif", "")), 14, "cannot write 'out'"),
        ((LOAD, RUN, SAVE.replace('"%OUTPUT_DIR%/masks.tif"', "")), 14, "name of a file"),
        ((LOAD, RUN, SAVE.replace('tif"', 'tif", compression: zip')), 14, "one of zlib"),
        ((LOAD, RUN, SAVE.replace('tif"', 'tif", compress: zlib')), 14, "mean 'compression'?"),
        ((LOAD, RUN, SAVE.replace('tif"', f'tif", image: {IMAGES}')), 14, "Give one of them"),
        (
            (LOAD, RUN, SAVE.replace("labels}", "objects}").replace("s.labels", "s.objects")),
            14,
            "table",
        ),
        ((LOAD, RUN, SAVE + "    outputs: [x]\n"), 15, "has no outputs"),
        (
            (LOAD, RUN, SAVE.replace("save_tczyx_image", "save_tczyx")),
            13,
            "mean 'save_tczyx_image'",
        ),
        ((LOAD, RUN, SAVE.replace("    function: save_tczyx_image\n", "")), 11, "needs a function"),
        (
            (LOAD, RUN, SAVE.replace("%OUTPUT_DIR%/masks", "%INPUT_DIR%/%STEM%")),
            14,
            "would replace",
        ),
        ((LOAD, RUN, SAVE, SAVE.replace("name: Save", "name: B")), 18, "what step 'Save'"),
        ((LOAD, RUN, step("O", "save_overlay_png", labels=LABELS, path="o.png")), 14, "'image'"),
        ((LOAD, RUN, step("C", "save_objects_csv", labels=IMAGES, path="o.csv")), 15, "an image"),
        # the whole
        ((LOAD, RUN), 7, "nothing would be kept"),
        ((SAVE,), 3, "no step reads"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(lab, problems, text, line, words):
    told = _told(problems(pipeline(*text)))
    assert any(one.startswith(f"{line} ") and words.lower() in one.lower() for one in told), told


def test_all_problems_are_told_at_once(lab, check, problems):
    text = pipeline(
        LOAD.replace("tif", "nd2"),
        RUN.replace("lab", "classic") + "      split: 7\n      colour: 5\n",
        SAVE.replace("Find", "Fnd").replace(".tif", ".xyz"),
        "  - {name: Odd, modul: x}\n",
    )
    told = _told(problems(text))
    for words in (
        *("6 Load: Nothing matches", "8 Find: The module 'classic' is not installed"),
        *("11 Find: The parameter 'split' cannot be 7", "12 Find: There is no input 'colour'"),
        *("16 Save: There is no earlier step 'Fnd'", "16 Save: Save_tczyx_image cannot write"),
        *("17 Odd: The key 'modul'", "17 Odd: The key 'module' is missing"),
    ):
        assert any(one.lower().startswith(words.lower()) for one in told), (words, told)
    assert len(told) == 8
    with pytest.raises(PipelineError) as caught:
        check(text)
    assert caught.value.message.startswith("pipeline.yaml, line 6, step 'Load': Nothing matches ")
    assert caught.value.message.endswith("(7 more problems)")
    assert caught.value.hint


def test_images_of_one_name_get_outputs_of_their_own(lab, check, problems, images):
    (images / "a2.png").write_bytes(b"")
    load = LOAD.replace("*.tif", "a*")
    check(pipeline(load, RUN, SAVE))
    (images / "a2_tif_masks.png").write_bytes(b"")
    save = SAVE.replace("%OUTPUT_DIR%/masks.tif", "%INPUT_DIR%/masks.png")
    (told,) = problems(pipeline(load, RUN, save))
    assert "would replace an image" in told["message"]


def test_outputs_of_different_images_that_meet_are_told(lab, problems, images):
    (images / "a2_x.tif").write_bytes(b"")
    first = SAVE.replace("masks", "x_m")  # a2 -> a2_x_m.tif
    second = SAVE.replace("masks", "m").replace("name: Save", "name: B")  # a2_x -> a2_x_m.tif
    (told,) = problems(pipeline(LOAD, RUN, first, second))
    assert "a2_x_m.tif is also what step 'Save' saves to" in told["message"]


@pytest.mark.skipif(sys.platform == "win32", reason="needs a right there")
def test_an_image_is_found_behind_a_link(lab, problems, images, tmp_path):
    (tmp_path / "link").symlink_to(images, target_is_directory=True)
    save = SAVE.replace("%OUTPUT_DIR%/masks", "link/%STEM%")
    (told,) = problems(pipeline(LOAD, RUN, save))
    assert "would replace an image" in told["message"]


def test_nothing_is_written_into_an_image_that_is_a_folder(lab, problems, images):
    (images / "a.zarr").mkdir()
    save = SAVE.replace("%OUTPUT_DIR%", "%INPUT_DIR%/a.zarr/x")
    (told,) = problems(pipeline(LOAD.replace("*.tif", "*.*"), RUN, save))
    assert "would replace an image" in told["message"]


def test_a_damaged_data_folder_is_a_problem_of_the_step(lab, problems):
    (lab / "config.json").write_text("{")
    (told,) = problems(pipeline(LOAD, RUN, SAVE))
    assert (told["line"], "is damaged" in told["message"]) == (8, True)


def test_nothing_is_written_and_nothing_is_started(lab, check, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    check(pipeline(LOAD, RUN, SAVE))
    left = [path for path in sorted(tmp_path.rglob("*")) if path not in before]
    assert left == [tmp_path / "pipeline.yaml"]


# ---- other names of parameters -------------------------------------------------------------------


def test_aliases_reach_the_declaration(tmp_path):
    toml = TOML.replace('label = "Threshold"', 'label = "Threshold"\naliases = ["level", "cut"]')
    module = catalog.load(write_module(tmp_path / "tiny", "", toml=toml))
    assert module.functions["segment"]["parameters"]["threshold"]["aliases"] == ["level", "cut"]


@pytest.mark.parametrize("name", ["cellpose", "cellpose_sam"])
def test_model_type_is_the_model_of_cellpose(name):
    functions = catalog.load(SHIPPED_MODULES / name).functions
    assert functions["segment"]["parameters"]["model"]["aliases"] == ["model_type"]


@pytest.mark.parametrize(
    "aliases",
    "'level'|[]|[5]|['two words']|['threshold']|['image']|['axes']|['progress']|['a', 'a']".split(
        "|"
    ),
)
def test_an_alias_is_a_name_of_its_own(tmp_path, aliases):
    toml = TOML.replace('label = "Threshold"', f'label = "Threshold"\naliases = {aliases}')
    with pytest.raises(CatalogError, match=r"functions\.segment\.parameters\.threshold\.aliases"):
        catalog.load(write_module(tmp_path / "tiny", "", toml=toml))
