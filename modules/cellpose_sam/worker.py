"""Cellpose-SAM (Cellpose 4): cells and nuclei of all kinds by a large transformer network.

The library computes; here its traps are closed. It takes its default model where a path is wrong,
downloads without a check, fills a weights file's gaps with random numbers, keeps what
``normalize=True`` was told for later calls, and writes into the caller's image.
"""

from __future__ import annotations

import math
import os
import re
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from cellpose import models, transforms, utils, vit

RANKS = {"yx": 2, "yxc": 3, "zyx": 3, "zyxc": 4}
PRECISIONS = ("automatic", "bfloat16", "float32")
SMALLEST_SIDE = 8  # pixels; as in the module classic
MOST_CHANNELS = 3
TILE = 256  # pixels; the network has no other size
DIAMETER = 30.0  # pixels; the size to which a given diameter is scaled
LONGEST_SIDE = 32767  # pixels after scaling; OpenCV's limit
NETWORK_SHARE = 0.9  # of the time of a call, for its progress
MOST_MODELS = 2  # loaded at a time; one takes 1.2 GB in float32, 0.6 GB in bfloat16
NOT_NEEDED = {"diam_labels", "diam_mean"}  # of a weights file: Cellpose 4 does not use them
KEPT_TYPES = ("uint8", "uint16", "float32")  # others reach the library as float32, its own type

Progress = Callable[[float, str], object]
Note = Callable[[str], object]

_loaded: OrderedDict[tuple[Any, ...], models.CellposeModel] = OrderedDict()


@dataclass(frozen=True)
class Options:
    """The parameters of `segment` that say how; more in ``docs/modules/cellpose_sam.md``.

    Attributes
    ----------
    channels : str
        ``"all"``, or up to three numbers, counted from 1, such as ``"1,3"``.
    diameter : float
        Of a typical object, px; the image is scaled so that it gets 30. 0 = not scaled.
    do_3d : bool
        Flows in all three directions; else the planes of a volume are segmented one by one and
        joined where they overlap by more than `stitch_threshold` (0: each plane for itself).
    normalize : bool
        Make the percentiles `lower` and `upper` (0 to 100) of each channel 0 and 1; or, where they
        differ, the grey values `black` and `white`.
    norm_3d : bool
        Percentiles of a whole volume; else of each plane. `do_3d` always takes the volume's.
    tile_norm, tile_norm_smooth, sharpen, smooth, invert
        The other parts of the library's normalisation.

    The others are those of ``CellposeModel.eval``, by their own names.
    """

    channels: str = "all"
    diameter: float = 0.0
    flow_threshold: float = 0.4
    cellprob_threshold: float = 0.0
    min_size: int = 15
    max_size_fraction: float = 0.4
    exclude_edges: bool = False
    do_3d: bool = False
    stitch_threshold: float = 0.25
    anisotropy: float = 1.0
    flow3d_smooth: float = 0.0
    normalize: bool = True
    lower: float = 1.0
    upper: float = 99.0
    black: float = 0.0
    white: float = 0.0
    norm_3d: bool = True
    tile_norm: int = 0
    tile_norm_smooth: float = 1.0
    sharpen: float = 0.0
    smooth: float = 0.0
    invert: bool = False
    resample: bool = True
    niter: int = 0
    augment: bool = False
    tile_overlap: float = 0.1
    batch_size: int = 8

    def __post_init__(self) -> None:
        """Refuse what each number alone does not tell."""
        if not 0 <= self.lower < self.upper <= 100:
            raise ValueError(
                f"The lower percentile ({self.lower:g}) must be below the upper one "
                f"({self.upper:g})."
            )
        if self.black > self.white:
            raise ValueError(
                f"The grey value of black ({self.black:g}) must be below that of white "
                f"({self.white:g})."
            )

    @property
    def scale(self) -> float:
        """By what the image is scaled in y and x."""
        return DIAMETER / self.diameter if self.diameter > 0 else 1.0

    def joins(self, is_volume: bool) -> bool:
        """Whether objects reach across planes."""
        return is_volume and (self.do_3d or self.stitch_threshold > 0)

    def normalization(self, is_volume: bool) -> dict[str, Any]:
        """Return Cellpose's whole dict: a part of it would be completed from an earlier call."""
        return {
            "lowhigh": [self.black, self.white] if self.black < self.white else None,
            "percentile": [self.lower, self.upper],
            "normalize": self.normalize,
            "norm3D": self.norm_3d and (self.joins(is_volume) or not is_volume),
            "sharpen_radius": self.sharpen,
            "smooth_radius": self.smooth,
            "tile_norm_blocksize": self.tile_norm,
            "tile_norm_smooth3D": self.tile_norm_smooth,
            "invert": self.invert and self.normalize,
        }


