"""OME-Zarr (NGFF up to 0.5, in Zarr 2 and 3) and plain Zarr arrays: only the wanted chunks."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from envmanager.errors import ImageError
from envmanager.reading.metadata import Told, of_ngff
from envmanager.reading.sources import unnamed_axes

if TYPE_CHECKING:
    from zarr import Array

# What describes a folder: of Zarr 3, and of a group or an array of Zarr 2.
METADATA = ("zarr.json", ".zattrs", ".zgroup", ".zarray")
_KINDS = {"time": "T", "channel": "C"}  # NGFF, the types of axes that are none of space
_OURS = "TCZYX"  # the order of NGFF 0.1 and 0.2, which name no axes
_UNKNOWN = "ABDEFGHJKLNOUW"  # letters that no format gives a meaning


@dataclass(frozen=True)
class _Node:
    """A folder of a Zarr hierarchy; `names` are those of an array's axes, where they are told."""

    folder: Path
    version: int
    is_array: bool
    attributes: Mapping[str, Any]
    names: Sequence[Any] | None

    @property
    def multiscale(self) -> Mapping[str, Any] | None:
        found = self.attributes.get("multiscales")
        return found[0] if found else None


class ZarrSource:
    """The largest level of one image; chunks are read when a plane needs them.

    A chunk without a file counts as empty, as Zarr has it.
    """

    def __init__(self, array: Array[Any], axes: str, told: Told) -> None:
        self._array, self.axes, self.told = array, axes, told
        self.shape = tuple(array.shape)
        self.dtype = np.dtype(array.dtype).newbyteorder("=")

    def read(self, at: Mapping[str, int]) -> np.ndarray:
        """Return a copy in the computer's byte order."""
        wanted = tuple(at.get(axis, slice(None)) for axis in self.axes)
        return np.asarray(self._array[wanted], self.dtype)


def is_zarr(folder: Path) -> bool:
    """Tell whether a folder is a part of a Zarr hierarchy."""
    return any((folder / name).is_file() for name in METADATA)


def stamp(folder: Path) -> tuple[int, int]:
    """Return bytes and time (ns) of what describes a folder of Zarr; pixels are not looked at."""
    folder.stat()  # tells that the folder is gone
    levels = (folder, folder / "0", folder / "0" / "0")
    found = [path.stat() for level in levels for path in _described(level)]
    return sum(one.st_size for one in found), max((one.st_mtime_ns for one in found), default=0)


def _described(folder: Path) -> Iterator[Path]:
    return (path for path in (folder / name for name in METADATA) if path.is_file())


def sources(path: Path) -> list[ZarrSource]:
    """Return the positions of a folder: at least one.

    Raises
    ------
    ImageError
        There is no image, a plate, images of different shapes, or the description is damaged.
    """
    with _undamaged(path):
        root = _node(path, path)
        if root.is_array:
            return [_plain(path, root)]
        found = [_image(path, node) for node in _images(path, root)]
    if any((one.axes, one.shape, one.dtype) != _form(found[0]) for one in found):
        raise ImageError(
            f"{path.name} holds {len(found)} images of different shapes.",
            f"Open one of the folders inside, such as {path / '0'}.",
        )
    return found


def _form(source: ZarrSource) -> tuple[str, tuple[int, ...], np.dtype]:
    return source.axes, source.shape, source.dtype


@contextmanager
def _undamaged(path: Path) -> Iterator[None]:
    """Name the folder where its JSON says something else than the standard has it."""
    try:
        yield
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise ImageError(
            f"{path.name} is damaged: what describes it cannot be understood"
            f" ({type(error).__name__}: {error}).",
            "Copy it again, or export it again as OME-Zarr 0.4 or 0.5, or as TIFF.",
        ) from error


