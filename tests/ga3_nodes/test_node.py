"""Between NIS's arrays and a module's: axes, types, tables; with real workers where they matter."""

from __future__ import annotations

import copyreg
import pickle
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

from ga3_nodes import node, records
from ga3_nodes.errors import BadInput, Cancelled, ConfigError, ModuleFailed, NotInstalled
from ga3_nodes.standin import nis
from ga3_nodes.standin.limnode_types import ImageData, TableData, TableDefinition
from tests.support import ECHO_DECLARATION, ECHO_WORKER, PROJECT, publish

pytestmark = pytest.mark.windows

COLUMNS = [
    {"name": "id", "type": "int", "unit": ""},
    {"name": "area", "type": "float", "unit": "µm²"},
    {"name": "kind", "type": "string", "unit": ""},
]
PAIR = {
    "inputs": {"cytoplasm": {"axes": ["yx", "zyx"]}, "nucleus": {"axes": ["yx", "zyx"]}},
    "outputs": {
        "cells": {"kind": "labels"},
        "nuclei": {"kind": "labels"},
        "ratio": {"kind": "image"},
        "objects": {"kind": "table", "columns": COLUMNS},
    },
    "parameters": {},
}
FLAT = {"inputs": {"image": {"axes": ["yx"]}}, "outputs": {"labels": {"kind": "labels"}}}
SLICED = {
    "inputs": {"image": {"axes": ["yx", "yxc"]}, "other": {"axes": ["yx"]}},
    "outputs": {"labels": {"kind": "labels"}, "seen": {"kind": "image"}},
    "slice_by_slice": True,
}
MEASURE = {
    "inputs": {"image": {"axes": ["yx"]}, "objects": {"axes": ["yx"], "kind": "labels"}},
    "outputs": {"seen": {"kind": "image"}},
}
DECLARATION = {
    "name": "lab",
    "version": "1.0.0",
    "functions": {"pair": PAIR, "flat": FLAT, "sliced": SLICED, "measure": MEASURE},
}
WORKER = """
import numpy as np

def pair(cytoplasm, nucleus):
    cells = (cytoplasm > 0) * np.arange(1, cytoplasm.size + 1).reshape(cytoplasm.shape)
    table = {"id": np.arange(3), "area": [1.5, np.nan, 2], "kind": ["a", "b", "c"]}
    return {
        "objects": table, "cells": cells, "nuclei": (nucleus > 0).astype(np.uint8),
        "ratio": nucleus.astype(float) / 2,
    }

def flat(image, *, note=None):
    assert image.ndim == 2
    note("It ran on the CPU.")
    return (image > 0).astype(np.int32)

def sliced(image, other, *, axes=""):
    assert image.ndim == len(axes), axes
    plane = image.sum(axis=-1) if axes == "yxc" else image
    labels = np.arange(1, plane.size + 1).reshape(plane.shape) * (plane > 0)
    return {"labels": labels, "seen": other.astype(np.float32)}

def measure(image, objects):
    return objects.astype(np.float32)
"""


@pytest.fixture
def lab(data_folder):
    publish(data_folder, DECLARATION, WORKER)
    return data_folder


def volume(*shape, dtype=np.uint16):
    return np.arange(1, np.prod(shape) + 1).reshape(shape).astype(dtype)


def output(shape, dtype):
    return ImageData(np.zeros(shape, dtype))


# ---- several inputs and outputs ------------------------------------------------------------------


