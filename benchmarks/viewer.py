"""Frame times of the image viewer on 8192 x 8192 x 3 uint16: python benchmarks/viewer.py

Each figure is the time in which the GUI thread paints the whole canvas, 1600 x 1000, while tiles
are coloured in the background, with its own CPU time in it (the rest is waiting for the processor);
then the wait until all tiles in sight are there.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
from PySide6.QtCore import QPointF
from PySide6.QtWidgets import QApplication

from app.application import application
from app.background import Background
from app.theme import Theme
from app.viewer.canvas import Canvas
from app.viewer.coloring import Shade
from app.viewer.image_layer import ImageLayer
from app.viewer.label_layer import LabelLayer
from app.viewer.pyramid import Pyramid

SIDE = 8192
SHADES = tuple(Shade(100, 3000, color) for color in ((255, 0, 0), (0, 255, 0), (0, 0, 255)))


class Frames:
    """A canvas whose frames are timed."""

    def __init__(self, qt: QApplication) -> None:
        self.qt = qt
        self.background = Background()
        self.image = ImageLayer(self.background)
        self.labels = LabelLayer(self.background)
        self.canvas = Canvas(Theme(qt))
        self.canvas.resize(1600, 1000)
        self.canvas.set_layers([self.image, self.labels])
        self.canvas.show()

    def ready(self) -> float:
        """Wait for all tiles in sight; return the seconds."""
        began = time.perf_counter()
        while True:
            self.qt.processEvents()
            if self.image.is_ready() and (self.labels.is_empty or self.labels.is_ready()):
                return time.perf_counter() - began
            time.sleep(0.001)

    def timed(self, name: str, step: Callable[[int], object], count: int = 60) -> None:
        """Do something many times, paint after each time, print the milliseconds."""
        found, busy = [], []
        for number in range(count):
            step(number)
            began, cpu = time.perf_counter(), time.thread_time()
            self.canvas.repaint()
            found.append(1000 * (time.perf_counter() - began))
            busy.append(1000 * (time.thread_time() - cpu))
            self.qt.processEvents()
        waited = self.ready()
        high = sorted(found)[int(0.95 * count)]
        median, own = statistics.median(found), sorted(busy)[int(0.95 * count)]
        print(
            f"{name:32s} median {median:5.1f}  95 % {high:5.1f}  most {max(found):5.1f} ms,"
            f" of which CPU 95 % {own:4.1f} ms; sharp after {waited:.2f} s"
        )


def main() -> None:
    """Print the frame times."""
    rng = np.random.default_rng(0)
    plane = np.moveaxis(rng.integers(0, 4000, (3, SIDE, SIDE), dtype=np.uint16), 0, -1)
    blocks = np.arange(SIDE, dtype=np.int32) // 24
    labels = blocks[:, None] * (blocks[-1] + 1) + blocks + 1
    frames = Frames(application())
    began = time.perf_counter()
    frames.image.set_plane(Pyramid(plane), SHADES)
    frames.canvas.repaint()
    print(f"all of the image in sight after {time.perf_counter() - began + frames.ready():.2f} s")
    canvas = frames.canvas
    for name in ("image", f"image and {labels.max():,} objects"):
        print(name)
        frames.timed("zoom in, from all to 4:1", lambda _: canvas.zoom_in(), 16)
        canvas.set_zoom(1.0)
        frames.timed("pan at 1:1", lambda _: canvas.view.move(QPointF(-40, -25)))
        canvas.set_zoom(0.55)
        frames.timed("pan at 55 %", lambda _: canvas.view.move(QPointF(40, 25)))
        frames.timed("contrast at 55 %", _set_contrast(frames.image))
        canvas.fit()
        frames.ready()
        frames.timed("contrast, all in sight", _set_contrast(frames.image))
        frames.labels.set_labels(labels)
        frames.ready()
    frames.background.shut_down()


def _set_contrast(layer: ImageLayer) -> Callable[[int], None]:
    def step(number: int) -> None:
        layer.set_shades(tuple(Shade(100, 3000 + 10 * number, one.color) for one in SHADES))

    return step


if __name__ == "__main__":
    main()
