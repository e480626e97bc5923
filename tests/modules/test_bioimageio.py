"""The module `bioimageio` in its real environment, with models made here, and the library by hand.

No network: the proxy that the workers are told is a socket here, which counts who asks.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import threading
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
import tifffile

from envmanager import nodes, workers
from envmanager.data.paths import uv_binary
from envmanager.data.settings import Settings
from envmanager.machine import nodehost
from envmanager.modules import catalog
from envmanager.uv.program import Uv
from ga3_nodes import client
from ga3_nodes.errors import BadInput, Cancelled, GA3EnvError
from ga3_nodes.standin.out_of_process import OutOfProcessNis
from tests import programs
from tests.modules.training import cells, stack
from tests.modules.zoo import MAKE, OLD, ONNX
from tests.sharing import once

pytestmark = pytest.mark.slow


class Proxy:
    """A proxy that nobody should ask: it keeps what it is asked for, and answers nothing."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._socket.settimeout(0.1)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()
        address = "http://{}:{}".format(*self._socket.getsockname())
        self.env = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), address)

    def _serve(self) -> None:
        while not self._closing.is_set():
            with contextlib.suppress(OSError):  # also that nobody has come
                connection, _ = self._socket.accept()
                with connection:
                    connection.settimeout(5)
                    if line := connection.recv(500).decode("latin-1").partition("\r")[0]:
                        self.asked.append(line)

    def close(self) -> None:
        self._closing.set()
        self._thread.join()
        self._socket.close()


@pytest.fixture(scope="module")
def proxy():
    found = Proxy()
    yield found
    found.close()


@pytest.fixture
def module(installed, torch_settings, proxy):
    # Two test processes with two threads each would wait for one another on two cores.
    return installed("bioimageio", torch_settings, env=proxy.env | {"OMP_NUM_THREADS": "1"})


@pytest.fixture
def zoo(module, by_hand, module_cache, proxy, tmp_path_factory) -> Path:
    """Return a folder with a package of each kind of model, and what the library makes of them."""

    def make(folder: Path) -> None:
        script = folder / "make_onnx.py"
        script.write_text(ONNX, "utf-8")
        alone = ["run", "--quiet", "--no-project", "--python", module.entry.python]
        command = [uv_binary(), *alone, "--with", "onnx", "python", script, folder / "w.onnx"]
        subprocess.run(command, check=True, cwd=folder)
        given = {"folder": str(folder), "old": OLD, "cases": CASES}
        np.savez(folder / "by_hand.npz", **by_hand(module.entry, MAKE + BY_HAND, images(), **given))
        assert proxy.asked  # by an id that the library was given: it would be noticed here too
        proxy.asked.clear()

    return once(tmp_path_factory, "bioimageio zoo", make)


@pytest.fixture
def by_the_library(zoo) -> dict[str, np.ndarray]:
    """Return what the library gives for `CASES`, by number, and two label images, by name."""
    with np.load(zoo / "by_hand.npz") as found:
        return dict(found)


def call(function, image, axes="", **parameters):
    return client.call(
        "bioimageio", function, {"image": image}, parameters, axes={"image": axes} if axes else None
    )


def predict(image, axes="", **parameters):
    return call("predict", image, axes, **parameters)["prediction"]


def pids(module):
    return [worker.pid for worker in workers.live(module.data, "bioimageio")]


