"""Cells and nuclei with Cellpose 3 (Stringer et al. 2021; Stringer and Pachitariu 2025).

The library computes; this file prepares what it is given and keeps it from what must not happen
here: guessing axes, taking another model than the chosen one, downloading, changing its globals.
"""

from __future__ import annotations

import functools
import gc
import math
import os
import pickle
import re
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numpy as np
import torch

AXES = {2: ("yx",), 3: ("yxc", "zyx"), 4: ("zyxc",)}
MOST_COMPONENTS = 4  # a last axis that is longer is no channel axis, where nobody says what it is
SMALLEST_SIDE = 8  # px; of the image, and of the image that the network sees
SMALLEST_DIAMETER = 2.0  # px
TILE_STEP = 16  # px; the network halves a tile three times, and the library pads to this
MODELS_KEPT = 3  # loaded at a time, about 30 MB each
NETWORK = ([2, 32, 64, 128, 256], 3, 3)  # of all segmentation models of Cellpose 1 to 3
STYLES = (256,)  # what a size net goes by
NOT_IN_ALL = ("diam_mean", "diam_labels", "num_batches_tracked")  # what early models lack
NETWORK_SHARE = 0.8  # of the time of a call, for its progress

Progress = Callable[[float, str], object]
Note = Callable[[str], object]


def _import_library() -> None:
    """Import Cellpose so that numba keeps what it compiles; else every import takes seconds more.

    Numba keeps it beside the package, where the installation's test puts it, else in the user's
    cache folder; where it can write to neither, it shall be beside the worker's log.
    """
    compiling = numba.njit
    numba.njit = functools.partial(compiling, cache=True)
    try:
        import cellpose.models
    except RuntimeError as error:
        log = os.environ.get("GA3ENV_WORKER_LOG")
        if not log or "cannot cache function" not in str(error):
            raise
        numba.config.CACHE_DIR = str(Path(log).with_name("numba"))
        import cellpose.models  # noqa: F401
    finally:
        numba.njit = compiling


_import_library()
from cellpose import models, utils  # noqa: E402
from cellpose.resnet_torch import CPnet  # noqa: E402


def _never_download(name: str) -> str:
    """Take the place of the library's downloader, which trusts any server and any file."""
    raise ValueError(f"The model is gone; {name} in its place would be another one.")


models.cache_model_path = _never_download