@pytest.mark.parametrize("depth", [1, 4])
@pytest.mark.parametrize(("given_as", "how"), [(list, "write"), (dict, "out")])
def test_two_channels_give_two_binaries_a_channel_and_a_table(lab, depth, given_as, how):
    first, second = volume(depth, 5, 6, 1), volume(depth, 5, 6, 1, dtype=np.float32)
    second[:, 2] = 0
    data = [first, second] if given_as is list else {"nucleus": second, "cytoplasm": first}
    lab_node = node.ExternalModuleNode("lab", "pair", title="Lab")
    cells, nuclei = output(first.shape, np.int32), output(first.shape, np.uint8)
    ratio, table = output(first.shape, np.float32), TableData(table_definition().columns)
    out = {"cells": cells, "nuclei": nuclei, "ratio": ratio, "objects": table}
    result = lab_node.call_worker(data, out=out if how == "out" else None)
    assert result["cells"].dtype == result["nuclei"].dtype == np.int32
    assert result["cells"].shape == result["ratio"].shape == first.shape[depth == 1 : 3]
    assert np.shares_memory(result["cells"], cells.data) == (how == "out")
    if how == "write":
        for name, one in out.items():
            lab_node.write(one, name, result[name])
    np.testing.assert_array_equal(cells.data, volume(depth, 5, 6, 1))
    np.testing.assert_array_equal(nuclei.data, second > 0)
    np.testing.assert_array_equal(ratio.data, second / 2)
    assert table.colArray("id").tolist() == [0, 1, 2]
    np.testing.assert_array_equal(table.colArray("area"), [1.5, np.nan, 2])
    assert table.colArray("kind").tolist() == ["a", "b", "c"]


def table_definition():
    made = TableDefinition().makeNew("objects").withIntCol("id").withFloatCol("area", "µm²")
    return made.withStringCol("kind")


@pytest.mark.parametrize(
    "data",
    [
        [],
        [np.ones((1, 2, 2, 1))],
        np.ones((1, 2, 2, 1)),
        {"cytoplasm": np.ones((1, 2, 2, 1)), "other": np.ones((1, 2, 2, 1))},
    ],
)
def test_a_wrong_number_of_inputs_is_told_with_their_names(lab, data):
    with pytest.raises(BadInput, match=r"Lab takes 2 input\(s\): cytoplasm, nucleus"):
        node.ExternalModuleNode("lab", "pair", title="Lab").call_worker(data)


@pytest.mark.parametrize("shape", [(5, 6), (1, 5, 6), (1, 0, 6, 1)])
def test_an_array_that_is_not_niss_is_refused(lab, shape):
    with pytest.raises(BadInput, match=r"not \(z, y, x, component\)"):
        node.ExternalModuleNode("lab", "flat").call_worker(np.zeros(shape, np.uint8))


def test_results_are_not_written_into_the_wrong_output(lab):
    lab_node = node.ExternalModuleNode("lab", "flat", title="Lab")
    result = lab_node.call_worker(volume(1, 3, 3, 1))
    with pytest.raises(BadInput, match=r"'labels' of Lab is a binary, but .* is a table"):
        lab_node.write(TableData([]), "labels", result["labels"])
    with pytest.raises(BadInput, match=r"no output 'cells'"):
        lab_node.write(output((1, 3, 3, 1), np.int32), "cells", result["labels"])
    with pytest.raises(BadInput, match=r"float32"):
        lab_node.write(output((1, 3, 3, 1), np.float32), "labels", result["labels"])
    smaller = output((1, 3, 2, 1), np.int32)
    with pytest.raises(ModuleFailed, match=r"\(3, 3\).*\(1, 3, 2, 1\)"):
        lab_node.write(smaller, "labels", result["labels"])
    assert not smaller.data.any()


@pytest.mark.parametrize(
    ("name", "out", "sentence"),
    [
        ("labels", TableData([]), "'labels' of Lab is a binary, but .* is a table"),
        ("cells", ImageData(np.zeros((1, 3, 3, 1), np.int32)), "no output 'cells'"),
        ("labels", ImageData(np.zeros((1, 3, 3, 1), np.float32)), "type float32.*makeInt32"),
        ("labels", ImageData(np.zeros((1, 3, 2, 1), np.int32)), r"\(1, 3, 2, 1\).*\(1, 3, 3, 1\)"),
        ("labels", ImageData(np.zeros((2, 3, 3, 1), np.uint8)), r"\(2, 3, 3, 1\).*new binary"),
    ],
)
def test_an_output_that_cannot_take_its_result_is_refused_before_the_call(lab, name, out, sentence):
    with pytest.raises(BadInput, match=sentence):
        node.ExternalModuleNode("lab", "flat", title="Lab").call_worker(
            volume(1, 3, 3, 1), out={name: out}
        )
    assert records.live(lab) == []


