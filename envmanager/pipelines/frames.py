"""Cuts images into frames, the pieces that flow through a pipeline, and frames into calls.

A frame is one time of one position: all its slices, or one slice where every step of the pipeline
works slice by slice. So the memory that a pipeline needs does not grow with the file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from envmanager.errors import BadInput, GA3EnvError
from envmanager.pipelines.plan import Call, Load, Ref, Selection
from envmanager.reading.series import Series, open_series
from ga3_nodes import client

Value = Any  # ndarray (z, y, x, c) of image or labels; a table: columns by name


@dataclass(frozen=True)
class Cut:
    """What of a series is worked on: numbers from 0, in the order in which they are wanted."""

    times: Sequence[int]
    positions: Sequence[int]
    slices: Sequence[int]
    channels: Sequence[int]


@dataclass(eq=False)
class Job:
    """One input file on its way.

    Attributes
    ----------
    number : int
        Its place among the files of this run, from 0.
    error : GA3EnvError or None
        Why it failed; what of it is still under way is dropped.
    seconds : float
        Time inside of the modules.
    """

    number: int
    path: Path
    stem: str
    series: Series | None = None
    cut: Cut | None = None
    by_slice: bool = False
    error: GA3EnvError | None = None
    frames: int = 1
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)
    devices: set[str] = field(default_factory=set)

    def begin(self, load: Load, calls: Iterable[Call]) -> None:
        """Open the file.

        Raises
        ------
        ImageError, BadInput
            It cannot be used, lacks what is selected, or has axes that a step cannot take.
        """
        self.series = series = open_series(self.path)
        self.cut = cut = chosen(series, load.selection)
        has = len(cut.slices) > 1, len(cut.channels) > 1
        orders = [order(call, *has) for call in calls]
        self.by_slice = has[0] and not any("z" in found for found in orders)
        per_time = len(cut.slices) if self.by_slice else 1
        self.frames = len(cut.positions) * len(cut.times) * per_time

    def note(self, text: str) -> None:
        """Keep what a module says beside its result, once."""
        if text not in self.notes:
            self.notes.append(text)


@dataclass(eq=False)
class Frame:
    """A piece of an image, with all that was made of it so far.

    Attributes
    ----------
    t, p, z : int
        Its place in what was selected, from 0; `z` is that of its first slice.
    index : int
        Its place among the job's frames, from 0.
    values : dict
        By the output that they are of: images and labels (z, y, x, c), tables as columns.
    """

    job: Job
    t: int = 0
    p: int = 0
    z: int = 0
    index: int = 0
    values: dict[Ref, Value] = field(default_factory=dict)

    @property
    def ends_position(self) -> bool:
        """Whether it is the last one of its position."""
        assert self.job.cut is not None
        return (self.index + 1) % (self.job.frames // len(self.job.cut.positions)) == 0

    @property
    def ends_job(self) -> bool:
        """Whether it is the last one of its file."""
        return self.index + 1 == self.job.frames


def read(jobs: Iterable[Job], load: Load, calls: Sequence[Call]) -> Iterator[Frame]:
    """Read the frames of all jobs, each when it is asked for.

    A file that cannot be read gives one frame, without values, of a job with an error.
    """
    for job in jobs:
        try:
            job.begin(load, calls)
            yield from _frames(job, load.output)
        except GA3EnvError as error:
            job.error = error
            yield Frame(job)


def _frames(job: Job, name: Ref) -> Iterator[Frame]:
    assert job.cut is not None
    places = job.cut.slices if job.by_slice else (None,)
    index = 0
    for p, position in enumerate(job.cut.positions):
        for t, time in enumerate(job.cut.times):
            for z, place in enumerate(places):
                if job.error:
                    return
                pixels = _pixels(job, time, position, place)
                yield Frame(job, t, p, z, index, {name: pixels})
                index += 1


def _pixels(job: Job, t: int, p: int, z: int | None) -> np.ndarray:
    """Read (z, y, x, c) of what is selected."""
    series, cut = job.series, job.cut
    assert series is not None
    assert cut is not None
    if z is not None:
        pixels = series.plane(t, z, p)[np.newaxis]
    elif len(cut.slices) == series.slices:
        pixels = series.stack(t, p)
    else:
        pixels = np.stack([series.plane(t, place, p) for place in cut.slices])
    whole = len(cut.channels) == series.channels_count
    return pixels if whole else pixels[..., list(cut.channels)]


# ---- what of a series is worked on ---------------------------------------------------------------


def chosen(series: Series, selection: Selection) -> Cut:
    """Return the places of a series that are selected.

    Raises
    ------
    BadInput
        It has no such time, position, slice or channel.
    """
    names = [channel.name for channel in series.channels]
    return Cut(
        times=_places(series, "time", selection.times, series.times),
        positions=_places(series, "position", selection.positions, series.positions),
        slices=_places(series, "slice", selection.slices, series.slices),
        channels=_places(series, "channel", selection.channels, series.channels_count, names),
    )


def _places(
    series: Series,
    what: str,
    wanted: tuple[int | str, ...] | None,
    count: int,
    names: Sequence[str] = (),
) -> list[int]:
    if wanted is None:
        return list(range(count))
    found = []
    for one in wanted:
        place = names.index(one) + 1 if one in names else one
        if not isinstance(place, int) or not 1 <= place <= count:
            known = f"{count} {what}{'s' * (count > 1)}"
            known += f" ({', '.join(filter(None, names))})" if any(names) else ""
            raise BadInput(f"{series.path.name} has no {what} {one}.", f"It has {known}.")
        found.append(place - 1)
    return found


# ---- calls ---------------------------------------------------------------------------------------


def order(call: Call, has_z: bool, has_c: bool) -> str:
    """Return the order of axes in which a step's first input goes in, e.g. ``"zyx"``.

    Slices stay together where the function takes them together, and so do channels; where it does
    not, or the step says ``loop``, it is called for each.

    Raises
    ------
    BadInput
        The function takes no such image.
    """
    name = next(iter(call.inputs))
    accepted = call.axes[name]
    z = ("z", "") if has_z and "z" not in call.loop else ("",)
    c = ("c", "") if has_c and "c" not in call.loop else ("",)
    fitting = [f"{one}yx{other}" for other in c for one in z]
    found = next((axes for axes in fitting if axes in accepted), None)
    if found is None:
        hint = f"It takes {', '.join(accepted)}."
        if all("z" in axes for axes in accepted):
            hint = "It needs a z-stack."
        raise BadInput(f"{call.name}: the input {name} cannot take this image.", hint)
    return found


@dataclass(frozen=True)
class Part:
    """One call of a step on a frame: its inputs, and which slice and channel they are of."""

    inputs: client.Inputs
    z: int | None
    c: int | None


def parts(call: Call, frame: Frame) -> Iterator[Part]:
    """Cut a frame into the calls of a step; slices before channels.

    Raises
    ------
    BadInput
        An input cannot take what it is given.
    """
    values = {name: frame.values[ref] for name, ref in call.inputs.items()}
    first: np.ndarray = next(iter(values.values()))
    axes = order(call, first.shape[0] > 1, max(v.shape[3] for v in values.values()) > 1)
    channels = max(1 if "c" in axes else v.shape[3] for v in values.values())
    for z in _each(1 if "z" in axes else first.shape[0]):
        for c in _each(1 if "c" in axes else channels):
            given = {name: _given(value, z, c) for name, value in values.items()}
            inputs = {name: pixels for name, (pixels, _) in given.items()}
            orders = {name: found for name, (_, found) in given.items()}
            _check_orders(call, orders)
            yield Part(client.Inputs(inputs, orders), z, c)


def _each(count: int) -> Iterable[int | None]:
    """Return the places of an axis that is looped; None stands for what has one place only."""
    return range(count) if count > 1 else [None]


def _given(value: np.ndarray, z: int | None, c: int | None) -> tuple[np.ndarray, str]:
    """Return the wanted slice and channel of a value, without axes of length 1, and their order."""
    pixels, axes = value, "zyxc"
    if c is not None or value.shape[3] == 1:
        pixels, axes = pixels[..., min(c or 0, value.shape[3] - 1)], "zyx"
    if z is not None or value.shape[0] == 1:
        pixels, axes = pixels[min(z or 0, value.shape[0] - 1)], axes[1:]
    return pixels, axes


def _check_orders(call: Call, orders: Mapping[str, str]) -> None:
    for name, found in orders.items():
        if found not in call.axes[name]:
            raise BadInput(
                f"{call.name}: the input {name} cannot take an image with the axes {found}.",
                f"It takes {', '.join(call.axes[name])}.",
            )


def joined(call: Call, done: Sequence[tuple[Part, client.Result]]) -> dict[Ref, Value]:
    """Put the results of a frame's parts together, in the order in which they were cut."""
    return {
        ref: _table(done, name) if call.kinds[name] == "table" else _pixels_of(done, name)
        for name, ref in call.outputs.items()
    }


