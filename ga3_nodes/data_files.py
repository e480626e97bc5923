"""Image files as inputs: opened by whoever computes, so that big data never crosses the caller.

``.npy`` files are mapped into memory; TIFF and OME-Zarr need a package of the module's environment.
Nothing in a file is ever executed or unpickled, and no file is written to.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ga3_nodes import shm
from ga3_nodes.errors import BadInput, GA3EnvError


def checked(path: str | os.PathLike[str]) -> Path:
    """Return the path of an image file that can be given in place of an array.

    Raises
    ------
    BadInput
        It is no full path, there is no such file, or it is of an unknown kind.
    """
    found = Path(path)
    if "\0" in str(path) or not found.is_absolute():
        raise BadInput(f"{str(path)!r} is no full path of an image file.", "Give the full path.")
    if found.suffix.lower() not in _READERS:
        raise BadInput(
            f"{found} cannot be read: its kind {found.suffix!r} is not known.",
            f"Known are {', '.join(_READERS)}.",
        )
    if not (found.is_dir() if found.suffix.lower() == ".zarr" else found.is_file()):
        raise BadInput(f"There is no image file {found}.", "Check the path.", code="no_such_file")
    return found


def read(path: str | os.PathLike[str]) -> np.ndarray:
    """Return the array in an image file; writing to it does not change the file.

    Raises
    ------
    BadInput
        The file is not there or damaged, or this environment lacks the package for it.
    """
    found = checked(path)
    try:
        array = _READERS[found.suffix.lower()](found)
    except (GA3EnvError, MemoryError):
        raise
    except ImportError as error:
        raise BadInput(
            f"{found} cannot be read: the package {error.name or error!r} is missing here.",
            f"Give the image as .npy, or add {error.name or 'it'} to the module's packages.",
            code="missing_package",
        ) from error
    except Exception as error:  # readers of damaged files raise anything
        raise BadInput(
            f"{found} cannot be read: {type(error).__name__}: {error}.", "Is the file damaged?"
        ) from error
    if array.dtype.name not in shm.DTYPES:
        raise BadInput(f"{found} holds the unusable type {array.dtype}.")
    return array


def _npy(path: Path) -> np.ndarray:
    try:
        return np.asarray(np.load(path, mmap_mode="c", allow_pickle=False))
    except ValueError:
        array = np.load(path, allow_pickle=False)  # an empty one cannot be mapped
        if array.size:
            raise
        return np.asarray(array)


def _tiff(path: Path) -> np.ndarray:
    tifffile: Any = importlib.import_module("tifffile")
    try:
        return np.asarray(tifffile.memmap(path, mode="c"))
    except ValueError:  # compressed, or in pieces
        return np.asarray(tifffile.imread(path))


def _zarr(path: Path) -> np.ndarray:
    found: Any = importlib.import_module("zarr").open(str(path), mode="r")
    if not hasattr(found, "shape"):
        attributes = dict(found.attrs)
        scales = attributes.get("ome", attributes)["multiscales"]
        found = found[scales[0]["datasets"][0]["path"]]  # the full resolution
    array = np.asarray(found[...])
    while array.ndim > 2 and array.shape[0] == 1:  # OME-Zarr has t, c and z also where it has one
        array = array[0]
    return array


_READERS: dict[str, Callable[[Path], np.ndarray]] = {
    ".npy": _npy,
    ".tif": _tiff,
    ".tiff": _tiff,
    ".zarr": _zarr,
}
