"""Between NIS's arrays and a module's: axes, types, tables; with real workers where they matter."""

from __future__ import annotations

import copyreg
import pickle
import sys
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ga3_nodes import client, frames, home, locks, node, prewarming, records
from ga3_nodes.errors import BadInput, Cancelled, ConfigError, ModuleFailed, NotInstalled
from ga3_nodes.standin import limnode, nis
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


def test_more_ids_than_an_int32_holds_are_no_wrong_ids():
    huge = np.full((1, 1), np.iinfo(np.int32).max, np.int32)
    out = np.full((2, 1, 1), 9, np.int32)
    with pytest.raises(ModuleFailed, match=r"more objects than"):
        frames.stack([huge, np.ones((1, 1), np.int32)], "labels", out)
    assert (out == 9).all()


@pytest.mark.parametrize(
    ("declared", "depth", "components", "expected"),
    [
        (frames._ORDERS, 1, 1, "yx"),
        (frames._ORDERS, 1, 3, "yxc"),
        (frames._ORDERS, 7, 1, "zyx"),
        (frames._ORDERS, 7, 2, "zyxc"),
        (["zyx"], 1, 1, "zyx"),
        (["yxc"], 1, 1, "yxc"),
        (["zyxc"], 1, 1, "zyxc"),
        (["yx", "yxc"], 2, 1, None),
        (["yx", "zyx"], 1, 3, None),
        (["yxc", "zyx"], 2, 3, None),
    ],
)
def test_the_plainest_order_that_holds_the_data_is_taken(declared, depth, components, expected):
    assert frames.axes_for(declared, depth, components) == expected
    if expected:
        frame = volume(depth, 5, 6, components)
        seen = frames.to_module(frame, expected)
        assert seen.ndim == len(expected)
        assert np.shares_memory(seen, frame)
        np.testing.assert_array_equal(frames.to_nis(seen, frame.shape), frame)


# ---- binaries ------------------------------------------------------------------------------------


def touching(shape):
    """Return labels of blocks of 4 pixels along each axis that all touch each other."""
    grid = np.indices(shape) // 4
    return (np.ravel_multi_index(list(grid), [size // 4 for size in shape]) + 1).astype(np.int32)


def components(mask):
    """Count what is connected by faces, corners and edges, as the strictest reader of a binary."""
    left, found = {tuple(p) for p in np.argwhere(mask)}, 0
    steps = [tuple(s) for s in np.argwhere(np.ones((3,) * mask.ndim)) - 1]
    while left:
        found, todo = found + 1, [left.pop()]
        while todo:
            here = todo.pop()
            near = {tuple(a + b for a, b in zip(here, step, strict=True)) for step in steps} & left
            left -= near
            todo += near
    return found


@pytest.mark.parametrize("host", ["of NIS", "without its function"])
@pytest.mark.parametrize("shape", [(64, 80), (8, 8, 16)])
def test_a_uint8_binary_keeps_touching_objects_apart(monkeypatch, host, shape):
    if host == "of NIS":
        monkeypatch.setitem(sys.modules, "limnode", limnode)
    else:
        monkeypatch.delitem(sys.modules, "limnode", raising=False)
    labels = touching(shape)
    depth = 1 if len(shape) == 2 else shape[0]
    out = np.zeros((depth, *shape[-2:], 1), np.uint8)
    frames.write_labels(out, labels)
    assert labels.max() > 255 or depth > 1  # a cast would wrap around
    assert set(np.unique(out)) == {0, 1}
    mask = out[0, ..., 0] if len(shape) == 2 else out[..., 0]
    assert components(mask) == labels.max()
    assert (labels[mask > 0] > 0).all()


def test_more_than_65535_objects_survive_the_trip(data_folder):
    publish(data_folder, ECHO_DECLARATION, ECHO_WORKER)
    echo_node = node.ExternalModuleNode("echo")
    result = echo_node.call_worker(np.ones((1, 300, 300, 1), np.uint8))
    out = output((1, 300, 300, 1), np.int32)
    echo_node.write(out, "labels", result["labels"])
    np.testing.assert_array_equal(out.data.ravel(), np.arange(1, 90_001))


# ---- channels ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "dtype", "expected"),
    [
        ([-3.0, 0.4, 0.6, 254.6, 300.0, 1e30], np.uint8, [0, 0, 1, 255, 255, 255]),
        ([np.nan, np.inf, -np.inf, 65535.4, 7.0], np.uint16, [0, 65535, 0, 65535, 7]),
        (np.array([5, 255, 256, 65535], np.uint16), np.uint8, [5, 255, 255, 255]),
        (np.array([-5, 70000, 9], np.int32), np.uint16, [0, 65535, 9]),
        (np.array([2.5, 60000, 3], np.float16), np.uint8, [2, 255, 3]),
        (np.array([0, 255], np.uint8), np.uint16, [0, 255]),
        (np.array([True, False]), np.uint8, [1, 0]),
        (np.array([65535, 3], np.uint16), np.float32, [65535, 3]),
        ([1e300, -1e300, 0.1], np.float32, [np.inf, -np.inf, np.float32(0.1)]),
    ],
)
def test_a_channel_is_clipped_and_rounded_and_never_wraps(values, dtype, expected):
    image = np.asarray(values)[np.newaxis]
    out = np.zeros((1, *image.shape, 1), dtype)
    frames.write_image(out, image)
    np.testing.assert_array_equal(out.ravel(), np.asarray(expected, dtype))


@given(
    values=st.lists(st.floats(width=32), min_size=1, max_size=50),
    dtype=st.sampled_from([np.uint8, np.uint16]),
)
def test_no_number_comes_out_far_from_where_it_was(values, dtype):
    image = np.asarray([values], np.float32)
    out = np.zeros((1, *image.shape, 1), dtype)
    frames.write_image(out, image)
    limit = float(np.iinfo(dtype).max)
    wanted = [0.0 if v != v else min(max(v, 0.0), limit) for v in values]
    assert np.abs(out.ravel() - np.asarray(wanted)).max() <= 0.5


def test_an_rgb_result_does_not_fit_a_mono_channel():
    with pytest.raises(ModuleFailed, match=r"shape \(4, 5, 3\).*\(1, 4, 5, 1\)"):
        frames.write_image(np.zeros((1, 4, 5, 1), np.uint8), np.zeros((4, 5, 3), np.uint8))
    out = np.zeros((1, 4, 5, 3), np.uint8)
    frames.write_image(out, volume(4, 5, 3, dtype=np.uint8))
    np.testing.assert_array_equal(out[0], volume(4, 5, 3))


# ---- tables --------------------------------------------------------------------------------------

GOOD = {"id": [1, 2], "area": [1, 2.5], "kind": ["a", "b"]}


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"area": None}, "with the columns id, kind; declared are id, area, kind"),
        ({"more": [1, 2]}, "with the columns id, area, kind, more"),
        ({"area": [1.0]}, "differ in length"),
        ({"id": [1.5, 2.0]}, "'id' of 'objects' is declared as int and holds float64"),
        ({"kind": [1, 2]}, "'kind' of 'objects' is declared as string and holds int64"),
        ({"area": ["1", "2"]}, "'area' of 'objects' is declared as float"),
        ({"id": [[1], [2]]}, "'id' of 'objects'"),
    ],
)
def test_a_table_unlike_its_declaration_is_refused(changed, problem):
    table = {k: v for k, v in {**GOOD, **changed}.items() if v is not None}
    with pytest.raises(ModuleFailed, match=problem):
        frames.columns("objects", COLUMNS, table)


