"""Self-test of the module: run by the product in the module's environment, or by pytest."""

import json
import tempfile
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import torch
import worker

HALO = 4  # px; the network looks as far


class Net(torch.nn.Module):
    """Two channels, what is bright and what is an edge, from a mean over 9 x 9 pixels."""

    def __init__(self):
        super().__init__()
        self.near = torch.nn.AvgPool2d(2 * HALO + 1, stride=1, padding=HALO)

    def forward(self, image):
        near = self.near(image)
        return torch.cat((torch.sigmoid(near), torch.sigmoid(image - near)), dim=1)


def description(**changes):
    """Return a model's description of format 0.5."""
    sides = [{"type": "space", "id": name, "size": {"min": 32, "step": 8}} for name in "yx"]
    place = [{"tensor_id": "image", "axis_id": name} for name in "yx"]
    made = [
        {"type": "space", "id": name, "size": size, "halo": HALO}
        for name, size in zip("yx", place, strict=True)
    ]
    batch, gray = {"type": "batch"}, {"type": "channel", "channel_names": ["gray"]}
    whole = {"id": "zero_mean_unit_variance", "kwargs": {"axes": ["channel", "y", "x"]}}
    both = {"type": "channel", "channel_names": ["inside", "edge"]}
    return {
        "type": "model",
        "format_version": "0.5.3",
        "name": "Self-test",
        "description": "Made by the module's self-test.",
        "authors": [{"name": "Nobody"}],
        "cite": [{"text": "None", "url": "https://example.com"}],
        "license": "MIT",
        "documentation": "README.md",
        "inputs": [
            {
                "id": "image",
                "axes": [batch, gray, *sides],
                "data": {"type": "float32"},
                "preprocessing": [whole],
                "test_tensor": {"source": "image.npy"},
            }
        ],
        "outputs": [
            {"id": "maps", "axes": [batch, both, *made], "test_tensor": {"source": "maps.npy"}}
        ],
        "weights": {"torchscript": {"source": "weights.pt", "pytorch_version": "2.0"}},
        **changes,
    }


def package(folder, **changes):
    """Write a package and return its path."""
    path = Path(folder) / "model.zip"
    weights = path.with_name("weights.pt")
    torch.jit.script(Net()).save(str(weights))
    with ZipFile(path, "w") as file:
        file.write(weights, weights.name)
        file.writestr("rdf.yaml", json.dumps(description(**changes)))  # JSON is YAML too
    return str(path)


def squares():
    """Return an image with two bright squares, uint16."""
    image = np.full((90, 110), 100, np.uint16)
    image[20:45, 20:45] = 900
    image[50:75, 60:85] = 900
    return image


def refused(word, image, **options):
    try:
        worker.predict(image, **options)
    except ValueError as error:
        text = str(error)
        assert word in text, text
    else:
        raise AssertionError(f"not refused: {word}")


def test_prediction():
    with tempfile.TemporaryDirectory() as folder:
        model = package(folder)
        told = []
        maps = worker.predict(squares(), model=model, channel=0, device="cpu", note=told.append)
        assert maps.shape == (90, 110, 2)
        assert maps.dtype == np.float32
        assert maps[32, 32, 0] > 0.8 > 0.5 > maps[5, 5, 0]
        assert ["MIT" in text for text in told] == [True]
        tiled = worker.predict(squares(), model=model, channel=0, device="cpu", tile=40)
        assert np.array_equal(tiled, maps)


def test_objects():
    with tempfile.TemporaryDirectory() as folder:
        model = package(folder)
        labels = worker.segment(squares(), model=model, device="cpu", threshold=0.6)
        assert labels.dtype == np.int32
        assert np.unique(labels).tolist() == [0, 1, 2]
        assert labels[32, 32] == 1
        assert labels[62, 72] == 2


def test_refusals():
    with tempfile.TemporaryDirectory() as folder:
        model = package(folder)
        refused("3 channel", np.zeros((32, 32, 3)), axes="yxc", model=model)
        refused("NaN", np.full((32, 32), np.nan), model=model)
        refused("smaller", squares()[:5], model=model)
        refused("device", squares(), model=model, device="abacus")
        refused("tensorflow", squares(), model=package(folder, weights=TENSORFLOW))


TENSORFLOW = {"tensorflow_js": {"source": "weights.zip", "tensorflow_version": "1.15"}}
