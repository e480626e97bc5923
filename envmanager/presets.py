"""Parameters of a module's function, kept by name: ``ROOT/presets/<module>/<name>.toml``."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomlkit

from envmanager.data import access, files
from envmanager.data.paths import DataFolder
from envmanager.errors import BadInput, ConfigError, UnknownModule
from ga3_nodes import params, records

SCHEMA = 1
# What every file system takes; Windows forbids a point or space at the end, and its devices.
_NAME = re.compile(r"[^\W_][\w .,()+%µ-]{0,79}")
_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


@dataclass(frozen=True)
class Preset:
    """Values of a function's parameters under a name."""

    name: str
    module: str
    function: str
    parameters: dict[str, Any]

    def fitting(self, declared: params.Declarations) -> tuple[dict[str, Any], list[str]]:
        """Return the values that a function takes, and the names of those that it does not.

        A newer version of a module may know other parameters than the one of the preset.
        """
        values, others = {}, []
        for name, value in self.parameters.items():
            try:
                values[name] = params.check(name, declared[name], value)
            except (KeyError, BadInput):
                others.append(name)
        return values, others


def names(data: DataFolder, module: str, function: str = "") -> list[str]:
    """Return the names of a module's presets, of one function or of all, without damaged ones."""
    found = []
    for path in sorted(_folder(data, module).glob("*.toml"), key=lambda path: path.stem.casefold()):
        try:
            preset = _read(path, module)
        except ConfigError:
            continue
        if function in ("", preset.function):
            found.append(preset.name)
    return found


def load(data: DataFolder, module: str, name: str, function: str = "") -> Preset:
    """Return a preset.

    Parameters
    ----------
    function : str
        The function that it must be of; any where it is empty.

    Raises
    ------
    BadInput
        There is none of that name, or it is of another function.
    ConfigError
        Its file is damaged.
    """
    path = _path(data, module, name)
    if not path.is_file():
        known = ", ".join(names(data, module, function)) or "none"
        raise BadInput(
            f"{module} has no preset {name!r}.", f"There are: {known}.", code="unknown_preset"
        )
    preset = _read(path, module)
    if function not in ("", preset.function):
        raise BadInput(
            f"The preset {name!r} is of the function {preset.function}, not of {function}.",
            f"Add --function {preset.function}, or choose another preset.",
            code="preset_of_other_function",
        )
    return preset


def save(data: DataFolder, preset: Preset) -> Path:
    """Keep a preset, in the place of one of that name; return its file.

    Raises
    ------
    NotWritable
        This account may not change the data folder.
    BadInput
        The name cannot be that of a file, or a preset of another function has it.
    """
    access.require(data)
    path = _path(data, preset.module, preset.name)
    if path.is_file() and (old := _function(path, preset.module)) not in ("", preset.function):
        raise BadInput(
            f"A preset {preset.name!r} is there already, of the function {old}.",
            "Choose another name.",
            code="preset_of_other_function",
        )
    document = tomlkit.document()
    document.add("schema", tomlkit.item(SCHEMA))
    document.add("module", tomlkit.item(preset.module))
    document.add("function", tomlkit.item(preset.function))
    document.add("parameters", tomlkit.item(dict(preset.parameters)))
    files.write_text(path, tomlkit.dumps(document))
    return path


def remove(data: DataFolder, module: str, name: str) -> None:
    """Delete a preset, where it is there; raise NotWritable where this account may not."""
    access.require(data)
    _path(data, module, name).unlink(missing_ok=True)


def _folder(data: DataFolder, module: str) -> Path:
    if not records.valid_name(module):
        raise UnknownModule(f"There is no module {module!r}.", "See ./run list.")
    return data.root / "presets" / module


def _path(data: DataFolder, module: str, name: str) -> Path:
    """Return the file of a preset; capital and small letters are the same, as on Windows."""
    fits = _NAME.fullmatch(name) and not name.endswith((" ", ".")) and not _DEVICES.fullmatch(name)
    if not fits:
        raise BadInput(
            f"A preset cannot be called {name!r}.",
            "Begin with a letter or digit; letters, digits, spaces and . , ( ) + % - _ may follow.",
            code="bad_preset_name",
        )
    folder = _folder(data, module)
    same = (p for p in folder.glob("*.toml") if p.stem.casefold() == name.casefold())
    return next(same, folder / f"{name}.toml")


def _function(path: Path, module: str) -> str:
    """Return whose preset a file is; empty where it is damaged."""
    try:
        return _read(path, module).function
    except ConfigError:
        return ""


def _read(path: Path, module: str) -> Preset:
    try:
        content: Mapping[str, Any] = tomllib.loads(path.read_text("utf-8"))
        if content["schema"] != SCHEMA or content["module"] != module:
            raise ValueError(f"schema {content['schema']!r}, module {content['module']!r}")
        values = {str(name): value for name, value in content["parameters"].items()}
        return Preset(path.stem, module, str(content["function"]), values)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"The preset {path} cannot be read ({type(error).__name__}: {error}).",
            "Correct the file, or delete it.",
            code="preset_damaged",
        ) from error
