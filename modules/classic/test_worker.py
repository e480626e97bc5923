"""Self-test of the module: run by the product in the module's environment, or by pytest."""

from pathlib import Path

import numpy as np
import skimage
import worker
from PIL import Image

HEMATOXYLIN = {"channel": "hematoxylin", "smoothing": 2.0, "background": 25.0, "min_diameter": 8.0}


def discs(*circles, shape=(128, 160), ground=100, light=400, noise=3.0):
    """Discs (y, x, radius) with soft edges and noise, as uint16."""
    grid = np.indices(shape)[-2:]
    image = np.zeros(shape)
    for y, x, radius in circles:
        distance = np.hypot(grid[0] - y, grid[1] - x)
        image = np.maximum(image, np.clip((radius - distance) / 3 + 0.5, 0, 1))
    image = ground + light * image + np.random.default_rng(0).normal(0, noise, shape)
    return np.round(image).clip(0, 65535).astype(np.uint16)


THREE = ((30, 30, 8), (30, 100, 14), (90, 60, 20))


def refused(word, image, **options):
    try:
        worker.segment(image, **options)
    except ValueError as error:
        text = str(error)
        assert word in text, text
        assert text.endswith(".")
        assert "\n" not in text
    else:
        raise AssertionError(f"not refused: {word}")


def test_labels_are_int32_and_consecutive():
    labels = worker.segment(discs(*THREE))
    assert labels.dtype == np.int32
    assert labels.shape == (128, 160)
    assert np.unique(labels).tolist() == [0, 1, 2, 3]


def test_outline_lies_at_half_height():
    for light in (60, 4000):
        area = (worker.segment(discs((60, 80, 20), light=light)) > 0).sum()
        assert abs(area / (np.pi * 20**2) - 1) < 0.12, (light, area)


def test_touching_objects_are_split():
    pair = discs((64, 55, 18), (64, 87, 18))
    assert worker.segment(pair).max() == 2
    assert worker.segment(pair, split=0.0).max() == 1


def test_split_is_free_of_scale():
    for radius in (8, 16, 30):
        reach = round(0.85 * radius)
        pair = discs((64, 80 - reach, radius), (64, 80 + reach, radius))
        assert worker.segment(pair).max() == 2, radius


def test_dim_object_beside_a_bright_one():
    dim, bright = discs((40, 40, 14), light=80), discs((90, 110, 14), light=4000)
    assert worker.segment(np.maximum(dim, bright)).max() == 2


def test_size_limits():
    image = discs(*THREE)
    assert worker.segment(image, min_diameter=22.0).max() == 2
    assert worker.segment(image, max_diameter=33.0).max() == 2
    assert worker.segment(image, min_diameter=22.0, max_diameter=33.0).max() == 1


def test_dark_objects():
    image = discs(*THREE)
    dark = 1000 - image
    assert np.array_equal(worker.segment(dark, objects="dark") > 0, worker.segment(image) > 0)


def test_objects_at_the_border():
    image = discs((0, 80, 15), (64, 80, 15), (100, 159, 15))
    assert worker.segment(image).max() == 3
    assert worker.segment(image, exclude_border=True).max() == 1


def test_holes():
    image = discs((64, 80, 24))
    image[60:69, 76:85] = 100
    assert worker.segment(image)[64, 80] == 1
    assert worker.segment(image, fill_holes=False, split=0.0)[64, 80] == 0


def test_every_threshold_finds_clear_objects():
    for method in worker.CHOICES["threshold"]:
        assert worker.segment(discs(*THREE), threshold=method).max() == 3, method


def test_threshold_factor():
    areas = [(worker.segment(discs(*THREE), threshold_factor=f) > 0).sum() for f in (0.6, 1.0, 1.5)]
    assert areas[0] > areas[1] > areas[2] > 0


def test_uneven_background():
    image = discs(*THREE) + np.linspace(0, 300, 160).astype(np.uint16)
    assert worker.segment(image).max() == 3


def test_components():
    image = np.zeros((128, 160, 3), np.uint16)
    image[..., 1] = discs(*THREE)
    image[..., 2] = discs((60, 60, 20))
    assert worker.segment(image, channel="2").max() == 3
    assert worker.segment(image, channel="3").max() == 1
    assert worker.segment(image).shape == (128, 160)
    assert worker.segment(image[..., :2], axes="yxc", channel="2").max() == 3


