"""Files that a result is saved as; each is written by the engine, in the background."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from app.pages.try_it.runs import Run
from envmanager import exporting, images


@dataclass(frozen=True)
class Export:
    """A kind of file: what the menu says, the end of its name, and what writes it."""

    title: str
    ending: str
    kind: str
    write: Callable[[Run, Path, int], object]  # the run, the file, the slice in sight

    @property
    def suffix(self) -> str:
        """The suffix of the file."""
        return Path(self.ending).suffix


def _mask(run: Run, path: Path, _z: int) -> None:
    images.write_labels(path, _whole(run))


def _overlay(run: Run, path: Path, z: int) -> None:
    labels = _whole(run)
    at = z if run.is_volume else run.of.z
    image = images.of_series(run.of.series, t=run.of.t, p=run.of.p, z=at)
    images.write_overlay(path, image, labels[at] if run.is_volume else labels)


def _objects(run: Run, path: Path, _z: int) -> None:
    of = run.of
    table = exporting.objects_of(of.series, _labels(run), t=of.t, z=of.z, p=of.p, region=run.region)
    exporting.write_table(path, table)


def _rois(run: Run, path: Path, _z: int) -> None:
    corner = (run.region[0], run.region[2]) if run.region else (0, 0)
    exporting.write_rois(path, _labels(run), corner)


MASK = Export("Label mask (TIFF) ...", "_labels.tif", "TIFF (*.tif)", _mask)
OVERLAY = Export("Image with outlines (PNG) ...", "_overlay.png", "PNG (*.png)", _overlay)
OBJECTS = Export("Table of objects (CSV) ...", "_objects.csv", "CSV (*.csv)", _objects)
ROIS = Export("ROIs for ImageJ (ZIP) ...", "_rois.zip", "ZIP (*.zip)", _rois)
OF_LABELS = (MASK, OVERLAY, OBJECTS, ROIS)


def of_table(name: str) -> Export:
    """Return the export of a table output."""

    def write(run: Run, path: Path, _z: int) -> None:
        exporting.write_table(path, run.trial.tables[name])

    return Export(f"Table {name} (CSV) ...", f"_{name}.csv", "CSV (*.csv)", write)


def available(run: Run) -> list[Export]:
    """Return what a run can be saved as."""
    tables = [of_table(name) for name in run.trial.tables]
    return [*(OF_LABELS if run.trial.labels else ()), *tables]


def _labels(run: Run) -> np.ndarray:
    assert run.trial.mask is not None
    return run.trial.mask


def _whole(run: Run) -> np.ndarray:
    series = run.of.series
    return exporting.placed(_labels(run), run.region, (series.height, series.width))
