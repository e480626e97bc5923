"""A ``pylock.toml`` that can travel: one wheel of each package, without anything of its maker's.

Addresses that hold a password, or lie on the maker's disks, become ones of a server that does not
exist: the files come out of the bundle, and are known by their sha256.
"""

from __future__ import annotations

import tomllib
import urllib.request
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import tomlkit

from envmanager.errors import InstallFailed
from envmanager.packages import wheelhouse
from envmanager.packages.lockfile import Wheel

# RFC 2606: no name below `invalid` ever leads anywhere.
_NOWHERE = "https://only-in-the-bundle.invalid"
_HEAD = ("lock-version", "requires-python")
_KEPT = ("name", "version", "marker", "requires-python")
_KNOWN = {*_KEPT, "index", "wheels"}


def travelling(pylock: Path, wheels: Iterable[Wheel]) -> str:
    """Return the text of a ``pylock.toml`` for the bundle.

    Parameters
    ----------
    wheels : iterable of Wheel
        What the file lists, in its order, with their sizes.

    Raises
    ------
    InstallFailed
        A package has no wheel, or one without a sha256.
    """
    document = tomllib.loads(pylock.read_text("utf-8"))
    pairs = zip(document.get("packages", []), wheels, strict=True)
    packages = [_package(raw, wheel) for raw, wheel in sorted(pairs, key=lambda p: p[1].package)]
    kept: dict[str, Any] = {key: document[key] for key in _HEAD if key in document}
    return tomlkit.dumps({**kept, "created-by": "uv", "packages": packages})


def _package(raw: dict[str, Any], wheel: Wheel) -> dict[str, Any]:
    require_wheel(wheel)
    public = wheelhouse.is_remote(wheel)
    url = wheel.url if public else f"{_NOWHERE}/{quote(wheelhouse.file_name(wheel))}"
    entry: dict[str, Any] = {"url": url, "hashes": {"sha256": wheelhouse.digest(wheel)}}
    if wheel.size:
        entry["size"] = wheel.size
    kept = {key: raw[key] for key in _KEPT if key in raw}
    index = str(raw.get("index", ""))
    if index.startswith(("http://", "https://")) and "@" not in urlsplit(index).netloc:
        kept["index"] = index
    return {**kept, "wheels": [entry]}


def require_plain(document: dict[str, Any]) -> None:
    """Refuse a ``pylock.toml`` that is not as `travelling` writes it; ValueError, or its like.

    uv would take a package from a folder or a repository that is named in it beside the wheel.
    """
    if extra := document.keys() - {*_HEAD, "created-by", "packages"}:
        raise ValueError(f"{min(extra)!r} is not expected in it")
    names = [package["name"] for package in document["packages"]]
    if len({*names}) != len(names):
        raise ValueError("it lists a package twice")
    for package in document["packages"]:
        if extra := package.keys() - _KNOWN:
            raise ValueError(f"{min(extra)!r} of {package['name']} is not expected in it")
        (wheel,) = package["wheels"]
        if extra := wheel.keys() - {"url", "hashes", "size"}:
            raise ValueError(f"{min(extra)!r} of {package['name']}'s wheel is not expected in it")


def require_wheel(wheel: Wheel) -> None:
    """Refuse what is no wheel with a sha256.

    Raises
    ------
    InstallFailed
        There is only source code of it, or nothing vouches for its bytes.
    """
    if not (wheelhouse.file_name(wheel) and wheelhouse.digest(wheel)):
        raise InstallFailed(
            f"{wheel.package} {wheel.version} has no wheel with a sha256 for that computer.",
            "Choose another --python or --backend, or an index that has one.",
            code="no_wheel",
        )


def local_file(wheel: Wheel, folder: Path) -> Path | None:
    """Return the file of a wheel that lies on a disk of ours; `folder` is that of its pylock."""
    parts = urlsplit(wheel.url)
    if parts.scheme == "file":
        return Path(urllib.request.url2pathname(parts.path))
    path = folder / wheel.url
    return None if "://" in wheel.url else path
