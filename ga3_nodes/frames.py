"""Between GA3's arrays, always (z, y, x, component), and the axes and types of modules and NIS.

Nothing here guesses: what does not fit gives None or an error, never a picture that looks right.
What writes into an output comes in two steps: a function whose name begins with ``ready_`` does all
that can fail, and returns the rest. So several outputs are written all, or none of them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ga3_nodes import copying
from ga3_nodes.errors import BadInput, ModuleFailed

_ORDERS = ("yx", "yxc", "zyx", "zyxc")  # the plainest that holds the data comes first
_AUTHOR = "This is a defect of the module; tell its author."
_TYPES = {"int": "biu", "float": "biuf", "string": "U"}  # numpy's kinds that a column may have

Write = Callable[[], object]


def axes_for(declared: Sequence[str], depth: int, components: int) -> str | None:
    """Return the declared order of axes that takes such a frame, None where there is none."""
    for axes in _ORDERS:
        if axes in declared and (depth == 1 or "z" in axes) and (components == 1 or "c" in axes):
            return axes
    return None


def to_module(frame: np.ndarray, axes: str) -> np.ndarray:
    """Return a view of a (z, y, x, component) array without the axes that the module lacks."""
    return frame[slice(None) if "z" in axes else 0][..., slice(None) if "c" in axes else 0]


def to_nis(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return a view of a module's array as (z, y, x, component).

    Raises
    ------
    ModuleFailed
        It does not lie on an array of `shape`; axes of length 1 may be missing.
    """
    depth, height, width, components = shape
    z = {(depth,)} | ({()} if depth == 1 else set())
    c = {(components,)} | ({()} if components == 1 else set())
    if array.shape not in {(*front, height, width, *back) for front in z for back in c}:
        raise ModuleFailed(
            f"The module gave an array of shape {array.shape}, but the node's output is {shape} "
            "(z, y, x, component).",
            "Define the output in the node's script as the module gives it.",
        )
    return array.reshape(shape)


def label_shapes(shape: tuple[int, ...], axes: str) -> list[tuple[int, ...]]:
    """Return which shapes labels of an image may have: its own, without the axis of components.

    Parameters
    ----------
    axes : str
        The order of the image's axes, empty where it is not known.
    """
    if not axes:
        return [shape, shape[:-1]]
    return [shape[:-1] if axes.endswith("c") else shape]


def ready_labels(out: np.ndarray, labels: np.ndarray) -> Write:
    """Return what writes object ids into a binary of NIS.

    They come into int32 as they are, into uint8 with the objects kept apart.

    Raises
    ------
    BadInput
        The output is no binary.
    ModuleFailed
        The labels do not lie on it.
    """
    fitted = to_nis(labels, out.shape)
    _check_ids(out)
    if out.dtype == np.int32:
        return lambda: copying.copy_into(out, fitted)
    apart = _separated(fitted[..., 0])
    return lambda: np.greater(apart, 0, out=out[..., 0], casting="unsafe")


def check_binary(out: np.ndarray, name: str, image: tuple[int, ...]) -> None:
    """Refuse an output of NIS that cannot take the labels of an image, before they are computed.

    Parameters
    ----------
    name : str
        That of the labels.
    image : tuple of int
        The shape (z, y, x, component) of the image on which they lie.

    Raises
    ------
    BadInput
        It is no binary, or of another size.
    """
    _check_ids(out)
    if out.shape != (*image[:3], 1):
        raise BadInput(
            f"The node's output {name!r} has the shape {out.shape}, but its input {image} "
            "(z, y, x, component).",
            "Define the output in the node's script as a new binary.",
        )


def _check_ids(out: np.ndarray) -> None:
    if out.dtype not in (np.int32, np.uint8):
        raise BadInput(
            f"Object ids cannot be written into an output of type {out.dtype}.",
            "Define it as a binary: makeNew(name, color).makeInt32().",
        )


def ready_image(out: np.ndarray, image: np.ndarray) -> Write:
    """Return what writes an image into a channel of NIS, clipped to its range and rounded.

    What is no number becomes 0 in a channel of whole numbers; nothing ever wraps around.

    Raises
    ------
    ModuleFailed
        The image does not fit the channel.
    """
    return ready_pixels(out, to_nis(image, out.shape))


def ready_pixels(out: np.ndarray, image: np.ndarray) -> Write:
    """Do as `ready_image`, with an array of any axes for one of the same shape."""
    if out.dtype.kind != "f" and not np.can_cast(image.dtype, out.dtype):
        image = _clipped(image, out.dtype)
    return lambda: _cast_into(out, image)


def _cast_into(out: np.ndarray, image: np.ndarray) -> None:
    with np.errstate(over="ignore"):  # holds for this thread only: hence no `copying`
        np.copyto(out, image, casting="unsafe")


