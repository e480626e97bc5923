"""Generated node scripts, run the way NIS runs them, against real workers."""

from __future__ import annotations

import ast
import dataclasses
import json
import os
import shutil
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

from envmanager import cli, nodes
from envmanager.data.paths import SHIPPED_MODULES
from envmanager.errors import BadInput, CatalogError
from envmanager.modules import catalog
from ga3_nodes import records
from ga3_nodes.standin import nis
from ga3_nodes.standin.out_of_process import OutOfProcessNis
from tests.support import PROJECT, publish

pytestmark = pytest.mark.windows

# Answers with what it got, so that the tests see axes, types and parameters.
WORKER = """
import time
import numpy as np

def segment(image, *, axes="", smoothing=0.0, **parameters):
    if smoothing == 13.0:
        end = time.monotonic() + 60
        while time.monotonic() < end:
            np.sort(np.random.default_rng(0).random(100_000))
    if smoothing == 14.0:
        raise ValueError("The image is too dark.")
    pixels = image.max(axis=-1) if axes.endswith("c") else image
    assert pixels.ndim == len(axes.replace("c", "")), (axes, image.shape)
    return np.where(pixels > 10, pixels.astype(np.int32), 0) + (1 if smoothing == 5.0 else 0)
"""
INSTALL = (
    "Classic segmentation is not installed. "
    "Open GA3 Environment Manager > Classic segmentation > Install."
)
LAB_TOML = """
schema = 1
name = "lab"
title = "Lab"
version = "2.1.0"
summary = "Everything that a function may give."
[environment]
imports = ["numpy"]
[functions.analyse]
title = "Cells and nuclei"
slice_by_slice = false
[functions.analyse.inputs]
cytoplasm = { axes = ["yx", "zyx"] }
nucleus = { axes = ["yx", "zyx"] }
[functions.analyse.outputs]
cells = { kind = "labels" }
ratio = { kind = "image" }
[functions.analyse.outputs.objects]
kind = "table"
columns = [
    { name = "id", type = "int" },
    { name = "area", type = "float", unit = "µm²" },
    { name = "kind \\"x\\"", type = "string" },
]
[functions.plain]
title = "Plain"
slice_by_slice = true
[functions.plain.inputs]
image = { axes = ["yx"] }
[functions.plain.outputs]
labels = { kind = "labels" }
[functions.measure]
title = "Measure"
[functions.measure.inputs]
image = { axes = ["yx", "yxc"] }
objects = { axes = ["yx"], kind = "labels" }
[functions.measure.outputs]
objects = { kind = "table" }
"""
LAB_WORKER = """
import numpy as np

def analyse(cytoplasm, nucleus):
    cells = np.arange(1, cytoplasm.size + 1).reshape(cytoplasm.shape)
    ids = np.arange(cytoplasm.size)
    return {
        "cells": cells * (cytoplasm > 0),
        "ratio": cytoplasm / 2.0 + nucleus * 300.0,
        "objects": {"kind \\"x\\"": ["é"] * len(ids), "area": ids / 4, "id": ids},
    }

def plain(image):
    return np.arange(1, image.size + 1).reshape(image.shape)

def measure(image, objects):
    return {"n": [1]}
"""
FRAME = np.arange(30, dtype=np.uint16).reshape(1, 5, 6, 1)


@pytest.fixture
def classic(data_folder):
    """Publish a worker under the name, and with the declaration, of the shipped module."""
    module = catalog.load(SHIPPED_MODULES / "classic")
    publish(data_folder, module.declaration(), WORKER)
    return module


@pytest.fixture
def lab(data_folder):
    """Publish a module with several inputs and outputs, declared as for real."""
    folder = data_folder / "modules" / "lab"
    folder.mkdir(parents=True)
    (folder / "module.toml").write_text(LAB_TOML, "utf-8")
    module = catalog.load(folder)
    publish(data_folder, module.declaration(), LAB_WORKER)
    return module