def test_labels_lie_on_the_image_without_its_components(data_folder):
    segment = dict(SLICED, inputs={"image": {"axes": ["yxc", "zyxc"]}})
    code = "def segment(image): return {'labels': image[..., 0], 'seen': image[..., 1]}"
    declaration = {**DECLARATION, "functions": {"segment": segment}}
    publish(data_folder, declaration, code)
    for depth in (1, 3):
        image = volume(depth, 4, 5, 3)
        binary = output((depth, 4, 5, 1), np.int32)
        result = node.ExternalModuleNode("lab").call_worker(image, out={"labels": binary})
        np.testing.assert_array_equal(binary.data, image[..., :1])
        assert np.shares_memory(result["labels"], binary.data)
        assert result["labels"].shape == image.shape[depth == 1 : 3]


def test_where_objects_need_numbers_a_plain_mask_is_refused(lab):
    """Else all objects would be measured as one."""
    image, ids = volume(1, 3, 3, 1), volume(1, 3, 3, 1, dtype=np.int32)
    measure = node.ExternalModuleNode("lab", "measure", title="Lab")
    np.testing.assert_array_equal(measure.call_worker([image, ids])["seen"], ids[0, ..., 0])
    with pytest.raises(BadInput, match=r"numbers of the objects.*'objects'.*type int32"):
        measure.call_worker([image, (ids > 0).astype(np.uint8)])


# ---- volumes and components ----------------------------------------------------------------------


def test_a_volume_for_a_2d_function_is_refused(lab):
    with pytest.raises(BadInput, match=r"Lab takes single 2-D frames.*4 slices.*2-D Python node"):
        node.ExternalModuleNode("lab", "flat", title="Lab").call_worker(volume(4, 3, 3, 1))


def test_rgb_for_a_function_of_one_component_is_refused(lab):
    with pytest.raises(BadInput, match=r"Lab takes one component per pixel.*has 3"):
        node.ExternalModuleNode("lab", "flat", title="Lab").call_worker(volume(1, 3, 3, 3))


@pytest.mark.parametrize("components", [1, 3])
def test_slice_by_slice_numbers_every_object_of_the_volume(lab, components):
    image, other = volume(3, 4, 5, components), volume(3, 4, 5, 1, dtype=np.uint8)
    image[1] = 0  # a slice without objects
    lab_node = node.ExternalModuleNode("lab", "sliced")
    result = lab_node.call_worker([image, other])
    labels = result["labels"]
    assert labels.dtype == np.int32
    assert labels.shape == (3, 4, 5)
    assert not labels[1].any()
    assert sorted(labels[labels > 0]) == list(range(1, 41))
    np.testing.assert_array_equal(result["seen"], other[..., 0])
    assert result.worker_pid == records.live(lab)[0][1].pid
    binary, seen = ImageData(np.full((3, 4, 5, 1), 9, np.int32)), output((3, 4, 5, 1), np.uint8)
    written = lab_node.call_worker([image, other], out={"labels": binary, "seen": seen})
    assert np.shares_memory(written["labels"], binary.data)
    np.testing.assert_array_equal(binary.data[..., 0], labels)
    np.testing.assert_array_equal(seen.data, other)


def test_slices_need_as_many_of_each_input(lab):
    with pytest.raises(BadInput, match=r"differ in their number of slices"):
        node.ExternalModuleNode("lab", "sliced").call_worker(
            [volume(3, 4, 5, 1), volume(1, 4, 5, 1)]
        )


def test_more_than_65535_objects_survive_the_trip(data_folder):
    publish(data_folder, ECHO_DECLARATION, ECHO_WORKER)
    echo_node = node.ExternalModuleNode("echo")
    result = echo_node.call_worker(np.ones((1, 300, 300, 1), np.uint8))
    out = output((1, 300, 300, 1), np.int32)
    echo_node.write(out, "labels", result["labels"])
    np.testing.assert_array_equal(out.data.ravel(), np.arange(1, 90_001))