def _clipped(image: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    low, high = (int(limit) for limit in (np.iinfo(dtype).min, np.iinfo(dtype).max))
    if image.dtype.kind == "f":
        image = image.astype(np.result_type(image.dtype, np.float32), copy=False)
        numbers = np.nan_to_num(image, nan=0.0, posinf=high, neginf=low)
        return np.asarray(np.rint(np.clip(numbers, low, high)))
    own = np.iinfo(image.dtype)
    return np.asarray(np.clip(image, max(low, int(own.min)), min(high, int(own.max))))


def _separated(labels: np.ndarray) -> np.ndarray:
    """Return (z, y, x) labels with background between those that touch.

    NIS joins what touches in a uint8 binary. Its own function does this; `limnode` has been
    imported by the node's script, and is nobody else's to import.
    """
    flat = len(labels) == 1
    name = "separateLabeledImage" if flat else "separateLabeledImage3d"
    separate: Callable[[np.ndarray], np.ndarray] | None
    separate = getattr(sys.modules.get("limnode"), name, None)
    plane = labels[0] if flat else labels
    found = separate(plane) if separate else _without_borders(plane)
    return np.asarray(found).reshape(labels.shape)


def _without_borders(labels: np.ndarray) -> np.ndarray:
    """Do as NIS does: zero each pixel that has a larger label among its neighbours."""
    largest = labels.copy()
    for axis in range(labels.ndim):  # the maximum over a box is separable
        before = np.moveaxis(largest.copy(), axis, 0)
        after = np.moveaxis(largest, axis, 0)
        np.maximum(after[1:], before[:-1], out=after[1:])
        np.maximum(after[:-1], before[1:], out=after[:-1])
    return np.where(largest > labels, 0, labels)


def columns(
    name: str, declared: Sequence[dict[str, Any]], table: dict[str, Sequence[Any]]
) -> tuple[list[str], list[list[Any]]]:
    """Return titles and values of a table, checked against its declaration and in that order.

    Raises
    ------
    ModuleFailed
        The table has other columns, columns of different lengths, or values of another type.
    """
    titles = [str(column["name"]) for column in declared]
    if sorted(titles) != sorted(table):
        raise ModuleFailed(
            f"The module gave the table {name!r} with the columns {', '.join(table) or 'none'}; "
            f"declared are {', '.join(titles) or 'none'}.",
            _AUTHOR,
        )
    lengths = {title: len(table[title]) for title in titles}
    if len(set(lengths.values())) > 1:
        raise ModuleFailed(f"The columns of {name!r} differ in length: {lengths}.", _AUTHOR)
    return titles, [_column(name, column, table[str(column["name"])]) for column in declared]


def _column(name: str, declared: dict[str, Any], values: Sequence[Any]) -> list[Any]:
    array = np.asarray(values)
    kind = str(declared["type"])
    if array.size and (array.ndim != 1 or array.dtype.kind not in _TYPES[kind]):
        raise ModuleFailed(
            f"The column {declared['name']!r} of {name!r} is declared as {kind} and holds "
            f"{array.dtype}.",
            _AUTHOR,
        )
    convert = {"int": int, "float": float, "string": str}[kind]
    return [convert(value) for value in values]


def stack(parts: Sequence[np.ndarray], kind: str) -> np.ndarray:
    """Return the results of single slices as one array; ids of labels become different ones.

    Raises
    ------
    ModuleFailed
        The slices differ in shape, or hold more objects than an int32 can count.
    """
    shapes = {part.shape for part in parts}
    if len(shapes) > 1:
        told = " and ".join(map(str, sorted(shapes)))
        raise ModuleFailed(f"The module gave slices of different shapes: {told}.", _AUTHOR)
    if kind != "labels":
        return np.stack(parts)
    volume = np.empty((len(parts), *parts[0].shape), np.int32)
    ready_volume(volume, parts)()
    return volume


def ready_volume(out: np.ndarray, parts: Sequence[np.ndarray]) -> Write:
    """Return what writes the labels of single slices into a volume, with ids that differ.

    Parameters
    ----------
    out : ndarray
        int32 (z, y, x).
    parts : sequence of ndarray
        The labels (y, x) of each slice.

    Raises
    ------
    ModuleFailed
        The labels do not lie on their slices, or there are more objects than an int32 can count.
    """
    if any(part.shape != out.shape[1:] for part in parts):
        raise ModuleFailed("The module gave labels that do not lie on their slices.", _AUTHOR)
    highest = [int(labels.max(initial=0)) for labels in parts]
    if sum(highest) > np.iinfo(np.int32).max:
        raise ModuleFailed("The slices hold more objects than can be numbered.", _AUTHOR)
    return lambda: _number(out, parts, highest)


def _number(out: np.ndarray, parts: Sequence[np.ndarray], highest: Sequence[int]) -> None:
    used = 0
    for plane, labels, most in zip(out, parts, highest, strict=True):
        np.copyto(plane, labels, casting="unsafe")
        if used:
            np.add(plane, used, out=plane, where=plane > 0)
        used += most