def segment(
    image: np.ndarray,
    *,
    axes: str = "",
    model: str = "",
    device: str = "auto",
    precision: str = "automatic",
    progress: Progress | None = None,
    note: Note | None = None,
    **options: Any,
) -> np.ndarray:
    """Label the cells or nuclei of an image or a stack.

    Parameters
    ----------
    image : ndarray
        Any real dtype, axes as in `axes`. It is never written to.
    axes : {"", "yx", "yxc", "zyx", "zyxc"}
        Order of the axes. Empty: rank 2 is yx, rank 3 is yxc where the last axis is up to 4 long,
        else zyx, rank 4 is zyxc.
    model : str
        Path of a weights file of Cellpose-SAM.
    device : str
        ``"auto"``: the one that the environment was made for; ``"cpu"``, ``"cuda"``, ``"cuda:1"``.
    precision : {"automatic", "bfloat16", "float32"}
        In which numbers the network computes; automatic: bfloat16 where the device has it.
    **options
        See `Options`.

    Returns
    -------
    ndarray of int32
        Labels 1..n, 0 = background; the image's shape without channels.

    Raises
    ------
    ValueError
        The image, a parameter or the weights do not fit; the message says why.
    """
    note = note or _silent
    chosen = Options(**options)
    pixels = _pixels(image, _resolved_axes(image, axes), chosen)
    place = _device(device, note)
    loaded = _model(Path(model), place, _in_bfloat16(place, precision))
    if _is_constant(pixels):
        note("The image has the same value everywhere, so there is nothing to find.")
        return np.zeros(pixels.shape[:-1], np.int32)
    return _labels(loaded, pixels, chosen, progress or _unheard, note)


def _silent(text: str) -> None:
    pass


def _unheard(done: float, text: str) -> None:
    pass


# ---- the image


def _resolved_axes(image: np.ndarray, axes: str) -> str:
    rank = np.ndim(image)
    if rank not in (2, 3, 4):
        raise ValueError(f"The image has {rank} axes, but 2 (y, x) to 4 (z, y, x, c) are needed.")
    if not axes:
        axes = {2: "yx", 3: "yxc" if image.shape[-1] <= 4 else "zyx", 4: "zyxc"}[rank]
    if axes not in RANKS:
        raise ValueError(f"The axes {axes!r} are not known; use one of: {', '.join(RANKS)}.")
    if RANKS[axes] != rank:
        raise ValueError(f"The image has {rank} axes, which does not fit {axes!r}.")
    if 0 in image.shape:
        raise ValueError("The image is empty.")
    height, width = (image.shape[axes.index(axis)] for axis in "yx")
    if min(height, width) < SMALLEST_SIDE:
        raise ValueError(
            f"The image is {width} x {height} pixels, but at least "
            f"{SMALLEST_SIDE} x {SMALLEST_SIDE} are needed."
        )
    return axes


def _pixels(image: np.ndarray, axes: str, options: Options) -> np.ndarray:
    """Return a copy as (z,) y, x, channel, with the wanted channels, in native byte order."""
    if image.dtype.kind not in "buif":
        raise ValueError(f"The image holds {image.dtype}, but real numbers are needed.")
    if "c" not in axes:
        image = image[..., np.newaxis]
    image = image[..., _chosen(options.channels, image.shape[-1])]
    dtype = image.dtype.name if image.dtype.name in KEPT_TYPES else "float32"
    with np.errstate(over="ignore"):  # becomes infinite, and is refused
        pixels = np.array(image, dtype, order="C")
    if not np.isfinite(pixels).all():
        raise ValueError("The image holds values that are not finite numbers (NaN or infinity).")
    _check_scale(pixels.shape[:-1], options)
    return pixels


def _chosen(channels: str, count: int) -> list[int]:
    """Return the indices of the wanted channels of an image that has `count` of them."""
    text = channels.replace(" ", "")
    if text in ("", "all"):
        if count > MOST_CHANNELS:
            raise ValueError(
                f"The image has {count} channels, but Cellpose-SAM takes up to {MOST_CHANNELS}: "
                'name them in "channels", for example 1,2.'
            )
        return list(range(count))
    if not re.fullmatch(r"\d{1,4}(,\d{1,4})*", text):
        raise ValueError(f'The channels are "{channels}", but they must look like 1 or 1,3.')
    numbers = [int(number) for number in text.split(",")]
    if len(numbers) > MOST_CHANNELS or len(set(numbers)) < len(numbers):
        raise ValueError(f"Up to {MOST_CHANNELS} different channels can be named, not {text}.")
    if absent := [number for number in numbers if not 1 <= number <= count]:
        raise ValueError(f"Channel {absent[0]} is wanted, but the image has {count}.")
    return [number - 1 for number in numbers]


