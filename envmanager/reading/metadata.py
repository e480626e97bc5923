"""Pixel size and channels, as the file formats tell them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

if TYPE_CHECKING:
    from nd2 import ND2File
    from tifffile import TiffFile, TiffPage, TiffPageSeries

Color = tuple[int, int, int]

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)
# Micrometres in the units that OME, OME-Zarr and ImageJ name.
_UNITS = {
    **dict.fromkeys(("µm", "μm", "um", "micron", "microns", "micrometer", "\\u00b5m"), 1.0),
    **dict.fromkeys(("Å", "angstrom"), 1e-4),
    **dict.fromkeys(("nm", "nanometer"), 1e-3),
    **dict.fromkeys(("mm", "millimeter"), 1e3),
    **dict.fromkeys(("cm", "centimeter"), 1e4),
    **dict.fromkeys(("m", "meter"), 1e6),
}
_CENTIMETER = 3  # TIFF 6.0, ResolutionUnit; 2 is the inch of printers and screens
_COARSEST_UM = 50.0  # a coarser pixel is no microscope's: 500 px/cm is finer than most printers


@dataclass(frozen=True)
class PixelSize:
    """The size of a pixel in micrometres; `z` is the distance of two slices, None if unknown."""

    y: float
    x: float
    z: float | None = None

    @property
    def area(self) -> float:
        """Square micrometres of a pixel."""
        return self.y * self.x

    @property
    def volume(self) -> float | None:
        """Cubic micrometres of a voxel."""
        return self.area * self.z if self.z else None


@dataclass(frozen=True)
class Channel:
    """A channel; `name` is empty and `color` (red, green, blue; 0 to 255) None where untold."""

    name: str = ""
    color: Color | None = None


RGB = (Channel("Red", RED), Channel("Green", GREEN), Channel("Blue", BLUE))
RGBA = (*RGB, Channel("Opacity"))


@dataclass(frozen=True)
class Told:
    """What a file tells about its pixels."""

    pixel_size: PixelSize | None = None
    channels: tuple[Channel, ...] = ()


def of_tiff(file: TiffFile, series: TiffPageSeries, number: int) -> Told:
    """Return what an OME, ImageJ, Zeiss LSM or plain TIFF tells about its series of a number."""
    page = series.keyframe
    if file.is_ome and file.ome_metadata:
        return _of_ome(file.ome_metadata, number)
    if file.is_imagej and file.imagej_metadata:
        return _of_imagej(file.imagej_metadata, page)
    if file.is_lsm and file.lsm_metadata:
        return _of_lsm(file.lsm_metadata)
    if page.resolutionunit == _CENTIMETER:
        size = _size(*(1e4 / per if per else None for per in _per_unit(page)))
        if size and max(size.x, size.y) <= _COARSEST_UM:
            return Told(size)
    return Told()


def of_nd2(file: ND2File) -> Told:
    """Return what an ND2 of NIS-Elements tells."""
    metadata = file.metadata
    described = getattr(metadata, "channels", None) or []
    channels = tuple(
        Channel(one.channel.name or "", (color.r, color.g, color.b))
        for one in described
        for color in [one.channel.color]
    )
    calibrated = bool(described) and all(described[0].volume.axesCalibrated[:2])
    if not calibrated:
        return Told(None, channels)
    size = file.voxel_size()
    return Told(_size(size.y, size.x, size.z if "Z" in file.sizes else None), channels)


def of_ngff(
    letters: str, axes: Sequence[Any], scaled: Sequence[Mapping[str, Any]], omero: Mapping[str, Any]
) -> Told:
    """Return what an OME-Zarr tells.

    Parameters
    ----------
    letters : str
        Ours, one for each of the `axes` of the file.
    scaled : sequence of mapping
        What holds ``coordinateTransformations``; all of them apply.
    omero : mapping
        The part of that name; it tells the channels.
    """
    lengths: dict[str, float | None] = {}
    for number, letter in enumerate(letters):
        axis = axes[number]
        # A length without a unit is no length: many writers put 1 there for "unknown".
        unit = _UNITS.get(str(axis.get("unit"))) if isinstance(axis, Mapping) else None
        factor = math.prod(scale[number] for one in scaled for scale in _scales(one))
        lengths[letter] = _number(factor * unit) if unit else None
    found = _size(*(lengths.get(letter) for letter in "YXZ"))
    return Told(found, tuple(_omero_channel(one) for one in omero.get("channels", [])))


def _scales(told: Mapping[str, Any]) -> list[Sequence[float]]:
    changes = told.get("coordinateTransformations") or []
    return [change["scale"] for change in changes if change.get("type") == "scale"]


def _omero_channel(told: Mapping[str, Any]) -> Channel:
    """A colour is written as on web pages: RRGGBB."""
    digits = str(told.get("color", "")).removeprefix("#")
    try:
        red, green, blue = bytes.fromhex(digits)[:3]
    except ValueError:
        return Channel(str(told.get("label", "")))
    return Channel(str(told.get("label", "")), (red, green, blue))


def _of_ome(xml: str, index: int) -> Told:
    try:
        root = ElementTree.fromstring(xml)
    except ElementTree.ParseError:
        return Told()
    images = [one for one in root if _tag(one) == "Image"]
    pixels = next(
        (p for one in images[index : index + 1] for p in one if _tag(p) == "Pixels"), None
    )
    if pixels is None:
        return Told()
    y, x, z = (_length(pixels, f"PhysicalSize{axis}") for axis in "YXZ")
    return Told(_size(y, x, z), tuple(_ome_channel(c) for c in pixels if _tag(c) == "Channel"))


def _tag(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]


def _length(pixels: ElementTree.Element, name: str) -> float | None:
    unit = _UNITS.get(pixels.get(f"{name}Unit", "µm"))
    value = _number(pixels.get(name))
    return value * unit if value and unit else None


def _ome_channel(element: ElementTree.Element) -> Channel:
    """A colour is a signed number of 32 bits: red, green, blue, opacity."""
    try:
        number = int(element.get("Color", "")) & 0xFFFFFFFF
    except ValueError:
        return Channel(element.get("Name", ""))
    color = (number >> 24, number >> 16 & 255, number >> 8 & 255)
    # -1 is the schema's default, which many writers give to every channel.
    return Channel(element.get("Name", ""), None if number == 0xFFFFFFFF else color)


def _of_imagej(metadata: dict[str, Any], page: TiffPage) -> Told:
    unit = _UNITS.get(str(metadata.get("unit", "")).lower())
    luts = metadata.get("LUTs") or []
    # A table is (3, 256): the colour of the brightest value stands for the channel.
    channels = tuple(Channel("", (int(r), int(g), int(b))) for r, g, b in (t[:, -1] for t in luts))
    if not unit:
        return Told(None, channels)
    y, x = (unit / per if per else None for per in _per_unit(page))
    spacing = _number(metadata.get("spacing"))
    return Told(_size(y, x, spacing * unit if spacing else None), channels)


def _per_unit(page: TiffPage) -> tuple[float | None, float | None]:
    """Return the pixels per unit along y and x."""
    found = []
    for name in ("YResolution", "XResolution"):
        tag = page.tags.get(name)
        over, under = tag.value if tag else (0, 1)
        found.append(over / under if over and under else None)
    return found[0], found[1]


def _of_lsm(metadata: dict[str, Any]) -> Told:
    y, x, z = (_number(metadata.get(f"VoxelSize{axis}")) for axis in "YXZ")  # metres
    colors = metadata.get("ChannelColors") or {}
    names = colors.get("ColorNames") or []
    channels = tuple(
        Channel(str(name), (int(color[0]), int(color[1]), int(color[2])))
        for name, color in zip(names, colors.get("Colors") or [], strict=False)
    )
    return Told(_size(*(v * 1e6 if v else None for v in (y, x, z))), channels)


def _size(y: float | None, x: float | None, z: float | None = None) -> PixelSize | None:
    return PixelSize(y, x, z) if y and x else None


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) and number > 0 else None
