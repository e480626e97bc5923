"""What `bioimage_pipeline_utils` offers: reading and keeping, declared as a module's functions are.

Arrays are in the order time, channel, z, y, x.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from envmanager.errors import BadInput
from envmanager.writing import opening as writing

MODULE = "bioimage_pipeline_utils"
LOAD = "load_tczyx_image"
PATH = "path"
IMAGE, LABELS, TABLE = "image", "labels", "table"
SELECTIONS = ("times", "slices", "positions", "channels")
LOADED = "images"  # what the output of a load step is called where it has no name
_MOST = 1_000_000  # places of an axis; a longer list is a slip of the keyboard
_RANGE = re.compile(r"(\d+)\s*-\s*(\d+)")


@dataclass(frozen=True)
class Saving:
    """A function that keeps something.

    Attributes
    ----------
    inputs : mapping of str to tuple of str
        Its input -> the kinds of values that it takes.
    required : tuple of tuple of str
        Of each of these groups exactly one input must be given.
    suffixes : tuple of str
        Of the files that it writes.
    options : mapping
        What else can be given, declared like a module's parameters.
    """

    inputs: Mapping[str, tuple[str, ...]]
    required: tuple[tuple[str, ...], ...]
    suffixes: tuple[str, ...]
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


_COMPRESSION = {
    "type": "choice",
    "default": "zlib",
    "choices": [{"value": name} for name in writing.COMPRESSIONS],
    "label": "Compression",
}
SAVING: Mapping[str, Saving] = {
    "save_tczyx_image": Saving(
        {IMAGE: (IMAGE, LABELS), LABELS: (LABELS,)},
        ((IMAGE, LABELS),),
        writing.SUFFIXES,
        {"compression": _COMPRESSION},
    ),
    "save_objects_csv": Saving({LABELS: (LABELS,), IMAGE: (IMAGE,)}, ((LABELS,),), (".csv",)),
    "save_overlay_png": Saving(
        {IMAGE: (IMAGE,), LABELS: (LABELS,)}, ((IMAGE,), (LABELS,)), (".png",)
    ),
    "save_rois": Saving({LABELS: (LABELS,)}, ((LABELS,),), (".zip",)),
    "save_table": Saving({TABLE: (TABLE,)}, ((TABLE,),), (".csv",)),
}
FUNCTIONS = (LOAD, *SAVING)


def places(name: str, value: Any) -> tuple[int | str, ...] | None:
    """Return what of an axis is taken; None for all of it.

    A value is ``all``, a number from 1, a range such as ``"1-5"``, or a list of such.

    Parameters
    ----------
    name : str
        One of `SELECTIONS`; channels may also be given by name.

    Raises
    ------
    BadInput
        It is none of these, counts from 0, or takes nothing.
    """
    if value is None or (isinstance(value, str) and value.strip().lower() == "all"):
        return None
    found: list[int | str] = []
    for one in value if isinstance(value, tuple) else (value,):
        for text in _items(one):
            found += _range(name, text)
    if not found:
        raise _wrong(name, value)
    return tuple(dict.fromkeys(found))


def _items(value: Any) -> list[str]:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return [text.strip() for text in str(value).split(",")]


def _range(name: str, text: str) -> list[int | str]:
    pair = _RANGE.fullmatch(text)
    low, high = (int(pair[1]), int(pair[2])) if pair else (0, 0)
    if text.isdecimal():
        low = high = int(text)
    if 1 <= low <= high < low + _MOST:
        return list(range(low, high + 1))
    is_name = not pair and not re.fullmatch(r"[-+.\d]*", text) and text not in ("True", "False")
    if name == "channels" and is_name:
        return [text]
    raise _wrong(name, text)


def _wrong(name: str, value: Any) -> BadInput:
    names = ', or names such as "DAPI"' if name == "channels" else ""
    return BadInput(
        f"{name!r} cannot be {value!r}.",
        f'It takes all, a number from 1, a range such as "1-5", or a list of such{names}.',
    )
