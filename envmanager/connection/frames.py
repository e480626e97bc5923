"""The test image of the check, and what its result must be."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from envmanager.errors import GA3EnvError
from envmanager.modules.catalog import LABELS
from ga3_nodes.standin.nis import DTYPES

_PX, _SLICES, _RADIUS_PX = 128, 6, 9.0  # of the test image and its objects
_EDGE_PX, _GRID = 32, 3
_STAIN_RGB, _GROUND_RGB = (110, 80, 160), (235, 232, 238)  # stained nuclei in bright field


def sample_frames(spec: Mapping[str, Any], *, in_color: bool = False) -> list[np.ndarray]:
    """Return an image (z, y, x, component) for each input: nine bright discs on dark ground.

    A channel is grey (uint16), or RGB (uint8) as of stained nuclei where `in_color` is True or the
    input takes nothing else; labels are int32. One plane, or a z-stack where nothing else fits.
    """
    return [_frame(declared, in_color) for declared in spec["inputs"].values()]


def _frame(declared: Mapping[str, Any], in_color: bool) -> np.ndarray:
    y, x = np.mgrid[:_PX, :_PX]
    plane = np.zeros((_PX, _PX), np.int32)
    for number in range(_GRID * _GRID):
        row, column = divmod(number, _GRID)
        away = np.hypot(y - _EDGE_PX * (row + 1), x - _EDGE_PX * (column + 1))
        plane[away < _RADIUS_PX] = number + 1
    axes = declared["axes"]
    is_labels = declared.get("kind") == LABELS
    if not is_labels:
        noise = np.random.default_rng(0).integers(0, 200, plane.shape)
        plane = (500 + noise + 4000 * (plane > 0)).astype(np.uint16)
    depth = 1 if any("z" not in one for one in axes) else _SLICES
    frame = np.repeat(plane[np.newaxis, ..., np.newaxis], depth, axis=0)
    fits_rgb = any("c" in one for one in axes) and not is_labels
    if fits_rgb and (in_color or all("c" in one for one in axes)):
        frame = np.where(frame > 2000, _STAIN_RGB, _GROUND_RGB).astype(np.uint8)
    return frame


def takes_rgb(spec: Mapping[str, Any]) -> bool:
    """Tell whether a function takes RGB images."""
    return any("c" in axes for declared in spec["inputs"].values() for axes in declared["axes"])


def judged(name: str, kind: str, path: Path) -> str:
    """Say what an output of the node is.

    Parameters
    ----------
    name, kind : str
        The output's name, and what `nodes.output_kinds` says of it.
    path : Path
        As the stand-in saves it.

    Raises
    ------
    GA3EnvError
        It is not of the size of the test image, or of no type that NIS has for its kind.
    """
    if kind == "table":
        columns: dict[str, list[Any]] = json.loads(path.read_text("utf-8"))
        rows = len(next(iter(columns.values()), []))
        return f"{name}: a table of {rows} rows"
    array = np.load(path)
    if array.dtype.name not in DTYPES[kind] or array.shape[1:3] != (_PX, _PX):
        raise GA3EnvError(
            f"The output {name} is {array.dtype} of shape {array.shape}: that is no {kind}.",
            "Look at the output() of the script.",
            code="script_failed",
        )
    size = f"{array.shape[2]} x {array.shape[1]} px, {array.dtype}"
    if kind == "binary" and array.dtype == np.int32:
        count = np.count_nonzero(np.unique(array))
        note = "" if count else " (the parameters leave out all that the test image shows)"
        return f"{name}: {count} objects in {size}{note}"
    return f"{name}: a {kind} of {size}"
