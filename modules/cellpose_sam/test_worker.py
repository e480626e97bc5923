"""Self-test of the module: run by the product in the module's environment, or by pytest.

The real network has 305 million numbers, and its weights are not there when this runs. So a few
fixed filters stand in for it, which find bright blobs; all else is the library's own code.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import torch
import worker
from cellpose import models, utils, vit
from torch.nn.functional import avg_pool2d

CPU = torch.device("cpu")
torch.set_num_threads(1)  # two threads would wait for each other on a busy computer
SPOTS = ((15, 15), (15, 45), (45, 18), (48, 48))


class Filters(vit.BaseModel):
    """Flows along the gradient of the smoothed mean of all channels, which leads to the centres.

    `most` is how many tiles fit into its memory.
    """

    def __init__(self, most=1000):
        super().__init__()
        self.encoder = torch.nn.Module()
        self.encoder.blocks = torch.nn.ModuleList([torch.nn.Identity(), torch.nn.Identity()])
        self.most, self.calls = most, 0

    def forward(self, x):
        if len(x) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        self.calls += 1
        for block in self.encoder.blocks:
            x = block(x)
        light = x.mean(1, keepdim=True)
        soft = avg_pool2d(avg_pool2d(light, 5, 1, 2), 5, 1, 2)
        dy, dx = torch.gradient(soft, dim=(2, 3))
        steep = (dy**2 + dx**2).sqrt() + 1e-4
        flows = torch.cat([dy / steep, dx / steep, 20 * (soft - 0.1)], 1)
        return flows, torch.zeros(len(x), 256)


def blobs(spots=SPOTS, shape=(64, 64), radius=4.0):
    grid = np.indices(shape)
    image = np.full(shape, 100.0)
    for spot in spots:
        distance = sum((axis - at) ** 2 for axis, at in zip(grid[-len(spot) :], spot, strict=True))
        image += 1000 * np.exp(-distance / (2 * radius**2))
    return np.round(image).astype(np.uint16)


def library(**changed):
    """Return the library's model with the filters in place of its network."""
    model = object.__new__(models.CellposeModel)  # its constructor wants a weights file
    model.net, model.device, model.backbone = Filters(**changed), CPU, "sam_vitl"
    model.gpu = False
    return model


def found(image, axes="", **options):
    chosen = worker.Options(**{"flow_threshold": 0.0, **options})
    pixels = worker._pixels(image, worker._resolved_axes(image, axes), chosen)
    return worker._labels(library(), pixels, chosen)


def by_hand(image, **given):
    return library().eval(image, **{"flow_threshold": 0.0, **given})[0]


def refused(word, call, *given, **options):
    try:
        call(*given, **options)
    except ValueError as error:
        text = str(error)
        assert word in text, text
        assert text.endswith("."), text
        assert "\n" not in text
    else:
        raise AssertionError(f"not refused: {word}")


def test_each_object_gets_a_number():
    labels = found(blobs())
    assert labels.dtype == np.int32
    assert labels.shape == (64, 64)
    assert sorted(labels[spot] for spot in SPOTS) == [1, 2, 3, 4]
    assert labels.max() == 4
    assert labels[0, 0] == 0


def test_parameters_mean_what_they_mean_to_the_library():
    image = blobs()
    whole = {"lowhigh": None, "percentile": None, "norm3D": True, "normalize": True}
    cases = [
        ({}, {}),
        ({"flow_threshold": 0.4}, {"flow_threshold": 0.4}),
        ({"cellprob_threshold": 2.0}, {"cellprob_threshold": 2.0}),
        ({"diameter": 20.0, "resample": False}, {"diameter": 20.0, "resample": False}),
        ({"diameter": 60.0}, {"diameter": 60.0}),
        ({"min_size": 100}, {"min_size": 100}),
        ({"min_size": 0}, {"min_size": -1}),
        ({"max_size_fraction": 0.02}, {"max_size_fraction": 0.02}),
        ({"niter": 5}, {"niter": 5}),
        ({"augment": True, "tile_overlap": 0.3}, {"augment": True, "tile_overlap": 0.3}),
        ({"lower": 10.0, "upper": 90.0}, {"normalize": {**whole, "percentile": [10.0, 90.0]}}),
        ({"black": 200.0, "white": 700.0}, {"normalize": {**whole, "lowhigh": [200.0, 700.0]}}),
        ({"tile_norm": 30}, {"normalize": {**whole, "tile_norm_blocksize": 30}}),
        ({"sharpen": 8.0}, {"normalize": {**whole, "sharpen_radius": 8.0}}),
        ({"smooth": 3.0}, {"normalize": {**whole, "smooth_radius": 3.0}}),
        ({"invert": True}, {"normalize": {**whole, "invert": True}}),
        ({"normalize": False}, {"normalize": False}),
        ({}, {"normalize": whole}),  # what was told before is forgotten
    ]
    results = []
    for options, given in cases:
        defaults = dict(models.normalize_default)
        labels = found(image, **options)
        assert models.normalize_default == defaults, options
        expected = by_hand(image, **given)
        models.normalize_default.update(defaults)  # normalize=False changes it
        assert np.array_equal(labels, expected), options
        results.append(labels.tobytes())
    assert len(set(results)) >= 10  # so the parameters do something