def segment(
    image: np.ndarray,
    *,
    axes: str = "",
    model: str = "",
    diameter: float = 0.0,
    channel: int = 0,
    nucleus: int = 0,
    flow_threshold: float = 0.4,
    cellprob_threshold: float = 0.0,
    min_size: int = 15,
    max_size_fraction: float = 0.4,
    exclude_edges: bool = False,
    do_3d: bool = False,
    stitch_threshold: float = 0.25,
    anisotropy: float = 1.0,
    flow3d_smooth: float = 0.0,
    normalize: bool = True,
    lower: float = 1.0,
    upper: float = 99.0,
    tile_norm: int = 0,
    sharpen: float = 0.0,
    smooth: float = 0.0,
    invert: bool = False,
    resample: bool = True,
    interp: bool = True,
    niter: int = 0,
    augment: bool = False,
    tile: int = 224,
    tile_overlap: float = 0.1,
    batch_size: int = 8,
    device: str = "auto",
    progress: Progress | None = None,
    note: Note | None = None,
) -> np.ndarray:
    """Label cells or nuclei.

    Parameters
    ----------
    image : ndarray
        (y, x), (y, x, c), (z, y, x) or (z, y, x, c), of any real type; it is never written to.
    axes : {"", "yx", "yxc", "zyx", "zyxc"}
        With "" a last axis of at most 4 is taken for the components.
    model : str
        Full path of the weights, or of a folder with them and their size net.
    diameter : float
        Of a typical object, px; 0 = estimated by the size net, or where the model has none, that of
        the objects it was trained with.
    channel, nucleus : int
        Number of the component with the cells (0 = the mean of all) and with their nuclei
        (0 = none); from 1.
    do_3d : bool
        Flows in all three directions; else the planes of a volume are segmented one by one and
        joined where they overlap by more than `stitch_threshold` (0: each plane for itself).
    normalize, lower, upper, tile_norm, sharpen, smooth, invert
        The library's normalisation, see ``docs/modules/cellpose.md``.
    device : {"auto", "cpu", "cuda:0", ...}

    The others are those of ``CellposeModel.eval``, by their own names; `tile` is its ``bsize``.

    Returns
    -------
    ndarray of int32
        Labels 1..n, 0 = background; the image's shape without components.

    Raises
    ------
    ValueError
        The image, a parameter or the weights cannot be used; the message says why.
    """
    pixels = _pixels(image, axes, channel, nucleus)
    _check_parameters(diameter, lower, upper, tile)
    call = _Call(model, device, batch_size, progress or _unheard, note or _unheard)
    if not np.ptp(pixels, axis=tuple(range(pixels.ndim - 1))).any():
        call.note("The image has the same value everywhere, so there is nothing to find.")
        return np.zeros(pixels.shape[:-1], np.int32)
    # Always all of them: the library keeps a plain True or False for later calls.
    normalization = {
        "lowhigh": None,
        "percentile": (lower, upper),
        "normalize": normalize,
        "norm3D": True,
        "sharpen_radius": sharpen,
        "smooth_radius": smooth,
        "tile_norm_blocksize": tile_norm,
        "tile_norm_smooth3D": 1,
        "invert": invert,
    }
    options: dict[str, Any] = {
        "flow_threshold": flow_threshold,
        "cellprob_threshold": cellprob_threshold,
        "min_size": min_size or -1,
        "max_size_fraction": max_size_fraction,
        "resample": resample,
        "interp": interp,
        "niter": niter or None,
        "bsize": tile,
        "tile_overlap": tile_overlap,
    }
    if pixels.ndim == 4 and len(pixels) > 1:
        options |= {"do_3D": do_3d, "anisotropy": anisotropy, "flow3D_smooth": flow3d_smooth}
        options["stitch_threshold"] = 0.0 if do_3d else stitch_threshold
    common = {"normalize": normalization, "augment": augment}
    labels = call.labels(pixels, diameter, common, options)
    return _without_edges(labels) if exclude_edges else labels


def _unheard(*_: object) -> None: ...


def _pixels(image: np.ndarray, axes: str, channel: int, nucleus: int) -> np.ndarray:
    """Return what the network takes, float32 ((z,) y, x, 2): the cells, and nuclei or zeros."""
    axes = _axes(image, axes)
    if not axes.endswith("c"):
        image = image[..., np.newaxis]
    count = image.shape[-1]
    for name, number in (("cells", channel), ("nuclei", nucleus)):
        if not 0 <= number <= count:
            have = "one channel" if count == 1 else f"{count} channels"
            raise ValueError(f"There is no channel {number} for the {name}: the image has {have}.")
    if nucleus and not channel:
        raise ValueError("With a channel of the nuclei the channel of the cells must be chosen.")
    with np.errstate(over="ignore"):  # it becomes infinite, and is refused
        image = image.astype(np.float32)
    cells = image[..., channel - 1] if channel else image.mean(axis=-1)
    nuclei = image[..., nucleus - 1] if nucleus else np.zeros_like(cells)
    pixels = np.ascontiguousarray(np.stack((cells, nuclei), axis=-1))
    if not np.isfinite(pixels).all():
        raise ValueError("The image has values that are not finite (NaN or infinite).")
    return pixels


def _axes(image: np.ndarray, axes: str) -> str:
    fitting = AXES.get(image.ndim, ())
    if not axes and fitting:
        axes = fitting[0 if image.shape[-1] <= MOST_COMPONENTS else -1]
    if axes not in fitting:
        raise ValueError(
            f"An image of shape {image.shape} cannot have the axes {axes!r}: Cellpose takes "
            "yx, yxc, zyx and zyxc."
        )
    if image.dtype.kind not in "buif":
        raise ValueError(f"The image must hold real numbers, not {image.dtype}.")
    height, width = (image.shape[axes.index(axis)] for axis in "yx")
    if min(height, width) < SMALLEST_SIDE or 0 in image.shape:
        raise ValueError(
            f"The image of {height} x {width} px is too small: each side needs {SMALLEST_SIDE} "
            "pixels at least."
        )
    return axes


