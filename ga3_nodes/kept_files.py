"""Keeps what each call sends and gets back, as files, to look at and to repeat it with.

The switch is GA3ENV_KEEP_FILES=FOLDER in the caller's environment. Each call gets a numbered folder
with ``call.json`` (function, parameters, axes and the command line that repeats it), one file for
each input and output, and ``error.json`` where it failed.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ga3_nodes import home, spawn, wire
from ga3_nodes.errors import GA3EnvError
from ga3_nodes.results import Array, Result


def keeping(
    folder: Path,
    entry: home.ModuleEntry,
    message: wire.Message,
    arrays: Mapping[str, Array],
    call: Callable[[], Result],
) -> Result:
    """Run `call` and write down what goes in and comes out.

    Raises
    ------
    GA3EnvError
        What the call raises, or with the code ``keep_files`` that a file cannot be written.
    """
    with _writing(folder):
        place = _numbered(folder.absolute())
        _write_inputs(place, entry, message, arrays)
    try:
        result = call()
    except GA3EnvError as error:
        with _writing(folder):
            _write_json(place / "error.json", error.to_dict())
        raise
    with _writing(folder):
        for name, value in result.items():
            _write_output(place, name, value)
    return result


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise GA3EnvError(
            f"The files of the call cannot be kept in {folder}: {error}.",
            "Correct GA3ENV_KEEP_FILES, or unset it.",
            code="keep_files",
        ) from error


def _numbered(folder: Path) -> Path:
    """Make the next folder; of several programs each gets its own number."""
    folder.mkdir(parents=True, exist_ok=True)
    numbers = [int(path.name) for path in folder.iterdir() if path.name.isdecimal()]
    number = max(numbers, default=0) + 1
    while True:
        place = folder / f"{number:06d}"
        try:
            place.mkdir()
        except FileExistsError:
            number += 1
            continue
        return place


def _write_inputs(
    place: Path, entry: home.ModuleEntry, message: wire.Message, arrays: Mapping[str, Array]
) -> None:
    inputs = {}
    for name, array in arrays.items():
        if isinstance(array, (str, os.PathLike)):
            inputs[name] = str(array)  # it is a file already
        else:
            inputs[name] = str(place / f"input-{name}.npy")
            np.save(inputs[name], _plain(array), allow_pickle=False)
    spec = entry.functions[message["function"]]
    again = _again(place, entry, message, inputs, spec)
    told = {
        "module": entry.name,
        "version": entry.version,
        "generation": entry.generation,
        "time": time.strftime("%Y-%m-%d %H:%M:%S"),
        "function": message["function"],
        "params": message["params"],
        "axes": message["axes"],
        "inputs": inputs,
        "environment": entry.env,
        "again": again,
        "command_line": spawn.command_line(again),
    }
    _write_json(place / "call.json", told)


def _again(
    place: Path,
    entry: home.ModuleEntry,
    message: wire.Message,
    inputs: dict[str, str],
    spec: dict[str, Any],
) -> list[str]:
    """Return the command that repeats the call in the one-shot mode."""
    host = entry.folder / "ga3_nodes" / "host.py"
    command = [str(entry.python), "-E", "-s", str(host), str(entry.folder), "--once"]
    command += [f"--function={message['function']}"]
    command += [f"--input={inputs[name]}" for name in spec["inputs"] if name in inputs]
    for name, output in spec["outputs"].items():
        command.append(f"--output={place / f'again-{name}'}{_suffix(output['kind'])}")
    axes = message["axes"].get(next(iter(spec["inputs"]), ""), "")
    command += [f"--axes={axes}"] if axes else []
    return command + [f"--param={name}={_text(v)}" for name, v in message["params"].items()]


def _suffix(kind: str) -> str:
    return ".json" if kind == "table" else ".npy"


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _write_output(place: Path, name: str, value: Any) -> None:
    path = place / f"output-{name}"
    if isinstance(value, np.ndarray):
        np.save(path.with_suffix(".npy"), value, allow_pickle=False)
    else:
        _write_json(path.with_suffix(".json"), value)


def _plain(array: Any) -> np.ndarray:
    """Return an array that can be saved; one of objects will be refused by the call."""
    found = np.asarray(array)
    return found.astype(str) if found.dtype.hasobject else found


def _write_json(path: Path, data: Any) -> None:
    path.write_text(json.dumps(data, indent=2, default=str) + "\n", "utf-8")
