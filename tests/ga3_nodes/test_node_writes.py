"""The outputs of a node are written all, or none of them: a result is never shown in part."""

from __future__ import annotations

import numpy as np
import pytest

from ga3_nodes import frames, node
from ga3_nodes.errors import BadInput, ModuleFailed
from ga3_nodes.standin.limnode_types import ImageData, TableData, TableDefinition
from tests.support import publish

pytestmark = pytest.mark.windows

COLUMNS = [{"name": "id", "type": "int"}, {"name": "area", "type": "float"}]
MODE = {"mode": {"type": "text", "default": "plain"}}
WHOLE = {
    "inputs": {"image": {"axes": ["yx", "zyx"]}},
    "outputs": {
        "cells": {"kind": "labels"},
        "mask": {"kind": "labels"},
        "ratio": {"kind": "image"},
        "objects": {"kind": "table", "columns": COLUMNS},
    },
    "parameters": MODE,
}
SLICED = {
    "inputs": {"image": {"axes": ["yx"]}},
    "outputs": {
        "cells": {"kind": "labels"},
        "nuclei": {"kind": "labels"},
        "seen": {"kind": "image"},
    },
    "parameters": MODE,
    "slice_by_slice": True,
}
DECLARATION = {
    "name": "lab",
    "version": "1.0.0",
    "functions": {"whole": WHOLE, "sliced": SLICED},
}
WORKER = """
import numpy as np

def whole(image, *, mode):
    made = {
        "cells": image.astype(np.int32), "mask": image, "ratio": image / 2,
        "objects": {"id": [1, 2], "area": [0.5, 1.5]},
    }
    if mode == "narrow channel":
        made["ratio"] = made["ratio"][..., 1:]
    if mode == "lacking column":
        del made["objects"]["area"]
    if mode == "text in a column":
        made["objects"]["area"] = ["a", "b"]
    return made

def sliced(image, *, mode):
    made = {"cells": image.astype(np.int32), "nuclei": image, "seen": image / 2}
    last = image[0, 0] == 3
    if mode == "narrow slice" and last:
        made["seen"] = made["seen"][1:]
    if mode == "narrow slices":
        made["seen"] = made["seen"][1:]
    if mode == "too many objects":
        made["nuclei"] = np.full(image.shape, 2**30, np.int32)
    return made
"""
VOLUME = np.repeat(np.array([1, 2, 3], np.uint8), 20).reshape(3, 4, 5, 1)


@pytest.fixture
def lab(data_folder):
    publish(data_folder, DECLARATION, WORKER)


def _images(shape, **dtypes):
    return {name: ImageData(np.full(shape, 7, dtype)) for name, dtype in dtypes.items()}


def _table(*columns):
    made = TableDefinition().makeNew("objects")
    for title in columns:
        made = made.withIntCol(title) if title == "id" else made.withFloatCol(title)
    return TableData(made.columns)


def _outputs(*columns):
    images = _images((3, 4, 5, 1), cells=np.int32, mask=np.uint8, ratio=np.uint16)
    return {**images, "objects": _table(*(columns or ("id", "area")))}


def _untouched(out):
    return all(
        not one.values if isinstance(one, TableData) else (one.data == 7).all()
        for one in out.values()
    )


def test_what_fits_is_written(lab):
    out = _outputs()
    node.ExternalModuleNode("lab", "whole").call_worker(VOLUME, out=out)
    np.testing.assert_array_equal(out["cells"].data, VOLUME)
    np.testing.assert_array_equal(out["ratio"].data, np.rint(VOLUME / 2))
    assert set(np.unique(out["mask"].data)) == {0, 1}
    assert out["objects"].colArray("area").tolist() == [0.5, 1.5]


@pytest.mark.parametrize(
    ("mode", "problem"),
    [
        ("narrow channel", r"shape \(3, 4, 4\)"),
        ("lacking column", "with the columns id; declared are id, area"),
        ("text in a column", "'area' of 'objects' is declared as float"),
    ],
)
def test_where_one_output_does_not_fit_none_is_written(lab, mode, problem):
    out = _outputs()
    with pytest.raises(ModuleFailed, match=problem):
        node.ExternalModuleNode("lab", "whole").call_worker(VOLUME, {"mode": mode}, out=out)
    assert _untouched(out)


def test_where_nis_refuses_the_table_nothing_is_written(lab):
    out = _outputs("id")  # in the node's output() the other column was taken out
    with pytest.raises(BadInput, match=r"NIS does not take the table 'objects'.*id, area"):
        node.ExternalModuleNode("lab", "whole").call_worker(VOLUME, out=out)
    assert _untouched({name: one for name, one in out.items() if name != "objects"})


@pytest.mark.parametrize(
    ("mode", "problem"),
    [
        ("narrow slice", r"slices of different shapes: \(3, 5\) and \(4, 5\)"),
        ("narrow slices", r"shape \(3, 3, 5\)"),
        ("too many objects", "more objects than"),
    ],
)
def test_where_one_slice_does_not_fit_no_output_is_written(lab, mode, problem):
    out = _images(VOLUME.shape, cells=np.int32, nuclei=np.int32, seen=np.float32)
    with pytest.raises(ModuleFailed, match=problem):
        node.ExternalModuleNode("lab", "sliced").call_worker(VOLUME, {"mode": mode}, out=out)
    assert _untouched(out)
    node.ExternalModuleNode("lab", "sliced").call_worker(VOLUME, out=out)
    np.testing.assert_array_equal(
        out["cells"].data[..., 0], [VOLUME[0, ..., 0] * n for n in (1, 3, 6)]
    )


def test_labels_beside_their_slices_are_no_labels():
    out = np.full((2, 3, 3), 7, np.int32)
    with pytest.raises(ModuleFailed, match="do not lie on their slices"):
        frames.ready_volume(out, [np.ones((3, 3), np.int32), np.ones((1, 3), np.int32)])
    assert (out == 7).all()