def _pixels_of(done: Sequence[tuple[Part, client.Result]], name: str) -> np.ndarray:
    """Return (z, y, x, c); of each part the slices or channels that it was not cut along."""
    blocks: dict[int | None, list[np.ndarray]] = {}
    for part, result in done:
        blocks.setdefault(part.z, []).append(_block(part, result[name]))
    rows = [found[0] if len(found) == 1 else np.concatenate(found, 3) for found in blocks.values()]
    return rows[0] if len(rows) == 1 else np.concatenate(rows, 0)


def _block(part: Part, pixels: np.ndarray) -> np.ndarray:
    """Return a result as (z, y, x, c); it has the slices of the input, and channels last if any."""
    has_z = next(iter(part.inputs.axes.values())).startswith("z")
    pixels = pixels if has_z else pixels[np.newaxis]
    return pixels if pixels.ndim == 4 else pixels[..., np.newaxis]


def _table(done: Sequence[tuple[Part, client.Result]], name: str) -> dict[str, list[Any]]:
    """Return the rows of all parts, with the slice and the channel that they are of, from 1."""
    whole: dict[str, list[Any]] = {}
    for part, result in done:
        table = result[name]
        rows = len(next(iter(table.values()), []))
        places = {"z": part.z, "channel": part.c}
        told = {key: [place + 1] * rows for key, place in places.items() if place is not None}
        for key, column in (told | dict(table)).items():
            whole.setdefault(key, []).extend(column)
    return whole
