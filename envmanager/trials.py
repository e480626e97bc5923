"""One call of any function of a module, on what a user looks at, with all of its outputs."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from envmanager.data import access
from envmanager.data.paths import DataFolder
from envmanager.errors import BadInput, GA3EnvError
from envmanager.events import CancelToken, Items, Notice, Report, Stage, ignore
from envmanager.exporting import Sizes, sizes
from envmanager.images import Image
from envmanager.modules import catalog
from envmanager.modules.catalog import LABELS
from ga3_nodes import client, home, params, records

_LOOK_S = 0.25  # how often a start is looked at


@dataclass(frozen=True)
class Trial:
    """What a function gave.

    Attributes
    ----------
    labels, pictures : mapping of ndarray
        Outputs by name: labels int32 (y, x) or (z, y, x); images with channels last, if any.
    tables : mapping
        Outputs by name: columns by name.
    sizes : Sizes or None
        The objects of the first labels.
    seconds : float
        Time inside the worker; `waited_s` is how long the caller waited.
    """

    labels: Mapping[str, np.ndarray]
    pictures: Mapping[str, np.ndarray]
    tables: Mapping[str, Mapping[str, list[Any]]]
    sizes: Sizes | None
    seconds: float
    waited_s: float
    device: str
    notes: tuple[str, ...] = field(default=())

    @property
    def mask(self) -> np.ndarray | None:
        """The first labels."""
        return next(iter(self.labels.values()), None)


def functions(data: DataFolder, module: str) -> dict[str, Any]:
    """Return the declarations of a module's functions: as installed, else as its catalog has them.

    Raises
    ------
    UnknownModule, CatalogError, ConfigError
        There is no such module, or its files are damaged.
    """
    place = access.of_module(module)
    found = home.read_config(place.root)["modules"].get(module)
    if found:
        return home.entry(place.root, module, found).functions
    return catalog.find(module, data).functions


def component(image: Image, channel: int | None, name: str, axes: list[str]) -> Image:
    """Return what an input of a function is given: all channels, or one of them.

    Parameters
    ----------
    channel : int or None
        From 0; None gives all of them.
    name, axes
        The input, and the orders of axes that it takes.

    Raises
    ------
    BadInput
        The input cannot take such an image.
    """
    if channel is not None and "c" in image.axes:
        image = replace(image, pixels=image.pixels[..., channel], axes=image.axes.removesuffix("c"))
    if image.axes in axes:
        return image
    if "z" in image.axes and not any("z" in one for one in axes):
        raise BadInput("This function works on one plane.", "Choose a plane of the z-stack.")
    if "z" not in image.axes and all("z" in one for one in axes):
        raise BadInput("This function needs a z-stack.", "Open an image with several slices.")
    if "c" in image.axes:
        raise BadInput(f"The input {name} takes one channel.", "Choose a channel.")
    raise BadInput(
        f"The input {name} takes images with the axes {', '.join(axes)}, not {image.axes}.",
        "Choose another function or image.",
    )


def run(
    module: str,
    function: str,
    inputs: Mapping[str, Image],
    parameters: Mapping[str, Any],
    *,
    report: Report = ignore,
    cancel: CancelToken | None = None,
) -> Trial:
    """Call a function of a module.

    Parameters
    ----------
    inputs : mapping of Image
        By name; one that takes labels gets an image of int32.

    Raises
    ------
    GA3EnvError
        The module is not installed, refuses its input, or failed; or the user cancelled, which
        ends the call within about 2 s.
    """
    entry = home.published(module)
    spec = entry.functions.get(function, {})
    declared = spec.get("parameters", {})
    params.complete(declared, parameters)  # before a worker is started in vain
    title = spec.get("title", function)
    watch = _Start(entry, Stage("run", f"{title} with {entry.title or module}"), report)
    started = time.perf_counter()
    result = client.call(
        module,
        function,
        {name: image.pixels for name, image in inputs.items()},
        parameters,
        axes={name: image.axes for name, image in inputs.items()},
        cancelled=lambda: watch.look() or bool(cancel and cancel.cancelled),
        progress=lambda done, text: report(Items(done, 1, text)),
    )
    waited = time.perf_counter() - started
    for note in result.notes:
        report(Notice(note))
    kinds = {name: output["kind"] for name, output in spec["outputs"].items()}
    labels = {name: result[name] for name, kind in kinds.items() if kind == LABELS}
    return Trial(
        labels=labels,
        pictures={name: result[name] for name, kind in kinds.items() if kind == "image"},
        tables={name: result[name] for name, kind in kinds.items() if kind == "table"},
        sizes=next((sizes(found) for found in labels.values()), None),
        seconds=result.seconds,
        waited_s=waited,
        device=result.device,
        notes=tuple(result.notes),
    )


class _Start:
    """Tells that a worker is starting, and then that it works."""

    def __init__(self, entry: home.ModuleEntry, work: Stage, report: Report) -> None:
        self._entry, self._work, self._report = entry, work, report
        self._next = 0.0
        self._is_up = entry.runs_here or self._lives()
        if self._is_up:
            report(work)
        else:
            title = f"Starting {entry.title or entry.name}; the first run takes longer"
            report(Stage("start", title))

    def look(self) -> bool:
        """Look whether it is up by now, from time to time; return False."""
        if not self._is_up and time.monotonic() >= self._next:
            self._next = time.monotonic() + _LOOK_S
            self._is_up = self._lives()
            if self._is_up:
                self._report(self._work)
        return False

    def _lives(self) -> bool:
        try:
            found = records.live(self._entry.root)
        except (GA3EnvError, OSError):
            return False
        return any(record.module == self._entry.name for _, record in found)
