"""A module without a worker: one call with files, and the run of the module's own tests."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import time
import traceback
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ga3_nodes import data_files, devices, functions, home, params, weights
from ga3_nodes.errors import BadInput, ModuleFailed
from ga3_nodes.running import Running


def add_to(parser: argparse.ArgumentParser) -> None:
    """Declare the words of `run_once`."""
    parser.add_argument("--function", default="segment")
    parser.add_argument(
        "--input", action="append", default=[], help=".npy, .tif or .zarr, one per input"
    )
    parser.add_argument(
        "--output", action="append", default=[], help=".npy file (table: .json), one per output"
    )
    parser.add_argument("--axes", default="", help="order of the input's axes, such as zyx")
    parser.add_argument("--param", action="append", default=[], metavar="NAME=VALUE")


def run_once(folder: Path, options: argparse.Namespace) -> None:
    """One call with files: no pipe, no shared memory, no state.

    Raises
    ------
    BadInput
        A file, a parameter or the image is refused, or an output cannot be written: none is then.
    ModuleFailed
        The function failed.
    """
    _take_environment(folder)
    declaration = functions.read_declaration(folder)
    spec = declaration["functions"].get(options.function)
    if spec is None:
        raise BadInput(f"The module has no function {options.function!r}.", code="unknown_function")
    for what, given in (("input", options.input), ("output", options.output)):
        if len(given) > len(spec[what + "s"]):
            raise BadInput(f"{options.function} has the {what}s {', '.join(spec[what + 's'])}.")
    targets = _targets(options.output, spec["outputs"])
    arrays = {
        name: data_files.read(Path(text).absolute())
        for name, text in zip(spec["inputs"], options.input, strict=False)
    }
    given = _parameters(folder, declaration, spec.get("parameters", {}), options.param)
    axes = dict.fromkeys(list(arrays)[:1], options.axes)
    worker = functions.load_worker(folder, declaration)
    running = Running(os.environ.get("GA3ENV_DEVICE", devices.CPU))
    results = functions.run_function(
        worker, declaration, options.function, arrays, axes, given, running
    )
    for note in running.notes:
        print(f"note: {note}")
    with _written(targets.values()) as parts:
        for name, part in zip(targets, parts, strict=True):
            _save(part, spec["outputs"][name]["kind"], results[name])


def _targets(given: list[str], declared: dict[str, Any]) -> dict[str, Path]:
    """Return the files of the outputs by their names, checked before anything is computed."""
    targets = dict(zip(declared, map(Path, given), strict=False))
    for name, path in targets.items():
        suffix = ".json" if declared[name]["kind"] == "table" else ".npy"
        there = path.absolute().parent.is_dir() and not path.is_dir()
        if path.suffix.lower() != suffix or not there:
            raise BadInput(
                f"The output {name!r} cannot be written to {path}.",
                f"Give a {suffix} file in a folder that is there.",
            )
    if len(set(targets.values())) < len(targets):
        raise BadInput("Two outputs cannot be one file.", "Give each a file of its own.")
    return targets


@contextlib.contextmanager
def _written(targets: Collection[Path]) -> Iterator[list[Path]]:
    """Give files to be written in place of some, which they become when all of them are."""
    parts = [path.with_name(f"{path.name}.{os.getpid()}.part") for path in targets]
    try:
        yield parts
        for part, path in zip(parts, targets, strict=True):
            part.replace(path)
    except OSError as error:
        raise BadInput(f"The outputs cannot be written: {error}.", "Is the disk full?") from error
    finally:
        for part in parts:
            part.unlink(missing_ok=True)


def _save(path: Path, kind: str, result: Any) -> None:
    if kind == "table":
        path.write_text(json.dumps(result), "utf-8")
        return
    with path.open("wb") as file:
        np.save(file, result.astype(functions.wire_dtype(kind, result), copy=False))


def _parameters(
    folder: Path, declaration: dict[str, Any], declared: dict[str, Any], words: list[str]
) -> dict[str, Any]:
    """Return the checked parameters of the call; weights as full paths."""
    given = {}
    for text in words:
        name, found, value = text.partition("=")
        if not found:
            raise BadInput(f"{text!r} is no parameter.", "Write --param NAME=VALUE.")
        spec = declared.get(name)
        given[name] = params.from_text(name, spec, value) if spec else value
    sets = [{"value": name} for name in declaration.get("weights", {})]
    known = {name: {"choices": sets, **spec} for name, spec in declared.items()}
    values = params.complete(declared, given)
    names = declaration["name"], declaration.get("title", "")
    return weights.resolve(*names, known, values, home.roots(home.root_of(folder)))


def _take_environment(folder: Path) -> None:
    """Set the variables that a worker of this generation gets, but for those that are set."""
    declared = {}
    with contextlib.suppress(FileNotFoundError):  # a module's source folder
        declared = json.loads((folder / "manifest.json").read_text("utf-8")).get("env", {})
    if root := home.root_of(folder):
        declared = home.variables(root, folder.parent.name, declared)
    for name, value in declared.items():
        os.environ.setdefault(name, value)


def run_selftest(folder: Path) -> None:
    """Run the ``test_`` functions of ``test_worker.py``; print one line for each.

    Raises
    ------
    ModuleFailed
        At least one of them failed.
    """
    functions.load_worker(folder, functions.read_declaration(folder))
    sys.path.insert(0, str(folder))
    tests = functions.load(folder, "test_worker")
    failed = []
    names = [name for name in vars(tests) if name.startswith("test_")]
    if not names:
        raise ModuleFailed("test_worker.py holds no test.", code="selftest_failed")
    for name in names:
        started = time.perf_counter()
        try:
            getattr(tests, name)()
            outcome = "ok"
        except Exception:
            failed.append(name)
            outcome = "FAILED\n" + traceback.format_exc()
        print(f"{name} {time.perf_counter() - started:.2f} s {outcome}", flush=True)
    if failed:
        raise ModuleFailed(
            f"{len(failed)} of {len(names)} self-tests failed: {', '.join(failed)}.",
            code="selftest_failed",
        )