def _check_scale(shape: tuple[int, ...], options: Options) -> None:
    """Refuse a diameter with which the scaled image would vanish or burst the memory."""
    sides = [side * options.scale for side in shape[-2:]]
    if min(sides) < 1 or max(sides) > LONGEST_SIDE:
        raise ValueError(
            f"With a diameter of {options.diameter:g} px the image would be scaled to "
            f"{sides[1]:.0f} x {sides[0]:.0f} pixels: measure an object, or take 0."
        )


def _is_constant(pixels: np.ndarray) -> bool:
    return all(np.ptp(pixels[..., i]) == 0 for i in range(pixels.shape[-1]))


# ---- the device


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


def _in_bfloat16(place: torch.device, precision: str) -> bool:
    """Whether to compute in bfloat16: Cellpose's default, but slow where it is emulated."""
    if precision not in PRECISIONS:
        raise ValueError(f"precision is {precision!r}, but must be one of {', '.join(PRECISIONS)}.")
    if precision != "automatic":
        return precision == "bfloat16"
    if place.type == "cuda":
        return torch.cuda.get_device_capability(place) >= (8, 0)  # Ampere was the first
    has = torch.cpu.get_capabilities()
    return bool(has.get("avx512_bf16") or has.get("amx_bf16"))


# ---- the model


def _model(path: Path, place: torch.device, in_bfloat16: bool) -> models.CellposeModel:
    """Return the model of a weights file, loaded once; the least recently used one gives way."""
    if not path.name:
        raise ValueError("No model is chosen.")
    if not path.is_file():  # the library would take its default model instead
        raise ValueError(
            f"The model {path} " + ("is a folder." if path.is_dir() else "does not exist.")
        )
    found = path.stat()
    key = (str(path), found.st_mtime_ns, found.st_size, str(place), in_bfloat16)
    if key not in _loaded:
        _check_weights(path)
        while len(_loaded) >= MOST_MODELS:
            _loaded.popitem(last=False)
        _loaded[key] = _load(path, place, in_bfloat16)
    _loaded.move_to_end(key)
    return _loaded[key]


def _load(path: Path, place: torch.device, in_bfloat16: bool) -> models.CellposeModel:
    utils.download_url_to_file = _refuse_download
    options = {"pretrained_model": str(path), "device": place, "use_bfloat16": in_bfloat16}
    try:
        return models.CellposeModel(**options)
    except torch.OutOfMemoryError:
        if not _loaded:
            raise
    _loaded.clear()
    torch.cuda.empty_cache()
    return models.CellposeModel(**options)


def _refuse_download(*wanted: object, **more: object) -> NoReturn:
    raise RuntimeError("Cellpose wanted to download its default model.")


def _check_weights(path: Path) -> None:
    """Refuse whatever the library would take for a model, or would complete by chance."""
    shapes = _shapes(path)
    if any(name.startswith("downsample.") for name in shapes):
        raise ValueError(
            f"The model {path.name} is for Cellpose 1 to 3: use it with the module cellpose."
        )
    if "encoder.cls_token" in shapes:
        raise ValueError(
            f"The model {path.name} is a CellposeDINO, for which this module has no network."
        )
    needed = _network_shapes()
    wrong = [name for name in needed if shapes.get(name) != needed[name]]
    if wrong:
        raise ValueError(
            f"The file {path.name} is not a model of Cellpose-SAM: {len(wrong)} of its "
            f"{len(needed)} parts are missing or of another size."
        )


