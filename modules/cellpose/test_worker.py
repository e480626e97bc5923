"""Self-test of the module: run by the product in the module's environment, or by pytest.

The network is the real one with random weights: what it finds means nothing, but all of it runs.
"""

import atexit
import functools
import shutil
import tempfile
from pathlib import Path

import numpy as np
import torch
import worker

FOLDER = Path(tempfile.mkdtemp(prefix="ga3env-cellpose-"))
atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)
torch.set_num_threads(1)  # for images this small several would only wait for each other


@functools.cache
def weights():
    torch.manual_seed(0)
    path = FOLDER / "random"
    torch.save(worker.CPnet(*worker.NETWORK).state_dict(), path)
    return str(path)


def image(*shape):
    return np.random.default_rng(0).integers(100, 4000, shape or (40, 48)).astype(np.uint16)


def segment(pixels, **options):
    notes = []
    given = {"model": weights(), "diameter": 30.0, "device": "cpu", "note": notes.append}
    labels = worker.segment(pixels, **{**given, **options})
    assert labels.dtype == np.int32
    return labels, " ".join(notes)


def refused(word, pixels=None, **options):
    try:
        segment(image() if pixels is None else pixels, **options)
    except ValueError as error:
        text = str(error)
        assert word in text, text
        assert text.endswith("."), text
        assert "\n" not in text
    else:
        raise AssertionError(f"not refused: {word}")


def saved(name, content):
    path = FOLDER / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    return str(path)


def test_shapes_and_what_is_told():
    told = []
    options = {"cellprob_threshold": -6.0, "flow_threshold": 0.0, "min_size": 0}
    labels, notes = segment(image(), progress=lambda done, text: told.append(done), **options)
    assert labels.shape == (40, 48)
    assert notes == "Computed on the CPU."
    assert told == sorted(told)
    assert 0 <= told[0] < told[-1] <= 1
    assert segment(image(40, 48, 3), channel=2, nucleus=3)[0].shape == (40, 48)
    assert segment(image(1, 40, 48))[0].shape == (1, 40, 48)
    assert segment(image(2, 40, 48))[0].shape == (2, 40, 48)


def test_the_same_call_again_gives_the_same_mask_from_the_same_model():
    first, _ = segment(image())
    loaded = list(worker._models.values())
    segment(image(), normalize=False)
    assert np.array_equal(segment(image())[0], first)
    assert list(worker._models.values()) == loaded


def test_models_lie_beside_each_other_up_to_a_limit():
    paths = [saved(f"copy{i}", Path(weights()).read_bytes()) for i in range(worker.MODELS_KEPT)]
    for path in paths:
        segment(image(), model=path)
    assert [key[0].name for key in worker._models] == [Path(path).name for path in paths]


def test_fewer_tiles_at_a_time_where_the_memory_is_short():
    full = iter((True, True))

    def progress(done, text):
        if next(full, False):
            raise torch.cuda.OutOfMemoryError("CUDA out of memory.")

    labels, notes = segment(image(), progress=progress)
    assert "4 tiles at a time" in notes
    assert "2 tiles at a time" in notes
    assert np.array_equal(labels, segment(image())[0])


def test_nothing_in_a_constant_image():
    labels, notes = segment(np.full((40, 48), 7.0))
    assert not labels.any()
    assert "same value" in notes


def test_bad_input_is_refused():
    refused("axes", image(48))
    refused("axes", image(), axes="zyx")
    refused("channel 4", image(40, 48, 3), channel=4)
    refused("channel of the cells", image(40, 48, 3), nucleus=1)
    refused("one channel", channel=2)
    refused("too small", image(40, 7))
    refused("too small", image(), diameter=900.0)
    refused("finite", np.where(image() > 200, np.nan, 1.0))
    refused("real", image().astype(complex))
    refused("percentile", lower=50.0, upper=50.0)
    refused("multiple", tile=100)
    refused("cuda:9", device="cuda:9")
    refused("gpu", device="gpu")


def test_the_library_never_downloads_and_never_takes_another_model():
    for chosen in ({"model_type": "cyto3"}, {"pretrained_model": str(FOLDER / "gone")}):
        try:
            worker.models.CellposeModel(**chosen)
        except ValueError as error:
            text = str(error)
        else:
            text = "another model was taken"
        assert "gone" in text, text


def test_bad_weights_are_refused():
    whole = Path(weights()).read_bytes()
    refused("does not exist", model=str(FOLDER / "none"))
    refused("No model", model="")
    refused("damaged", model=saved("part", whole[: len(whole) // 2]))
    refused("damaged", model=saved("text", b"no weights"))
    refused("Cellpose 4", model=saved("sam", {"W2": torch.zeros(1)}))
    refused("no segmentation model", model=saved("other", {"weight": torch.zeros(1)}))
    refused("no segmentation model", model=saved("list", [1, 2]))
    sized = saved("sized", whole)
    saved("size_sized.npy", b"no size net")
    refused("size net", model=sized, diameter=0.0)
