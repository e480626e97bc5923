"""The image view of the page: opens an image, shows a plane of it, and labels over it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QProgressBar, QSplitter, QStackedLayout, QVBoxLayout, QWidget

from app.context import Context
from app.pages.try_it import hover_words
from app.pages.try_it.current import Current, Loaded, load
from app.pages.try_it.empty_state import EmptyState
from app.pages.try_it.overlay import Overlay
from app.pages.try_it.picture import Picture
from app.pages.try_it.toolbar import Toolbar
from app.theme import SPACE
from app.viewer.canvas import Canvas
from app.viewer.contrast_bar import ContrastBar
from app.viewer.display import Display, first_display
from app.viewer.image_layer import ImageLayer
from app.viewer.place_sliders import PlaceSliders
from app.widgets import build
from app.widgets.message_bar import MessageBar
from envmanager.errors import GA3EnvError
from envmanager.images import Region
from envmanager.reading.series import open_series

SIDES = ("A", "B")


class ImagePanel(QWidget):
    """Opens images and shows them; for what else is on the page:

    * `image_opened` (the new `Series`) and `place_changed`: another plane is in sight.
    * `current`: the series with time, slice and position. Its `plane`, `stack` and
      `image(volume=, region=)` read the file, so call them in the background.
    * `visible_region`: what is in sight, to run on that only.
    * `set_labels`: shows a mask; it is in sight only at the place that it is of.
    * `set_picture`: shows an image that a module gave over the one that it was made from.
    * `compare`: two masks side by side, on the canvases A and B, which zoom and move together.
    * `set_outline`, `opacity`: how masks are shown; also set by the user.
    * `open`, `open_files`: open an image; what goes wrong is told inside of the panel.
    """

    image_opened = Signal(object)  # Series
    place_changed = Signal()

    def __init__(self, context: Context) -> None:
        super().__init__()
        self._context = context
        self._current: Current | None = None
        self.image_layer = ImageLayer(context.background, self)
        self.picture = Picture(context.background, self)
        self.overlays = {side: Overlay(context.background, self) for side in SIDES}
        self.canvases = {side: Canvas(context.theme) for side in SIDES}
        self.canvas = self.canvases["A"]
        self.toolbar = Toolbar(context, self.canvas)
        self.message = MessageBar(context)
        self.sliders = PlaceSliders()
        self.contrast = ContrastBar(context)
        self.status = build.label(style="muted", selectable=True)
        self._busy = QProgressBar()
        self._empty = EmptyState(context, self.toolbar.opening)
        self._lay_out()
        self._connect()
        self._show_labels()

    # ---- for the page ---------------------------------------------------------------------------

    def open(self, path: Path) -> None:
        """Open an image; the one before stays until this one can be shown."""
        self._set_busy(f"Opening {path.name}")
        self._context.background.ask(
            partial(_open, path),
            partial(self._show_first, path),
            partial(self._refuse, path),
            owner=self,
            only_latest=f"image to open {id(self)}",
        )

    def open_files(self, paths: Sequence[Path]) -> None:
        """Open the first of several files, and say that the others are not."""
        self.open(paths[0])
        if others := [path.name for path in paths[1:]]:
            told = ", ".join(others[:5]) + (" ..." if len(others) > 5 else "")
            self.message.tell(f"One image at a time: {paths[0].name} is opened, not {told}.")

    def current(self) -> Current | None:
        """Return what is in sight; None where no image is open."""
        return self._current

    def visible_region(self) -> Region | None:
        """Return y0, y1, x0, x1 of the pixels in sight; None where no image is open."""
        return self.canvas.visible_region()

    def set_labels(
        self,
        labels: np.ndarray | None,
        region: Region | None = None,
        *,
        of: Current | None = None,
        side: str = "A",
    ) -> None:
        """Show a mask over the image, or none.

        Parameters
        ----------
        labels : ndarray of int, optional
            (y, x), or (z, y, x) for all slices; 0 is background.
        region : tuple of int, optional
            y0, y1, x0, x1: which part of the image it is of; without: all of it.
        of : Current, optional
            What it was computed of; without: what is in sight.
        side : str
            ``"A"``, or ``"B"`` for the second canvas of a comparison.
        """
        of = of or self._current
        if of is None or self._current is None:
            return
        overlay = self.overlays[side]
        overlay.set_labels(labels, region, of)
        overlay.show_at(self._current)
        self._show_state()

    def set_picture(
        self,
        pixels: np.ndarray | None,
        region: Region | None = None,
        *,
        of: Current | None = None,
        volume: bool = False,
    ) -> None:
        """Show an image over the one that it was made from, or none.

        Parameters
        ----------
        pixels : ndarray, optional
            (y, x) or (y, x, c), of a volume with the slices first.
        region, of
            As for `set_labels`.
        """
        of = of or self._current
        self.picture.set_picture(pixels, region, of, volume=volume)
        if self._current:
            self.picture.show_at(self._current)

    def compare(self, on: bool, captions: tuple[str, str] = SIDES) -> None:
        """Show two canvases side by side, or only the first."""
        self.canvases["B"].setVisible(on)
        self._both.setSizes([1_000_000] * 2)  # of equal size, whatever it is
        for side, caption in zip(SIDES, captions, strict=True):
            self.canvases[side].caption = caption if on else ""
            self.canvases[side].update()

    def set_outline(self, on: bool) -> None:
        """Show outlines instead of coloured areas."""
        self.toolbar.outline.setChecked(on)

    @property
    def opacity(self) -> float:
        """How opaque masks are, 0 to 1."""
        return self.overlays["A"].layer.opacity

    @opacity.setter
    def opacity(self, value: float) -> None:
        self.toolbar.opacity.setValue(round(value * 100))
        self._show_labels()

    def invite(self, on: bool) -> None:
        """Show that what is being dragged can be dropped."""
        self._frame.setProperty("chosen", on)
        self._empty.setProperty("chosen", on)
        for frame in (self._frame, self._empty):
            frame.style().polish(frame)

    # ---- the frame ------------------------------------------------------------------------------

    def _lay_out(self) -> None:
        both = self._both = QSplitter(Qt.Orientation.Horizontal)
        both.setChildrenCollapsible(False)
        for canvas in self.canvases.values():
            both.addWidget(canvas)
        self.canvases["B"].setAccessibleName("Image, second result")
        self.canvases["B"].hide()
        self._frame = build.frame("card")
        self._frame.setStyleSheet("#card { border-radius: 2px; }")  # the image has corners
        inside = QVBoxLayout(self._frame)
        inside.setContentsMargins(1, 1, 1, 1)
        inside.addWidget(both)
        shown = QWidget()
        layout = QVBoxLayout(shown)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(SPACE)
        layout.addWidget(self._frame, 1)
        layout.addWidget(self.sliders)
        layout.addWidget(self.contrast)
        layout.addWidget(self.status)
        self._stack = QStackedLayout()
        self._stack.addWidget(self._empty)
        self._stack.addWidget(shown)
        self._busy.setTextVisible(False)
        self._busy.setRange(0, 0)
        self._busy.setFixedHeight(3)
        policy = self._busy.sizePolicy()
        policy.setRetainSizeWhenHidden(True)
        self._busy.setSizePolicy(policy)
        self._busy.hide()
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.setSpacing(SPACE // 2)
        for widget in (self.toolbar, self.message, self._busy):
            outer.addWidget(widget)
        outer.addLayout(self._stack, 1)

    def _connect(self) -> None:
        self.canvases["B"].link(self.canvas)
        for side, canvas in self.canvases.items():
            canvas.set_layers([self.image_layer, self.picture.layer, self.overlays[side].layer])
            canvas.hovered.connect(partial(self._hover, side))
        self.toolbar.opening.chosen.connect(self.open)
        self.toolbar.opening.failed.connect(self._fail)
        self.toolbar.outlines_toggled.connect(self._show_labels)
        self.toolbar.opacity_changed.connect(self._show_labels)
        self.toolbar.labels_toggled.connect(self._show_labels)
        self.toolbar.contrast_toggled.connect(self.contrast.setVisible)
        self.contrast.changed.connect(self._show_display)
        self.sliders.moved.connect(self._move)

    # ---- opening --------------------------------------------------------------------------------

    def _show_first(self, path: Path, loaded: Loaded) -> None:
        series = loaded.current.series
        if self.message.property("tone") == "danger":
            self.message.hide()
        self.toolbar.opening.remember(path)
        self._current = loaded.current
        for overlay in self.overlays.values():
            overlay.set_labels(None, None, loaded.current)
        self.picture.set_picture(None, None, None)
        self.compare(False)
        self.sliders.set_lengths(series.times, series.slices, series.positions)
        display = first_display(
            [channel.name for channel in series.channels],
            [channel.color for channel in series.channels],
            loaded.statistics,
            dtype=series.dtype,
            is_rgb=series.is_rgb,
        )
        self.contrast.show_display(display, loaded.statistics)
        size = series.pixel_size
        for canvas in self.canvases.values():
            canvas.um_per_pixel = size.x if size else None
        self._stack.setCurrentIndex(1)
        self.image_layer.set_plane(loaded.pyramid, display.shown())
        self.canvas.fit()
        self._show_state()
        self._set_busy("")
        self.image_opened.emit(series)
        self.place_changed.emit()

    def _refuse(self, path: Path, error: GA3EnvError) -> None:
        self.toolbar.opening.forget(path)
        self._fail(error)

    def _fail(self, error: GA3EnvError) -> None:
        self._set_busy("")
        self.message.tell_error(
            error, action="Open another image ...", run=self.toolbar.opening.browse
        )

    # ---- another plane --------------------------------------------------------------------------

    def _move(self) -> None:
        if self._current is None:
            return
        t, z, p = self.sliders.place
        self._current = Current(self._current.series, t, z, p)
        self._set_busy("Reading")
        self._context.background.ask(
            partial(load, self._current),
            self._show_plane,
            partial(self._show_none, self._current),
            owner=self,
            only_latest=f"plane {id(self)}",
        )
        self.place_changed.emit()

    def _show_plane(self, loaded: Loaded) -> None:
        if loaded.current != self._current:
            return  # another image was opened meanwhile
        self._set_busy("")
        if self.message.property("tone") == "danger":
            self.message.hide()
        self.image_layer.set_plane(loaded.pyramid, self.contrast.display.shown())
        self.contrast.set_statistics(loaded.statistics)
        for overlay in self.overlays.values():
            overlay.show_at(loaded.current)
        self.picture.show_at(loaded.current)
        self._show_state()

    def _show_none(self, current: Current, error: GA3EnvError) -> None:
        if current != self._current:
            return
        self.image_layer.set_plane(None, ())
        self._fail(error)

    # ---- showing --------------------------------------------------------------------------------

    def _show_display(self, display: Display) -> None:
        self.image_layer.set_shades(display.shown())

    def _show_labels(self) -> None:
        opacity = self.toolbar.opacity.value() / 100 if self.toolbar.eye.isChecked() else 0.0
        for side, overlay in self.overlays.items():
            overlay.layer.opacity = opacity
            overlay.layer.set_outlines(self.toolbar.outline.isChecked())
            self.canvases[side].update()

    def _show_state(self) -> None:
        has_labels = any(overlay.labels for overlay in self.overlays.values())
        self.toolbar.set_state(has_image=self._current is not None, has_labels=has_labels)
        if self._current:
            self.toolbar.set_name(self._current.series.path.name, self._described())
        self.status.setText(self._described())

    def _described(self) -> str:
        if self._current is None:
            return ""
        series = self._current.series
        um = series.pixel_size.x if series.pixel_size else None
        shape = series.height, series.width
        return hover_words.image(shape, series.channels_count, str(series.dtype), um)

    def _set_busy(self, text: str) -> None:
        self._busy.setVisible(bool(text))
        self.status.setText(text or self._described())

    def _hover(self, side: str, place: tuple[int, int] | None) -> None:
        current = self._current
        if place is None or current is None:
            self.status.setText(self._described())
            return
        values = self.image_layer.value(*place)
        parts = [hover_words.pixel(*place, self.contrast.display.names, values)]
        overlay = self.overlays[side]
        if overlay.labels and (label := overlay.layer.label(*place)):
            size = overlay.layer.size(label)
            volume = overlay.labels.is_volume
            unit = current.series.pixel_size
            parts.append(hover_words.labelled(label, size, unit, volume=volume))
        self.status.setText("    ".join(parts))


def _open(path: Path) -> Loaded:
    series = open_series(path)
    return load(Current(series, 0, series.slices // 2, 0))