@pytest.mark.parametrize("version", [6, 7])
@pytest.mark.parametrize(
    "frame",
    [
        pytest.param(FRAME, id="2-D"),
        pytest.param(FRAME.astype(np.uint8), id="2-D-uint8"),
        pytest.param(FRAME.astype(np.float32), id="2-D-float"),
        pytest.param(np.repeat(FRAME.astype(np.uint8), 3, axis=3), id="RGB"),
        pytest.param(np.concatenate([FRAME, FRAME + 30]), id="z-stack"),
        pytest.param(np.zeros((1, 1, 1, 1), np.uint16), id="one-pixel"),
    ],
)
def test_the_mask_reaches_nis(open_nis, classic, version, frame):
    with open_nis(nodes.script(classic, {}, nis=version), version) as host:
        (definition,) = host.output([frame])
        assert definition.name == classic.title
        assert host.build() is None
        (mask,) = host.run([frame])
    assert mask.dtype == np.int32
    expected = frame.max(axis=3, keepdims=True)
    np.testing.assert_array_equal(mask, np.where(expected > 10, expected, 0))


def test_the_workers_parameters_are_those_of_the_block(open_nis, classic):
    with open_nis(nodes.script(classic, {"smoothing": 5.0})) as host:
        (mask,) = host.run([FRAME])
    np.testing.assert_array_equal(mask, np.where(FRAME > 10, FRAME, 0) + 1)


def test_a_script_may_change_a_result_before_it_writes_it(open_nis, classic):
    """As scripts of older versions of the app write all their results."""
    text = nodes.script(classic, {})
    call = "    node.call_worker([inp[0].data], PARAMETERS, ctx=ctx, out=outputs)\n"
    assert call in text
    text = text.replace(
        call,
        "    result = node.call_worker([inp[0].data], PARAMETERS, ctx=ctx)\n"
        "    labels = result['labels']\n"
        "    labels[labels > 20] += 70_000\n"
        "    node.write(out[0], 'labels', labels)\n",
    )
    with open_nis(text) as host:
        (mask,) = host.run([FRAME])
    frame = FRAME.astype(np.int32)
    expected = np.where(frame > 20, frame + 70_000, np.where(frame > 10, frame, 0))
    np.testing.assert_array_equal(mask, expected)


def test_many_outputs_stand_below_each_other():
    for count in (1, 3, 12):
        names = [f"labels_of_kind_{number}" for number in range(count)]
        lines = nodes._outputs(names)
        assert len(lines) == (count + 2 if count > 3 else 1)
        assert max(len(line) for line in lines) <= 100
        (statement,) = ast.parse(textwrap.dedent("\n".join(lines))).body
        pairs = zip(statement.value.keys, statement.value.values, strict=True)
        read = {key.value: ast.unparse(value) for key, value in pairs}
        assert read == {name: f"out[{index}]" for index, name in enumerate(names)}


def test_frames_of_any_size_follow_each_other(open_nis, classic):
    with open_nis(nodes.script(classic, {})) as host:
        for shape in ((1, 5, 6, 1), (1, 900, 800, 1), (3, 7, 9, 1), (1, 2, 2, 3)):
            frame = np.full(shape, 77, np.uint8)
            (mask,) = host.run([frame])
            assert mask.shape == (*shape[:3], 1)
            assert (mask == 77).all()


def test_abort_ends_the_computation_and_the_next_run_works(open_nis, classic):
    started = time.monotonic()
    with (
        open_nis(nodes.script(classic, {"smoothing": 13.0})) as host,
        pytest.raises(nis.StandinError),
    ):
        host.run([FRAME], abort=lambda: time.monotonic() > started + 2)
    while records.live(_root()):
        assert time.monotonic() < started + 30  # the call would take 60 s
        time.sleep(0.1)
    with open_nis(nodes.script(classic, {})) as host:
        (mask,) = host.run([FRAME])
    assert mask.any()


def _root():
    return Path(os.environ["GA3ENV_HOME"])


def test_the_modules_refusal_reaches_the_user_as_one_sentence(open_nis, classic):
    with (
        open_nis(nodes.script(classic, {"smoothing": 14.0})) as host,
        pytest.raises(nis.NodeFailed, match="The image is too dark"),
    ):
        host.run([FRAME])


def _without_module(config, root):
    config["modules"] = {}


def _of_a_newer_app(config, root):
    config["schema"] = 99


def _without_environment(config, root):
    shutil.rmtree(root / "envs" / "classic")


def _without_interpreter(config, root):
    config["modules"]["classic"]["python"] = "envs/classic/1/.venv/bin/python"


def _damaged_entry(config, root):
    del config["modules"]["classic"]["dir"]