def test_stains():
    # Not by skimage.data: its search for plug-ins fails in a folder with brackets in its name.
    image = np.asarray(Image.open(Path(skimage.__file__).parent / "data" / "ihc.png"))
    nuclei = worker.segment(image, **HEMATOXYLIN)
    assert nuclei.shape == image.shape[:2]
    assert 200 < nuclei.max() < 360, nuclei.max()
    red = image[..., 0].astype(int)
    blue = image[..., 2].astype(int)
    assert (blue - red)[nuclei > 0].mean() > (blue - red)[nuclei == 0].mean() + 10
    wide = worker.segment(image.astype(np.uint16) * 257, **HEMATOXYLIN)
    assert abs(int(wide.max()) - int(nuclei.max())) < 30
    dab = worker.segment(image, channel="dab", smoothing=3.0, background=0.0, threshold="otsu")
    assert (red - blue)[dab > 0].mean() > (red - blue)[dab == 0].mean() + 20


def test_z_stack():
    stack = np.zeros((12, 64, 96), np.uint16)
    z, y, x = np.indices(stack.shape)
    for cx in (30, 66):
        ball = np.hypot(np.hypot(2 * (z - 6), y - 32), x - cx) < 9
        stack[ball] = 1000
    labels = worker.segment(stack, z_spacing=2.0)
    assert labels.shape == stack.shape
    assert labels.max() == 2
    assert labels[6, 32, 30] == labels[4, 32, 30] != labels[6, 32, 66]
    assert worker.segment(stack, z_spacing=2.0, max_diameter=10.0).max() == 0
    coloured = np.stack([stack] * 3, axis=-1)
    assert np.array_equal(worker.segment(coloured, z_spacing=2.0), labels)
    assert worker.segment(stack[:1]).shape == (1, 64, 96)


def test_axes_are_inferred_or_given():
    image = discs(*THREE)
    assert np.array_equal(worker.segment(image), worker.segment(image, axes="yx"))
    three_planes = np.stack([image] * 3)
    assert worker.segment(three_planes).shape == (3, 128, 160)
    assert worker.segment(np.moveaxis(three_planes, 0, -1)).shape == (128, 160)
    assert worker.segment(three_planes[..., :9], axes="zyx").shape == (3, 128, 9)


def test_dtypes_and_layouts_give_the_same_mask():
    image = discs(*THREE)
    expected = worker.segment(image)
    wide = np.zeros((256, 320), np.uint16)
    wide[::2, ::2] = image
    frozen = image.copy()
    frozen.flags.writeable = False
    variants = [image.astype(t) for t in (">u2", "i4", ">i8", "f4", "f8", ">f8")]
    for variant in [*variants, wide[::2, ::2], np.asfortranarray(image), frozen]:
        before = variant.copy()
        assert np.array_equal(worker.segment(variant), expected), variant.dtype
        assert np.array_equal(variant, before)


def test_bool_and_uint8():
    mask = discs(*THREE) > 300
    assert worker.segment(mask).max() == 3
    assert worker.segment(mask.astype(np.uint8) * 255).max() == 3


def test_constant_image_has_no_objects():
    for value, dtype in ((0, np.uint8), (1000, np.uint16), (0.3, np.float32), (1e9, np.float64)):
        for method in worker.CHOICES["threshold"]:
            image = np.full((64, 64), value, dtype)
            assert worker.segment(image, threshold=method).max() == 0
    assert worker.segment(np.full((64, 64, 3), 200, np.uint8), channel="eosin").max() == 0


def test_noise_has_hardly_any_objects():
    rng = np.random.default_rng(1)
    for image in (
        rng.normal(1000, 10, (512, 512)),
        rng.poisson(2, (512, 512)).astype(np.uint8),
        rng.normal(100, 5, (8, 128, 128)).astype(np.float32),
    ):
        for objects in ("bright", "dark"):
            assert worker.segment(image, objects=objects).max() <= 2


def test_same_input_gives_same_labels():
    image = discs(*THREE)
    assert np.array_equal(worker.segment(image), worker.segment(image))


def test_bad_images_are_refused():
    good = discs(*THREE)
    rgb = np.stack([good] * 3, axis=-1)
    refused("axes", np.zeros(50))
    refused("axes", np.zeros((2, 2, 2, 20, 20)))
    refused("empty", np.zeros((0, 20)))
    refused("pixels", np.zeros((4, 200)))
    refused("does not fit", good, axes="zyx")
    refused("not known", good, axes="xy")
    refused("finite", np.where(good > 300, np.nan, 1.0))
    refused("finite", np.where(good > 300, np.inf, 1.0))
    refused("numbers", good.astype(complex))
    refused("RGB", good, channel="hematoxylin")
    refused("RGB", rgb[..., :2], axes="yxc", channel="dab")
    refused("Component 4", rgb, channel="4")
    refused("Component 2", good, channel="2")


def test_bad_parameters_are_refused():
    good = discs(*THREE)
    refused("channel", good, channel="red")
    refused("objects", good, objects="grey")
    refused("threshold", good, threshold="magic")
    refused("negative", good, smoothing=-1.0)
    refused("negative", good, background=-1.0)
    refused("above zero", good, threshold_factor=0.0)
    refused("above zero", good, z_spacing=0.0)
    refused("split", good, split=1.5)