def _check_parameters(diameter: float, lower: float, upper: float, tile: int) -> None:
    if 0 < diameter < SMALLEST_DIAMETER:
        raise ValueError(
            f"A diameter of {diameter:g} px is too small: give {SMALLEST_DIAMETER:g} at least, or "
            "0 for an estimate."
        )
    if not 0 <= lower < upper <= 100:
        raise ValueError(f"The dark percentile ({lower:g}) must lie below the bright ({upper:g}).")
    if tile % TILE_STEP:
        raise ValueError(f"A tile cannot have {tile} px: take a multiple of {TILE_STEP}.")


def _without_edges(labels: np.ndarray) -> np.ndarray:
    """Drop objects at the edge in y and x, as ``cellpose.utils.remove_edge_masks`` does in 2-D."""
    edges = [np.take(labels, end, axis).ravel() for axis in (-2, -1) for end in (0, -1)]
    keep = np.ones(int(labels.max()) + 1, np.int32)
    keep[np.concatenate(edges)] = keep[0] = 0
    return (np.cumsum(keep, dtype=np.int32) * keep)[labels]


class _Call:
    """What one call needs beside its image: the loaded model, and whom to tell."""

    def __init__(self, model: str, device: str, batch: int, progress: Progress, note: Note) -> None:
        self.note = note
        self._model = _loaded(model, _device(device, note))
        self._batch, self._progress = batch, progress

    def labels(
        self, pixels: np.ndarray, diameter: float, common: dict[str, Any], options: dict[str, Any]
    ) -> np.ndarray:
        """Return the labels (int32), after an estimate of the diameter where none is given.

        Parameters
        ----------
        pixels : ndarray of float32
            ((z,) y, x, 2); a volume of one plane is taken for an image.
        common, options : dict
            For the library: what the size net takes too, and what it does not.
        """
        shape, model, span = pixels.shape[:-1], self._model, (0.0, 1.0)
        if "do_3D" not in options:
            pixels = pixels.reshape(pixels.shape[-3:])
        if not diameter and model.size:
            diameter, span = self._estimated(pixels, common), (0.4, 1.0)
        elif not diameter:
            self.note(f"The diameter is that of the model's training: {model.diam_labels:.1f} px.")
        if min(shape[-2:]) * model.diam_mean / (diameter or model.diam_labels) < SMALLEST_SIDE:
            raise ValueError(
                f"The image of {shape[-2]} x {shape[-1]} px is too small for objects of "
                f"{diameter or model.diam_labels:.0f} px: give a smaller diameter."
            )
        where = {"z_axis": 0, "channel_axis": 3} if "do_3D" in options else {"channel_axis": 2}
        wanted = {**common, **options, **where, "diameter": diameter or None}
        found = self._in_batches(functools.partial(model.eval, pixels, **wanted), [span])
        return found[0].reshape(shape).astype(np.int32)

    def _estimated(self, pixels: np.ndarray, common: dict[str, Any]) -> float:
        where = ""
        if pixels.ndim == 4:
            pixels, where = pixels[len(pixels) // 2], " in the middle plane"
        work = functools.partial(self._model.size.eval, pixels, channel_axis=2, **common)
        diameter = float(self._in_batches(work, [(0.0, 0.1), (0.1, 0.4)])[0])
        self.note(f"The estimated diameter{where} is {diameter:.1f} px.")
        return diameter

    def _in_batches(self, work: Callable[..., Any], spans: list[tuple[float, float]]) -> Any:
        """Call `work`, with fewer tiles at a time where the memory of the GPU does not suffice."""
        while True:
            self._model.steps = _Steps(self._progress, spans)
            try:
                return work(batch_size=self._batch)
            except ZeroDivisionError as error:  # the library's word for it
                raise ValueError(
                    "The image is too sparse for a normalisation in tiles: take larger ones, or 0."
                ) from error
            except torch.cuda.OutOfMemoryError:
                if self._batch == 1:
                    raise
            finally:
                self._model.steps = _Steps(_unheard, [])  # it would keep this call alive
            torch.cuda.empty_cache()
            self._batch //= 2
            self.note(f"{self._batch} tiles at a time: the GPU's memory was too small for more.")


class _Steps:
    """How far a call is. Each run of the network, with its outlines, takes the next span of it."""

    def __init__(self, progress: Progress, spans: list[tuple[float, float]]) -> None:
        self._progress, self._spans = progress, iter(spans)
        self._start, self._end, self._tiles, self._done, self._computing = 0.0, 1.0, 1, 0, 0

    def begin(self, tiles: int) -> None:
        """Begin a run of the network over so many tiles."""
        self._start, self._end = next(self._spans, (0.0, 1.0))
        self._tiles, self._done, self._computing = max(1, tiles), 0, 0

    def computing(self, tiles: int = 0) -> None:
        """Tell that the network begins with so many tiles, or goes on; raises where cancelled."""
        if tiles:
            self._done, self._computing = self._done + self._computing, tiles
        self._tell(NETWORK_SHARE * min(1.0, self._done / self._tiles), "Computing")

    def outlining(self, plane: int, planes: int) -> None:
        """Tell that the objects of a plane are about to be found."""
        self._tell(NETWORK_SHARE + (1 - NETWORK_SHARE) * plane / planes, "Finding outlines")

    def _tell(self, share: float, text: str) -> None:
        self._progress(self._start + (self._end - self._start) * share, text)


class _Model(models.CellposeModel):
    """The library's model, with its size net; it tells how far it is.

    It also numbers any count of objects in a volume.
    """

    def __init__(self, path: Path, size: Path | None, device: torch.device) -> None:
        super().__init__(pretrained_model=str(path), device=device, gpu=device.type == "cuda")
        self.steps = _Steps(_unheard, [])
        self.net.register_forward_pre_hook(lambda _, given: self.steps.computing(len(given[0])))
        for block in (*self.net.downsample.down, *self.net.upsample.up):  # seconds lie between
            block.register_forward_pre_hook(lambda *_: self.steps.computing())
        self.size: Any = None
        if size:
            self.size = models.SizeModel(self)
            self.size.params = _size_parameters(size)
            self.size.diam_mean = self.size.params["diam_mean"]

    def _run_net(self, x: np.ndarray, **options: Any) -> Any:
        self.steps.begin(_tiles(x.shape, options))
        return super()._run_net(x, **options)

    def _compute_masks(
        self, shape: tuple[int, ...], flows: np.ndarray, probability: np.ndarray, **options: Any
    ) -> np.ndarray:
        planes = 1 if options["do_3D"] else shape[0]
        self.steps.outlining(0, planes)
        if planes == 1:
            return super()._compute_masks(shape, flows, probability, **options)
        stitch, smallest = options["stitch_threshold"], options["min_size"]
        alone = {**options, "stitch_threshold": 0.0, "min_size": -1 if stitch > 0 else smallest}
        found = []
        for i in range(planes):
            self.steps.outlining(i, planes)
            one = slice(i, i + 1)
            part = super()._compute_masks((1, *shape[1:]), flows[:, one], probability[one], **alone)
            found.append(part)
        # The library stitches in the type of the first plane: beyond 65535 it would begin anew.
        labels = np.stack(found).astype(np.int32)
        if stitch > 0:
            labels = utils.stitch3D(labels, stitch_threshold=stitch)
            labels = utils.fill_holes_and_remove_small_masks(labels, min_size=smallest)
        return labels


def _tiles(shape: tuple[int, ...], options: dict[str, Any]) -> int:
    """Return about how many tiles the network will see of (z, y, x, c)."""
    scale, size = options["rescale"], options["bsize"]
    overlap = 2.0 if options["augment"] else 1 + 2 * options["tile_overlap"]
    z, y, x = shape[0], math.ceil(shape[1] * scale), math.ceil(shape[2] * scale)

    def along(side: int) -> int:
        return 1 if side <= size - TILE_STEP else math.ceil(overlap * side / size)

    flat = z * along(y) * along(x)
    if not options["do_3D"]:
        return flat
    z = math.ceil(z * scale * (options["anisotropy"] or 1.0))
    return flat + y * along(z) * along(x) + x * along(z) * along(y)


_models: OrderedDict[tuple[object, ...], _Model] = OrderedDict()


def _loaded(name: str, device: torch.device) -> _Model:
    """Return a loaded model; the one that was used least lately makes room for a new one."""
    path = _weights_file(name)
    places = [path.with_name(f"size_{path.name}.npy"), path.with_name(f"{path.name}_size.npy")]
    size = next((place for place in places if place.is_file()), None)  # by the library's names
    stats = [file.stat() for file in (path, size) if file]
    key = (path, size, str(device), *((found.st_size, found.st_mtime_ns) for found in stats))
    if key not in _models:
        _check_weights(path)
        model = _Model(path, size, device)
        while len(_models) >= MODELS_KEPT:
            _models.popitem(last=False)
            gc.collect()  # a model refers to itself through its size net
        _models[key] = model
    _models.move_to_end(key)
    return _models[key]


def _weights_file(model: str) -> Path:
    path = Path(model)
    if model and path.is_dir():
        inside = [p for p in path.iterdir() if p.is_file() and p.suffix != ".npy"]
        if len(inside) != 1:
            raise ValueError(f"The folder {path} must hold one model, not {len(inside)}.")
        return inside[0]
    if not path.is_file():  # the library would take its default model instead
        raise ValueError(f"The model {path} does not exist." if model else "No model is chosen.")
    return path


def _check_weights(path: Path) -> None:
    """Refuse a file that is not a model of this network, which the library loads in part."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a broken file has many ways to fail
        raise ValueError(
            f"The file {path.name} is no model of Cellpose: it is damaged, incomplete or of "
            "another program."
        ) from error
    state = state if isinstance(state, dict) else {}
    if "W2" in state:
        raise ValueError(
            f"The model {path.name} is of Cellpose 4 (Cellpose-SAM): take the module cellpose_sam."
        )
    parts = CPnet(*NETWORK).state_dict()
    needed = {name: part.shape for name, part in parts.items() if not name.endswith(NOT_IN_ALL)}
    wrong = [name for name in needed if getattr(state.get(name), "shape", None) != needed[name]]
    if wrong:
        raise ValueError(
            f"The file {path.name} is no segmentation model of Cellpose 3: {len(wrong)} of its "
            f"{len(needed)} parts are missing or of another size."
        )


class _Plain(pickle.Unpickler):
    """Reads arrays and plain values only: another pickle could run any code."""

    _ALLOWED = re.compile(
        r"_codecs\.encode|numpy(\._?core\.(multiarray|numeric))?"
        r"\.(_reconstruct|scalar|ndarray|dtype|_frombuffer)"
    )

    def find_class(self, module: str, name: str) -> Any:
        if not self._ALLOWED.fullmatch(f"{module}.{name}"):
            raise pickle.UnpicklingError(f"{module}.{name}")
        return super().find_class(module, name)


def _size_parameters(path: Path) -> dict[str, Any]:
    """Read a size net: a dict in an array of one object, as ``numpy.save`` writes it."""
    try:
        with path.open("rb") as file:
            np.lib.format.read_magic(file)
            np.lib.format.read_array_header_1_0(file)
            found = dict(_Plain(file).load().item())
        if not np.shape(found["A"]) == np.shape(found["smean"]) == STYLES:
            raise ValueError("of another network")
        return {**found, "diam_mean": float(found["diam_mean"]), "ymean": float(found["ymean"])}
    except Exception as error:  # a broken file has many ways to fail
        raise ValueError(
            f"The size net {path.name} is damaged: get or import it again, or give a diameter."
        ) from error


def _device(name: str, note: Note) -> torch.device:
    """Return where to compute, and tell so; what was asked for by name is never replaced."""
    wanted = os.environ.get("GA3ENV_DEVICE", "cpu") if name == "auto" else name
    if not re.fullmatch(r"cpu|cuda(:\d+)?", wanted):
        raise ValueError(f"The device {wanted!r} is not known: give auto, cpu, cuda:0 and so on.")
    if wanted == "cpu":
        note("Computed on the CPU.")
        return torch.device("cpu")
    device, count = torch.device(wanted), torch.cuda.device_count()
    if (device.index or 0) < count:
        note(f"Computed on {wanted} ({torch.cuda.get_device_name(device)}).")
        return device
    if name != "auto":
        build = "" if torch.version.cuda else ", and this environment is made for the CPU"
        raise ValueError(f"{wanted} was asked for, but torch finds {count} GPUs{build}.")
    note(f"Computed on the CPU: {wanted} cannot be used now.")
    return torch.device("cpu")
