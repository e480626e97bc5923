"""Writes image series, whole or not at all: OME-TIFF, OME-Zarr, .npy, and PNG for one plane."""

from envmanager.writing.layout import Layout
from envmanager.writing.opening import check_compression, check_layout, check_path, open_writer
from envmanager.writing.writer import SeriesWriter

__all__ = [
    "Layout",
    "SeriesWriter",
    "check_compression",
    "check_layout",
    "check_path",
    "open_writer",
]