def test_columns_come_in_the_declared_order_and_type():
    titles, values = frames.columns("t", COLUMNS, dict(reversed(GOOD.items())))
    assert titles == ["id", "area", "kind"]
    assert values == [[1, 2], [1.0, 2.5], ["a", "b"]]
    assert [type(column[0]) for column in values] == [int, float, str]
    assert frames.columns("t", COLUMNS, {"id": [], "area": [], "kind": []})[1] == [[], [], []]


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


# ---- prewarming ----------------------------------------------------------------------------------


def warmed(module, seconds=60):
    prewarming._threads[module].join(seconds)
    assert not prewarming._threads[module].is_alive()


def test_prewarming_returns_at_once_and_starts_one_worker(data_folder):
    slow = "import time\ntime.sleep(3)\n"
    publish(data_folder, ECHO_DECLARATION, slow + ECHO_WORKER.lstrip())
    started = time.monotonic()
    for _ in range(20):
        client.prewarm("echo")
    assert time.monotonic() - started < 3  # neither the start nor the import is waited for
    warmed("echo")
    ((_, record),) = records.live(data_folder)
    client.prewarm("echo")
    warmed("echo")
    result = client.call("echo", "segment", {"image": np.ones((2, 2), np.uint8)})
    assert result.worker_pid == record.pid
    log = (home.log_dir(data_folder) / "worker-echo.log").read_text("utf-8")
    assert log.count(" started\n") == 1
    assert "ends" not in log


def test_prewarming_replaces_a_worker_that_has_ended(data_folder):
    publish(data_folder, ECHO_DECLARATION, ECHO_WORKER)
    first = client.start("echo")
    ((stem, record),) = records.live(data_folder)
    client.stop(record)
    deadline = time.monotonic() + 20
    while locks.is_locked(records.lease_path(stem)):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    client.prewarm("echo")
    warmed("echo")
    ((_, record),) = records.live(data_folder)
    assert record.pid != first


@pytest.mark.parametrize("damage", ["missing", "interpreter", "config"])
def test_prewarming_what_cannot_start_only_leaves_a_line_in_the_log(data_folder, damage):
    if damage != "missing":
        python = "nowhere/python"
        publish(data_folder, ECHO_DECLARATION, ECHO_WORKER, python=python)
    if damage == "config":
        (data_folder / "config.json").write_text("{", "utf-8")
    client.prewarm("echo")
    warmed("echo")
    log = (home.log_dir(data_folder) / "worker-echo.log").read_text("utf-8")
    said = {"missing": "not installed", "interpreter": "damaged", "config": "is damaged"}
    assert "not started ahead" in log
    assert said[damage] in log


def test_a_wrong_name_is_no_path(data_folder):
    client.prewarm("../echo")
    warmed("../echo")
    assert not list(data_folder.parent.glob("*.log"))


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
