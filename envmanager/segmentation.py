"""Runs a module's function on image files, through the same client and worker as a GA3 node."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from envmanager import events, exporting, images
from envmanager.errors import (
    BadInput,
    Cancelled,
    ConfigError,
    GA3EnvError,
    NotInstalled,
    UsageError,
)
from ga3_nodes import client, home, params
from ga3_nodes.errors import WorkerStartFailed

NOTHING = exporting.Wanted()
_Outcome = TypeVar("_Outcome", "Segmented", "Failed")


@dataclass(frozen=True)
class Segmented:
    """One image's outcome.

    `seconds` is the time inside the worker; `notes` are what the module says beside its result;
    `beside` are the files that were written beside the mask.
    """

    input: Path
    output: Path | None
    labels: np.ndarray
    objects: int
    seconds: float
    device: str
    notes: tuple[str, ...] = ()
    beside: tuple[Path, ...] = ()


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
    report: events.Report = events.ignore,
    cancelled: Callable[[], bool] | None = None,
    beside: exporting.Wanted = NOTHING,
) -> Iterator[Segmented | Failed]:
    """Segment image files; while one computes, the next is read and handed over.

    Of several, one that fails stops no other. What is wrong for all of them ends the work: the same
    `error` is given for each that is left. A mask is written before it is told of.

    Parameters
    ----------
    report : callable
        Gets the progress, and each note of the module once.
    cancelled : callable, optional
        Is asked many times a second; when it says True, the work ends within about 2 s.
    beside : Wanted
        What is written beside each mask.

    Raises
    ------
    GA3EnvError
        The only image failed, nothing can be segmented at all, or the user cancelled.
    """
    task = _Task(module, function, beside)
    files = _Files(task, list(zip(inputs, outputs, strict=True)), report)
    try:
        for outcome in files.segment(parameters, cancelled):
            if isinstance(outcome, Failed) and len(inputs) == 1:
                raise outcome.error
            yield outcome
    except Cancelled:
        raise
    except GA3EnvError as error:
        left = files.left()
        if len(left) == len(inputs) or len(inputs) == 1:
            raise
        yield from (Failed(path, error) for path in left)


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
    task = _Task(module, function)
    inputs = task.inputs(image, output)
    result = client.call(
        module, function, inputs, parameters, axes=inputs.axes, cancelled=cancelled
    )
    return task.outcome(image.path, output, result)


class _Task:
    """What is asked of a module: a label mask for an image.

    Raises
    ------
    GA3EnvError
        The module is not installed, or its function gives no mask.
    """

    def __init__(self, module: str, function: str, beside: exporting.Wanted = NOTHING) -> None:
        self.module, self.function, self._beside = module, function, beside
        spec = function_of(home.published(module), function)
        self._input = next(iter(spec["inputs"]))
        self._axes = spec["inputs"][self._input]["axes"]
        self._labels = next((n for n, o in spec["outputs"].items() if o["kind"] == "labels"), "")
        if not self._labels:
            raise BadInput(
                f"{function} of {module} gives no label mask.", "Choose another function."
            )

    def inputs(self, image: images.Image, output: Path | None) -> client.Inputs:
        """Return what goes into the call; refuse what would be computed in vain."""
        if image.axes not in self._axes:
            raise BadInput(
                f"{self.module} cannot work on an image with the axes {image.axes}.",
                f"It takes {', '.join(self._axes)}.",
            )
        if output:  # before minutes of work whose result could not be kept
            images.check_mask_path(output, image.axes)
        return client.Inputs({self._input: image.pixels}, {self._input: image.axes})

    def outcome(self, path: Path, output: Path | None, result: client.Result) -> Segmented:
        """Write the mask and count its objects."""
        labels = result[self._labels]
        files: list[Path] = []
        if output:
            images.write_labels(output, labels)
            files = exporting.write_beside(output, path, labels, self._beside)
        count = images.count_objects(labels)
        told = result.seconds, result.device, tuple(result.notes)
        return Segmented(path, output, labels, count, *told, tuple(files))


class _Files:
    """Image files on their way through a worker; their pixels are not kept.

    Parameters
    ----------
    pairs : list
        Each image, and the file of its mask.
    """

    def __init__(self, task: _Task, pairs: list[tuple[Path, Path]], report: events.Report) -> None:
        self._task = task
        self._pairs = pairs
        self._report = report
        self._told = 0  # how many outcomes were given
        self._refused: dict[int, GA3EnvError] = {}  # images that were not handed over
        self._notes: set[str] = set()

    def segment(
        self, parameters: Mapping[str, Any], cancelled: Callable[[], bool] | None
    ) -> Iterator[Segmented | Failed]:
        """Give the outcome of each file, in their order; raise what is wrong for all."""
        several = len(self._pairs) > 1
        what = f"{len(self._pairs)} images" if several else self._pairs[0][0].name
        self._report(events.Stage("segment", f"Segmenting {what}"))
        results = client.call_many(
            self._task.module,
            self._task.function,
            self._read(cancelled),
            parameters,
            cancelled=cancelled,
            progress=self._progress,
        )
        with contextlib.closing(results):
            for result in results:
                yield from self._not_read()
                yield self._outcome(result)
            yield from self._not_read()

    def left(self) -> list[Path]:
        """Return the files whose outcome was not given."""
        return [path for path, _ in self._pairs[self._told :]]

    def _read(self, cancelled: Callable[[], bool] | None) -> Iterator[client.Inputs]:
        """Read the images that can be used, one when the next is wanted."""
        for number, (path, output) in enumerate(self._pairs):
            if cancelled and cancelled():
                raise Cancelled("The work was cancelled.", "The masks written so far are kept.")
            try:
                inputs = self._task.inputs(images.read(path), output)
            except GA3EnvError as error:
                self._refused[number] = error
            else:
                yield inputs

    def _not_read(self) -> Iterator[Failed]:
        """Give the failures of the files up to the next one that was handed over."""
        while error := self._refused.pop(self._told, None):
            yield self._given(Failed(self._pairs[self._told][0], error))

    def _outcome(self, result: client.Result | GA3EnvError) -> Segmented | Failed:
        """Write the mask of the oldest file that was handed over."""
        path, output = self._pairs[self._told]
        if isinstance(result, GA3EnvError):
            if concerns_all(result):
                raise result
            return self._given(Failed(path, result))
        for note in result.notes:
            if note not in self._notes:  # a hundred images may have the same one
                self._notes.add(note)
                self._report(events.Notice(f"{path.name}: {note}"))
        try:
            return self._given(self._task.outcome(path, output, result))
        except GA3EnvError as error:
            return self._given(Failed(path, error))

    def _given(self, outcome: _Outcome) -> _Outcome:
        self._told += 1
        self._report(events.Items(self._told, len(self._pairs)))
        return outcome

    def _progress(self, done: float, text: str) -> None:
        """Tell how far the oldest file is that was handed over."""
        number = self._told
        while number in self._refused:  # told of with the next result
            number += 1
        told = f"{self._pairs[number][0].name} {100 * done:.0f} %"
        told = f"{told}, {text}" if text else told
        self._report(events.Items(self._told + done, len(self._pairs), told))


def concerns_all(error: GA3EnvError) -> bool:
    """Tell whether the next image would fail of the same."""
    broken = isinstance(error, (NotInstalled, ConfigError, WorkerStartFailed))
    return broken or error.code == "import_failed"


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


def output_paths(
    inputs: Sequence[Path], output: Path | str, stems: Sequence[str] = ()
) -> list[Path]:
    """Return the mask file of each input: `output` itself, or files in it where it is a folder.

    A folder is one that exists, a text that ends with a separator, and a new name without suffix:
    a mask's format is told by its suffix.

    Parameters
    ----------
    stems : sequence of str
        How the files in a folder begin; by default as the images do.

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
        named = stems or [path.stem for path in inputs]
        paths = [place / f"{stem}_labels.tif" for stem in named]
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
