"""Arrays of a caller that take outputs of a call: checked before it, written when all of it fits.

Labels that the module made in a smaller type than int32 then travel in it, and become int32 only
where they end: those of a byte take a quarter of the bytes that both processes would else write and
read.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from ga3_nodes import copying, frames
from ga3_nodes.errors import BadInput, ProtocolError
from ga3_nodes.results import Array, Delivery, Result

_Shape = tuple[int, ...]


def check(
    out: Mapping[str, np.ndarray],
    function: Mapping[str, Any],
    arrays: Mapping[str, Array],
    axes: Mapping[str, str],
) -> None:
    """Refuse arrays that cannot take their outputs, as far as that can be known before the call.

    Parameters
    ----------
    function : mapping
        Its declaration.
    arrays, axes : mapping
        The inputs of the call, on the first of which labels lie.

    Raises
    ------
    BadInput
        An array is of no name, type or shape that fits.
    """
    for name, target in out.items():
        declared = function["outputs"].get(name)
        if declared is None:
            known = ", ".join(function["outputs"])
            raise BadInput(f"The function has no output {name!r}.", f"It has {known}.")
        _check_type(name, declared["kind"], target)
        if declared["kind"] == "labels":
            _check_shape(name, target, arrays, axes)


def small(out: Mapping[str, np.ndarray], function: Mapping[str, Any]) -> list[str]:
    """Return the names of the labels that may travel in a smaller type than int32."""
    return [name for name in out if function["outputs"][name]["kind"] == "labels"]


def write(delivery: Delivery, result: Result) -> None:
    """Write outputs of a result into the caller's arrays, which take their places in the result.

    Raises
    ------
    BadInput
        An array is not of the shape of its output; nothing was written, as with every error.
    ProtocolError
        The worker sent something else than it declares.
    """
    ready = [_ready(delivery, name, result.get(name)) for name in delivery.out]
    if delivery.accept:
        delivery.accept(result)
    for write_one in ready:
        write_one()
    result.update(delivery.out)


def _ready(delivery: Delivery, name: str, found: object) -> frames.Write:
    """Return what writes an output into its array."""
    target, kind = delivery.out[name], delivery.kind(name)
    fitted = _fitted(name, kind, target, found)
    if kind == "labels":
        return lambda: copying.copy_into(target, fitted)
    return frames.ready_pixels(target, fitted)


def _check_type(name: str, kind: str, target: object) -> None:
    if kind == "table":
        raise BadInput(f"The output {name!r} is a table, which no array takes.", "Leave it out.")
    if not isinstance(target, np.ndarray) or not target.flags.writeable:
        raise BadInput(f"What the output {name!r} shall be written into is no array for that.")
    dtype = target.dtype
    if kind == "labels":
        takes, wanted = dtype == np.int32, "int32"
    else:  # not whole numbers of 32 bits: float32, in which images travel, cannot hold their limits
        narrow = dtype.kind in "iu" and dtype.itemsize <= 2
        takes, wanted = dtype.kind == "f" or narrow, "uint8, uint16 or float32"
    if not takes:
        raise BadInput(
            f"The array for the output {name!r} is of type {dtype}.", f"Give one of {wanted}."
        )


def _check_shape(
    name: str, target: np.ndarray, arrays: Mapping[str, Array], axes: Mapping[str, str]
) -> None:
    """Refuse an array that the labels of the first input cannot fit."""
    first, image = next(iter(arrays.items()), ("", ""))
    if isinstance(image, (str, os.PathLike)):
        return  # a file, which only the worker opens
    shapes = frames.label_shapes(np.asarray(image).shape, axes.get(first, ""))
    if not any(_fits(target, shape) for shape in shapes):
        raise _misfit(name, target, " or ".join(map(str, shapes)))


def _fitted(name: str, kind: str, target: np.ndarray, found: object) -> np.ndarray:
    """Return a view of an output in the shape of its array."""
    if not isinstance(found, np.ndarray):
        raise ProtocolError(f"The worker gave no array as {name!r}.")
    if kind == "labels" and not np.can_cast(found.dtype, np.int32):
        raise ProtocolError(f"The worker gave labels {name!r} of type {found.dtype}.")
    if not _fits(target, found.shape):
        raise _misfit(name, target, str(found.shape))
    return found.reshape(target.shape)


def _fits(target: np.ndarray, shape: _Shape) -> bool:
    return _long_axes(target.shape) == _long_axes(shape)


def _long_axes(shape: _Shape) -> _Shape:
    return tuple(length for length in shape if length != 1)


def _misfit(name: str, target: np.ndarray, shape: str) -> BadInput:
    return BadInput(
        f"The array for the output {name!r} has the shape {target.shape}, not {shape}.",
        "Only axes of length 1 may be missing or added.",
    )
