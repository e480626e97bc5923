"""Self-test of the module: run by the product in the module's environment, or by pytest."""

import atexit
import shutil
import tempfile
from pathlib import Path

import keras
import numpy as np
import worker
from stardist.models import Config2D, Config3D, StarDist2D, StarDist3D

FEW = {"unet_n_depth": 1, "unet_n_filter_base": 2, "net_conv_after_unet": 2, "n_rays": 8}
PLACE = Path(tempfile.mkdtemp(prefix="stardist-"))
atexit.register(shutil.rmtree, PLACE, ignore_errors=True)


def untrained(kind, config, name):
    """Save a tiny network with random weights, and return its folder."""
    keras.utils.set_random_seed(1)
    model = kind(config, name=name, basedir=str(PLACE))
    model.keras_model.save_weights(str(PLACE / name / "weights_best.h5"))
    (PLACE / name / "thresholds.json").write_text('{"prob": 0.5, "nms": 0.4}', "utf-8")
    return str(PLACE / name)


def discs(shape=(48, 64)):
    y, x = np.indices(shape)
    return (100 + 900 * ((y % 16 - 8) ** 2 + (x % 16 - 8) ** 2 < 30)).astype(np.uint16)


def refused(word, call, image, **options):
    try:
        call(image, **options)
    except ValueError as error:
        text = str(error)
        assert word in text, text
        assert text.endswith(".")
        assert "\n" not in text
    else:
        raise AssertionError(f"not refused: {word}")


FLAT = untrained(StarDist2D, Config2D(grid=(2, 2), **FEW), "flat")
RGB = untrained(StarDist2D, Config2D(grid=(2, 2), n_channel_in=3, **FEW), "rgb")
DEEP = untrained(StarDist3D, Config3D(grid=(1, 2, 2), **{**FEW, "n_rays": 16}), "deep")


def test_labels_and_progress():
    told = []
    labels = worker.segment(
        discs(), model=FLAT, prob_threshold=0.01, progress=lambda done, text: told.append(done)
    )
    assert labels.dtype == np.int32
    assert labels.shape == (48, 64)
    assert labels.max() > 0
    assert told[0] == 0.0


def test_tiles_tell_their_progress():
    told = []
    image = discs((96, 192))
    worker.segment(image, model=FLAT, tiles=3, progress=lambda done, text: told.append(text))
    assert "tile 3 of 3" in told


def test_stack():
    labels = worker.segment_3d(np.stack([discs()] * 5), model=DEEP, prob_threshold=0.01)
    assert labels.dtype == np.int32
    assert labels.shape == (5, 48, 64)


def test_components():
    image = discs()
    expected = worker.segment(image, model=FLAT)
    several = np.stack([image * 0, image, image * 0], axis=-1)
    notes = []
    assert np.array_equal(worker.segment(several, model=FLAT, channel=2), expected)
    assert np.array_equal(worker.segment(several, model=FLAT, note=notes.append), expected)
    assert "mean of the 3 components" in notes[0]
    assert worker.segment(several, model=RGB).shape == image.shape


def test_a_constant_image_has_no_objects():
    notes = []
    labels = worker.segment(np.full((32, 40), 7), model=FLAT, note=notes.append)
    assert labels.shape == (32, 40)
    assert not labels.any()
    assert "alike" in notes[0]


def test_objects_are_removed_and_numbered_anew():
    labels = np.zeros((20, 20), np.int32)
    labels[5:7, 5:7], labels[10:15, 10:15], labels[0:9, 12:18] = 1, 2, 3
    assert np.unique(worker._kept(labels, 5, False)).tolist() == [0, 1, 2]
    assert worker._kept(labels, 5, True)[12, 12] == 1
    assert worker._kept(labels, 0, True).max() == 2
    assert worker._kept(labels, 0, False) is labels


def test_a_model_is_loaded_once_and_again_when_it_changes():
    worker.segment(discs(), model=FLAT)
    first = worker._model(FLAT, 2)
    assert worker._model(FLAT, 2) is first
    (Path(FLAT) / "thresholds.json").write_text('{"prob": 0.25, "nms": 0.4}', "utf-8")
    assert worker._model(FLAT, 2).network.thresholds.prob == 0.25
    assert len(worker._loaded) <= worker.MOST_LOADED


def test_bad_images_are_refused():
    image = discs()
    refused("4 axes", worker.segment, np.zeros((2, 2, 32, 32)), model=FLAT)
    refused("z, y, x", worker.segment_3d, image, model=DEEP)
    refused("numbers", worker.segment, image.astype(complex), model=FLAT)
    refused("16 x 16", worker.segment, image[:10], model=FLAT)
    refused("too large", worker.segment, image * 1e300, model=FLAT)
    refused("finite", worker.segment, np.where(image > 500, np.nan, 1.0), model=FLAT)
    refused("upper percentile", worker.segment, np.arange(4096).reshape(64, 64) < 4, model=FLAT)
    refused("3 components", worker.segment, image, model=RGB)
    refused("Component 3", worker.segment, np.dstack([image] * 2), model=FLAT, channel=3)
    refused("no channel", worker.segment, np.dstack([image] * 3), model=RGB, channel=1)


def test_bad_parameters_are_refused():
    refused("below the upper", worker.segment, discs(), model=FLAT, percentile_low=99.9)
    refused("above zero", worker.segment, discs(), model=FLAT, scale=0.0)
    refused("too small", worker.segment, discs(), model=FLAT, scale=0.1)
    refused("between 0", worker.segment, discs(), model=FLAT, prob_threshold=1.0)


def test_bad_models_are_refused():
    stack = np.stack([discs()] * 5)
    refused("does not exist", worker.segment, discs(), model=str(PLACE / "nowhere"))
    refused("single file", worker.segment, discs(), model=str(Path(FLAT) / "config.json"))
    refused("no StarDist model", worker.segment, discs(), model=tempfile.mkdtemp(dir=PLACE))
    refused("several", worker.segment, discs(), model=str(PLACE))
    refused("made for z-stacks", worker.segment, discs(), model=DEEP)
    refused("made for 2-D images", worker.segment_3d, stack, model=FLAT)


def test_damaged_models_are_refused():
    bad = PLACE / "outside" / "bad"
    shutil.copytree(FLAT, bad)
    weights = (bad / "weights_best.h5").read_bytes()
    (bad / "weights_best.h5").write_bytes(weights[: len(weights) // 2])
    refused("cannot be loaded", worker.segment, discs(), model=str(bad))
    shutil.copy(Path(RGB) / "weights_best.h5", bad)
    refused("belong together", worker.segment, discs(), model=str(bad))
    (bad / "weights_best.h5").unlink()
    refused("no weights", worker.segment, discs(), model=str(bad))
    (bad / "config.json").write_text("{", "utf-8")
    refused("damaged", worker.segment, discs(), model=str(bad))
    (bad / "config.json").write_text('{"n_dim": 5}', "utf-8")
    refused("another program", worker.segment, discs(), model=str(bad))


def test_missing_thresholds_are_told():
    bare, notes = PLACE / "bare", []
    shutil.copytree(FLAT, bare)
    (bare / "thresholds.json").unlink()
    worker.segment(discs(), model=str(bare), note=notes.append)
    assert "0.5, overlap 0.4" in notes[0]
    notes.clear()
    worker.segment(
        discs(), model=str(bare), prob_threshold=0.9, nms_threshold=0.3, note=notes.append
    )
    assert notes == []
