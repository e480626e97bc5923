"""Generated node scripts, run the way NIS runs them, against real workers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from envmanager import nodes
from envmanager.data.paths import SHIPPED_MODULES
from envmanager.modules import catalog
from ga3_nodes import records
from ga3_nodes.standin import nis
from ga3_nodes.standin.out_of_process import OutOfProcessNis
from tests import node_lab
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
    module = node_lab.declared(data_folder)
    publish(data_folder, module.declaration(), node_lab.WORKER)
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
