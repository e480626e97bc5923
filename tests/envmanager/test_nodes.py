"""Generated node scripts, run the way NIS runs them, against real workers."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from envmanager import catalog, nodes
from envmanager.errors import BadInput
from envmanager.paths import SHIPPED_MODULES
from ga3_nodes import records
from ga3_nodes.standin import nis
from tests.support import PROJECT, publish

pytestmark = pytest.mark.windows

# Answers with what it got, so that the tests see axes, types and parameters.
WORKER = """
import time
import numpy as np

def segment(image, *, axes="", smoothing=0.0, **parameters):
    if smoothing == 13.0:
        time.sleep(60)
    if smoothing == 14.0:
        raise ValueError("The image is too dark.")
    pixels = image.max(axis=-1) if axes.endswith("c") else image
    assert pixels.ndim == len(axes.replace("c", "")), (axes, image.shape)
    return np.where(pixels > 10, pixels.astype(np.int32), 0) + (1 if smoothing == 5.0 else 0)
"""
FRAME = np.arange(30, dtype=np.uint16).reshape(1, 5, 6, 1)


@pytest.fixture
def classic(data_folder):
    """Publish a worker under the name, and with the declaration, of the shipped module."""
    module = catalog.load(SHIPPED_MODULES / "classic")
    publish(data_folder, module.declaration(), WORKER)
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


def test_a_module_that_is_not_installed_is_told_with_the_next_step(open_nis, classic, data_folder):
    config = data_folder / "config.json"
    empty = {"schema": 1, "client_dir": str(PROJECT), "modules": {}}
    stale = empty | {"client_dir": "client/of an app that is gone"}
    for text in (json.dumps(empty), json.dumps(stale), "{", None):
        config.unlink() if text is None else config.write_text(text, "utf-8")
        with (
            open_nis(nodes.script(classic, {})) as host,
            pytest.raises(nis.NodeFailed, match=r"not installed.*Install"),
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
        "import limnode\n"
        "before = set(sys.modules)\n"
        "exec(compile(open(sys.argv[2], encoding='utf-8').read(), 'node', 'exec'), {})\n"
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
    assert max(len(line) for line in text.splitlines()) <= 100
    assert "import limnode\n" in text


@pytest.mark.parametrize(
    ("values", "function"), [({"nothing": 1}, "segment"), ({"smoothing": -1}, "segment"), ({}, "x")]
)
def test_a_script_with_wrong_parameters_is_not_made(classic, values, function):
    with pytest.raises(BadInput):
        nodes.script(classic, values, function=function)
