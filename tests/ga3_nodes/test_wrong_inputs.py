"""Inputs, axes and parameters that no function takes: one sentence, whoever computes."""

from __future__ import annotations

import importlib
import sys

import numpy as np
import pytest

from ga3_nodes import client, node
from ga3_nodes.errors import BadInput
from ga3_nodes.standin.limnode_types import ImageData
from tests.support import publish

pytestmark = pytest.mark.windows

AXES = {"axes": ["yx", "zyxc"]}
DECLARATION = {
    "name": "lab",
    "version": "1.0.0",
    "functions": {
        "segment": {"inputs": {"image": AXES}, "outputs": {"labels": {"kind": "labels"}}},
        "clean": {
            "inputs": {"image": AXES, "objects": {"axes": ["yx"], "kind": "labels"}},
            "outputs": {"labels": {"kind": "labels"}, "seen": {"kind": "image"}},
        },
    },
}
WORKER = """
import numpy as np

def segment(image):
    return np.ones(image.shape[:3] if image.ndim == 4 else image.shape, np.int32)

def clean(image, objects):
    return {"labels": objects, "seen": image}  # views of what it was given
"""
IMAGE = np.arange(1, 21, dtype=np.uint16).reshape(4, 5)


@pytest.fixture(params=["worker", "inside"])
def lab(request, data_folder):
    """A module with a worker, and one that computes in this process."""
    inside = {
        "runtime": "host",
        "overlay": "envs/lab/1/overlay",
        "python_tag": sys.implementation.cache_tag,
    }
    if request.param == "inside":
        try:
            importlib.invalidate_caches()
        except TypeError as error:  # in the Windows bench, whose library is not that of its Python
            pytest.skip(str(error))
    publish(data_folder, DECLARATION, WORKER, **(inside if request.param == "inside" else {}))
    yield
    client.close()


MISFITS = [
    ((), None, r"has the shape \(\)\. segment takes arrays of the axes yx or zyxc"),
    ((20,), None, r"has the shape \(20,\)"),
    ((1, 4, 5), None, r"has the shape \(1, 4, 5\)"),
    ((1, 1, 1, 4, 5), None, r"has the shape \(1, 1, 1, 4, 5\)"),
    ((4, 5), {"image": "zyxc"}, r"has the shape \(4, 5\), given as zyxc"),
    ((4, 5), {"image": "zy"}, r"given as zy\. segment takes"),
    ((4, 5), {"picture": "yx"}, "for picture, which is no input of segment"),
]


def test_arrays_of_other_axes_than_declared_are_refused(lab):
    for shape, axes, problem in MISFITS:
        with pytest.raises(BadInput, match=problem):
            client.call("lab", "segment", {"image": np.ones(shape)}, axes=axes)
    for good in (IMAGE, IMAGE[:0], np.ones((2, 4, 5, 3)), IMAGE[:1, :1], IMAGE[::-1, ::2]):
        result = client.call("lab", "segment", {"image": good})
        assert result["labels"].shape == good.shape[:3]


def test_an_array_in_a_file_is_refused_as_well(lab, tmp_path):
    np.save(tmp_path / "image.npy", np.ones((2, 4, 5)))
    with pytest.raises(BadInput, match=r"has the shape \(2, 4, 5\)"):
        client.call("lab", "segment", {"image": tmp_path / "image.npy"})


def test_what_needs_a_name_has_one(lab):
    for arrays, options, what in (
        (IMAGE, {}, "inputs"),
        ([IMAGE], {}, "inputs"),
        ({"image": IMAGE}, {"parameters": ["smoothing"]}, "parameters"),
        ({"image": IMAGE}, {"axes": "yx"}, "axes"),
    ):
        with pytest.raises(BadInput, match=rf"The {what} of a call are given by their names"):
            client.call("lab", "segment", arrays, **options)


def test_an_image_of_a_batch_without_its_name_fails_alone(lab):
    images = [{"image": IMAGE}, IMAGE, {"image": IMAGE}]
    first, second, third = client.call_many("lab", "segment", images)
    assert isinstance(second, BadInput)
    assert first["labels"].shape == third["labels"].shape == (4, 5)


def test_a_slip_in_a_node_is_told_with_what_to_write(lab):
    image = ImageData(IMAGE.reshape(1, 4, 5, 1))
    binary = ImageData(np.zeros((1, 4, 5, 1), np.int32))
    lab_node = node.ExternalModuleNode("lab", title="Lab")
    for slip in (image, None, "image.npy"):
        with pytest.raises(BadInput, match=r"'image' is <class .*inp\[0\]\.data"):
            lab_node.call_worker(slip)
    for slip in (binary.data, None):
        with pytest.raises(BadInput, match=r"'labels' is <class .*such as out\[0\]"):
            lab_node.call_worker(image.data, out={"labels": slip})
    lab_node.call_worker(image.data, out={"labels": binary})
    assert (binary.data == 1).all()


def test_a_result_can_be_changed_also_where_it_lies_on_the_input(lab):
    """As docs/nodes.md does it; NIS's own image stays as it is."""
    image, objects = IMAGE.reshape(1, 4, 5, 1).copy(), IMAGE.astype(np.int32).reshape(1, 4, 5, 1)
    before = objects.copy()
    result = node.ExternalModuleNode("lab", "clean").call_worker([image, objects])
    result["labels"][result["labels"] > 10] = 0
    result["seen"][:] = 0
    assert result["labels"].max() == 10
    np.testing.assert_array_equal(objects, before)
    np.testing.assert_array_equal(image[0, ..., 0], IMAGE)
