"""Self-test of the module: run by the product in the module's environment, or by pytest."""

import numpy as np
import worker


def dish(*patches, shape=(160, 200), ground=1000.0, grain=300.0, noise=10.0):
    """Grainy rectangles (top, bottom, left, right) on a smooth, sloping ground, as uint16."""
    random = np.random.default_rng(0)
    image = ground + np.linspace(0, 100, shape[1]) + random.normal(0, noise, shape)
    for top, bottom, left, right in patches:
        part = (slice(top, bottom), slice(left, right))
        image[part] += random.normal(0, grain, (bottom - top, right - left))
    return image.round().clip(0, 65535).astype(np.uint16)


PATCHES = ((20, 70, 20, 80), (90, 140, 110, 180))


def measured(*arrays):
    return worker.measure(*arrays)["objects"]


def refused(word, call, *arrays, **options):
    try:
        call(*arrays, **options)
    except ValueError as error:
        text = str(error)
        assert word in text, text
        assert text.endswith(".")
    else:
        raise AssertionError(f"not refused: {word}")


def test_textured_regions_are_found():
    labels = worker.segment(dish(*PATCHES))
    assert labels.dtype == np.int32
    assert np.unique(labels).tolist() == [0, 1, 2]
    truth = np.zeros(labels.shape, bool)
    for top, bottom, left, right in PATCHES:
        truth[top:bottom, left:right] = True
    common = ((labels > 0) & truth).sum() / ((labels > 0) | truth).sum()
    assert common > 0.75, common


def test_nothing_stands_out_of_an_even_image():
    assert worker.segment(dish()).max() == 0
    assert worker.segment(np.full((64, 64), 500, np.uint16)).max() == 0


def test_a_given_threshold_holds_for_every_image():
    assert worker.segment(dish(), threshold=100.0).max() == 0
    assert worker.segment(dish(*PATCHES), threshold=100.0).max() == 2
    full = worker.segment(dish((0, 160, 0, 200)), threshold=100.0)
    assert (full == 1).mean() > 0.95


def test_small_regions_go_and_small_gaps_are_filled():
    image = dish((20, 70, 20, 80), (100, 110, 100, 110))
    assert worker.segment(image, min_area=0, threshold=100.0).max() == 2
    assert worker.segment(image, min_area=2000, threshold=100.0).max() == 1


def test_components_and_kinds_of_numbers():
    image = dish(*PATCHES)
    expected = worker.segment(image)
    for variant in (image.astype(np.float32), np.stack([image] * 3, axis=-1)):
        variant.flags.writeable = False
        assert np.array_equal(worker.segment(variant), expected)


def test_shapes():
    y, x = np.indices((120, 200))
    labels = np.where(np.hypot(y - 60, x - 60) < 30, 7, 0)
    labels[50:60, 110:190] = 9
    table = measured(dish(shape=labels.shape), labels)
    assert table["id"] == [7, 9]
    assert table["area"] == [float((labels == 7).sum()), 800.0]
    assert abs(table["y"][0] - 60) < 0.01
    assert abs(table["x"][1] - 149.5) < 0.01
    assert table["eccentricity"][0] < 0.1 < 0.9 < table["eccentricity"][1]
    assert table["roundness"][0] > 1.5 * table["roundness"][1]
    assert abs(table["perimeter"][1] - 180) < 20


def test_textures():
    labels = np.zeros((160, 200), np.int32)
    for number, (top, bottom, left, right) in enumerate(((20, 70, 20, 80), (90, 140, 20, 80)), 1):
        labels[top:bottom, left:right] = number
    table = measured(dish((20, 70, 20, 80)), labels)
    assert table["contrast"][0] > 10 * table["contrast"][1]
    assert table["entropy"][0] > table["entropy"][1]
    assert table["homogeneity"][0] < table["homogeneity"][1]


def test_tiny_objects_and_none():
    labels = np.zeros((20, 20), np.int32)
    empty = measured(dish(shape=(20, 20)), labels)
    assert all(column == [] for column in empty.values())
    labels[3, 3] = labels[10, 10:12] = 1
    labels[15, 15] = 2
    table = measured(dish(shape=(20, 20)), labels)
    assert table["area"] == [3.0, 1.0]
    assert np.isfinite([table[name] for name in worker.COLUMNS]).all()
    assert measured(dish(shape=(20, 20)), labels * 0 + 5)["area"] == [400.0]


def test_bad_input_is_refused():
    good = dish()
    refused("axes", worker.segment, good[None, None])
    refused("axes", worker.segment, good, axes="zyx")
    refused("pixels", worker.segment, good[:4])
    refused("numbers", worker.segment, good.astype(complex))
    refused("finite", worker.segment, np.where(good > 1000, np.nan, 1.0))
    refused("shape", worker.measure, good, np.zeros((3, 3), int))
    refused("whole", worker.measure, good, np.zeros(good.shape))
    refused("negative", worker.measure, good, np.full(good.shape, -1))
