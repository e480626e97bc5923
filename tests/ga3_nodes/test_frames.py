"""Between NIS's arrays and a module's: axes, ids, types of pixels, columns of tables."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ga3_nodes import frames
from ga3_nodes.errors import ModuleFailed
from ga3_nodes.standin import limnode

pytestmark = pytest.mark.windows

COLUMNS = [
    {"name": "id", "type": "int", "unit": ""},
    {"name": "area", "type": "float", "unit": "µm²"},
    {"name": "kind", "type": "string", "unit": ""},
]


def volume(*shape, dtype=np.uint16):
    return np.arange(1, np.prod(shape) + 1).reshape(shape).astype(dtype)


# ---- axes and ids --------------------------------------------------------------------------------


def test_more_ids_than_an_int32_holds_are_no_wrong_ids():
    huge = np.full((1, 1), np.iinfo(np.int32).max, np.int32)
    out = np.full((2, 1, 1), 9, np.int32)
    with pytest.raises(ModuleFailed, match=r"more objects than"):
        frames.ready_volume(out, [huge, np.ones((1, 1), np.int32)])
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
    frames.ready_labels(out, labels)()
    assert labels.max() > 255 or depth > 1  # a cast would wrap around
    assert set(np.unique(out)) == {0, 1}
    mask = out[0, ..., 0] if len(shape) == 2 else out[..., 0]
    assert components(mask) == labels.max()
    assert (labels[mask > 0] > 0).all()


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
    frames.ready_image(out, image)()
    np.testing.assert_array_equal(out.ravel(), np.asarray(expected, dtype))


@given(
    values=st.lists(st.floats(width=32), min_size=1, max_size=50),
    dtype=st.sampled_from([np.uint8, np.uint16]),
)
def test_no_number_comes_out_far_from_where_it_was(values, dtype):
    image = np.asarray([values], np.float32)
    out = np.zeros((1, *image.shape, 1), dtype)
    frames.ready_image(out, image)()
    limit = float(np.iinfo(dtype).max)
    wanted = [0.0 if v != v else min(max(v, 0.0), limit) for v in values]
    assert np.abs(out.ravel() - np.asarray(wanted)).max() <= 0.5


def test_an_rgb_result_does_not_fit_a_mono_channel():
    with pytest.raises(ModuleFailed, match=r"shape \(4, 5, 3\).*\(1, 4, 5, 1\)"):
        frames.ready_image(np.zeros((1, 4, 5, 1), np.uint8), np.zeros((4, 5, 3), np.uint8))
    out = np.zeros((1, 4, 5, 3), np.uint8)
    frames.ready_image(out, volume(4, 5, 3, dtype=np.uint8))()
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