# ---- what is missing -----------------------------------------------------------------------------


def test_a_missing_module_is_told_by_its_title(lab):
    missing = node.ExternalModuleNode("absent", title="Nothing here")
    with pytest.raises(NotInstalled, match=r"^Nothing here is not installed. Open GA3 .*Install"):
        missing.call_worker(volume(1, 2, 2, 1))


def test_what_a_module_notes_reaches_niss_log(lab, capsys):
    node.ExternalModuleNode("lab", "flat", title="Lab").call_worker(volume(1, 2, 2, 1))
    assert capsys.readouterr().out == "Lab: It ran on the CPU.\n"


def test_an_unknown_function_is_told(lab):
    with pytest.raises(BadInput, match=r"no function 'segment'.*Generate"):
        node.ExternalModuleNode("lab").call_worker(volume(1, 2, 2, 1))


def test_an_error_can_be_read_where_our_package_is_not(lab, monkeypatch):
    """Out of process NIS gets what a node raises through a pipe, and cannot import us."""
    with pytest.raises(NotInstalled) as raised:
        node.ExternalModuleNode("absent", title="Absent").call_worker(volume(1, 2, 2, 1))
    # Dask, which other tests import, changes how the errors of its process are pickled.
    monkeypatch.delitem(copyreg.dispatch_table, type(raised.value), raising=False)
    data = pickle.dumps(raised.value)
    assert b"ga3_nodes" not in data
    assert str(pickle.loads(data)).startswith("Absent is not installed. Open GA3")


def test_abort_ends_a_call_and_the_next_one_works(data_folder):
    publish(data_folder, ECHO_DECLARATION, ECHO_WORKER)
    echo_node = node.ExternalModuleNode("echo")
    until = time.monotonic() + 1
    button = SimpleNamespace(shouldAbort=False)
    threading.Timer(1, lambda: setattr(button, "shouldAbort", True)).start()
    with pytest.raises(Cancelled):
        echo_node.call_worker(volume(1, 2, 2, 1), {"mode": "sleep"}, ctx=button)
    assert until - 0.2 < time.monotonic() < until + 20  # it would sleep for 60 s
    assert echo_node.call_worker(volume(1, 2, 2, 1))["labels"].max() == 4


def test_a_config_of_a_newer_app_is_told(lab):
    config = lab / "config.json"
    config.write_text(config.read_text("utf-8").replace('"schema": 1', '"schema": 2'), "utf-8")
    with pytest.raises(ConfigError, match=r"newer GA3 Environment Manager.*Update the app"):
        node.ExternalModuleNode("lab", "flat").call_worker(volume(1, 2, 2, 1))


def test_the_helpers_serve_scripts_in_the_stand_in(data_folder, out_of_process):
    """A hand-written node of a few lines, in a process of its own."""
    publish(data_folder, ECHO_DECLARATION, ECHO_WORKER)
    script = (
        "import limnode\n"
        f"import sys; sys.path.append({str(PROJECT)!r})\n"
        "def output(inp, out): out[0].makeNew('cells', 0).makeUInt8()\n"
        "def build(loops): return None\n"
        "def run(inp, out, ctx):\n"
        "    from ga3_nodes.node import ExternalModuleNode\n"
        "    node = ExternalModuleNode('echo')\n"
        "    result = node.call_worker(inp[0].data, {'threshold': 3}, ctx=ctx)\n"
        "    node.write(out[0], 'labels', result['labels'])\n"
        "if __name__ == '__main__': limnode.child_main(run, output, build)\n"
    )
    frame = np.array([[[[9], [1], [9]]]], np.uint16)
    with out_of_process(script) as host:
        (mask,) = host.run([nis.channel(frame)])
    assert mask.ravel().tolist() == [1, 0, 1]
