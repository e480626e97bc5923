"""The module `stardist` in its real environment, with a trained model, and the library by hand."""

from __future__ import annotations

import shutil
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import tifffile

from envmanager import nodes, workers
from envmanager.data.settings import Settings
from envmanager.modules import catalog
from ga3_nodes import client
from ga3_nodes.errors import Cancelled, GA3EnvError
from tests import programs
from tests.modules.conftest import f1
from tests.sharing import once

pytestmark = pytest.mark.slow
SEEN = 352  # columns of StarDist's sample image that the model is trained on; the others test it

# In the module's own Python. Only the first model is trained: what the others find means nothing,
# but large enough distances make it objects.
MODELS = """
import os
os.environ["KERAS_HOME"] = _folder
import keras
from csbdeep.utils import normalize
from stardist.data import test_image_nuclei_2d
from stardist.models import Config2D, Config3D, StarDist2D, StarDist3D

def made(kind, config, name, prob):
    keras.utils.set_random_seed(1)
    model = kind(config, name=name, basedir=given["folder"])
    thresholds = {"prob": prob, "nms": 0.4}
    (model.logdir / "thresholds.json").write_text(json.dumps(thresholds))
    return model

def untrained(*wanted):
    model = made(*wanted)
    weights, bias = model.keras_model.get_layer("dist").get_weights()
    model.keras_model.get_layer("dist").set_weights([weights, bias + 4])
    model.keras_model.save_weights(str(model.logdir / "weights_best.h5"))

small = {"net_conv_after_unet": 32, "train_tensorboard": False, "train_reduce_lr": None}
flat = {**small, "n_rays": 16, "grid": (2, 2), "unet_n_filter_base": 16, "unet_n_depth": 2}
learning = {"train_patch_size": (96, 96), "train_batch_size": 4, "train_learning_rate": 0.005}
learning |= {"train_epochs": 4, "train_steps_per_epoch": 80}
image, labels = test_image_nuclei_2d(True)
np.savez(given["folder"] + "/sample.npz", image=image, labels=labels)
image, labels = [normalize(image, 1, 99.8)[:, : given["seen"]]], [labels[:, : given["seen"]]]
nuclei = made(StarDist2D, Config2D(**flat, **learning), "nuclei", 0.5)
nuclei.train(image, labels, validation_data=(image, labels), augmenter=None)
untrained(StarDist2D, Config2D(**flat, n_channel_in=3), "colour", 0.4)
deep = {**small, "n_rays": 32, "grid": (1, 2, 2), "unet_n_filter_base": 8, "unet_n_depth": 1}
untrained(StarDist3D, Config3D(**deep), "stack", 0.4)
"""


@pytest.fixture
def stardist(installed):
    return installed("stardist", Settings(python="3.11"))


@pytest.fixture
def models(stardist, by_hand, tmp_path_factory) -> Path:
    """Return a folder with the models ``nuclei``, ``colour`` and ``stack``, made once for all."""

    def make(folder: Path) -> None:
        by_hand(stardist.entry, MODELS, {}, folder=str(folder), seen=SEEN)

    return once(tmp_path_factory, "stardist models", make)


@pytest.fixture
def sample(models) -> dict[str, np.ndarray]:
    """Return StarDist's own ``image`` and ``labels``, uint16, 512 x 512."""
    with np.load(models / "sample.npz") as found:
        return dict(found)


def call(image, model, function="segment", axes="", **parameters):
    given = {"model": str(model), **parameters}
    result = client.call("stardist", function, {"image": image}, given, axes={"image": axes})
    assert result["labels"].dtype == np.int32
    return result


def cli(*words):
    code, data = programs.answer(programs.command(*words))
    assert code == 0, data
    return data


def pids(module):
    return [worker.pid for worker in workers.live(module.data, "stardist")]