def test_channels():
    image = np.zeros((64, 64, 5), np.uint16)
    image[..., 1], image[..., 4] = blobs(SPOTS[:2]), blobs(SPOTS[2:])

    def seen(channels):
        return found(image, "yxc", channels=channels)

    assert seen("2").max() == 2
    assert seen("2, 5").max() == 4
    assert np.array_equal(seen("5,2"), seen("2,5"))
    assert np.array_equal(found(image[..., 1:3]), by_hand(image[..., 1:3].copy(), channel_axis=2))
    refused("up to 3", seen, "all")
    refused("Channel 6", seen, "6")
    refused("Channel 0", seen, "0")
    refused("look like", seen, "red")
    refused("Up to 3", seen, "1,2,3,4")
    refused("Up to 3", seen, "1,1")


def test_planes_are_joined_or_not():
    stack = blobs(((2, 15, 15), (5, 48, 60)), (8, 64, 80))
    joined = found(stack, stitch_threshold=0.3)
    assert joined.shape == stack.shape
    assert joined[1, 15, 15] == joined[3, 15, 15] != joined[5, 48, 60]
    pixels = stack[..., np.newaxis]
    given = {"channel_axis": 3, "z_axis": 0, "stitch_threshold": 0.3}
    assert np.array_equal(joined, by_hand(pixels.copy(), **given))
    assert np.array_equal(found(pixels, stitch_threshold=0.3), joined)
    alone = found(stack, stitch_threshold=0.0, norm_3d=False)
    assert np.array_equal(alone[2], found(stack[2]))
    assert np.array_equal(found(stack[2:3], "zyx", do_3d=True)[0], found(stack[2]))


def test_flows_in_three_directions():
    stack = blobs(((1, 10, 10), (2, 18, 26)), (4, 28, 36), 3.0)[..., np.newaxis]
    options = {"do_3d": True, "anisotropy": 2.0, "flow3d_smooth": 1.0, "flow_threshold": 0.0}
    model, chosen = library(), worker.Options(**options)
    labels = worker._labels(model, stack, chosen)
    assert model.net.calls == worker._batches(stack.shape[:-1], chosen, 8)
    assert labels.shape == stack.shape[:-1]
    assert labels.max() > 0
    theirs = {"do_3D": True, "anisotropy": 2.0, "flow3D_smooth": 1.0}
    assert np.array_equal(labels, by_hand(stack.copy(), channel_axis=3, z_axis=0, **theirs))


def test_edges():
    image = blobs(((3, 40), (40, 40)))
    labels = found(image, exclude_edges=True)
    assert found(image).max() == 2
    assert (labels.max(), labels[40, 40]) == (1, 1)
    assert np.array_equal(labels, utils.remove_edge_masks(by_hand(image)))


def test_types_and_layouts_give_the_same_labels():
    image = blobs()
    expected = found(image)
    wide = np.zeros((128, 128), np.uint16)
    wide[::2, ::2] = image
    frozen = image.astype(np.float32)
    frozen.flags.writeable = False
    for variant in [
        *(image.astype(t) for t in (">u2", "i4", ">i8", "f4", ">f4", "f8")),
        wide[::2, ::2],
        np.asfortranarray(image),
        frozen,
    ]:
        before = variant.copy()
        assert np.array_equal(found(variant), expected), variant.dtype
        assert np.array_equal(variant, before)


def test_small_and_wide_images():
    assert found(blobs(((6, 5),), (11, 9), 2.0)).shape == (11, 9)
    assert found(blobs(((20, 300),), (40, 600))).shape == (40, 600)


def test_full_memory_of_a_gpu_takes_smaller_batches():
    image, notes = blobs(shape=(300, 300)), []
    pixels = image[..., np.newaxis]
    model, chosen = library(most=1), worker.Options(flow_threshold=0.0, batch_size=8)
    labels = worker._labels(model, pixels, chosen, note=notes.append)
    assert np.array_equal(labels, found(image))
    assert [note.split()[0] for note in notes] == ["4", "2", "1"]
    try:
        worker._labels(library(most=0), pixels, chosen)
    except torch.OutOfMemoryError:
        return
    raise AssertionError("no error")


