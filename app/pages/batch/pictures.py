"""Small pictures of results: the image with the outlines of its objects. Made in the background."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PySide6.QtCore import Qt
from PySide6.QtGui import QImage

from app.viewer import coloring, statistics
from app.viewer.display import first_display
from app.viewer.pyramid import Pyramid
from envmanager.errors import GA3EnvError
from envmanager.images import OUTLINE
from envmanager.pipelines import frames, matching
from envmanager.pipelines.plan import Plan, Save, Selection
from envmanager.pipelines.records import ImageRecord
from envmanager.reading.series import Series, open_series

SIDE = 224  # px, of the longer side
_FINER = 4  # so many times finer is read, and then made smaller smoothly
_LARGEST = 1 << 29  # bytes of a plane; a larger one would take memory and time from the run
_SHOWN = "save_tczyx_image"


@dataclass(frozen=True, eq=False)
class Sources:
    """Knows which file of a run holds the objects of an image.

    Attributes
    ----------
    save : Save or None
        The step that keeps labels; else one that keeps an image; None where there is neither.
    """

    selection: Selection
    stems: Mapping[str, str]
    save: Save | None
    is_labels: bool

    @classmethod
    def of(cls, plan: Plan) -> Sources:
        """Return them for the files of a plan."""
        stems = matching.stems(plan.load.files, plan.load.base)
        labels = {
            ref for c in plan.calls for name, ref in c.outputs.items() if c.kinds[name] == "labels"
        }
        kept = [save for save in plan.saves if save.function == _SHOWN]
        of_labels = [save for save in kept if labels & {*save.inputs.values()}]
        save = next(iter((*of_labels, *kept)), None)
        plain = {str(path): stem for path, stem in stems.items()}
        return cls(plan.load.selection, plain, save, bool(of_labels))

    def picture(self, record: ImageRecord) -> QImage | None:
        """Return the picture of a result; None where there can be none."""
        try:
            return self._picture(Path(record.input))
        except (GA3EnvError, OSError, ValueError):  # a picture is not worth an error
            return None

    def _picture(self, path: Path) -> QImage | None:
        series = open_series(path)
        cut = frames.chosen(series, self.selection)
        middle = len(cut.slices) // 2
        result = self._result(path, len(cut.positions))
        if result is not None and not self.is_labels:
            return _of_plane(result, 0, min(middle, result.slices - 1), 0)
        place = cut.times[0], cut.slices[middle], cut.positions[0]
        outlines = None
        size = series.height, series.width
        if result is not None and (result.height, result.width) == size:
            at = min(middle, result.slices - 1)
            outlines = result.plane(0, at, 0)[..., 0] if _fits(result) else None
        channels = None if series.is_rgb else list(cut.channels)
        return _of_plane(series, *place, channels=channels, labels=outlines)

    def _result(self, path: Path, positions: int) -> Series | None:
        if self.save is None:
            return None
        stem = matching.with_position(self.stems[str(path)], 0, positions)
        single = len(self.stems) == 1 and positions == 1
        return open_series(matching.output_path(self.save.path, stem, single))


def _fits(series: Series) -> bool:
    per_pixel = series.channels_count * series.dtype.itemsize
    return series.height * series.width * per_pixel <= _LARGEST


def _of_plane(
    series: Series,
    t: int,
    z: int,
    p: int,
    *,
    channels: list[int] | None = None,
    labels: np.ndarray | None = None,
) -> QImage | None:
    """Return a plane, at most `SIDE` pixels wide and high, in its colours."""
    if not _fits(series):
        return None
    step = max(1, max(series.height, series.width) // (_FINER * SIDE))
    pixels = series.plane(t, z, p)[::step, ::step]
    told = [*series.channels]
    if channels is not None:
        pixels, told = pixels[..., channels], [told[c] for c in channels]
    pyramid = Pyramid(np.ascontiguousarray(pixels))
    display = first_display(
        [one.name for one in told],
        [one.color for one in told],
        statistics.of(pyramid),
        dtype=pyramid.dtype,
        is_rgb=series.is_rgb,
    )
    painted = coloring.compose(np.moveaxis(pixels, -1, 0), display.shown())
    height, width = painted.shape[:2]
    whole = QImage(painted.data, width, height, QImage.Format.Format_RGB32)
    keep, smooth = Qt.AspectRatioMode.KeepAspectRatio, Qt.TransformationMode.SmoothTransformation
    small = whole.scaled(SIDE, SIDE, keep, smooth).copy()  # its own memory in any case
    if labels is not None:
        _draw(small, labels)
    return small


def _draw(picture: QImage, labels: np.ndarray) -> None:
    """Draw borders into a picture, two pixels wide: they shall be seen when it is made smaller."""
    height, width = picture.height(), picture.width()
    rows = (np.arange(height) + 0.5) * labels.shape[0] / height
    columns = (np.arange(width) + 0.5) * labels.shape[1] / width
    small = labels[rows.astype(int)][:, columns.astype(int)]
    around = np.pad(small, 1, mode="edge")
    others = (around[:-2, 1:-1], around[2:, 1:-1], around[1:-1, :-2], around[1:-1, 2:])
    edge = np.logical_or.reduce([small != other for other in others])
    memory = np.frombuffer(picture.bits(), np.uint32).reshape(height, -1)
    red, green, blue = OUTLINE
    memory[:, :width][edge] = 0xFF << 24 | red << 16 | green << 8 | blue
