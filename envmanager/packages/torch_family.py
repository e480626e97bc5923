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
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

import tomlkit
from packaging.version import Version

from envmanager.errors import InstallFailed
from envmanager.packages import lockfile, wheel_tags
from envmanager.uv.program import Uv

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


def source(uv: Uv, python: Path, backend: str, pins: dict[str, str]) -> Source:
    """Return where a backend's builds come from.

    A folder of the setting ``find_links`` that holds the wanted torch goes before the setting
    ``torch_index``: who plugs in a stick with wheels wants these. But only wheels count that the
    computer takes which `uv` resolves for: the one that a bundle is for may be another.

    Parameters
    ----------
    python : Path
        The interpreter; where `uv` resolves for another computer, only that one's version counts.

    Raises
    ------
    InstallFailed
        ``torch_index`` is a folder without a wheel for the backend.
    """
    settings, look = uv.settings, partial(_in_folder, uv, python, backend, pins)
    for place in settings.find_links:
        if "://" not in place and (own := look(Path(place))):
            return own
    place = settings.torch_index.rstrip("/\\")
    if place.startswith(("http://", "https://")):
        named = _BACKEND.fullmatch(place.rpartition("/")[2]) is not None
        return Source(place if named else f"{place}/{backend}", False, pins)
    folder = Path(url2pathname(urlsplit(place).path) if "://" in place else place)
    if found := look(folder / backend) or look(folder):
        return found
    system = f" on {uv.platform.capitalize()}" if uv.platform else ""
    raise InstallFailed(
        f"{folder} holds no torch {pins['torch']} for the backend {backend} and Python "
        f"{wheel_tags.python_version(uv, python)}{system}.",
        "Put its wheels there, or correct the setting torch_index.",
        code="torch_missing",
    )


def _in_folder(
    uv: Uv, python: Path, backend: str, pins: dict[str, str], folder: Path
) -> Source | None:
    """Return a folder as a source where it holds the wanted torch, for this backend or for any."""
    if not any(folder.glob(f"torch-{pins['torch']}*.whl")):
        return None
    fitting = wheel_tags.taken(uv, python)
    builds = {
        name: {v.local for v in wheel_tags.versions(folder, name, fitting) if v.public == pinned}
        for name, pinned in pins.items()
    }
    exact = {name: f"{pins[name]}+{backend}" for name, found in builds.items() if backend in found}
    for_any = None in builds["torch"] or (folder.name == backend and bool(builds["torch"]))
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