def _shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a weights file's parts, by name."""
    try:
        # Mapped: its gigabyte is not read. Torch's older files are no zip, and small.
        state = torch.load(path, "cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
        return {name.removeprefix("module."): tuple(part.shape) for name, part in state.items()}
    except OSError as error:
        raise ValueError(f"The model {path} cannot be read: {error.strerror or error}.") from error
    except MemoryError:
        raise
    except Exception as error:  # a broken file has many ways to fail
        raise ValueError(
            f"The file {path.name} is no model of Cellpose: it is damaged, incomplete or of "
            "another program."
        ) from error


@cache
def _network_shapes() -> dict[str, tuple[int, ...]]:
    """Return the shape of each part of the network; on "meta" nothing is computed or stored."""
    with torch.device("meta"):
        parts = vit.CPSAM().state_dict()
    return {name: tuple(part.shape) for name, part in parts.items() if name not in NOT_NEEDED}


# ---- the call


def _labels(
    model: models.CellposeModel,
    pixels: np.ndarray,
    options: Options,
    progress: Progress = _unheard,
    note: Note = _silent,
) -> np.ndarray:
    """Return the labels of ((z,) y, x, channel); a volume of one plane is taken for an image."""
    stack = pixels if len(pixels) > 1 else pixels.reshape(pixels.shape[-3:])
    masks, flows, cellprob = _in_batches(model, stack, options, progress, note)
    if not (np.isfinite(cellprob).all() and np.isfinite(flows).all()):
        raise ValueError(
            "The network gave values that are not finite: its weights are damaged, or need "
            "precision=float32."
        )
    labels = masks.reshape(pixels.shape[:-1]).astype(np.int32)
    return _without_edges(labels) if options.exclude_edges else labels


def _in_batches(
    model: models.CellposeModel, stack: np.ndarray, options: Options, progress: Progress, note: Note
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Run the library, with fewer tiles at a time where the memory of the GPU does not suffice."""
    batch = options.batch_size
    while True:
        try:
            with _reported(model, _batches(stack.shape[:-1], options, batch), progress):
                arguments = _arguments(stack.ndim == 4, options)
                # A copy: the library normalizes in place, and may be called again.
                masks, flows, _ = model.eval(stack.copy(), batch_size=batch, **arguments)
                return masks, flows[1], flows[2]
        except ZeroDivisionError as error:  # the library's word for it
            raise ValueError(
                "The image is too sparse for a normalisation by tiles: switch it off, or take "
                "larger tiles for it."
            ) from error
        except torch.OutOfMemoryError:
            if batch == 1:
                raise  # the user reads which device was full
        batch //= 2
        torch.cuda.empty_cache()
        note(
            f"{batch} tiles at a time were computed: the memory of the GPU did not suffice for "
            "more."
        )


def _arguments(is_volume: bool, options: Options) -> dict[str, Any]:
    """Return the keywords of the library's ``eval`` for pixels as ((z,) y, x, channel)."""
    same = """flow_threshold cellprob_threshold max_size_fraction resample augment tile_overlap
        anisotropy"""
    return {
        **{name: getattr(options, name) for name in same.split()},
        "channel_axis": 3 if is_volume else 2,
        "z_axis": 0 if options.joins(is_volume) else None,
        "do_3D": is_volume and options.do_3d,
        "stitch_threshold": options.stitch_threshold if is_volume and not options.do_3d else 0.0,
        "flow3D_smooth": options.flow3d_smooth,
        "diameter": options.diameter or None,
        "min_size": options.min_size or -1,
        "niter": options.niter or None,
        "normalize": options.normalization(is_volume),
    }


@contextmanager
def _reported(model: models.CellposeModel, batches: int, progress: Progress) -> Iterator[None]:
    """Tell the progress before each part of a layer, where a cancelled call also ends."""
    parts = list(model.net.encoder.blocks.modules())[1:]  # the first is the list of layers
    total, done = len(parts) * batches, 0

    def tell(*_: object) -> None:
        nonlocal done
        progress(NETWORK_SHARE * min(1.0, done / total), "Computing")
        done += 1

    hooks = [part.register_forward_pre_hook(tell) for part in parts]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _batches(shape: tuple[int, ...], options: Options, batch: int) -> int:
    """Return how often the network runs for planes, or all sections, of ((z,) y, x)."""
    depth, height, width = (1, *shape)[-3:]
    height, width = int(height * options.scale), int(width * options.scale)
    sections = [(depth, height, width)]
    if options.do_3d and len(shape) == 3:
        depth = int(depth * options.anisotropy * options.scale)
        sections = [(depth, height, width), (height, depth, width), (width, depth, height)]
    total = 0
    for planes, *sides in sections:
        tiles = _tiles(sides[0], options) * _tiles(sides[1], options)
        at_once = max(1, batch // tiles)
        total += math.ceil(planes / at_once) * math.ceil(tiles * min(at_once, planes) / batch)
    return max(1, total)


def _tiles(side: int, options: Options) -> int:
    before, after, *_ = transforms.get_pad_yx(side, side, min_size=(TILE, TILE))
    padded = side + before + after
    if options.augment:
        return max(2, math.ceil(2 * padded / TILE))
    return 1 if padded <= TILE else math.ceil((1 + 2 * options.tile_overlap) * padded / TILE)


def _without_edges(labels: np.ndarray) -> np.ndarray:
    """Drop objects at the edge in y and x, as ``cellpose.utils.remove_edge_masks`` does in 2-D."""
    edges = [np.take(labels, end, axis).ravel() for axis in (-2, -1) for end in (0, -1)]
    keep = np.ones(int(labels.max()) + 1, np.int32)
    keep[np.unique(np.concatenate(edges))] = 0
    keep[0] = 0
    return (np.cumsum(keep, dtype=np.int32) * keep)[labels]
