"""A module's functions: its declaration, the import of its code, and a checked call."""

from __future__ import annotations

import importlib.util
import inspect
import json
import sys
import traceback
import weakref
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from ga3_nodes import devices, frames, params, shm
from ga3_nodes.errors import BadInput, Cancelled, ConfigError, GA3EnvError, ModuleFailed
from ga3_nodes.running import Running

# Weak: the code of an older edit or generation shall go, with its model.
_known: weakref.WeakKeyDictionary[Callable[..., Any], frozenset[str]] = weakref.WeakKeyDictionary()


def read_declaration(folder: Path) -> dict[str, Any]:
    """Return the module's declaration from ``module.json``, else from ``module.toml``.

    Raises
    ------
    ConfigError
        There is none that can be read.
    """
    try:
        return _declaration(folder)
    except (OSError, ValueError, ImportError) as error:
        raise ConfigError(
            f"{folder} holds no module that can be read ({type(error).__name__}: {error}).",
            "Give the folder of a module; if it is one, install that module again.",
        ) from error


def _declaration(folder: Path) -> dict[str, Any]:
    try:
        return dict(json.loads((folder / "module.json").read_text("utf-8")))
    except FileNotFoundError:
        import tomllib

        return tomllib.loads((folder / "module.toml").read_text("utf-8"))


def load(folder: Path, name: str, known_as: str = "") -> ModuleType:
    """Import a Python file of the module's folder under its own name, or another one."""
    path = folder / f"{name}.py"
    name = known_as or name
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]
        raise ModuleFailed(
            f"{path.name} cannot be imported: {type(error).__name__}: {error}.",
            "Repair or reinstall the module.",
            code="import_failed",
            details={"traceback": traceback.format_exc()},
        ) from error
    return module


def load_worker(folder: Path, declaration: dict[str, Any], known_as: str = "") -> ModuleType:
    """Import ``worker.py``; all declared functions must be there.

    Parameters
    ----------
    known_as : str, optional
        Its name in `sys.modules`, where that is not ``worker``.

    Raises
    ------
    ModuleFailed
        It cannot be imported, or lacks a function.
    """
    worker = load(folder, "worker", known_as)
    check_declared(worker, declaration)
    return worker


def check_declared(worker: ModuleType, declaration: dict[str, Any]) -> None:
    """Raise `ModuleFailed` where the code lacks a declared function."""
    for name in declaration["functions"]:
        if not callable(getattr(worker, name, None)):
            raise ModuleFailed(
                f"worker.py has no function {name!r}, which module.toml declares.",
                "Correct the module and install it again.",
                code="import_failed",
            )


def run_function(
    worker: ModuleType,
    declaration: dict[str, Any],
    function: str,
    arrays: dict[str, np.ndarray],
    axes: dict[str, str],
    given: dict[str, Any],
    running: Running | None = None,
) -> dict[str, Any]:
    """Call a declared function of the module.

    Parameters
    ----------
    arrays : dict of ndarray
        The inputs by name.
    axes : dict of str
        For inputs whose axes the caller knows, their order, such as ``"zyx"``.
    running : Running, optional
        What the function may take of it, it gets.

    Returns
    -------
    dict
        The outputs by name: ndarray (``labels``, ``image``) or dict of columns (``table``).

    Raises
    ------
    BadInput
        The inputs do not fit the declaration, or the function raised `ValueError`.
    ModuleFailed
        The function raised anything else, or returned something undeclared.
    Cancelled
        The caller wants the result no more.
    """
    spec = declaration["functions"].get(function)
    if spec is None:
        raise BadInput(f"The module has no function {function!r}.", code="unknown_function")
    if sorted(arrays) != sorted(spec["inputs"]):
        raise BadInput(f"{function} takes {', '.join(spec['inputs'])}; got {', '.join(arrays)}.")
    _check_axes(function, spec["inputs"], arrays, axes)
    running = running or Running()
    if running.cancelled():
        raise Cancelled("The call was cancelled.")
    target = getattr(worker, function)
    wanted = _parameters(target)
    keywords: dict[str, Any] = params.complete(spec.get("parameters", {}), given)
    keywords = {**running.keywords(wanted), **keywords}
    if "axes" in wanted:
        keywords["axes"] = axes.get(next(iter(arrays)), "")
    try:
        returned = target(*(arrays[name] for name in spec["inputs"]), **keywords)
    except GA3EnvError:
        raise
    except BaseException as error:
        raise failure(error, running.device) from error
    results = _outputs(spec["outputs"], returned)
    first = next(iter(arrays))
    for name, output in spec["outputs"].items():
        if output["kind"] == "labels":
            _check_labels(name, results[name], arrays[first].shape, axes.get(first, ""))
    return results


def _check_axes(
    function: str, declared: dict[str, Any], arrays: dict[str, np.ndarray], axes: dict[str, str]
) -> None:
    """Refuse inputs of other axes than declared, which only look like what the function takes."""
    if not axes.keys() <= declared.keys():
        unknown = ", ".join(sorted(axes.keys() - declared.keys()))
        raise BadInput(f"Axes are given for {unknown}, which is no input of {function}.")
    for name, array in arrays.items():
        orders, told = declared[name].get("axes"), axes.get(name)
        fitting = [one for one in orders or () if len(one) == array.ndim]
        if orders and not (told in fitting if told else fitting):
            given = f", given as {told}" if told else ""
            raise BadInput(
                f"The input {name!r} has the shape {array.shape}{given}.",
                f"{function} takes arrays of the axes {' or '.join(orders)}.",
                code="wrong_axes",
            )