def _node(path: Path, folder: Path) -> _Node:
    if not is_zarr(folder):
        raise ImageError(
            f"{path.name} holds no {folder.relative_to(path.parent).as_posix()}."
            if folder != path
            else f"{path.name} is a folder without an image.",
            "The folder was copied in part, or is no Zarr: copy it again.",
        )
    if (folder / "zarr.json").is_file():
        told = _json(folder / "zarr.json")
        attributes = told.get("attributes") or {}
        attributes = {**attributes, **attributes.get("ome", {})}  # NGFF 0.5 has a key of its own
        names = told.get("dimension_names")
        return _Node(folder, 3, told["node_type"] == "array", attributes, names)
    attributes = _json(folder / ".zattrs") if (folder / ".zattrs").is_file() else {}
    names = attributes.get("_ARRAY_DIMENSIONS")  # xarray's
    return _Node(folder, 2, (folder / ".zarray").is_file(), attributes, names)


def _json(path: Path) -> dict[str, Any]:
    found = json.loads(path.read_text("utf-8"))
    if not isinstance(found, dict):
        raise TypeError(f"{path.name} holds no object")
    return found


def _images(path: Path, root: _Node) -> list[_Node]:
    """Return the images: the folder itself, or those of bioformats2raw and others below it."""
    if root.multiscale:
        return [root]
    if "plate" in root.attributes or "well" in root.attributes:
        raise ImageError(
            f"{path.name} is a plate of many images.",
            f"Open one of the folders inside, such as {path / 'A' / '1' / '0'}.",
        )
    inside = sorted((int(p.name), p) for p in path.iterdir() if p.name.isdecimal() and is_zarr(p))
    folders = [path / name for name in _listed(path)] or [folder for _, folder in inside]
    found = [_node(path, folder) for folder in folders]
    if not found or not all(node.multiscale for node in found):
        raise ImageError(
            f"{path.name} is a Zarr, but holds no OME-Zarr image.",
            "Export it as OME-Zarr 0.4 or 0.5, or open one of the arrays inside.",
        )
    return found


def _listed(path: Path) -> list[str]:
    """Return the folders of images in the order that bioformats2raw tells."""
    folder = path / "OME"
    return list(_node(path, folder).attributes.get("series", [])) if is_zarr(folder) else []


def _image(path: Path, node: _Node) -> ZarrSource:
    multiscale = node.multiscale
    assert multiscale is not None
    dataset = multiscale["datasets"][0]  # NGFF: from the largest to the smallest
    level = _node(path, node.folder / dataset["path"])
    array = _array(level)
    axes = multiscale.get("axes") or list(_OURS[-array.ndim :])
    letters = _letters(axes)
    if len(letters) != array.ndim:
        raise ValueError(f"{len(letters)} axes for the shape {array.shape}")
    told = of_ngff(letters, axes, [multiscale, dataset], node.attributes.get("omero") or {})
    return ZarrSource(array, letters, told)


def _plain(path: Path, node: _Node) -> ZarrSource:
    """Take an array without OME's description like a .npy, unless it names its axes."""
    array = _array(node)
    names = node.names if node.names and all(node.names) else None
    letters = _letters(names) if names else unnamed_axes(path, array.shape)
    return ZarrSource(array, letters, Told())


def _array(node: _Node) -> Array[Any]:
    import zarr
    from zarr.storage import LocalStore

    if not node.is_array:
        raise ValueError(f"{node.folder.name} is no array")
    store = LocalStore(node.folder, read_only=True)
    return zarr.open_array(store, mode="r", zarr_format=2 if node.version == 2 else 3)


def _letters(axes: Sequence[Any]) -> str:
    """Return our letters for NGFF's axes; one that is none of ours gets a letter of its own."""
    named = [axis if isinstance(axis, Mapping) else {"name": str(axis)} for axis in axes]
    spaces = [axis for axis in named if axis.get("type") == "space"]
    in_order = dict(zip(map(id, spaces[::-1]), "XYZ", strict=False))
    known = all(str(axis["name"]).upper() in tuple("ZYX") for axis in spaces)
    others, found = iter(_UNKNOWN), []
    for axis in named:
        name = str(axis["name"]).upper()
        if name not in tuple(_OURS) or (axis in spaces and not known):
            name = _KINDS.get(axis.get("type", ""), in_order.get(id(axis), ""))
        found.append(name if name and name not in found else next(others))
    return "".join(found)
