"""Which writer a path gets, and what it refuses before any work."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from envmanager.errors import ImageError
from envmanager.reading import ome_zarr as reading
from envmanager.writing import putting
from envmanager.writing.layout import Layout
from envmanager.writing.ome_tiff import OmeTiffWriter
from envmanager.writing.ome_zarr import OmeZarrWriter
from envmanager.writing.plain import NpyWriter, PngWriter
from envmanager.writing.writer import SeriesWriter

TIFF = (".tif", ".tiff")
SUFFIXES = (*TIFF, ".zarr", ".png", ".npy")
COMPRESSIONS = ("zlib", "zstd", "lzw", "none")
# OME-XML, PixelType: what it names of NumPy's; bool becomes uint8.
_OF_OME = ("bool", "int8", "int16", "int32", "uint8", "uint16", "uint32", "float32", "float64")
_OF_PNG = ("bool", "uint8", "uint16")


def open_writer(path: Path, layout: Layout, *, compression: str = "zlib") -> SeriesWriter:
    """Open a file that will hold a series; `path` stays as it is until the writer finishes.

    Parameters
    ----------
    path : Path
        Its suffix tells the format: .tif, .tiff (OME-TIFF), .zarr (OME-Zarr), .npy, .png.
    compression : str
        Of a TIFF: ``"zlib"``, ``"zstd"``, ``"lzw"`` or ``"none"``. An OME-Zarr is compressed by
        Blosc with Zstandard unless it is ``"none"``.

    Raises
    ------
    ImageError
        The format is unknown or cannot hold such a series, or the folder cannot be written to.
    DiskFull
        There is no room for the first bytes.
    """
    check_path(path, layout.is_labels)
    check_layout(path, layout)
    check_compression(compression)
    layout = dataclasses.replace(layout, dtype=np.dtype(layout.dtype).newbyteorder("="))
    suffix = path.suffix.lower()
    if suffix in TIFF:
        return OmeTiffWriter(path, layout, compression)
    if suffix == ".zarr":
        return OmeZarrWriter(path, layout, compression)
    return (NpyWriter if suffix == ".npy" else PngWriter)(path, layout)


def check_path(path: Path, is_labels: bool) -> None:
    """Refuse a path that no writer writes.

    Raises
    ------
    ImageError
        The suffix is unknown, or something that is no image would be replaced.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        what = "A mask" if is_labels else "An image"
        raise ImageError(
            f"{what} cannot be saved as {path.name}.",
            "Use .tif or .ome.tif (OME-TIFF), .zarr (OME-Zarr), .npy, or .png for one plane.",
        )
    with putting.refusals(path):
        if not path.is_dir():
            return
        if suffix != ".zarr":
            raise ImageError(f"{path} is a folder.", "Choose another name.")
        if not reading.is_zarr(path) and any(path.iterdir()):
            raise ImageError(
                f"{path} is a folder with other files, which would be lost.",
                "Choose another name.",
            )


def check_compression(name: str) -> None:
    """Refuse a compression that we do not write.

    Raises
    ------
    ImageError
        The name is unknown.
    """
    if name not in COMPRESSIONS:
        raise ImageError(f"There is no compression {name!r}.", f"Known: {', '.join(COMPRESSIONS)}.")


def check_layout(path: Path, layout: Layout) -> None:
    """Refuse a series that the format of a path cannot hold.

    Raises
    ------
    ImageError
        It has several planes and the format holds one, its type is unknown to the format, it is
        empty, or the names of channels are not as many as the channels.
    """
    if min(layout.shape) < 1:
        raise ImageError(f"{path.name} would be empty: its shape is {layout.shape}.", "Check it.")
    for given in (layout.channel_names, layout.channel_colors):
        if given and len(given) != layout.channels:
            raise ImageError(
                f"{len(given)} channels are described of {layout.channels}.",
                "Describe all or none.",
            )
    suffix = path.suffix.lower()
    if suffix == ".png" and not _is_picture(layout):
        raise ImageError(
            f"{path.name} cannot hold {layout.times} times, {layout.channels} channels and"
            f" {layout.slices} slices.",
            "Use .tif: a PNG is one plane, grey or of three colours.",
        )
    known = {".png": _OF_PNG, ".tif": _OF_OME, ".tiff": _OF_OME}.get(suffix)
    dtype = np.dtype(layout.dtype)
    fits = dtype.name in known if known else dtype.kind in "biuf"
    if not layout.is_labels and not fits:
        raise ImageError(f"{path.name} cannot hold pixels of {dtype}.", "Use .zarr or .npy.")


def _is_picture(layout: Layout) -> bool:
    colors = (1,) if layout.is_labels else (1, 3)
    return layout.times == layout.slices == 1 and layout.channels in colors
