"""Keeps what a pipeline makes: each step that saves has a keeper for each position of a file.

A file comes to its place when its position is complete. What a failed image has begun is removed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from envmanager import exporting, images
from envmanager.pipelines import matching
from envmanager.pipelines.frames import Frame, Job, Value
from envmanager.pipelines.plan import Plan, Ref, Save
from envmanager.writing import Layout, SeriesWriter, open_writer


class Saving:
    """All that is kept of the frames of a plan.

    Parameters
    ----------
    single : bool
        Whether one file flows: its output has the path as the pipeline gives it.
    """

    def __init__(self, plan: Plan, *, single: bool) -> None:
        self._plan, self._single = plan, single
        self._labels = {
            ref for c in plan.calls for n, ref in c.outputs.items() if c.kinds[n] == "labels"
        }
        self._open: list[_Keeper] = []
        self._written: list[Path] = []

    def take(self, frame: Frame) -> list[Path]:
        """Keep what is wanted of a frame; return the files of its job once all are written.

        Raises
        ------
        ImageError, DiskFull
            A file cannot be written; the caller then gives the job up.
        """
        if not self._open:
            self._open = [self._keeper(save, frame) for save in self._plan.saves]
        for keeper in self._open:
            keeper.take(frame)
        if frame.ends_position:
            while self._open:
                self._written += self._open[0].finish()
                self._open.pop(0)
        if not frame.ends_job:
            return []
        written, self._written = self._written, []
        return written

    def give_up(self) -> None:
        """Remove what was begun of the present position."""
        while self._open:
            self._open.pop().discard()
        self._written = []

    def _keeper(self, save: Save, frame: Frame) -> _Keeper:
        job = frame.job
        assert job.cut is not None
        count = len(job.cut.positions)
        stem = matching.with_position(job.stem, frame.p, count)
        path = matching.output_path(save.path, stem, self._single and count == 1)
        kinds = {name: ref in self._labels for name, ref in save.inputs.items()}
        return _KEEPERS[save.function](save, path, kinds)


class _Keeper(ABC):
    """What one step keeps of one position."""

    def __init__(self, save: Save, path: Path, is_labels: Mapping[str, bool]) -> None:
        self._save, self.path, self._is_labels = save, path, is_labels

    @abstractmethod
    def take(self, frame: Frame) -> None:
        """Keep a frame; they come in their order."""

    @abstractmethod
    def finish(self) -> list[Path]:
        """Put the files into their places, and return them."""

    @abstractmethod
    def discard(self) -> None:
        """Remove what was begun."""

    def _value(self, frame: Frame, name: str) -> Value:
        return frame.values[self._save.inputs[name]]


class _Series(_Keeper):
    """An image or labels as a TCZYX file."""

    _writer: SeriesWriter | None = None

    def take(self, frame: Frame) -> None:
        (name,) = self._save.inputs
        value: np.ndarray = self._value(frame, name)
        if self._writer is None:
            layout = self._layout(frame.job, value, self._is_labels[name])
            self._writer = open_writer(self.path, layout, **self._save.options)
        self._writer.write(value.transpose(3, 0, 1, 2), t=frame.t, z=frame.z)

    def _layout(self, job: Job, value: np.ndarray, is_labels: bool) -> Layout:
        series, cut = job.series, job.cut
        assert series is not None
        assert cut is not None
        slices, height, width, channels = value.shape
        names = [series.channels[c].name for c in cut.channels]
        same = (height, width) == (series.height, series.width)
        return Layout(
            times=len(cut.times),
            channels=channels,
            slices=len(cut.slices) if job.by_slice else slices,
            height=height,
            width=width,
            dtype=value.dtype,
            is_labels=is_labels,
            pixel_size=series.pixel_size if same else None,
            channel_names=tuple(names) if len(names) == channels and any(names) else (),
        )

    def finish(self) -> list[Path]:
        assert self._writer is not None
        self._writer.finish()
        return [self.path]

    def discard(self) -> None:
        if self._writer:
            self._writer.discard()


class _Rows(_Keeper):
    """A table as CSV; its columns are those of the first frame."""

    def __init__(self, save: Save, path: Path, is_labels: Mapping[str, bool]) -> None:
        super().__init__(save, path, is_labels)
        self._columns: dict[str, list[np.ndarray]] = {}

    def take(self, frame: Frame) -> None:
        for table in self._tables(frame):
            rows = max((len(column) for column in table.values()), default=0)
            told = {name: np.full(rows, place) for name, place in _places(frame).items()}
            told |= {name: np.asarray(column) for name, column in table.items()}
            for name in self._columns or told:
                found = told.get(name, np.full(rows, ""))
                self._columns.setdefault(name, []).append(found)

    def _tables(self, frame: Frame) -> Iterator[Mapping[str, Any]]:
        yield self._value(frame, "table")

    def finish(self) -> list[Path]:
        columns = {name: _concatenated(parts) for name, parts in self._columns.items()}
        exporting.write_table(self.path, columns)
        return [self.path]

    def discard(self) -> None:
        self._columns = {}


def _concatenated(parts: list[np.ndarray]) -> np.ndarray:
    """Return one column; a table without rows has columns without a type of their own."""
    return np.concatenate([part for part in parts if part.size] or parts[:1])


class _Objects(_Rows):
    """The objects of labels, measured."""

    def _tables(self, frame: Frame) -> Iterator[Mapping[str, Any]]:
        labels: np.ndarray = self._value(frame, "labels")
        image = self._value(frame, "image") if "image" in self._save.inputs else None
        series, cut = frame.job.series, frame.job.cut
        assert series is not None
        assert cut is not None
        flat = labels.shape[0] == 1
        for c in range(labels.shape[3]):
            table = exporting.objects(
                labels[0, ..., c] if flat else labels[..., c],
                pixels=None if image is None else image[0] if flat else image,
                channels=[series.channels[place].name for place in cut.channels],
                pixel_size=series.pixel_size,
            )
            several = labels.shape[3] > 1
            yield {"channel": [c + 1] * len(table["id"]), **table} if several else table


class _PerFrame(_Keeper):
    """A file for each frame; its name tells time and slice where there are several."""

    def __init__(self, save: Save, path: Path, is_labels: Mapping[str, bool]) -> None:
        super().__init__(save, path, is_labels)
        self._written: list[Path] = []

    def take(self, frame: Frame) -> None:
        place = "".join(f"_{axis}{number:03d}" for axis, number in _places(frame).items())
        path = self.path.with_name(f"{self.path.stem}{place}{self.path.suffix}")
        self._write(path, frame)
        self._written.append(path)

    @abstractmethod
    def _write(self, path: Path, frame: Frame) -> None: ...

    def finish(self) -> list[Path]:
        return self._written

    def discard(self) -> None:
        for path in self._written:
            with suppress(OSError):
                path.unlink(missing_ok=True)


class _Overlay(_PerFrame):
    """The image with the outlines of the objects; of a z-stack the middle slice."""

    def _write(self, path: Path, frame: Frame) -> None:
        labels = self._value(frame, "labels")[..., 0]
        pixels = self._value(frame, "image")
        middle = pixels.shape[0] // 2
        image = pixels[middle] if pixels.shape[3] > 1 else pixels[middle, ..., 0]
        axes = "yx" if image.ndim == 2 else "yxc"
        images.write_overlay(path, images.Image(frame.job.path, image, axes), labels[middle])


class _Rois(_PerFrame):
    """The objects as ROIs of ImageJ."""

    def _write(self, path: Path, frame: Frame) -> None:
        labels = self._value(frame, "labels")[..., 0]
        exporting.write_rois(path, labels if len(labels) > 1 else labels[0])


_KEEPERS: dict[str, type[_Keeper]] = {
    "save_tczyx_image": _Series,
    "save_objects_csv": _Objects,
    "save_overlay_png": _Overlay,
    "save_rois": _Rois,
    "save_table": _Rows,
}


def _places(frame: Frame) -> dict[str, int]:
    """Return the time and the slice of a frame, from 1 as in the file, where there are several."""
    job, cut = frame.job, frame.job.cut
    assert cut is not None
    time = {"t": cut.times[frame.t] + 1} if len(cut.times) > 1 else {}
    return time | ({"z": cut.slices[frame.z] + 1} if job.by_slice else {})


def count_objects(plan: Plan, frame: Frame) -> int:
    """Return the objects of the last labels that a plan makes, or 0."""
    ref: Ref | None = next(
        (
            ref
            for call in reversed(plan.calls)
            for name, ref in call.outputs.items()
            if call.kinds[name] == "labels"
        ),
        None,
    )
    if ref is None:
        return 0
    labels: np.ndarray = frame.values[ref]
    return sum(exporting.sizes(labels[..., c]).ids.size for c in range(labels.shape[3]))
