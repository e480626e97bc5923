"""What is run on an image, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from app.background import Work
from app.pages.try_it.current import Current
from app.widgets.form.form import value_text
from envmanager import trials
from envmanager.events import CancelToken, Report
from envmanager.images import Image, Region
from envmanager.trials import Trial

ALL = -1  # channels


@dataclass(frozen=True, eq=False)
class Run:
    """A function, what it was given, and what it gave.

    Attributes
    ----------
    spec : mapping
        The function's declaration.
    of : Current
        The place in the image.
    region : tuple of int, optional
        The part of it; without: all of it.
    volume : bool
        Whether it was run on all slices.
    """

    module: str
    module_title: str
    function: str
    spec: Mapping[str, Any]
    parameters: Mapping[str, Any]
    of: Current
    region: Region | None
    volume: bool
    trial: Trial

    @property
    def objects(self) -> int:
        """How many objects were found."""
        return self.trial.sizes.ids.size if self.trial.sizes else 0

    @property
    def is_volume(self) -> bool:
        """Whether the mask has slices."""
        return self.trial.mask is not None and self.trial.mask.ndim == 3


@dataclass(frozen=True, eq=False)
class Wish:
    """What shall be run.

    Attributes
    ----------
    volume : bool
        On all slices.
    channels : mapping of int
        By input: a channel, or `ALL`.
    objects : Run, optional
        Whose mask goes into inputs that take labels; place and part are those of this run.
    """

    module: str
    module_title: str
    function: str
    spec: Mapping[str, Any]
    parameters: Mapping[str, Any]
    of: Current
    region: Region | None
    volume: bool
    channels: Mapping[str, int] = field(default_factory=dict)
    objects: Run | None = None

    @property
    def title(self) -> str:
        """What is done, for people."""
        return f"{self.spec.get('title', self.function)} with {self.module_title}"

    def work(self) -> Work[Run]:
        """Return what does it, in the background."""

        def run(report: Report, cancel: CancelToken) -> Run:
            inputs = self._inputs()
            cancel.check()
            trial = trials.run(
                self.module, self.function, inputs, self.parameters, report=report, cancel=cancel
            )
            return Run(
                self.module,
                self.module_title,
                self.function,
                self.spec,
                self.parameters,
                self.of,
                self.region,
                self.volume,
                trial,
            )

        return run

    def _inputs(self) -> dict[str, Image]:
        image = self.of.image(volume=self.volume, region=self.region)
        found = {}
        for name, spec in self.spec["inputs"].items():
            if is_labels(spec):
                found[name] = self._labels()
            else:
                channel = self.channels.get(name, ALL)
                wanted = None if channel == ALL else channel
                found[name] = trials.component(image, wanted, name, spec["axes"])
        return found

    def _labels(self) -> Image:
        assert self.objects is not None
        mask = self.objects.trial.mask
        assert mask is not None
        return Image(self.of.series.path, mask, "zyx" if mask.ndim == 3 else "yx")


def is_labels(spec: Mapping[str, Any]) -> bool:
    """Tell whether an input takes objects instead of an image."""
    return spec.get("kind") == "labels"


def differences(first: Run, second: Run) -> list[tuple[str, str, str]]:
    """Return what differs between two runs: its name, and both values, for people."""
    found = []
    for title, a, b in (
        ("Module", first.module_title, second.module_title),
        ("Function", _title(first), _title(second)),
        ("On", _place(first), _place(second)),
    ):
        if a != b:
            found.append((title, a, b))
    for name in {**first.parameters, **second.parameters}:
        a, b = (_value(run, name) for run in (first, second))
        if a != b:
            specs = (run.spec.get("parameters", {}).get(name) for run in (first, second))
            label = next((str(spec.get("label") or name) for spec in specs if spec), name)
            found.append((label, a, b))
    return found


def _title(run: Run) -> str:
    return str(run.spec.get("title", run.function))


def _value(run: Run, name: str) -> str:
    spec = run.spec.get("parameters", {}).get(name)
    return value_text(spec, run.parameters[name]) if spec and name in run.parameters else "-"


def _place(run: Run) -> str:
    z = "all slices" if run.is_volume else f"slice {run.of.z + 1}"
    where = f"time {run.of.t + 1}, position {run.of.p + 1}, {z}"
    if run.region is None:
        return where
    y0, y1, x0, x1 = run.region
    return f"{where}, {x1 - x0} × {y1 - y0} px at {x0}, {y0}"


def objects_text(run: Run) -> str:
    """Say what a run has given, in a few words."""
    if run.trial.labels:
        return f"{run.objects:,} object{'' if run.objects == 1 else 's'}"
    rows = [max(map(len, table.values()), default=0) for table in run.trial.tables.values()]
    if rows:
        return f"A table of {rows[0]:,} row{'' if rows[0] == 1 else 's'}"
    return "An image"


def sizes_of(run: Run) -> tuple[np.ndarray, str] | None:
    """Return the sizes of the objects and their unit, in micrometres where calibrated."""
    found = run.trial.sizes
    if found is None:
        return None
    size = run.of.series.pixel_size
    per = (size.volume if run.is_volume else size.area) if size else None
    if per:
        return found.counts * per, "µm³" if run.is_volume else "µm²"
    return found.counts.astype(float), "voxels" if run.is_volume else "px"
