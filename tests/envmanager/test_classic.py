"""The module `classic` in its real environment: its quality on real images, and its bad input."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile

from envmanager import images, segmentation
from envmanager.errors import BadInput
from tests.conftest import end_workers
from tests.envmanager.conftest import copy_root
from tests.support import PROJECT

pytestmark = pytest.mark.slow  # under Wine the demo installs and runs the same module
DATA = PROJECT.parent / "shared" / "data"
AGNOR = {
    "channel": "1",
    "objects": "dark",
    "smoothing": 3.0,
    "min_diameter": 20.0,
    "split": 0.85,
}  # the recipe of docs/modules/classic.md
needs_data = pytest.mark.skipif(
    not DATA.is_dir(), reason="no folder with real images beside the project"
)


@pytest.fixture(scope="module")
def root(tmp_path_factory, classic_root):
    """Return a data folder with the module for all tests of this file."""
    folder = tmp_path_factory.mktemp("klassisch é")
    copy_root(classic_root, folder)
    return folder


@pytest.fixture
def segment(root, monkeypatch):
    """Segment an image file or an array with `classic`."""
    monkeypatch.setenv("GA3ENV_HOME", str(root))

    def call(image, axes="yx", **parameters):
        if isinstance(image, np.ndarray):
            image = images.Image(root / "array.tif", image, axes)
        else:
            image = images.read(image)
        return segmentation.segment("classic", image, parameters)

    yield call
    end_workers(root)


def f1(truth: np.ndarray, labels: np.ndarray) -> float:
    """Return F1 of objects that match with an intersection over union above 0.5."""
    common = np.zeros((truth.max() + 1, labels.max() + 1), np.int64)
    np.add.at(common, (truth, labels), 1)
    union = common.sum(1, keepdims=True) + common.sum(0, keepdims=True) - common
    matched = int((common[1:, 1:] > 0.5 * union[1:, 1:]).sum())
    objects = np.unique(truth[truth > 0]).size + np.unique(labels[labels > 0]).size
    return 2 * matched / objects


@needs_data
def test_fluorescent_nuclei_with_the_defaults(segment):
    found = segment(DATA / "nuclei_fluo.tif")
    assert f1(tifffile.imread(DATA / "nuclei_fluo_truth.tif"), found.labels) >= 0.80


@needs_data
def test_dark_stained_nuclei_with_the_documented_recipe(segment):
    found = segment(DATA / "nuclei_agnor_rgb.nd2", **AGNOR)
    assert found.labels.shape == (548, 752)
    assert 40 <= found.objects <= 52


def _discs(shape=(200, 220), value=1000):
    rng = np.random.default_rng(7)
    image = rng.normal(100, 5, shape)
    y, x = np.mgrid[: shape[-2], : shape[-1]]
    for centre in ((50, 50), (50, 72), (150, 60), (120, 160)):
        image[..., (y - centre[0]) ** 2 + (x - centre[1]) ** 2 < 144] += value
    return image.clip(0).astype(np.uint16)


def test_touching_discs_are_split(segment):
    assert segment(_discs()).objects == 4
    assert segment(_discs(), split=0.0).objects == 3


def test_colour_stack_and_plain_image_agree(segment):
    plain = segment(_discs())
    colour = segment(np.stack([_discs()] * 3, -1), "yxc")
    np.testing.assert_array_equal(colour.labels, plain.labels)
    stack = segment(np.stack([_discs()] * 5), "zyx")
    assert stack.labels.shape == (5, 200, 220)
    assert stack.objects == 4


def test_the_fiftieth_call_equals_the_first(segment):
    first = segment(_discs()).labels
    for number in range(25):
        segment(_discs((90 + number, 100)), smoothing=2.0, objects="dark")
        np.testing.assert_array_equal(segment(_discs()).labels, first)


@pytest.mark.parametrize(
    ("image", "axes", "parameters", "message"),
    [
        pytest.param(np.zeros((3, 3)), "yx", {}, "at least", id="too-small"),
        pytest.param(np.zeros((0, 9)), "yx", {}, "empty", id="empty"),
        pytest.param(np.full((20, 20), np.nan), "yx", {}, "finite", id="nan"),
        pytest.param(np.zeros((20, 20)), "yx", {"channel": "dab"}, "RGB", id="stain-of-grey"),
        pytest.param(np.zeros((20, 20, 2)), "yxc", {"channel": "3"}, "2 component", id="component"),
        pytest.param(np.zeros((20, 20)), "yx", {"smoothing": -1.0}, "smoothing", id="limits"),
    ],
)
def test_bad_input_is_one_sentence_and_the_worker_lives_on(
    segment, image, axes, parameters, message
):
    with pytest.raises(BadInput, match=message) as caught:
        segment(image, axes, **parameters)
    assert caught.value.hint
    assert segment(_discs()).objects == 4


def test_a_constant_image_holds_no_object(segment):
    assert segment(np.full((50, 50), 7, np.uint8)).objects == 0
