"""Small models in packages of the bioimage.io format, made with bioimageio.spec and by hand."""

from __future__ import annotations

# In the module's own Python: writes a package for each kind of model into a folder.
MAKE = """
import hashlib
import os
os.environ["BIOIMAGEIO_PERFORM_IO_CHECKS"] = "true"  # so that hashes are written
from pathlib import Path
from zipfile import ZipFile

import torch
from bioimageio.spec import save_bioimageio_package
from bioimageio.spec.model.v0_5 import *

folder = Path(given["folder"])
files = folder / "files"
files.mkdir(exist_ok=True)
(files / "README.md").write_text("# Made by a test")

class Net(torch.nn.Module):
    # What is bright in the mean of the neighbours, and what differs from it.
    def __init__(self, reach: int):
        super().__init__()
        self.near = torch.nn.AvgPool2d(2 * reach + 1, stride=1, padding=reach)
    def forward(self, image):
        near = self.near(image)
        inside, edge = torch.sigmoid(4 * near), torch.sigmoid(3 * torch.abs(image - near) - 2)
        return torch.cat((inside, edge), dim=1)

def random(layer):
    torch.manual_seed(1)
    return layer(*{torch.nn.Conv2d: (3, 3, 3), torch.nn.Conv3d: (1, 1, 3)}[layer], padding=1)

def scripted(name, net):
    path = files / f"{name}.pt"
    torch.jit.script(net.eval()).save(str(path))
    return {"torchscript": TorchscriptWeightsDescr(source=path, pytorch_version="2.0")}

def space(names, least, step, halo, size=None):
    place = lambda n: SizeReference(tensor_id=TensorId("image"), axis_id=AxisId(n))
    free = [size or ParameterizedSize(min=least, step=step) for n in names]
    taken = [SpaceInputAxis(id=AxisId(n), size=s) for n, s in zip(names, free)]
    if not halo:
        return taken, [SpaceOutputAxis(id=AxisId(n), size=place(n)) for n in names]
    return taken, [SpaceOutputAxisWithHalo(id=AxisId(n), size=place(n), halo=halo) for n in names]

def package(name, weights, axes, channels, before, after=(), dtype="float32"):
    taken, made = axes
    kinds = [ChannelAxis(channel_names=[f"c{i}" for i in range(n)]) for n in channels]
    shape = lambda axes, n: (1, n, *(getattr(a.size, "min", a.size) for a in axes))
    for tensor, n, kind in (("image", channels[0], dtype), ("maps", channels[1], "float32")):
        np.save(files / f"{tensor}_{name}.npy", np.ones(shape(taken, n), kind))
    tested = lambda tensor: FileDescr(source=files / f"{tensor}_{name}.npy")
    image = InputTensorDescr(
        id=TensorId("image"), axes=[BatchAxis(), kinds[0], *taken], test_tensor=tested("image"),
        data=IntervalOrRatioDataDescr(type=dtype), preprocessing=before)
    maps = OutputTensorDescr(
        id=TensorId("maps"), axes=[BatchAxis(), kinds[1], *made], test_tensor=tested("maps"),
        postprocessing=list(after))
    model = ModelDescr(
        name=f"Model {name}", description="Made by a test", license=LicenseId("CC-BY-4.0"),
        authors=[Author(name="A Test")], cite=[CiteEntry(text="None", url="https://example.com")],
        documentation=FileDescr(source=files / "README.md"), inputs=[image], outputs=[maps],
        parent=LinkedModel(id=ModelId("affable-shark")), format_version="0.5.12",
        git_repo="https://example.com/nothing", weights=WeightsDescr(**weights))
    save_bioimageio_package(model, output_path=folder / f"{name}.zip")

def mean_0(*axes):
    axes = [AxisId(a) for a in axes]
    return ZeroMeanUnitVarianceDescr(kwargs=ZeroMeanUnitVarianceKwargs(axes=axes))

def percentiles(*axes):
    kwargs = ScaleRangeKwargs(axes=[AxisId(a) for a in axes], min_percentile=1, max_percentile=99.8)
    return ScaleRangeDescr(kwargs=kwargs)

near = scripted("near", Net(4))
flat, plain = space("yx", 32, 8, 4), space("yx", 16, 4, 0)
package("gray", near, flat, (1, 2), [mean_0("channel", "y", "x")])
package("dataset", near, plain, (1, 2), [mean_0("batch", "channel", "y", "x")])
package("fixed", near, space("yx", 0, 0, 4, size=48), (1, 2), [mean_0("channel", "y", "x")])
onnx = {"onnx": OnnxWeightsDescr(source=folder / "w.onnx", opset_version=17)}
clip = ClipDescr(kwargs=ClipKwargs(min=0.2, max=0.8))
package("onnx", onnx, plain, (1, 2), [percentiles("y", "x")], [clip])
to_1 = [
    ScaleLinearDescr(kwargs=ScaleLinearKwargs(gain=1 / 255)),
    EnsureDtypeDescr(kwargs=EnsureDtypeKwargs(dtype="float32"))]
net = scripted("rgb", random(torch.nn.Conv2d))
package("rgb", net, plain, (3, 3), to_1, [SoftmaxDescr()], dtype="uint8")
deep = space("zyx", 8, 4, 1)
net = scripted("stack", random(torch.nn.Conv3d))
package("stack", net, deep, (1, 1), [percentiles("z", "y", "x")])

torch.save(torch.nn.Conv2d(1, 2, 1).state_dict(), folder / "state.pt")
weights = (files / "near.pt").read_bytes()
arrays_of = {"image": (1, 1, 32, 32), "maps": (1, 2, 32, 32)}
with ZipFile(folder / "old.zip", "w") as old:
    old.writestr("rdf.yaml", given["old"].replace("SHA256", hashlib.sha256(weights).hexdigest()))
    old.writestr("near.pt", weights)
    for name, shape in arrays_of.items():
        with old.open(f"{name}.npy", "w") as file:
            np.save(file, np.zeros(shape, "float32"))
    old.writestr("README.md", "# Made by a test")
"""
# Format 0.4, in which most models of the zoo were written.
OLD = """
format_version: 0.4.9
type: model
name: Old model
description: Made by a test
authors: [{name: A Test}]
cite: [{text: None, url: https://example.com}]
documentation: README.md
covers: [https://example.com/cover.png]
license: MIT
tags: []
timestamp: 2023-01-01T00:00:00
inputs:
  - name: image
    axes: bcyx
    data_type: float32
    data_range: [-.inf, .inf]
    shape: {min: [1, 1, 32, 32], step: [0, 0, 8, 8]}
    preprocessing:
      - {name: zero_mean_unit_variance, kwargs: {mode: per_sample, axes: cyx}}
outputs:
  - name: maps
    axes: bcyx
    data_type: float32
    data_range: [-.inf, .inf]
    halo: [0, 0, 4, 4]
    shape: {reference_tensor: image, scale: [1.0, 1.0, 1.0, 1.0], offset: [0.0, 0.5, 0.0, 0.0]}
test_inputs: [image.npy]
test_outputs: [maps.npy]
weights:
  torchscript: {source: near.pt, sha256: SHA256, pytorch_version: 2.0.0}
"""
# In a Python with the package onnx, which the module does not need.
ONNX = """
import sys
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

weights = np.random.default_rng(3).normal(0, 0.5, (2, 1, 3, 3)).astype("float32")
nodes = [
    helper.make_node("Conv", ["image", "weights"], ["sums"], pads=[1, 1, 1, 1]),
    helper.make_node("Sigmoid", ["sums"], ["maps"]),
]
ends = [
    helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, channels, "y", "x"])
    for name, channels in (("image", 1), ("maps", 2))
]
graph = helper.make_graph(
    nodes, "test", ends[:1], ends[1:], [numpy_helper.from_array(weights, "weights")]
)
opset = [helper.make_opsetid("", 17)]
onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), sys.argv[1])
"""