def images() -> dict[str, np.ndarray]:
    gray = cells(200, (150, 130), 30)[0]
    coloured = np.stack([gray, gray // 2, cells(201, (150, 130), 9)[0]], -1)
    return {
        "gray": gray,
        "float": gray / 999.0,
        "even": gray[:148, :128],
        "rgb": (coloured[:148, :128] // 8).clip(0, 255).astype(np.uint8),
        "stack": stack(202, (20, 48, 40)),
    }


AXES = {"gray": "yx", "float": "yx", "even": "yx", "rgb": "yxc", "stack": "zyx"}
# The model, the image, our parameters, and how the library is called: with such blocks, as a whole,
# or as a whole after the statistics of the image without a margin. Our tiles are as small as their
# number allows: three of 50 px, 4 px beside them on each side, are of 64 px (32 + 8 n).
CASES = [
    ("gray", "gray", {"tile": 64}, (64, 56)),
    ("gray", "float", {"tile": 100, "channel": 2}, (88, 80)),
    ("gray", "gray", {"channel": 0}, "margin"),
    ("fixed", "gray", {"channel": 0}, (48, 48)),
    ("dataset", "even", {}, "whole"),
    ("onnx", "even", {"channel": 2}, "whole"),
    ("onnx", "gray", {"tile": 48, "channel": 0}, (40, 44)),
    ("rgb", "rgb", {"channel": 3}, "whole"),
    ("rgb", "rgb", {"tile": 40, "channel": 0}, (40, 32)),
    ("stack", "stack", {"tile": 20}, (12, 20, 16)),
    ("old", "gray", {"tile": 64, "channel": 0}, (64, 56)),
]
BY_HAND = """
from bioimageio.core import Sample, Tensor, create_prediction_pipeline, load_model_description
from skimage.measure import label
from skimage.segmentation import watershed

def maps(model, image, how):
    package = folder / f"{model}.zip"
    model = load_model_description(package, format_version="latest", perform_io_checks=False)
    weights = "onnx" if model.weights.onnx else "torchscript"
    devices = ["CPUExecutionProvider"] if weights == "onnx" else ["cpu"]
    pipeline = create_prediction_pipeline(model, weights_format=weights, devices=devices)
    pixels = arrays[image]
    pixels = np.ascontiguousarray(np.moveaxis(pixels, -1, 0) if image == "rgb" else pixels[None])
    axes = [axis.id for axis in model.inputs[0].axes]
    sample = Sample({model.inputs[0].id: Tensor(pixels[None], dims=axes)}, {}, None)
    if how == "whole":
        found = pipeline.predict_sample_without_blocking(sample)
    elif how == "margin":
        pipeline.apply_preprocessing(sample)
        wide = {"y": (4, 6), "x": (4, 10)}  # 160 x 144 px
        sample.members["image"] = sample.members["image"].pad(wide)
        found = pipeline.predict_sample_without_blocking(
            sample, skip_preprocessing=True, skip_input_padding=True)
    else:
        sides = dict(zip(axes, (1, len(pixels), *how)))
        found = pipeline.predict_sample_with_fixed_blocking(sample, {"image": sides})
    found = found.members["maps"].to_numpy()[0]
    shape = pixels.shape[1:]
    return found[(slice(None), *(slice(0, n) for n in shape))]

for number, (model, image, parameters, how) in enumerate(given["cases"]):
    found, channel = maps(model, image, how), parameters.get("channel", 1)
    out[str(number)] = found[channel - 1] if channel else np.moveaxis(found, 0, -1)
inside, edge = maps("gray", "gray", (64, 56))
mask = inside > 0.6
out["components"] = label(mask, connectivity=1)
out["watershed"] = watershed(edge, label(inside - edge > 0.6, connectivity=1), mask=mask)
try:
    load_model_description("affable-shark")  # asks the network
except Exception:
    pass
"""
PLAIN = {"threshold": 0.6, "tile": 64}
SPLIT = {**PLAIN, "boundary": 2}


def test_maps_are_those_of_the_library_by_hand(zoo, module, by_the_library, proxy):
    inputs = images()
    for number, (model, name, parameters, _) in enumerate(CASES):
        given = {"model": str(zoo / f"{model}.zip"), **parameters}
        found = predict(inputs[name], AXES[name], **given)
        expected = by_the_library[str(number)]
        assert found.dtype == np.float32
        assert np.ptp(expected) > 0.05  # not an even picture
        np.testing.assert_array_equal(found, expected, err_msg=str(CASES[number]))
    # After all these calls, also of a model with statistics of a data set, and in every layout.
    for number, name in ((4, "even"), (0, "gray")):
        model, _, parameters, _ = CASES[number]
        image = inputs[name]
        wide = np.zeros([2 * side for side in image.shape], image.dtype)
        wide[::2, ::2] = image
        frozen = image.copy()
        frozen.flags.writeable = False
        for pixels in (wide[::2, ::2], image.astype(">u2"), frozen, image.copy(order="F")):
            found = predict(pixels, model=str(zoo / f"{model}.zip"), **parameters)
            np.testing.assert_array_equal(found, by_the_library[str(number)])
    no_seams(inputs["gray"], inputs["stack"], zoo)
    each_plane(inputs["gray"], str(zoo / "gray.zip"))
    assert len(pids(module)) == 1  # one process has done all of it
    assert proxy.asked == []


def no_seams(image, volume, zoo):
    """Each network looks as far as its package says that is cut off at the edges of a tile."""
    for name, pixels, tile in (("gray", image, 40), ("old", image, 40), ("stack", volume, 12)):
        given = {"axes": "zyx"[-pixels.ndim :], "model": str(zoo / f"{name}.zip"), "channel": 0}
        whole = predict(pixels, **given)
        np.testing.assert_array_equal(predict(pixels, tile=tile, **given), whole)


def each_plane(image, model):
    """A model of planes computes each plane of a stack as if it were alone."""
    planes = np.stack([image, image[::-1]])
    found = predict(planes, "zyx", model=model)
    for plane, expected in zip(planes, found, strict=True):
        np.testing.assert_array_equal(predict(plane, model=model), expected)
    assert call("segment", planes, "zyx", model=model)["labels"].shape == planes.shape


def changed(zoo: Path, target: Path, name: str = "gray", **files: bytes | None) -> str:
    """Write a package with other files, or without them; a text stands for ``rdf.yaml``."""
    with ZipFile(zoo / f"{name}.zip") as source, ZipFile(target, "w") as made:
        content = {entry: source.read(entry) for entry in source.namelist()}
        for entry, data in (content | files).items():
            if data is not None:
                made.writestr(entry, data)
    return str(target)


def described(zoo: Path, name: str, old: str, new: str) -> dict[str, bytes]:
    with ZipFile(zoo / f"{name}.zip") as package:
        text = package.read("rdf.yaml").decode("utf-8")
    assert old in text
    return {"rdf.yaml": text.replace(old, new).encode("utf-8")}


def test_bad_input_is_one_sentence_and_the_worker_lives_on(zoo, module, tmp_path, proxy):
    image, gray = images()["gray"], str(zoo / "gray.zip")
    good = predict(image, model=gray)
    before = pids(module)
    whole = Path(gray).read_bytes()
    (tmp_path / "part.zip").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.zip").write_text("no zip")
    unpacked = tmp_path / "unpacked"
    with ZipFile(gray) as package:
        package.extract("rdf.yaml", unpacked)

    def but(old: str, new: str, name: str = "gray") -> dict:
        target = tmp_path / f"{len(list(tmp_path.iterdir()))}.zip"
        return {"model": changed(zoo, target, name, **described(zoo, name, old, new))}

    weights = described(zoo, "gray", "torchscript", "torchscript")["rdf.yaml"].decode()
    sha256 = weights.split("torchscript:")[1].split("sha256: ")[1].split()[0]
    torch = f"torchscript:\n    source: near.pt\n    sha256: {sha256}\n    pytorch_version"
    tensorflow = "tensorflow_js:\n    source: near.pt\n    tensorflow_version"
    chained = but("  - id: image\n", "  - id: image\n    output_of: affable-shark\n")
    bad = [
        ("axes", image[0], {}),
        ("3 channel", images()["rgb"], {"axes": "yxc"}),
        ("smaller", image[:5], {}),
        ("NaN", np.where(image > 300, np.nan, 1.0), {}),
        ("z-stack", image, {"model": str(zoo / "stack.zip")}),
        ("whole numbers", images()["rgb"].astype(np.uint16) * 9, {"model": str(zoo / "rgb.zip")}),
        ("Channel 3", image, {"channel": 3}),
        ("output 'mask'", image, {"output": "mask"}),
        ("GPU", image, {"device": "cuda:3"}),
        ("ONNX", image, {"model": str(zoo / "onnx.zip"), "device": "cuda:0"}),
        ("no whole model package", image, {"model": str(tmp_path / "part.zip")}),
        ("no whole model package", image, {"model": str(tmp_path / "text.zip")}),
        ("rdf.yaml", image, {"model": changed(zoo, tmp_path / "bare.zip", **{"rdf.yaml": None})}),
        ("missing", image, {"model": str(unpacked)}),
        ("missing", image, {"model": str(unpacked / "rdf.yaml")}),
        ("0.9.1", image, but("format_version: 0.5.12", "format_version: 0.9.1")),
        ("'dataset'", image, but("type: model", "type: dataset")),
        ("damaged", image, but(sha256, "a" * 64)),
        ("tensorflow_js", image, but(torch, tensorflow)),
        ("another", image, chained),
        ("not valid", image, but("- type: batch", "- type: bunch")),
        ("path does not exist", image, {"model": str(tmp_path / "none.zip")}),
    ]
    for word, pixels, parameters in bad:
        with pytest.raises(GA3EnvError, match=word) as caught:
            predict(pixels, **{"model": gray, **parameters})
        assert isinstance(caught.value, BadInput), word
        assert str(caught.value.message).count("\n") == 0
    np.testing.assert_array_equal(predict(image, model=gray), good)
    own_code(zoo, tmp_path)
    assert pids(module) == before
    assert proxy.asked == []


def own_code(zoo, tmp_path):
    """The Python file that weights need, which leaves a trace, runs only where it is allowed."""
    trace = tmp_path / "trace"
    code = (
        f"open({str(trace)!r}, 'a').close()\nimport torch\nNet = lambda: torch.nn.Conv2d(1, 2, 1)"
    )
    with ZipFile(zoo / "gray.zip") as package:
        head = package.read("rdf.yaml").decode("utf-8").split("\nweights:")[0]
    weights = """
weights:
  pytorch_state_dict:
    source: state.pt
    pytorch_version: 2.0.0
    architecture: {callable: Net, source: net.py}
"""
    files = {"state.pt": (zoo / "state.pt").read_bytes(), "net.py": code.encode()}
    files["rdf.yaml"] = (head + weights).encode("utf-8")
    model = changed(zoo, tmp_path / "code.zip", **files)
    image = images()["gray"]
    with pytest.raises(BadInput, match="its own Python code"):
        predict(image, model=model)
    assert not trace.exists()
    assert predict(image, model=model, allow_code=True).shape == image.shape
    assert trace.exists()


def test_a_model_is_loaded_once_and_a_new_file_is_seen(zoo, module, tmp_path):
    image, model = images()["gray"], tmp_path / "model.zip"
    model.write_bytes((zoo / "gray.zip").read_bytes())
    first = call("predict", image, model=str(model))
    assert [note for note in first.notes if "licence: CC-BY-4.0" in note]
    assert [note for note in first.notes if "CPU" in note]
    again = call("predict", image, model=str(model))
    assert not [note for note in again.notes if "licence" in note]
    np.testing.assert_array_equal(again["prediction"], first["prediction"])
    model.write_bytes((zoo / "old.zip").read_bytes())
    other = call("predict", image, model=str(model))
    assert [note for note in other.notes if "licence: MIT" in note]
    model.unlink()  # Windows refuses that where the worker has it open
    cancelled(np.tile(image, (10, 10)), {"model": str(zoo / "gray.zip"), "tile": 40}, module)


def cancelled(large, given, module):
    """A call tells its progress, and ends when it is cancelled; the worker lives on."""
    told, before = [], pids(module)

    def keep(done, text):
        told.append(text)

    with pytest.raises(Cancelled):
        client.call(
            "bioimageio",
            "predict",
            {"image": large},
            given,
            progress=keep,
            cancelled=lambda: bool(told),
        )
    assert "tile" in told[0]
    assert predict(large[:99, :99], **given).shape == (99, 99)
    assert pids(module) == before


def cli(*words):
    code, data = programs.answer(programs.command(*words))
    assert code == 0, data
    return data


def test_command_line_and_node_give_the_same_labels(zoo, module, by_the_library, tmp_path, proxy):
    data, picture, mask = module.data, tmp_path / "zellen é.tif", tmp_path / "mask.tif"
    image = images()["gray"]
    tifffile.imwrite(picture, image)
    cli("weights", "bioimageio", "add", zoo / "gray.zip", "--name", "lab", "--note", "by the test")
    words = [word for name in PLAIN for word in ("-p", f"{name}={PLAIN[name]}")]
    cli("segment", "bioimageio", picture, "-o", mask, "-p", "model=lab", *words)
    np.testing.assert_array_equal(tifffile.imread(mask), by_the_library["components"])
    assert by_the_library["components"].max() > 5
    given = {"model": "lab", **SPLIT}
    labels = call("segment", image, **given)["labels"]
    np.testing.assert_array_equal(labels, by_the_library["watershed"])
    assert labels.max() > 5
    few = call("segment", image, min_size=60, **given)["labels"]
    sizes = np.bincount(labels.ravel())[1:]
    assert few.max() == (sizes >= 60).sum() < labels.max()
    cut = call("segment", image, model="lab", split_distance=6.0, **PLAIN)["labels"]
    assert cut.max() > by_the_library["components"].max()
    np.testing.assert_array_equal(cut > 0, by_the_library["components"] > 0)

    script = nodes.script(catalog.find("bioimageio", data), given)
    host = nodehost.prepare(data, Uv(data, Settings()))
    with OutOfProcessNis(script, 6, python=host.python, site=host.site) as nis:
        for _ in range(2):
            (found,) = nis.run([image[None, ..., None]])
            np.testing.assert_array_equal(found[0, ..., 0], labels)
    assert proxy.asked == []
