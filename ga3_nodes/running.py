"""What a running call offers to the module's function, which takes what its signature names.

>>> def segment(image, *, progress=None, cancelled=None, note=None): ...

* ``progress(done, text="")`` tells the caller how far the call is; it raises `Cancelled` where the
  caller does not want the result any more, so that most modules stop without doing anything;
* ``cancelled()`` says so without raising;
* ``note(text)`` adds to the result what the caller should know, such as a fallback to the CPU.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from ga3_nodes.errors import Cancelled

OFFERED = ("progress", "cancelled", "note")
Progress = Callable[[float, str], object]
_EVERY_S = 0.05  # a caller hears of the progress so often at most
_LONGEST_TEXT = 1000  # characters
_MOST_NOTES = 100


def _false() -> bool:
    return False


class Running:
    """One call while its function runs.

    Parameters
    ----------
    device : str
        Where the module computes, such as ``"cuda:0"``.
    tell : callable, optional
        Takes the progress (0 to 1) and a text; called at most 20 times a second.
    cancelled : callable
        Says whether the caller has cancelled.
    """

    def __init__(
        self,
        device: str = "cpu",
        tell: Progress | None = None,
        cancelled: Callable[[], bool] = _false,
    ) -> None:
        self.device = device
        self.notes: list[str] = []
        self.stopped = False  # whether the function was told to stop
        self._cancelled = cancelled
        self._tell = tell
        self._told = 0.0

    def cancelled(self) -> bool:
        """Tell whether the caller has cancelled."""
        self.stopped = self.stopped or self._cancelled()
        return self.stopped

    def progress(self, done: float, text: str = "") -> None:
        """Tell that the part `done` of the work (0 to 1) is behind.

        Raises
        ------
        Cancelled
            The caller has cancelled.
        """
        if self.cancelled():
            raise Cancelled("The call was cancelled.")
        now = time.monotonic()
        if self._tell and now - self._told >= _EVERY_S:
            self._told = now
            self._tell(max(0.0, min(1.0, float(done))), str(text)[:_LONGEST_TEXT])

    def note(self, text: str) -> None:
        """Tell the caller something beside the result, such as that the CPU was used."""
        if len(self.notes) < _MOST_NOTES:
            self.notes.append(str(text)[:_LONGEST_TEXT])

    def keywords(self, wanted: Any) -> dict[str, Any]:
        """Return what of `OFFERED` is in `wanted`, the names of a function's parameters."""
        return {name: getattr(self, name) for name in OFFERED if name in wanted}
