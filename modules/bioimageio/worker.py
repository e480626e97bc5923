"""Models of the bioimage.io zoo, run by bioimageio.core: images in, probabilities or labels out.

Nothing is downloaded, and no code that comes with a model runs unless the caller allows it.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path, PurePath
from typing import Any, NamedTuple
from zipfile import BadZipFile, ZipFile

import numpy as np
import torch
from bioimageio.core import Sample, Tensor, create_model_adapter, create_prediction_pipeline
from bioimageio.core.proc_setup import get_requried_measures
from bioimageio.core.stat_calculators import compute_measures
from bioimageio.spec import InvalidDescr, ValidationContext, build_description
from bioimageio.spec.model import v0_5
from bioimageio.spec.utils import get_reader, open_bioimageio_yaml
from ruyaml.error import YAMLError
from scipy import ndimage as ndi
from skimage import feature, measure, segmentation

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # read when ONNX Runtime is imported, by its first model
RANKS = {"yx": 2, "yxc": 3, "zyx": 3, "zyxc": 4}
SMALLEST_SIDE = 8  # of an image, px
TILE, TILE_3D, SMALLEST_TILE = 512, 128, 64  # longest side of a tile, px
MOST_MODELS = 2
WITH_CODE = "pytorch_state_dict"
USABLE = ("torchscript", "onnx", WITH_CODE)  # the best comes first; two are graphs without code
OTHER_STEPS = ("custom", "stardist_postprocessing", "cellpose_flow_dynamics")
OFFLINE: Any = {"perform_io_checks": False, "log_warnings": False}
BARE: Any = {f"skip_{s}": True for s in ("postprocessing", "input_padding", "output_cropping")}
DAMAGE = (BadZipFile, zlib.error, OSError, EOFError, ValueError, YAMLError)
Told = Callable[..., object]


def _silent(*_: object) -> None: ...


def predict(
    image: np.ndarray,
    *,
    axes: str = "",
    model: str,
    output: str = "",
    channel: int = 1,
    tile: int = 0,
    device: str = "auto",
    allow_code: bool = False,
    progress: Told = _silent,
    note: Told = _silent,
) -> np.ndarray:
    """Return what a model says of each pixel, such as a probability.

    Parameters
    ----------
    image : ndarray
        Any real dtype, axes as in `axes`. It is never written to.
    axes : {"", "yx", "yxc", "zyx", "zyxc"}
        Empty: what fits the model. One of 2-D images computes each plane of a stack on its own.
    model : str
        Full path of a package (.zip), of its unpacked folder, or of its ``rdf.yaml``.
    output : str
        Name of one of the model's outputs; empty = the first.
    channel : int
        Number of the output's channel from 1; 0 = all of them, as last axis.
    tile : int
        Longest side of a tile, px; 0 = as `TILE` says.
    device : str
        "auto", "cpu", "cuda:0" ...
    allow_code : bool
        Run the Python code that PyTorch weights need.

    Returns
    -------
    ndarray
        (y, x), (y, x, c), (z, y, x) or (z, y, x, c), of the dtype that the model gives.

    Raises
    ------
    ValueError
        The image, the model or a parameter does not fit; the message says why.
    """
    used = _model(model, device, allow_code, note)
    maps = _maps(used, image, axes, output, tile, progress, note)
    return np.moveaxis(maps, 0, -1) if channel == 0 else _channel(maps, channel)


def segment(
    image: np.ndarray,
    *,
    axes: str = "",
    model: str,
    output: str = "",
    foreground: int = 1,
    boundary: int = 0,
    threshold: float = 0.5,
    split_distance: float = 0.0,
    min_size: int = 0,
    tile: int = 0,
    device: str = "auto",
    allow_code: bool = False,
    progress: Told = _silent,
    note: Told = _silent,
) -> np.ndarray:
    """Label the objects that a model outlines; what is not listed here is as for `predict`.

    Parameters
    ----------
    foreground, boundary : int
        Channel that is high inside of objects, and that which is high where they touch (from 1; 0 =
        none). Objects begin where the first exceeds the second by the threshold, and grow till they
        meet (watershed).
    threshold : float
        What is above belongs to an object, in the units of the model's output.
    split_distance : float
        Without a boundary channel: least distance of the centres (of the distance transform) where
        objects are cut apart, px; 0 = they are not.
    min_size : int
        Smaller objects are removed, px.

    Returns
    -------
    ndarray of int32
        Labels 1..n, 0 = background, shape of the image without its component axis.
    """
    used = _model(model, device, allow_code, note)
    maps = _maps(used, image, axes, output, tile, progress, note)
    edge = _channel(maps, boundary) if boundary else None
    labels = _labels(_channel(maps, foreground), edge, threshold, split_distance)
    keep = np.bincount(labels.ravel()) >= min_size
    return segmentation.relabel_sequential(np.where(keep[labels], labels, 0))[0].astype(np.int32)


def _channel(maps: np.ndarray, number: int) -> np.ndarray:
    if not 1 <= number <= len(maps):
        raise ValueError(f"Channel {number} is not there: the model's output has {len(maps)}.")
    return maps[number - 1]


def _labels(inside: np.ndarray, edge: Any, threshold: float, split: float) -> np.ndarray:
    mask = inside > threshold
    regions = measure.label(mask if edge is None else inside - edge > threshold, connectivity=1)
    if edge is not None:
        return segmentation.watershed(edge, regions, mask=mask)
    if not split:
        return regions
    depth = ndi.distance_transform_edt(mask)
    peaks = feature.peak_local_max(depth, round(split) or 1, labels=regions, exclude_border=False)
    seeds = np.zeros_like(regions)
    seeds[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    return segmentation.watershed(-depth, seeds, mask=mask)


@dataclass(frozen=True)
class _Model:
    """A loaded model; `files` are those on the disk that it was loaded from, as they were."""

    description: v0_5.ModelDescr
    adapter: Any
    device: str
    files: Mapping[Path, tuple[int, ...]]

    @property
    def input(self) -> v0_5.InputTensorDescr:
        return next(tensor for tensor in self.description.inputs if not tensor.optional)

    @property
    def order(self) -> str:
        """The axes of its input, such as bcyx; "?" is one that images here do not have."""
        names = {"batch": "b", "channel": "c", "z": "z", "y": "y", "x": "x"}
        return "".join(names.get(a.type) or names.get(str(a.id), "?") for a in self.input.axes)

    @property
    def channels(self) -> int:
        return next((len(a.channel_names) for a in self.input.axes if a.type == "channel"), 1)


_loaded: dict[tuple[str, str, bool], _Model] = {}  # the one used last is the last


def _model(path: str, device: str, allow_code: bool, note: Told) -> _Model:
    """Return a model, loaded at most once; the one that was not used for longest makes room."""
    key = (path, device, allow_code)
    found = _loaded.pop(key, None)
    if found and any(_stamp(file) != stamp for file, stamp in found.files.items()):
        found.adapter.unload()
        found = None
    if not found:
        found = _load(Path(path), device, allow_code)
        licence = found.description.license or "not stated"
        note(f"The model is {found.description.name!r}; its licence: {licence}.")
    _loaded[key] = found
    while len(_loaded) > MOST_MODELS:
        _loaded.pop(next(iter(_loaded))).adapter.unload()
    if device == "auto" and found.device == "cpu":
        note("It was computed on the CPU.")
    return found


def _stamp(path: Path) -> tuple[int, ...]:
    return (path.stat().st_mtime_ns, path.stat().st_size) if path.exists() else ()


def _load(path: Path, device: str, allow_code: bool) -> _Model:
    opened = _opened(path)
    root, name, content = opened.original_root, opened.original_file_name, opened.content
    try:
        _check_kind(path.name, content)
        context = ValidationContext(root=root, file_name=name, **OFFLINE)
        written = _described(content, context, "discover")
        weights = _chosen_weights(written, allow_code)
        files = [_checked_file(*named) for named in _files(getattr(written.weights, weights))]
        description = _described(content, context, "latest")
        _check_supported(description)
        place = _place(device, weights)
        adapter = _adapter(description, weights, place)
    finally:
        if isinstance(root, ZipFile):
            root.close()  # Windows replaces or deletes no file that is open
    files.append(path / name if path.is_dir() else path)
    stamps = {file: _stamp(file) for file in files if isinstance(file, Path)}
    return _Model(description, adapter, place, stamps)


def _opened(path: Path) -> Any:
    """Return a package's description as it is written, and where its files are."""
    unpacked = path.is_dir() or path.suffix.lower() in (".yaml", ".yml")
    try:
        return open_bioimageio_yaml(path if unpacked else ZipFile(path))
    except DAMAGE as error:
        raise ValueError(f"{path.name} is no whole model package: {_one_line(error)}.") from error


