"""The module `cellpose_sam` in its real environment: the real network, with weights made here."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from envmanager import workers
from envmanager.data.paths import uv_binary
from envmanager.data.settings import Settings
from ga3_nodes import client
from ga3_nodes.errors import Cancelled, GA3EnvError
from tests.sharing import once
from tests.wheels import make_wheel

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
TORCHVISION = "0.28.0"
ONE_THREAD = {"OMP_NUM_THREADS": "1"}  # two that wait for each other crawl where tests run beside
# The ordinary index has torchvision for CUDA only, whose compiled part does not load beside the CPU
# build of torch. Cellpose needs none of it, but torchvision's Python code wants these two names.
OPERATORS = """
import torch as _torch

_library = _torch.library.Library("torchvision", "DEF")
for _name in ("nms", "qnms"):
    _library.define(f"{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

"""
# Random weights, but for the last layer: it is fitted so that the network finds bright blobs. The
# layers of the transformer share two blocks of numbers, which keeps the file small.
WEIGHTS = """
import torch
from torch.nn.functional import conv2d
from cellpose import vit

torch.manual_seed(1)
with torch.device("meta"):
    shapes = {name: part.shape for name, part in vit.CPSAM().state_dict().items()}
wide = (0.02 * torch.randn(4096 * 1024)).bfloat16()
slight = 0.01 * wide

def part(name, shape):
    if name.endswith(("pos_embed", "norm1.bias", "norm2.bias")):
        return torch.zeros(shape)
    if name.endswith(("norm1.weight", "norm2.weight")):
        return torch.ones(shape)
    if ".blocks." in name:
        last = name.endswith((".bias", "proj.weight", "lin2.weight"))
        shared = slight if last else wide  # so that each layer changes its input a little
        return shared[:shape.numel()].view(shape)
    return torch.randn(shape)

state = {name: part(name, shape) for name, shape in shapes.items()}
state["encoder.patch_embed.proj.weight"] *= 0.1
state["W2"] = torch.eye(192).reshape(192, 3, 8, 8)
for name in ("encoder.neck.1", "encoder.neck.3"):
    state[name + ".weight"], state[name + ".bias"] = torch.ones(256), torch.zeros(256)

def even(x):
    return (x - x.mean(1, keepdim=True)) / x.std(1, keepdim=True, correction=0)

def seen(image):
    kernel = state["encoder.patch_embed.proj.weight"][:, :1]
    x = conv2d(image[None, None], kernel, state["encoder.patch_embed.proj.bias"], stride=8)
    x = even(conv2d(x, state["encoder.neck.0.weight"]))
    return even(conv2d(x, state["encoder.neck.2.weight"], padding=1))[0].flatten(1).T.double()

def patches(wanted):
    return wanted.reshape(3, 32, 8, 32, 8).permute(1, 3, 0, 2, 4).reshape(1024, 192).double()

images, wanted = (torch.tensor(arrays[name]) for name in ("images", "wanted"))
known = torch.cat([seen(image) for image in images])
known = torch.cat([known, torch.ones(len(known), 1)], 1)
wanted = torch.cat([patches(one) for one in wanted])
fitted = torch.linalg.solve(known.T @ known + torch.eye(257), known.T @ wanted).float()
state["out.weight"] = fitted[:256].T.reshape(192, 256, 1, 1).contiguous()
state["out.bias"] = fitted[256].clone()
torch.save(state, given["path"])
"""
LIBRARY = """
import torch
from cellpose import models

for name, (in_bfloat16, options) in given["cases"].items():
    model = models.CellposeModel(
        pretrained_model=given["model"], device=torch.device("cpu"), use_bfloat16=in_bfloat16
    )
    out[name], (_, flows, cellprob), _ = model.eval(arrays["image"].copy(), **options)
    out[name + " finite"] = np.isfinite(flows).all() and np.isfinite(cellprob).all()
"""


def blobs(seed: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Return an image of bright blobs, what a network should say of it, and their number.

    Returns
    -------
    image : ndarray of float32
        (256, 256), from about 0 to 1.
    wanted : ndarray of float32
        (3, 256, 256): five times the flow in y and x, and above 0 where a blob is.
    """
    random, grid = np.random.default_rng(seed), np.indices((256, 256)).astype(float)
    spots: list[np.ndarray] = []
    while len(spots) < 30:
        spot = random.uniform(10, 246, 2)
        if all(np.hypot(*(spot - other)) > 24 for other in spots):
            spots.append(spot)
    ways = np.array(spots)[:, :, None, None] - grid
    far = np.hypot(ways[:, 0], ways[:, 1])
    image = np.exp(-((far / 8) ** 2)).sum(0) + random.normal(0, 0.02, (256, 256))
    nearest = far.argmin(0)[None]
    way = np.take_along_axis(ways, nearest[:, None], 0)[0]
    far = np.take_along_axis(far, nearest, 0)[0]
    inside = far < 9
    wanted = np.stack([*(5 * way * inside / np.maximum(far, 1)), np.where(inside, 4.0, -4.0)])
    return image.astype(np.float32), wanted.astype(np.float32), len(spots)


@pytest.fixture(scope="session")
def sam_settings(torch_settings, module_cache, tmp_path_factory) -> Settings:
    """Return settings with which torch and torchvision come from one folder, for the CPU."""
    source = Path(torch_settings.find_links[0])
    if any(source.glob(f"torchvision-{TORCHVISION}+cpu-*.whl")):
        return torch_settings

    def make(folder: Path) -> None:
        for wheel in source.glob("torch-*.whl"):
            try:
                os.link(wheel, folder / wheel.name)
            except OSError:  # on another disk
                shutil.copy(wheel, folder)
        _torchvision(folder, module_cache)

    return replace(
        torch_settings, find_links=(str(once(tmp_path_factory, "wheels for cpsam", make)),)
    )


def _torchvision(folder: Path, cache: Path) -> None:
    """Make a wheel of torchvision for the CPU, from the Python code of the one for CUDA."""
    place = folder / "unpacked"
    command = [uv_binary(), "pip", "install", "-q", "--no-deps", "--target", place]
    command += ["--python-version", "3.11", "--only-binary", ":all:", "--python", "3.11"]
    environment = os.environ | {"UV_CACHE_DIR": str(cache)}
    subprocess.run([*command, f"torchvision=={TORCHVISION}"], check=True, env=environment)
    files = {
        path.relative_to(place).as_posix(): path.read_bytes()
        for path in (place / "torchvision").rglob("*")
        if path.suffix == ".py"
    }
    files["torchvision/__init__.py"] = OPERATORS.encode() + files["torchvision/__init__.py"]
    requires = ("numpy", "pillow", "torch==2.13.0")
    make_wheel(folder, "torchvision", f"{TORCHVISION}+cpu", files, requires=requires)
    shutil.rmtree(place)


@pytest.fixture
def sam(installed, sam_settings):
    return installed("cellpose_sam", sam_settings, env=ONE_THREAD)


@pytest.fixture
def weights(sam, by_hand, tmp_path_factory) -> Path:
    """Return a weights file of the real network that finds blobs, made once for all."""

    def make(folder: Path) -> None:
        images, wanted = zip(*(blobs(seed)[:2] for seed in range(10)), strict=True)
        given = {"images": np.stack(images), "wanted": np.stack(wanted)}
        by_hand(sam.entry, WEIGHTS, given, path=str(folder / "fitted"))

    return once(tmp_path_factory, "cpsam weights", make) / "fitted"


def segment(image, model, **parameters):
    result = client.call(
        "cellpose_sam", "segment", {"image": image}, {"model": str(model), **parameters}
    )
    assert result["labels"].dtype == np.int32
    return result


def pids(sam):
    return [worker.pid for worker in workers.live(sam.data, "cellpose_sam")]


def test_the_real_network_is_faithful(sam, weights, by_hand):
    """Also after a call with other parameters, and where two tiles meet."""
    plain, _, count = blobs(100)
    image = np.round(1000 * plain[:, :200] + 200).clip(0).astype(np.uint16)
    other = {"cellprob_threshold": -1.0, "flow_threshold": 0.8, "max_size_fraction": 0.5}
    changed = {**other, "normalize": {"percentile": [2.0, 99.5]}}
    cases = {"changed": (True, changed)}
    expected = by_hand(sam.entry, LIBRARY, {"image": image}, model=str(weights), cases=cases)

    full = segment(image, weights, precision="float32")
    labels = full["labels"]
    assert labels.shape == (256, 200)
    assert full.device == "cpu"
    assert any("CPU" in note for note in full.notes)
    assert count / 2 <= labels.max() <= count
    worker = pids(sam)

    swapped = image.astype(">u2")[::-1][::-1]
    again = segment(swapped, weights, precision="bfloat16", lower=2.0, upper=99.5, **other)
    np.testing.assert_array_equal(again["labels"], expected["changed"])
    assert expected["changed finite"]
    assert not np.array_equal(labels, again["labels"])
    assert pids(sam) == worker


def test_bad_input_is_refused_and_the_worker_lives_on(sam, weights, by_hand, tmp_path):
    image = np.round(1000 * blobs(100)[0] + 200).clip(0).astype(np.uint16)
    assert segment(np.full((50, 60), 9, np.uint16), weights)["labels"].max() == 0
    worker = pids(sam)
    (tmp_path / "part").write_bytes(weights.read_bytes()[:1_000_000])
    by_hand(sam.entry, CHANGED, {}, model=str(weights), folder=str(tmp_path))
    nothing = np.zeros((64, 64, 5), np.uint16)
    bad = [
        ("2 axes|axes", np.zeros((2, 2, 2, 20, 20)), {}),
        ("5 channels", nothing[None], {}),
        ("Channel 3", image, {"channels": "3"}),
        ("8 x 8", image[:5], {}),
        ("finite", np.where(image > 300, np.nan, 1.0), {}),
        ("damaged", image, {"model": tmp_path / "part"}),
        ("missing or of another size", image, {"model": tmp_path / "lacks a layer"}),
        ("missing or of another size", image, {"model": tmp_path / "other shape"}),
        ("path does not exist", image, {"model": tmp_path / "none"}),
        ("folder", image, {"model": tmp_path}),
        ("not downloaded", image, {"model": "cpsam_v2"}),
        ("no weights 'mine'", image, {"model": "mine"}),
        ("GPUs", image, {"device": "cuda:3"}),
    ]
    for word, pixels, parameters in bad:
        with pytest.raises(GA3EnvError, match=word) as caught:
            segment(pixels, **{"model": weights, **parameters})
        assert caught.value.code != "module_failed"
        assert str(caught.value.message).count("\n") == 0
    assert pids(sam) == worker
    _cancel_on_the_way(image, weights)


# The library would fill both with random numbers, or fail with a page of text.
CHANGED = """
import torch

state = torch.load(given["model"])
kept = {n: p for n, p in state.items() if n != "encoder.blocks.7.mlp.lin1.weight"}
torch.save(kept, given["folder"] + "/lacks a layer")
torch.save({**state, "out.bias": torch.zeros(191)}, given["folder"] + "/other shape")
"""


def _cancel_on_the_way(image, weights) -> None:
    """Cancel while the network computes, which ends between two parts of a layer."""
    heard = []
    with pytest.raises(Cancelled):
        client.call(
            "cellpose_sam",
            "segment",
            {"image": image},
            {"model": str(weights)},
            progress=lambda done, text: heard.append(done),
            cancelled=lambda: any(done > 0 for done in heard),
        )
    assert heard[-1] < 0.9