def _of_an_app_that_is_gone(config, root):
    config["client_dir"] = "client/of an app that is gone"


def _of_an_older_app(config, root):
    shutil.copytree(PROJECT / "ga3_nodes", root / "client" / "ga3_nodes")
    (root / "client" / "ga3_nodes" / "node.py").unlink()
    config["client_dir"] = "client"


@pytest.mark.parametrize(
    ("harm", "sentence"),
    [
        (_without_module, INSTALL),
        (_without_environment, INSTALL),
        (_of_an_app_that_is_gone, INSTALL),
        (_of_a_newer_app, r"written by a newer GA3 Environment Manager.*Update the app"),
        (_damaged_entry, r"entry of 'classic' in .* is damaged.*Install classic again\."),
        (_without_interpreter, r"environment of classic is damaged.*Repair classic in GA3"),
    ],
)
def test_a_stale_installation_is_told_with_the_next_step(
    open_nis, classic, data_folder, harm, sentence
):
    config = json.loads((data_folder / "config.json").read_text("utf-8"))
    harm(config, data_folder)
    (data_folder / "config.json").write_text(json.dumps(config), "utf-8")
    with open_nis(nodes.script(classic, {})) as host:
        host.output([FRAME])
        assert host.build() is None
        with pytest.raises(nis.NodeFailed, match=sentence):
            host.run([FRAME])


@pytest.mark.parametrize("text", [None, "", "{", "[]", "{}"])
def test_a_lost_config_is_told_with_the_next_step(open_nis, classic, data_folder, text):
    config = data_folder / "config.json"
    config.unlink() if text is None else config.write_text(text, "utf-8")
    with open_nis(nodes.script(classic, {})) as host:
        assert host.build() is None
        with pytest.raises(nis.NodeFailed, match=INSTALL):
            host.run([FRAME])


def test_an_app_older_than_the_script_is_told(out_of_process, classic, data_folder):
    config = json.loads((data_folder / "config.json").read_text("utf-8"))
    _of_an_older_app(config, data_folder)
    (data_folder / "config.json").write_text(json.dumps(config), "utf-8")
    # The environment of the tests has a way to our packages, which NIS's Python has not.
    head = f"import sys\nsys.path[:] = [p for p in sys.path if p != {str(PROJECT)!r}]\n"
    with (
        out_of_process(head + nodes.script(classic, {})) as host,
        pytest.raises(nis.NodeFailed, match=r"newer than GA3 Environment Manager\. Update"),
    ):
        host.run([FRAME])


def test_a_parameter_out_of_its_limits_is_named(open_nis, classic):
    text = nodes.script(classic, {"smoothing": 5.0}).replace(
        '"smoothing": 5.0', '"smoothing": -5.0'
    )
    with (
        open_nis(text) as host,
        pytest.raises(nis.NodeFailed, match=r"'smoothing' cannot be -5\.0.*from 0"),
    ):
        host.run([FRAME])


def test_a_node_does_not_wait_for_its_worker(out_of_process, classic):
    """The worker lives on; NIS's shutdown of the node's process must not wait for it."""
    host = out_of_process(nodes.script(classic, {}))
    host.run([FRAME])
    started = time.monotonic()
    host.close()  # raises if the worker had inherited the node's pipes
    assert time.monotonic() - started < 20
    assert len(records.live(_root())) == 1


def test_nothing_heavy_is_imported_before_run(classic, tmp_path):
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import limnode, limnode_types\n"
        "before = set(sys.modules)\n"
        "names = {}\n"
        "exec(compile(open(sys.argv[2], encoding='utf-8').read(), 'node', 'exec'), names)\n"
        "names['output']([], [limnode_types.BinaryDefinition()])\n"
        "print(sorted(set(sys.modules) - before))\n"
    )
    path = tmp_path / "node.py"
    path.write_text(nodes.script(classic, {}), "utf-8")
    standin = str(SHIPPED_MODULES.parent / "ga3_nodes" / "standin")
    done = subprocess.run(
        [sys.executable, "-c", code, standin, str(path)], capture_output=True, text=True
    )
    assert done.stdout.strip() == "[]", done.stderr