def _one_line(problem: object) -> str:
    text = " ".join(str(problem).split()).rstrip(".") or type(problem).__name__
    return text if len(text) <= 300 else text[:300] + " ..."


def _check_kind(package: str, content: Mapping[str, Any]) -> None:
    """Refuse what bioimageio.spec must not even see."""
    if content.get("type", "model") != "model":
        raise ValueError(f"{package} is no model: its description says {content['type']!r}.")
    version = str(content.get("format_version", "none"))
    if f"{version}."[:4] not in ("0.3.", "0.4.", "0.5."):
        raise ValueError(f"{package} has the format version {version}; known are 0.3 to 0.5.")
    for tensor in content.get("inputs") or ():
        if isinstance(tensor, dict) and tensor.get("output_of"):  # it would be downloaded
            raise ValueError("The model needs the result of another one, which is not supported.")


def _described(content: dict[str, Any], context: ValidationContext, version: str) -> Any:
    found = build_description(content, context=context, format_version=version)
    if isinstance(found, InvalidDescr):
        error = found.validation_summary.errors[0]
        place = ".".join(str(part) for part in error.loc)
        raise ValueError(f"The model's description is not valid: {place}: {_one_line(error.msg)}.")
    return found


def _chosen_weights(description: Any, allow_code: bool) -> str:
    present = [name for name, weights in description.weights if weights]
    usable = [name for name in USABLE if name in present]
    if not usable:
        have = ", ".join(present) or "none"
        raise ValueError(f"The model has no TorchScript, ONNX or PyTorch weights, but: {have}.")
    if usable[0] == WITH_CODE and not allow_code:
        raise ValueError("The model runs its own Python code; allow_code=true permits it.")
    return usable[0]


