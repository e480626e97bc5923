"""Between GA3's arrays, always (z, y, x, component), and the axes and types of modules and NIS.

Nothing here guesses: what does not fit gives None or an error, never a picture that looks right.
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


def write_labels(out: np.ndarray, labels: np.ndarray) -> None:
    """Write object ids into a binary of NIS: int32 as they are, uint8 with the objects kept apart.

    Raises
    ------
    BadInput
        The output is no binary.
    """
    fitted = to_nis(labels, out.shape)
    if out.dtype == np.int32:
        copying.copy_into(out, fitted)
    elif out.dtype == np.uint8:
        np.greater(_separated(fitted[..., 0]), 0, out=out[..., 0], casting="unsafe")
    else:
        raise BadInput(
            f"Object ids cannot be written into an output of type {out.dtype}.",
            "Define it as a binary: makeNew(name, color).makeInt32().",
        )


def write_image(out: np.ndarray, image: np.ndarray) -> None:
    """Write an image into a channel of NIS, clipped to its range and rounded, never wrapped.

    What is no number becomes 0 in a channel of whole numbers.
    """
    fitted = to_nis(image, out.shape)
    if out.dtype.kind != "f" and not np.can_cast(fitted.dtype, out.dtype):
        fitted = _clipped(fitted, out.dtype)
    with np.errstate(over="ignore"):
        np.copyto(out, fitted, casting="unsafe")


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


def stack(parts: Sequence[Any], kind: str) -> np.ndarray:
    """Return the results of single slices as one array; ids of labels become different ones.

    Raises
    ------
    ModuleFailed
        There are more objects than an int32 can count.
    """
    if kind != "labels":
        return np.stack(parts)
    volume, used = np.zeros((len(parts), *parts[0].shape), np.int32), 0
    for plane, labels in zip(volume, parts, strict=True):
        highest = int(labels.max(initial=0))
        if used + highest > np.iinfo(np.int32).max:
            raise ModuleFailed("The slices hold more objects than can be numbered.", _AUTHOR)
        np.add(labels, used, out=plane, where=labels > 0, casting="unsafe")
        used += highest
    return volume