def images(sample: np.ndarray) -> dict[str, np.ndarray]:
    gray = sample[:200, :260]
    rgb = np.stack([gray, gray // 2, 300 - gray], axis=-1)
    return {
        "gray": gray,
        "float": gray / 7.0,
        "rgb": rgb,
        "small": rgb[:40, :56],
        "stack": np.stack([gray[:24, :32] + 9 * z for z in range(6)]),
    }


# What we call it, and the same in the library's words: how it is normalised, what is predicted.
CASES = [
    ("gray", "nuclei", {}, {}, {}),
    (
        "gray",
        "nuclei",
        {"prob_threshold": 0.3, "nms_threshold": 0.2, "percentile_low": 5.0},
        {"pmin": 5},
        {"prob_thresh": 0.3, "nms_thresh": 0.2},
    ),
    ("gray", "nuclei", {"scale": 1.5}, {}, {"scale": 1.5}),
    ("gray", "nuclei", {"tiles": 2}, {}, {"n_tiles": [2, 2]}),
    ("float", "nuclei", {"percentile_high": 99.0}, {"pmax": 99}, {}),
    ("rgb", "nuclei", {"channel": 1}, {"channel": 0}, {}),
    ("small", "colour", {}, {"axis": [0, 1]}, {}),
    ("small", "colour", {"normalize_together": True}, {}, {"n_tiles": [1, 1, 1]}),
    ("stack", "stack", {}, {}, {}),
    (
        "stack",
        "stack",
        {"scale_z": 2.0, "prob_threshold": 0.45},
        {},
        {"scale": [2, 1, 1], "prob_thresh": 0.45},
    ),
]
BY_HAND = """
import os
os.environ["KERAS_HOME"] = _folder
from csbdeep.utils import normalize
from stardist.models import StarDist2D, StarDist3D

for number, (image, model, normal, options) in enumerate(given["cases"]):
    pixels = arrays[image]
    if "channel" in normal:
        pixels = pixels[..., normal.pop("channel")]
    axis = normal.pop("axis", None)
    normal = {"pmin": 1, "pmax": 99.8, "axis": axis and tuple(axis), **normal}
    kind = StarDist3D if model == "stack" else StarDist2D
    network = kind(None, name=model, basedir=given["folder"])
    labels, _ = network.predict_instances(normalize(pixels, **normal), **options)
    out[str(number)] = labels
network = StarDist2D(None, name="nuclei", basedir=given["folder"])
out["whole"] = network.predict_instances(normalize(arrays["whole"], 1, 99.8))[0]
"""


def test_quality_and_faithfulness(stardist, models, sample, by_hand, tmp_path, out_of_process):
    inputs = images(sample["image"])
    cases = [(image, model, normal, options) for image, model, _, normal, options in CASES]
    theirs = by_hand(
        stardist.entry,
        BY_HAND,
        {**inputs, "whole": sample["image"]},
        cases=cases,
        folder=str(models),
    )
    # The part of the image that the model has not seen, against the labels that StarDist brings.
    score = f1(sample["labels"][:, SEEN:], theirs["whole"][:, SEEN:])
    assert score >= 0.75, score

    for number, (image, model, parameters, *_) in enumerate(CASES):
        function = "segment_3d" if model == "stack" else "segment"
        labels = call(inputs[image], models / model, function, **parameters)["labels"]
        np.testing.assert_array_equal(labels, theirs[str(number)], err_msg=str((image, parameters)))
    found = [labels.max() for labels in theirs.values()]
    assert min(found) > 5, found

    # After all these calls with other parameters, and in every layout: as the first one.
    gray, expected = inputs["gray"], theirs["0"]
    wide = np.zeros((400, 520), np.uint16)
    wide[::2, ::2] = gray
    frozen = gray.copy()
    frozen.flags.writeable = False
    for image in (wide[::2, ::2], np.asfortranarray(gray), gray.astype(">u2"), frozen):
        np.testing.assert_array_equal(call(image, models / "nuclei")["labels"], expected)
    several = call(inputs["rgb"], models / "nuclei")
    assert "mean of the 3 components" in " ".join(several.notes)
    _same_from_cli_and_node(stardist, models, gray, expected, tmp_path, out_of_process)


def _same_from_cli_and_node(stardist, models, gray, expected, tmp_path, out_of_process):
    """Import the model by the command line, and name it there and in a node script."""
    before = pids(stardist)
    assert len(before) == 1
    name = f"lab_{time.monotonic_ns()}"
    cli("weights", "stardist", "add", models / "nuclei", "--name", name)
    picture, mask = tmp_path / "kerne é.tif", tmp_path / "mask.tif"
    tifffile.imwrite(picture, gray)
    told = cli("segment", "stardist", picture, "-o", mask, "-p", f"model={name}")
    np.testing.assert_array_equal(tifffile.imread(mask), expected)
    assert told["outputs"][0]["device"] == "cpu"
    script = nodes.script(catalog.find("stardist", stardist.data), {"model": name})
    with out_of_process(script, 6) as nis:
        (labels,) = nis.run([gray[None, ..., None]])
    np.testing.assert_array_equal(labels[0, ..., 0], expected)
    assert pids(stardist) == before  # one process has done all of it


def test_bad_input_is_one_sentence_and_the_worker_lives_on(stardist, models, sample, tmp_path):
    gray, nuclei = images(sample["image"])["gray"], models / "nuclei"
    good = call(gray, nuclei)["labels"]
    before = pids(stardist)
    bare, part, other = (tmp_path / name for name in ("bare", "part", "other"))
    for folder in (bare, part, other):
        shutil.copytree(nuclei, folder)
    (bare / "config.json").unlink()
    whole = (part / "weights_best.h5").read_bytes()
    (part / "weights_best.h5").write_bytes(whole[: len(whole) // 2])
    shutil.copy(models / "colour" / "weights_best.h5", other)
    bad = [
        ("axes yx", gray[0], nuclei, {}),
        ("16 x 16", gray[:9], nuclei, {}),
        ("3 components", gray, models / "colour", {}),
        ("Component 3", np.dstack([gray, gray]), nuclei, {"channel": 3}),
        ("finite", np.where(gray > 99, np.nan, 1.0), nuclei, {}),
        ("upper percentile", (np.arange(64**2) < 4).reshape(64, 64), nuclei, {}),
        ("made for z-stacks", gray, models / "stack", {}),
        ("no config.json", gray, bare, {}),
        ("damaged", gray, part, {}),
        ("belong together", gray, other, {}),
        ("path does not exist", gray, tmp_path / "none", {}),
        ("not downloaded", gray, "2D_versatile_he", {}),
        ("no weights 'mine'", gray, "mine", {}),
    ]
    for word, pixels, model, parameters in bad:
        with pytest.raises(GA3EnvError, match=word) as caught:
            call(pixels, model, **parameters)
        assert caught.value.code != "module_failed"
        assert "\n" not in caught.value.message
    empty = call(np.full((50, 60), 9, np.uint16), nuclei)
    assert empty["labels"].max() == 0
    assert "alike" in " ".join(empty.notes)

    (bare / "config.json").write_bytes((nuclei / "config.json").read_bytes())
    (bare / "thresholds.json").unlink()
    assert "no thresholds of its own" in " ".join(call(gray, bare).notes)

    told = threading.Event()
    large = np.tile(gray, (6, 6))
    with pytest.raises(Cancelled):
        client.call(
            "stardist",
            "segment",
            {"image": large},
            {"model": str(nuclei), "tiles": 8},
            progress=lambda done, text: told.set() if "tile" in text else None,
            cancelled=told.is_set,
        )
    np.testing.assert_array_equal(call(gray, nuclei)["labels"], good)
    assert pids(stardist) == before


RANDOM = """
sys.path.insert(0, given["module"])
import torch, worker
torch.manual_seed(0)
torch.save(worker.CPnet(*worker.NETWORK).state_dict(), given["path"])
"""
VERSIONS = """
from importlib.metadata import version
from importlib.util import find_spec
out["numpy"] = np.array(version("numpy"))
out["has"] = np.array([find_spec(name) is not None for name in ("torch", "tensorflow")])
"""


def test_side_by_side_with_a_module_that_it_cannot_share_an_environment_with(
    stardist, models, sample, cellpose, by_hand, tmp_path
):
    """Cellpose needs torch and numpy < 2.1; StarDist comes with TensorFlow and a newer numpy."""
    assert stardist.data.root == cellpose.data.root
    cellpose = cellpose.entry
    theirs, ours = (by_hand(entry, VERSIONS, {}) for entry in (cellpose, stardist.entry))
    assert theirs["has"].tolist() == [True, False]
    assert ours["has"].tolist() == [False, True]
    assert str(theirs["numpy"]).startswith("2.0.")
    assert not str(ours["numpy"]).startswith("2.0.")

    weights = tmp_path / "random"
    by_hand(cellpose, RANDOM, {}, module=str(cellpose.folder), path=str(weights))
    gray = sample["image"][:128, :160]
    first = call(gray, models / "nuclei")["labels"]
    options = {"model": str(weights), "diameter": 30.0}
    other = client.call("cellpose", "segment", {"image": gray}, options)["labels"]
    assert first.max() > 5
    assert other.shape == gray.shape
    np.testing.assert_array_equal(call(gray, models / "nuclei")["labels"], first)
    live = {name: workers.live(stardist.data, name) for name in ("stardist", "cellpose")}
    assert [len(found) for found in live.values()] == [1, 1]