def _files(weights: Any) -> Iterator[tuple[Any, Any]]:
    """Yield the files of weights, each with its SHA-256 or None."""
    yield weights.source, weights.sha256
    if data := getattr(weights, "external_data", None):
        yield data.source, data.sha256
    code = getattr(weights, "architecture", None)
    if source := getattr(code, "source", None) or getattr(code, "source_file", None):
        yield source, getattr(code, "sha256", None) or getattr(weights, "architecture_sha256", None)


def _checked_file(source: Any, sha256: Any) -> Any:
    path = PurePath(str(source))
    if "://" in str(source) or path.is_absolute() or ".." in path.parts:
        raise ValueError(f"The package lacks the model's file {source}; get the whole package.")
    try:
        get_reader(source, sha256=sha256)
    except FileNotFoundError:
        raise ValueError(f"The model's file {source} is missing in its package.") from None
    except DAMAGE as error:
        raise ValueError(f"The model's file {source} is damaged: {_one_line(error)}.") from error
    return source.absolute()


def _check_supported(description: v0_5.ModelDescr) -> None:
    needed = [tensor for tensor in description.inputs if not tensor.optional]
    if len(needed) != 1:
        raise ValueError(f"The model needs {len(needed)} images at once; this module gives it one.")
    steps = [step.id for tensor in description.inputs for step in tensor.preprocessing]
    steps += [step.id for tensor in description.outputs for step in tensor.postprocessing]
    if others := [step for step in steps if step in OTHER_STEPS]:  # what follows would run code
        raise ValueError(f"The model's processing step {others[0]!r} is not supported.")
    measured = {str(measure.member_id) for measure in get_requried_measures(description).post}
    if measured & {str(tensor.id) for tensor in description.outputs}:
        raise ValueError("The model scales its output by statistics of it, which is not supported.")


def _place(wanted: str, weights: str) -> str:
    """Return the device on which weights of a format are computed."""
    device = os.environ.get("GA3ENV_DEVICE", "cpu") if wanted == "auto" else wanted
    kind, _, number = device.partition(":")
    if device == "cpu" or (wanted == "auto" and weights == "onnx"):
        return "cpu"
    if kind != "cuda" or not (number or "0").isdigit():
        raise ValueError(f"The device {wanted!r} is not known; use auto, cpu, cuda:0 and so on.")
    if weights == "onnx":  # its ordinary package has no CUDA
        raise ValueError(f"ONNX weights run on the CPU only, not on {wanted}.")
    if int(number or 0) >= torch.cuda.device_count():
        raise ValueError(f"The device {device} is not there: torch finds no such GPU.")
    return device


def _adapter(description: v0_5.ModelDescr, weights: str, device: str) -> Any:
    devices = ["CPUExecutionProvider"] if weights == "onnx" else [device]
    only: Any = {"devices": devices, "weight_format_priority_order": [weights]}
    try:
        return create_model_adapter(description, **only)
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        raise ValueError(f"The {weights} weights cannot be loaded: {_one_line(error)}.") from error


