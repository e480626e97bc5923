"""Wheels that lie on this computer: a ``pylock.toml`` that lets uv install from their files.

A generation keeps its ``pylock.toml`` with the addresses that it was resolved to. For the install
a variant of it is written beside, in which each wheel that is at hand is named by its path, and
uv asks nobody for it. The sha256 sums stay, and uv enforces them as ever.

uv keeps what it has unpacked by index and file name. A wheel named by its path would be known to
its cache under the folder that it lay in, and only as long as the file is there, unchanged. So all
of them are said to come from one index, `uv.program.WHEELHOUSE`, which does not exist: the next
install finds them in the cache though the file is gone and the data folder has moved, and links
the same bytes. The size is left out: uv takes nothing from the cache by its size that was a file.

An install without any network, such as from a bundle, is then::

    here = wheelhouse.in_folder(lockfile.wheels(pylock), folder)
    local = pylock.with_name("pylock.local.toml")
    wheelhouse.write(pylock, here, local)
    uv.sync(local, python, on_line, on_poll)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import tomlkit

from envmanager.packages.lockfile import Wheel
from envmanager.uv.program import WHEELHOUSE


def file_name(wheel: Wheel) -> str:
    """Return the name of a wheel's file, which uv reads version and tags from.

    It is what its address ends with: ``torch-2.13.0+cpu-cp312-cp312-win_amd64.whl``. Empty where
    the address is unknown or is not that of a wheel, or hides a folder in the name.
    """
    name = unquote(urlsplit(wheel.url).path.rpartition("/")[2])
    return name if name.endswith(".whl") and not set(name) & {"/", "\\", ":"} else ""


def digest(wheel: Wheel) -> str:
    """Return the sha256 of a wheel's file; empty where it is unknown."""
    return wheel.files[0][1] if wheel.files else ""


def is_known(wheel: Wheel) -> bool:
    """Tell whether a wheel's file has a name and a sha256: then uv can take it from anywhere."""
    return bool(file_name(wheel) and digest(wheel))


def is_remote(wheel: Wheel) -> bool:
    """Tell whether a wheel can be fetched by who has its address alone, and be checked then."""
    parts = urlsplit(wheel.url)
    return is_known(wheel) and parts.scheme in ("http", "https") and "@" not in parts.netloc


def in_folder(wheels: Iterable[Wheel], folder: Path) -> dict[str, Path]:
    """Return the files of wheels that lie in a folder, under their own names, by sha256.

    Nothing is hashed: uv refuses a file with another sha256 than the lock's when it unpacks it.
    """
    named = {digest(wheel): folder / file_name(wheel) for wheel in wheels if is_known(wheel)}
    return {sha256: path for sha256, path in named.items() if path.is_file()}


def write(pylock: Path, here: Mapping[str, Path], local: Path) -> None:
    """Write a variant of a ``pylock.toml`` that takes wheels from files.

    Parameters
    ----------
    pylock : Path
        What was resolved; it is only read.
    here : mapping of str to Path
        The full paths of files by their sha256. A file need not exist where uv's cache has it from
        an earlier install out of a wheelhouse. Packages whose wheel is not among them keep their
        address; those of no package are of no concern.
    local : Path
        The variant; uv takes only names such as ``pylock.local.toml``.
    """
    document = tomlkit.parse(pylock.read_text("utf-8")).unwrap()
    document["packages"] = [_local(package, here) for package in document.get("packages", [])]
    local.write_text(tomlkit.dumps(document), "utf-8")


def _local(package: dict[str, Any], here: Mapping[str, Path]) -> dict[str, Any]:
    """Return a package with the path of its wheel, where that is at hand; else as it is."""
    for wheel in package.get("wheels", []):
        path = here.get(wheel.get("hashes", {}).get("sha256", ""))
        if path is not None:
            rest = {key: value for key, value in package.items() if key != "sdist"}
            named = {"path": path.as_posix(), "hashes": wheel["hashes"]}
            return {**rest, "index": WHEELHOUSE, "wheels": [named]}
    return package