def _parameters(function: Callable[..., Any]) -> frozenset[str]:
    """Return the names of a function's parameters; looking them up anew would cost each call."""
    found = _known.get(function)
    if found is None:
        found = _known[function] = frozenset(inspect.signature(function).parameters)
    return found


def _check_labels(name: str, labels: np.ndarray, shape: tuple[int, ...], axes: str) -> None:
    """Refuse a mask that does not lie on the image: a wrong result must not pass for one."""
    if labels.shape not in frames.label_shapes(shape, axes):
        raise ModuleFailed(
            f"The module gave labels {name!r} of shape {labels.shape} for an image {shape}.",
            "This is a defect of the module; tell its author.",
        )
    if labels.dtype.kind == "i" and labels.size and labels.min() < 0:
        raise ModuleFailed(
            f"The module gave negative labels {name!r}.",
            "This is a defect of the module; tell its author.",
        )


def failure(error: BaseException, device: str = devices.CPU) -> GA3EnvError:
    """Return the error that tells what a module raised while it computed on `device`."""
    details: dict[str, Any] = {"traceback": traceback.format_exc()}
    if full := devices.exhausted(error, device):
        told = _out_of_memory(full, details)
        traceback.clear_frames(error.__traceback__)  # they hold the arrays of the failed try
        devices.give_back()
        return told
    if isinstance(error, ValueError):  # a module's way to refuse its input
        return BadInput(
            str(error) or "The input cannot be used.",
            "Change the image or the parameters.",
            details=details,
        )
    return ModuleFailed(
        f"The module failed: {type(error).__name__}: {error}",
        "The traceback is in the worker's log; try other parameters, or repair the module.",
        details=details,
    )


def _out_of_memory(device: str, details: dict[str, Any]) -> ModuleFailed:
    """Name the device and what it had left; that of other programs is among what is not free."""
    memory = devices.memory(device)
    left = ""
    if memory:
        free, total = memory["free_bytes"] / 1e9, memory["total_bytes"] / 1e9
        left = f": {free:.1f} of {total:.1f} GB are free"
    place = "" if device == devices.CPU else f" of {device}"
    return ModuleFailed(
        f"The memory{place} is not enough for this image{left}.",
        "Close other programs that use it, take a smaller image or tile"
        + ("." if device == devices.CPU else ", or install the module for the CPU."),
        code="out_of_memory",
        details={**details, "device": device, **memory},
    )


def _outputs(declared: dict[str, Any], returned: Any) -> dict[str, Any]:
    if not isinstance(returned, dict) or _is_table(declared, returned):
        returned = {next(iter(declared)): returned}
    if sorted(returned) != sorted(declared):
        raise ModuleFailed(f"The function returned {sorted(returned)} for {sorted(declared)}.")
    return {name: _output(name, spec["kind"], returned[name]) for name, spec in declared.items()}


def _is_table(declared: dict[str, Any], returned: dict[str, Any]) -> bool:
    """Tell whether a dict is the only output itself, a table, and not that output by its name."""
    if [spec["kind"] for spec in declared.values()] != ["table"]:
        return False
    by_name = list(returned) == list(declared)
    return not (by_name and hasattr(next(iter(returned.values())), "items"))


def _output(name: str, kind: str, value: Any) -> Any:
    try:
        if kind == "table":
            return {str(title): _column(column) for title, column in value.items()}
        array = np.asarray(value)
    except (ValueError, TypeError, AttributeError) as error:
        raise ModuleFailed(f"The module gave no {kind} as {name!r}: {error}.") from error
    if kind == "labels":
        if array.dtype.kind not in "biu":
            raise ModuleFailed(f"The labels {name!r} are {array.dtype}, not whole numbers.")
        wide = not np.can_cast(array.dtype, np.int32)
        if wide and array.size and array.max() > np.iinfo(np.int32).max:
            raise ModuleFailed(f"The labels {name!r} hold numbers beyond int32.")
    elif array.dtype.name not in shm.DTYPES:
        raise ModuleFailed(f"The image {name!r} has the unusable type {array.dtype}.")
    return array


def _column(values: Any) -> list[Any]:
    array = np.asarray(values)
    if array.dtype.kind not in "biufU":
        raise TypeError(f"a column of {array.dtype}")
    return list(array.tolist())


def wire_dtype(kind: str, array: np.ndarray, *, small: bool = False) -> np.dtype[Any]:
    """Return the type in which an output travels: labels as int32, images as NIS knows them.

    Parameters
    ----------
    small : bool
        Labels that the module made in a type of 8 or 16 bits travel in it: who gets them casts
        them. (To look through wider ones for what they need cost more than it saved.)
    """
    if kind == "labels":
        kept = small and array.dtype.itemsize <= 2
        return array.dtype.newbyteorder("=") if kept else np.dtype(np.int32)
    if array.dtype.name in ("uint8", "uint16"):
        return array.dtype.newbyteorder("=")
    return np.dtype(np.uint8 if array.dtype == bool else np.float32)