def test_progress_and_cancel():
    image, told, model = blobs(shape=(300, 300))[..., np.newaxis], [], library()
    chosen = worker.Options(batch_size=2)
    worker._labels(model, image, chosen, lambda done, text: told.append(done))
    assert told == sorted(told)
    assert told[0] == 0.0
    assert len(told) == 2 * model.net.calls == 2 * worker._batches((300, 300), chosen, 2)

    def cancel(done, text):
        if done > 0:
            raise RuntimeError("cancelled")

    before = model.net.calls
    try:
        worker._labels(model, image, chosen, cancel)
    except RuntimeError:
        assert model.net.calls == before + 1
    else:
        raise AssertionError("not cancelled")
    worker._labels(model, image, chosen)  # nobody listens any more


def test_batches_are_counted():
    cases = [
        ((3, 300, 64), {}),
        ((260, 80), {"diameter": 20.0, "batch_size": 3}),
        ((300, 64), {"augment": True}),
    ]
    for shape, options in cases:
        model, chosen = library(), worker.Options(**options)
        worker._labels(model, blobs(((20, 20),), shape)[..., np.newaxis], chosen)
        assert model.net.calls == worker._batches(shape, chosen, chosen.batch_size), shape


def test_a_network_that_gives_no_numbers_is_an_error():
    model = library()
    model.net.encoder.blocks[0] = torch.nn.Threshold(1e9, float("nan"))
    refused("not finite", worker._labels, model, blobs()[..., np.newaxis], worker.Options())


def test_images_that_are_refused():
    good = blobs()
    refused("axes", worker.segment, np.zeros(50))
    refused("axes", worker.segment, np.zeros((2, 2, 2, 20, 20)))
    refused("empty", worker.segment, np.zeros((0, 20)))
    refused("8 x 8", worker.segment, np.zeros((4, 200)))
    refused("does not fit", worker.segment, good, axes="zyx")
    refused("not known", worker.segment, good, axes="xy")
    refused("finite", worker.segment, np.where(good > 300, np.nan, 1.0))
    refused("finite", worker.segment, np.where(good > 300, 1e300, 1.0))
    refused("numbers", worker.segment, good.astype(complex))


def test_parameters_that_are_refused():
    good = blobs()
    refused("percentile", worker.segment, good, lower=99.0, upper=1.0)
    refused("below", worker.segment, good, black=9.0, white=1.0)
    refused("diameter", worker.segment, good, diameter=10000.0)
    refused("diameter", worker.segment, good, diameter=0.01)
    refused("known", worker.segment, good, device="gpu")
    refused("cuda:99", worker.segment, good, device="cuda:99")
    refused("precision", worker.segment, good, device="cpu", precision="half")
    refused("No model", worker.segment, good, device="cpu")


def test_weights_that_are_refused():
    def tried(path):
        worker.segment(blobs(), model=str(path), device="cpu")

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        refused("does not exist", tried, folder / "nothing")
        refused("folder", tried, folder)
        (folder / "text").write_text("no weights")
        (folder / "empty").write_bytes(b"")
        old = {"downsample.down.res_down_0.conv.conv_0.0.weight": torch.zeros(1)}
        torch.save(old, folder / "old")
        torch.save({"encoder.cls_token": torch.zeros(1), "W2": torch.zeros(1)}, folder / "dino")
        torch.save({"W2": torch.zeros(1)}, folder / "part")
        torch.save([torch.zeros(1)], folder / "list")
        torch.save(torch.nn.Identity(), folder / "code")
        torch.save(old, folder / "legacy", _use_new_zipfile_serialization=False)
        whole = (folder / "old").read_bytes()
        (folder / "cut").write_bytes(whole[: len(whole) // 2])
        for name in ("text", "empty", "list", "code", "cut"):
            refused("damaged", tried, folder / name)
        for name in ("old", "legacy"):
            refused("Cellpose 1 to 3", tried, folder / name)
        refused("DINO", tried, folder / "dino")
        refused("missing", tried, folder / "part")
    assert not worker._loaded


def test_the_network_is_that_of_the_library():
    shapes = worker._network_shapes()
    assert sum(int(np.prod(shape)) for shape in shapes.values()) == 304_628_928


def test_constant_image_has_no_objects_but_a_sentence():
    notes = []
    assert worker._is_constant(np.full((20, 20, 2), 7))
    assert not worker._is_constant(np.stack([np.zeros((9, 9)), np.eye(9)], axis=-1))
    assert worker._device("cpu", notes.append) == CPU
    assert notes == ["Computed on the CPU."]


def test_nothing_is_ever_downloaded():
    utils.download_url_to_file = worker._refuse_download
    try:
        models.cache_model_path("none of these")
    except RuntimeError:
        return
    raise AssertionError("not refused")