def test_the_script_is_for_people_to_read_and_change(classic):
    text = nodes.script(classic, {"smoothing": 2.5})
    tree = ast.parse(text)
    assigned = {n.targets[0].id: n.value for n in tree.body if isinstance(n, ast.Assign)}
    assert ast.literal_eval(assigned["NAME"]) == classic.title
    values = ast.literal_eval(assigned["PARAMETERS"])
    assert values["smoothing"] == 2.5
    declared = classic.functions["segment"]["parameters"]
    assert list(values) == list(declared)
    for spec in declared.values():
        assert spec["label"] in text
        for choice in spec.get("choices", []):
            assert choice["label"] in text
    assert "a number from 0 to 50 px" in text
    (line,) = [line for line in text.splitlines() if "Matters only for 3-D" in line]
    assert declared["z_spacing"]["label"] in line
    assert max(len(line) for line in text.splitlines()) <= 100
    assert "import limnode\n" in text


@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("version", [6, 7])
def test_a_node_gives_all_that_the_function_gives(open_nis, lab, version, depth):
    text = nodes.script(lab, {}, nis=version, function="analyse")
    first = np.arange(20 * depth, dtype=np.uint8).reshape(depth, 4, 5, 1)
    second = np.ones((depth, 4, 5, 1), np.uint16)
    with open_nis(text, version, outputs=("binary", "channel", "table")) as host:
        binary, channel, table = host.output([first, second])
        names = [definition.name for definition in (binary, channel, table)]
        assert names == ["Lab cells", "Lab ratio", "Lab objects"]
        assert (binary.bitsPerComponent, channel.bitsPerComponent) == (32, 32)
        assert [(c["title"], c["type"], c["unit"]) for c in table.columns] == [
            ("id", "int", None),
            ("area", "float", "µm²"),
            ('kind "x"', "string", None),
        ]
        cells, ratio, objects = host.run([first, second])
    ids = np.arange(20 * depth)
    np.testing.assert_array_equal(cells.ravel(), (ids + 1) * (ids > 0))
    np.testing.assert_array_equal(ratio.ravel(), np.float32(ids / 2 + 300))
    assert objects.colArray("id").tolist() == ids.tolist()
    assert objects.colArray("area").tolist() == (ids / 4).tolist()
    assert set(objects.colArray('kind "x"')) == {"é"}


def test_a_channel_that_the_user_makes_uint8_is_clipped_and_rounded(open_nis, lab):
    text = nodes.script(lab, {}, function="analyse").replace("makeFloat()", "makeUInt8()")
    first = np.arange(6, dtype=np.uint8).reshape(1, 2, 3, 1)
    second = np.array([0, 0, 0, 0, 1, 1], np.uint8).reshape(1, 2, 3, 1)
    with open_nis(text, outputs=("binary", "channel", "table")) as host:
        _, ratio, _ = host.run([first, second])
    assert ratio.dtype == np.uint8
    assert ratio.ravel().tolist() == [0, 0, 1, 2, 255, 255]


@pytest.mark.parametrize("depth", [1, 2])
def test_a_uint8_binary_keeps_objects_apart(open_nis, lab, depth):
    """Every pixel is an object of its own: what is left of them must not touch."""
    text = nodes.script(lab, {}, function="plain", binary="uint8")
    assert ".makeUInt8()" in text
    with open_nis(text) as host:
        (mask,) = host.run([np.ones((depth, 30, 30, 1), np.uint8)])
    assert mask.dtype == np.uint8
    assert np.argwhere(mask[..., 0]).tolist() == [[depth - 1, 29, 29]]


def test_more_than_65535_objects_reach_nis(open_nis, lab):
    with open_nis(nodes.script(lab, {}, function="plain")) as host:
        (mask,) = host.run([np.ones((2, 200, 200, 1), np.uint8)])
    np.testing.assert_array_equal(mask.ravel(), np.arange(1, 80_001))


def test_the_head_of_a_script_tells_how_to_set_the_node_up(lab):
    text = nodes.script(lab, {}, function="analyse", binary="uint8")
    ports = [line for line in text.splitlines() if line.startswith("#   ")]
    assert ports == [
        "#   input 1: cytoplasm (channel, 2-D or 3-D, mono)",
        "#   input 2: nucleus (channel, 2-D or 3-D, mono)",
        "#   output 1: cells (binary, with a gap between objects that touch)",
        "#   output 2: ratio (channel)",
        "#   output 3: objects (table)",
    ]
    assert "3-D slice by slice" in nodes.script(lab, {}, function="plain")
    measure = dict(lab.functions["measure"], outputs={"labels": {"kind": "labels"}})
    other = dataclasses.replace(lab, functions={"measure": measure})
    text = nodes.script(other, {}, function="measure")
    assert "#   input 1: image (channel, 2-D, mono or RGB)\n" in text
    assert "#   input 2: objects (binary of type int32, 2-D)\n" in text


