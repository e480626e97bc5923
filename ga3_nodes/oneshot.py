"""A module without a worker: one call with files, and the run of the module's own tests."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import time
import traceback
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
        A file, a parameter or the image is refused.
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
    arrays = {
        name: data_files.read(Path(text).absolute())
        for name, text in zip(spec["inputs"], options.input, strict=False)
    }
    given = _parameters(folder, declaration, spec.get("parameters", {}), options.param)
    axes = dict.fromkeys(arrays, options.axes)
    worker = functions.load_worker(folder, declaration)
    running = Running(os.environ.get("GA3ENV_DEVICE", devices.CPU))
    results = functions.run_function(
        worker, declaration, options.function, arrays, axes, given, running
    )
    for note in running.notes:
        print(f"note: {note}")
    for (name, result), path in zip(results.items(), options.output, strict=False):
        kind = spec["outputs"][name]["kind"]
        if kind == "table":
            Path(path).write_text(json.dumps(result), "utf-8")
        else:
            np.save(path, result.astype(functions.wire_dtype(kind, result), copy=False))


def _parameters(
    folder: Path, declaration: dict[str, Any], declared: dict[str, Any], words: list[str]
) -> dict[str, Any]:
    """Return the checked parameters of the call; weights as full paths."""
    given = {}
    for text in words:
        name, _, value = text.partition("=")
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
