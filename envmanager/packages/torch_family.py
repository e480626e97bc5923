"""Where the torch family comes from: an explicit index of its own, one for each backend.

The ordinary index holds one build of torch per system (Windows: CPU, Linux: CUDA). So torch, and
what must fit it to the build, comes from PyTorch's index, a mirror of it or a folder, and
everything else from the ordinary index. ``uv --torch-backend`` does not serve: it always asks the
address that is built into it, and looks at the driver only.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

import tomlkit
from packaging.version import Version

from envmanager.data.settings import Settings
from envmanager.errors import InstallFailed
from envmanager.packages import lockfile

MEMBERS = ("torch", "torchvision", "torchaudio")
_INDEX = "torch"
_BACKEND = re.compile(r"cpu|cu\d+")


@dataclass(frozen=True)
class Source:
    """An index of one backend: the page of an index (`url`), or of a folder with wheels (`flat`).

    `pins` are the versions of the family's members that the lock names, with the local part
    (``2.13.0+cpu``) where a folder holds the wheels of several backends.
    """

    url: str
    flat: bool
    pins: dict[str, str]


def pinned(lock: Path) -> dict[str, str]:
    """Return the members of the torch family that a lock pins, by name; empty where there are none.

    The newest version counts where the lock pins several, for different systems.
    """
    pins = [pin for pin in lockfile.locked_hashes(lock) if pin[0] in MEMBERS]
    return dict(sorted(pins, key=lambda pin: Version(pin[1])))


def source(settings: Settings, backend: str, pins: dict[str, str]) -> Source:
    """Return where a backend's builds come from.

    A folder of the setting ``find_links`` that holds the wanted torch goes before the setting
    ``torch_index``: who plugs in a stick with wheels wants these.

    Raises
    ------
    InstallFailed
        ``torch_index`` is a folder without a wheel for the backend.
    """
    for place in settings.find_links:
        if "://" not in place and (own := _in_folder(Path(place), backend, pins)):
            return own
    place = settings.torch_index.rstrip("/\\")
    if place.startswith(("http://", "https://")):
        named = _BACKEND.fullmatch(place.rpartition("/")[2]) is not None
        return Source(place if named else f"{place}/{backend}", False, pins)
    folder = Path(url2pathname(urlsplit(place).path) if "://" in place else place)
    found = _in_folder(folder / backend, backend, pins) or _in_folder(folder, backend, pins)
    if found is None:
        raise InstallFailed(
            f"{folder} holds no torch {pins['torch']} for the backend {backend}.",
            "Put its wheels there, or correct the setting torch_index.",
            code="torch_missing",
        )
    return found


def _in_folder(folder: Path, backend: str, pins: dict[str, str]) -> Source | None:
    """Return a folder as a source where it holds the wanted torch, for this backend or for any."""
    if not any(folder.glob(f"torch-{pins['torch']}*.whl")):
        return None
    exact = {
        name: f"{version}+{backend}"
        for name, version in pins.items()
        if any(folder.glob(f"{name}-{version}+{backend}-*.whl"))
    }
    for_any = folder.name == backend or any(folder.glob(f"torch-{pins['torch']}-*.whl"))
    if "torch" not in exact and not for_any:
        return None
    return Source(folder.absolute().as_uri(), True, pins | exact)


def project(pyproject: Path, source: Source) -> str:
    """Return a ``pyproject.toml`` with a module's requirements and the family's own index.

    An explicit index serves what names it only, so each member becomes a requirement.
    """
    declared = tomllib.loads(pyproject.read_text("utf-8"))["project"]
    members = [f"{name}=={version}" for name, version in source.pins.items()]
    index: dict[str, Any] = {"name": _INDEX, "url": source.url, "explicit": True}
    if source.flat:
        index["format"] = "flat"
    document = {
        "project": {
            "name": declared["name"],
            "version": "0",
            "requires-python": declared["requires-python"],
            "dependencies": [*declared.get("dependencies", ()), *members],
        },
        "tool": {
            "uv": {
                "sources": {name: {"index": _INDEX} for name in source.pins},
                "index": [index],
            }
        },
    }
    return tomlkit.dumps(document)