def test_a_table_without_declared_columns_makes_no_node(lab):
    with pytest.raises(BadInput, match=r"which columns its table 'objects' has.*module\.toml"):
        nodes.script(lab, {}, function="measure")


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('type = "int"', 'type = "text"', "columns\\[0\\].type is 'text'"),
        ('name = "area"', 'name = "id"', "columns holds a name twice"),
        ('name = "id", ', "", "columns\\[0\\].name is missing"),
        ("slice_by_slice = false", "slice_by_slice = true", "beside an output that is a table"),
        ("slice_by_slice = false", "slice_by_slice = 1", "must be true or false"),
        ("nucleus = { axes", 'nucleus = { kind = "table", axes', "nucleus.kind is 'table'"),
        ('kind = "labels" }', 'kind = "labels", columns = [] }', "columns is not known"),
    ],
)
def test_a_wrong_declaration_names_its_place(lab, old, new, problem):
    path = lab.folder / "module.toml"
    path.write_text(path.read_text("utf-8").replace(old, new, 1), "utf-8")
    with pytest.raises(CatalogError, match=problem):
        catalog.load(lab.folder)


def test_the_node_command_brings_the_client_that_its_script_needs(classic, data_folder, tmp_path):
    config = json.loads((data_folder / "config.json").read_text("utf-8"))
    (data_folder / "config.json").write_text(json.dumps(config | {"client_dir": "old"}), "utf-8")
    target = tmp_path / "node.py"
    assert cli.main(["node", "classic", "--binary", "uint8", "-o", str(target)]) == 0
    assert ".makeUInt8()" in target.read_text("utf-8")
    now = json.loads((data_folder / "config.json").read_text("utf-8"))
    assert (data_folder / now["client_dir"] / "ga3_nodes" / "node.py").is_file()
    assert now["modules"] == config["modules"]
    (data_folder / "config.json").write_text("{", "utf-8")
    assert cli.main(["node", "classic", "-o", str(target)]) == 0  # it needs no data folder
    assert (data_folder / "config.json").read_text("utf-8") == "{"


@pytest.mark.slow
@pytest.mark.parametrize("version", [6, 7])
def test_a_generated_node_runs_on(interpreter, lab, tmp_path, version):
    """In both modes, on each Python that a node may run in; the worker's is another one."""
    _, python, site = interpreter
    text = nodes.script(lab, {}, nis=version, function="analyse")
    kinds = ("binary", "channel", "table")
    frames = [np.arange(6, dtype=t).reshape(1, 2, 3, 1) for t in (np.uint8, np.float32)]
    with OutOfProcessNis(text, version, python=python, site=site, outputs=kinds) as host:
        assert host.build() is None
        cells, ratio, table = host.run(frames)
        assert table.colArray("id").tolist() == [0, 1, 2, 3, 4, 5]

    (tmp_path / "node.py").write_text(text, "utf-8")
    arguments = ["--script", "node.py", "--version", str(version), "--output-dir", "out", "--json"]
    for index, frame in enumerate(frames):
        np.save(tmp_path / f"{index}.npy", frame)
        arguments += ["--input", f"{index}.npy"]
    for kind in kinds:
        arguments += ["--output", kind]
    done = subprocess.run(
        [str(python), "-W", "error", PROJECT / "ga3_nodes" / "standin", *arguments],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    np.testing.assert_array_equal(np.load(tmp_path / "out" / "output_0.npy"), cells)
    np.testing.assert_array_equal(np.load(tmp_path / "out" / "output_1.npy"), ratio)
    assert json.loads((tmp_path / "out" / "output_2.json").read_text())["id"] == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("values", "function"), [({"nothing": 1}, "segment"), ({"smoothing": -1}, "segment"), ({}, "x")]
)
def test_a_script_with_wrong_parameters_is_not_made(classic, values, function):
    with pytest.raises(BadInput):
        nodes.script(classic, values, function=function)
