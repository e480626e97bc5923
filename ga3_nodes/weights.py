"""What a parameter of type ``weights`` means: the file or folder that a worker opens.

The weights of a module lie in ``ROOT/weights/<module>/``; ``weights.json`` there lists the sets
that are present. A value is the name of such a set, or the full path of a file or folder. It
becomes a full path before the worker sees it, and nothing is ever downloaded for a call.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path, PureWindowsPath
from typing import Any

from ga3_nodes import home
from ga3_nodes.errors import BadInput, ConfigError, WeightsMissing

WEIGHTS = "weights"  # the type of such a parameter, the data folder's part, the variable's end
LISTING = "weights.json"
CUSTOM = "custom"  # the folder of imported sets
SCHEMA = 1
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
# Windows takes them for devices, whatever their suffix.
_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
_Version = tuple[int, int, int]


def valid_name(name: str) -> bool:
    """Tell whether a text can be the name of a set, and of its file on any system."""
    fits = _NAME.fullmatch(name) and not name.endswith(".") and not _DEVICES.fullmatch(name)
    return bool(fits) and name.lower() not in (CUSTOM, LISTING)


def is_path(value: str) -> bool:
    """Tell whether a value is meant as a path and not as a name."""
    return bool(os.path.dirname(value)) or "\\" in value or PureWindowsPath(value).drive != ""


def listed(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the sets that a module's weights folder lists, by name.

    Each has its ``path`` relative to the folder, its ``files`` with ``size`` and ``sha256``,
    ``custom``, ``note`` and ``added``.

    Raises
    ------
    ConfigError
        ``weights.json`` is damaged, or of a newer schema.
    """
    path = folder / LISTING
    try:
        found = path.stat()
    except OSError:
        return {}
    version = (found.st_ino, found.st_size, found.st_mtime_ns)
    if path not in _read or _read[path][0] != version:
        _read[path] = version, _load(path)
    return _read[path][1]


_read: dict[Path, tuple[_Version, dict[str, dict[str, Any]]]] = {}


def _load(path: Path) -> dict[str, dict[str, Any]]:
    try:
        content = json.loads(home.patiently(lambda: path.read_text("utf-8")))
        if content["schema"] != SCHEMA:
            raise ValueError(f"schema {content['schema']!r}")
        return {str(name): _checked(entry) for name, entry in content["sets"].items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"{path} cannot be read ({type(error).__name__}: {error}).",
            "Rename the file, then download or import the weights again.",
            code="weights_damaged",
        ) from error


def _checked(entry: dict[str, Any]) -> dict[str, Any]:
    """Return an entry whose paths stay in the folder."""
    for place in (entry["path"], *entry["files"]):
        outside = PureWindowsPath(place).drive or place.startswith(("/", "\\"))
        if outside or ".." in PureWindowsPath(place).parts:
            raise ValueError(f"the path {place!r}")
    files = {
        name: {"size": int(f["size"]), "sha256": str(f["sha256"])}
        for name, f in entry["files"].items()
    }
    return {"custom": False, "note": "", "added": "", **entry, "files": files}


def resolve(
    module: str,
    title: str,
    declared: Mapping[str, Mapping[str, Any]],
    values: dict[str, Any],
    roots: Iterable[Path],
) -> dict[str, Any]:
    """Return the values of a call with a full path for each that names weights.

    Parameters
    ----------
    title : str
        The module's, for people.
    declared : mapping
        The parameters of the function; ``choices`` of one of type ``weights`` are the known sets.
    values : dict
        Checked and complete, see `params.complete`.
    roots : iterable of Path
        The data folders to look into, the best first.

    Raises
    ------
    WeightsMissing
        A known set that is not downloaded.
    BadInput
        An unknown name, a path that leads nowhere, or nothing is chosen.
    """
    named = [name for name, spec in declared.items() if spec["type"] == WEIGHTS]
    if not named:
        return values
    folders = [home.weights_folder(root, module) for root in roots]
    owner = title or module
    paths = {
        name: _resolved(module, owner, declared[name], values[name], folders) for name in named
    }
    return {**values, **paths}


def _resolved(
    module: str, owner: str, spec: Mapping[str, Any], value: str, folders: list[Path]
) -> str:
    if is_path(value):
        return _existing(value)
    lists = [(folder, listed(folder)) for folder in folders]
    for folder, entries in lists:
        entry = entries.get(value)
        if entry and (folder / entry["path"]).exists():
            return str(folder / entry["path"])
    known = [str(choice["value"]) for choice in spec.get("choices", [])]
    present = [name for _, entries in lists for name in entries]
    if value in known or value in present:
        raise missing(module, owner, value)
    candidates = ", ".join(dict.fromkeys([*known, *present])) or "none"
    if not value:
        raise BadInput(
            f"{owner} needs weights, and none are chosen.",
            f"Choose one of them ({candidates}), or give the full path of a file or folder.",
            code="weights_not_chosen",
        )
    if (collection := spec.get("collection")) and valid_name(value):
        raise WeightsMissing(
            f"{owner} has no weights {value!r}.",
            f"If it is an id of {collection}, download it in GA3 Environment Manager > {owner} > "
            f"Weights, or with: ./run weights {module} get {value}. Present: {candidates}.",
        )
    raise BadInput(
        f"{owner} has no weights {value!r}.",
        f"There are: {candidates}. Your own file can be given by its full path.",
        code="weights_unknown",
    )


def missing(module: str, owner: str, name: str) -> WeightsMissing:
    """Return the error for known weights that are not there."""
    return WeightsMissing(
        f"{owner}'s model {name} is not downloaded yet.",
        f"Open GA3 Environment Manager > {owner} > Weights, or run: "
        f"./run weights {module} get {name}",
    )


def _existing(value: str) -> str:
    path = Path(value)
    if path.is_absolute() and path.exists():
        return str(path)
    problem = "does not exist" if path.is_absolute() else "is no full path"
    raise BadInput(
        f"The weights {value} cannot be used: the path {problem}.",
        "Give the full path of a file or folder, or the name of weights that are present.",
        code="weights_not_found",
    )