class _Cut(NamedTuple):
    """How an image is cut along an axis, px: of a tile's output `used` are used behind `halo`."""

    starts: list[int]
    tile: int
    halo: int
    used: int
    around: tuple[int, int]  # pixels to be added to the image


def _cut(given: Any, made: Any, length: int, limit: int) -> _Cut:
    """Cut along the axis `given` of the input, which is `made` of the output."""
    smallest, step = getattr(given.size, "min", given.size), getattr(given.size, "step", 0)
    own = getattr(made, "size", None)
    offset = own - smallest if isinstance(own, int) else getattr(own, "offset", 1)
    if not isinstance(smallest, int) or offset > 0 or offset % 2 or made.scale != given.scale:
        raise ValueError("The model's output is no image with the pixels of its input.")
    halo = getattr(made, "halo", 0)
    margin = halo - offset // 2  # what the model leaves out by itself counts too

    def valid(least: int) -> int:
        return smallest + (max(0, -((smallest - least) // step)) * step if step else 0)

    tile = valid(length + 2 * margin)
    if step and tile > limit:  # as many tiles as it takes, and as small as they can then be
        most = valid(max(limit - step, 2 * margin) + 1) - 2 * margin
        tile = valid(-(-length // -(-length // most)) + 2 * margin)
    used = tile - 2 * margin
    if used <= 0:
        raise ValueError(f"The model leaves nothing of its tiles of {tile} px.")
    starts = [min(at, max(0, length - used)) for at in range(0, length, used)]
    return _Cut(starts, tile, halo, used, (margin, margin + max(0, used - length)))


def _maps(
    model: _Model, image: np.ndarray, axes: str, output: str, tile: int, progress: Told, note: Told
) -> np.ndarray:
    """Return what the model gives, as (c, y, x) or (c, z, y, x)."""
    tensors = {str(tensor.id): tensor for tensor in model.description.outputs}
    if output not in ("", *tensors):
        raise ValueError(f"The model has no output {output!r}; it has: {', '.join(tensors)}.")
    chosen = tensors[output or next(iter(tensors))]
    planes, stacked = _planes(image, axes, model)
    limit = tile or (TILE_3D if "z" in model.order else TILE)
    maps: list[np.ndarray] = []

    def tell(done: int, tiles: int) -> None:
        progress((len(maps) + done / tiles) / len(planes), f"tile {done + 1} of {tiles}")

    while len(maps) < len(planes):
        try:
            maps.append(_map(model, chosen, planes[len(maps)], limit, tell))
        except torch.OutOfMemoryError:
            if limit <= SMALLEST_TILE:
                raise
            limit //= 2
            note(f"Tiles of {limit} px were used: the GPU has no memory for larger ones.")
    if not all(np.isfinite(each).all() for each in maps):
        raise ValueError("The model gave values that are no numbers; it does not suit this image.")
    return np.stack(maps, axis=1) if stacked else maps[0]


def _planes(image: np.ndarray, axes: str, model: _Model) -> tuple[list[np.ndarray], bool]:
    """Return what the model gets, checked, and whether these are the planes of a stack."""
    if image.dtype.kind not in "buif" or not image.size or not np.isfinite(image).all():
        raise ValueError("The image must hold numbers, and all of them finite (no NaN).")
    deep = "z" in model.order
    colour = not deep and image.shape[-1] == model.channels
    axes = axes or {2: "yx", 3: "yxc" if colour else "zyx", 4: "zyxc"}.get(image.ndim, "")
    if RANKS.get(axes) != image.ndim:
        raise ValueError(f"The image has {image.ndim} axes, not those of {axes or 'yx to zyxc'}.")
    if deep and "z" not in axes:
        raise ValueError("The model needs a z-stack, but the image is a single plane.")
    pixels = image if "c" in axes else image[..., np.newaxis]
    if pixels.shape[-1] != model.channels:
        raise ValueError(f"The image has {pixels.shape[-1]} channel(s), not {model.channels}.")
    if min(pixels.shape[-3:-1]) < SMALLEST_SIDE:
        raise ValueError(f"The image is smaller than {SMALLEST_SIDE} x {SMALLEST_SIDE} pixels.")
    pixels = _fitting(pixels, model)
    stacked = pixels.ndim == 4 and not deep
    return [_arranged(plane, model) for plane in (pixels if stacked else [pixels])], stacked


def _fitting(pixels: np.ndarray, model: _Model) -> np.ndarray:
    """Return the pixels in native byte order; refuse what the model's type rounds or wraps."""
    step = next(iter(model.input.preprocessing), None)
    taken = np.dtype(step.kwargs.dtype if step and step.id == "ensure_dtype" else np.float32)
    if taken.kind in "ui" and pixels.dtype.kind != "b":
        low, high = np.iinfo(taken).min, np.iinfo(taken).max
        if pixels.dtype.kind == "f" or pixels.min() < low or pixels.max() > high:
            held = f"the image is {pixels.dtype} from {pixels.min()} to {pixels.max()}"
            raise ValueError(f"The model takes whole numbers from {low} to {high}; {held}.")
    half = pixels.dtype == np.float16  # bioimageio.core does not know it
    return pixels.astype(np.float32 if half else pixels.dtype.newbyteorder("="), copy=False)


def _arranged(pixels: np.ndarray, model: _Model) -> np.ndarray:
    """Return ([z,] y, x, c) in the order of the model, contiguous: sums depend on the layout."""
    axes, order = "zyxc"[-pixels.ndim :], model.order
    if "c" not in order:
        axes, pixels = axes[:-1], pixels[..., 0]
    missing = [place for place, name in enumerate(order) if name not in axes]
    unknown = [place for place in missing if model.input.axes[place].size not in (1, None)]
    if unknown or set(axes) - set(order):
        raise ValueError(f"The model takes other axes ({order}) than those of the image ({axes}).")
    pixels = pixels.transpose([axes.index(name) for name in order if name in axes])
    return np.ascontiguousarray(np.expand_dims(pixels, missing))


def _map(
    model: _Model, output: Any, plane: np.ndarray, limit: int, tell: Callable[[int, int], object]
) -> np.ndarray:
    """Return an output of the model (c, [z,] y, x), computed tile by tile.

    As in the blockwise prediction of bioimageio.core, the statistics are those of the whole image,
    and so are the places of the tiles and the pixels around the image.
    """
    member = model.input.id
    image = Tensor(plane, dims=[axis.id for axis in model.input.axes])
    made = {str(axis.id): axis for axis in output.axes}
    cuts = {
        name: _cut(axis, made.get(name), image.sizes[axis.id], limit)
        for axis, name in zip(model.input.axes, model.order, strict=True)
        if name in "zyx"
    }
    pipeline, stat = _pipeline(model, Sample({member: image}, {}, None))
    around = {name: cut.around for name, cut in cuts.items()}
    padded = image.pad(around, model.input.pad or v0_5.SymmetricPadding())
    places = list(product(*(cut.starts for cut in cuts.values())))
    whole = None
    for done, corner in enumerate(places):
        tell(done, len(places))
        place = dict(zip(cuts, corner, strict=True))
        tile = padded[{name: slice(at, at + cuts[name].tile) for name, at in place.items()}]
        sample = Sample({member: tile}, dict(stat), None)
        part = pipeline.predict_sample_without_blocking(sample, **BARE).members[output.id]
        if whole is None:
            sizes = {name: max(image.sizes[name], cut.used) for name, cut in cuts.items()}
            shape = [sizes.get(name, size) for name, size in part.sizes.items()]
            whole = Tensor(np.empty(shape, part.to_numpy().dtype), dims=part.dims)
        inner = {name: slice(cut.halo, cut.halo + cut.used) for name, cut in cuts.items()}
        whole[{name: slice(at, at + cuts[name].used) for name, at in place.items()}] = part[inner]
    result = Sample({output.id: whole[{n: slice(0, image.sizes[n]) for n in cuts}]}, stat, None)
    pipeline.apply_postprocessing(result)
    return _plain(result.members[output.id].data, output, list(cuts))


def _pipeline(model: _Model, sample: Sample) -> tuple[Any, Any]:
    """Return a pipeline, and the image's statistics; it is new, since it would keep them."""
    measures = get_requried_measures(model.description)
    stat = compute_measures(measures.pre | measures.post, [sample])
    given: Any = {"model_adapter": model.adapter, "fixed_dataset_statistics": stat}
    return create_prediction_pipeline(model.description, **given), stat


def _plain(values: Any, output: Any, space: list[str]) -> np.ndarray:
    """Return a tensor's values as (c, [z,] y, x)."""
    channel = next((axis.id for axis in output.axes if axis.type == "channel"), "channel")
    values = values if channel in values.dims else values.expand_dims(channel)
    values = values.transpose(channel, *(name for name in "zyx" if name in space), ...).to_numpy()
    return values.reshape(values.shape[: 1 + len(space)])
