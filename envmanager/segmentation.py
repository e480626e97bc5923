"""Runs a module's function on image files, through the same client and worker as a GA3 node."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from envmanager import images
from envmanager.errors import BadInput, Cancelled, GA3EnvError, UsageError
from ga3_nodes import client, home, params


@dataclass(frozen=True)
class Segmented:
    """One image's outcome; `seconds` is the time inside the worker."""

    input: Path
    output: Path | None
    labels: np.ndarray
    objects: int
    seconds: float
    device: str


@dataclass(frozen=True)
class Failed:
    """One image that could not be segmented, and why."""

    input: Path
    error: GA3EnvError


def segment_files(
    module: str,
    inputs: Sequence[Path],
    outputs: Sequence[Path],
    parameters: Mapping[str, Any],
    *,
    function: str = "segment",
) -> Iterator[Segmented | Failed]:
    """Segment image files one after the other; of several, one that fails stops no other.

    Raises
    ------
    GA3EnvError
        The only image failed, or the user cancelled.
    """
    for path, output in zip(inputs, outputs, strict=True):
        try:
            image = images.read(path)
            yield segment(module, image, parameters, function=function, output=output)
        except Cancelled:
            raise
        except GA3EnvError as error:
            if len(inputs) == 1:
                raise
            yield Failed(path, error)


def segment(
    module: str,
    image: images.Image,
    parameters: Mapping[str, Any],
    *,
    function: str = "segment",
    output: Path | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Segmented:
    """Segment one image; write the label mask where `output` says so.

    Returns
    -------
    Segmented
        Its `labels` are int32 (y, x) or (z, y, x).

    Raises
    ------
    GA3EnvError
        The module is not installed, refuses the image, or failed.
    """
    spec = function_of(home.published(module), function)
    name = next(iter(spec["inputs"]))
    if image.axes not in spec["inputs"][name]["axes"]:
        raise BadInput(
            f"{module} cannot work on an image with the axes {image.axes}.",
            f"It takes {', '.join(spec['inputs'][name]['axes'])}.",
        )
    if output:  # before minutes of work whose result could not be kept
        images.check_mask_path(output, image.axes)
    result = client.call(
        module,
        function,
        {name: image.pixels},
        parameters,
        axes={name: image.axes},
        cancelled=cancelled,
    )
    labels = result[_labels_output(module, function, spec)]
    if output:
        images.write_labels(output, labels)
    count = images.count_objects(labels)
    return Segmented(image.path, output, labels, count, result.seconds, result.device)


def function_of(entry: home.ModuleEntry, function: str) -> dict[str, Any]:
    """Return the declaration of a published module's function.

    Raises
    ------
    BadInput
        There is none of that name.
    """
    if function not in entry.functions:
        raise BadInput(
            f"{entry.name} has no function {function!r}.",
            f"It has {', '.join(entry.functions)}.",
            code="unknown_function",
        )
    return dict(entry.functions[function])


def _labels_output(module: str, function: str, spec: Mapping[str, Any]) -> str:
    for name, output in spec["outputs"].items():
        if output["kind"] == "labels":
            return str(name)
    raise BadInput(f"{function} of {module} gives no label mask.", "Choose another function.")


def parse_parameters(texts: Sequence[str], declared: params.Declarations) -> dict[str, Any]:
    """Turn ``key=value`` words of a command line into checked values.

    Raises
    ------
    UsageError
        A word has no ``=``.
    BadInput
        A parameter is unknown or its value does not fit.
    """
    values = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"{text!r} is no parameter.", "Write it as key=value.")
        if name not in declared:
            params.complete(declared, {name: value})  # raises, and names those that exist
        values[name] = params.from_text(name, declared[name], value)
    return values


def output_paths(inputs: Sequence[Path], output: Path | str) -> list[Path]:
    """Return the mask file of each input: `output` itself, or files in it where it is a folder.

    A folder is one that exists, a text that ends with a separator, and a new name without suffix:
    a mask's format is told by its suffix.

    Raises
    ------
    UsageError
        Several images would go to one file, or a mask would replace an image.
    """
    place = Path(output)
    if not _is_folder(output):
        if len(inputs) > 1:
            raise UsageError(f"{len(inputs)} images cannot go to one file.", "Give a folder to -o.")
        paths = [place]
    else:
        paths = [place / f"{path.stem}_labels.tif" for path in inputs]
    if len(set(paths)) < len(paths):
        raise UsageError("Two of the images have the same name.", "Segment them separately.")
    for path in paths:
        if any(_same(path, image) for image in inputs):
            raise UsageError(
                f"The mask would replace the image {path}.", "Give another file or folder to -o."
            )
    return paths


def _is_folder(output: Path | str) -> bool:
    if str(output).endswith(tuple(filter(None, (os.sep, os.altsep)))):
        return True
    place = Path(output)
    try:
        return place.is_dir() or (not place.suffix and not place.exists())
    except OSError:  # a name that the system refuses; writing tells why
        return False


def _same(first: Path, second: Path) -> bool:
    """Return whether two paths lead to one file, be it through links or another spelling."""
    try:
        return first.resolve() == second.resolve() or first.samefile(second)
    except OSError:  # one of them does not exist
        return False
