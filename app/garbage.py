"""Python's garbage is collected in the GUI thread only.

A collection runs in whichever thread happens to allocate. In a thread of the background it would
end Qt objects that belong to the GUI thread, and Qt answers that with a crash.
"""

from __future__ import annotations

import gc

from PySide6.QtCore import QObject, QTimer

_EVERY_MS = 500


class Garbage(QObject):
    """Takes over from Python's automatic collection until `end`."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._was_enabled = gc.isenabled()
        gc.disable()
        self._timer = QTimer(self)
        self._timer.setInterval(_EVERY_MS)
        self._timer.timeout.connect(self.collect)
        self._timer.start()

    def collect(self) -> None:
        """Collect the youngest generations that are full, as Python would by itself."""
        for generation, (count, limit) in reversed(
            list(enumerate(zip(gc.get_count(), gc.get_threshold(), strict=True)))
        ):
            if count > limit > 0:
                gc.collect(generation)
                return

    def end(self) -> None:
        """Give the collection back to Python."""
        self._timer.stop()
        if self._was_enabled:
            gc.enable()
