"""Copies of large arrays with two threads: one core alone does not use up a memory's bandwidth."""

from __future__ import annotations

import threading

import numpy as np

_LARGE = 6 << 20


def copy_into(target: np.ndarray, source: np.ndarray) -> None:
    """Copy `source` into `target`, of the same shape and any dtype, cast on the way.

    NumPy lets go of Python's lock while it copies, so that the halves are copied at once.
    """
    axis = next((axis for axis, length in enumerate(target.shape) if length > 1), None)
    if axis is None or target.nbytes < _LARGE or source.shape != target.shape:
        np.copyto(target, source, casting="unsafe")
        return
    middle = target.shape[axis] // 2
    first, second = (
        (*(slice(None),) * axis, half) for half in (slice(middle), slice(middle, None))
    )
    other = _Copy(target[second], source[second])
    try:
        np.copyto(target[first], source[first], casting="unsafe")
    finally:
        other.wait()


def copied(source: np.ndarray) -> np.ndarray:
    """Return a copy of an array, of the same dtype and in the order of C."""
    target = np.empty(source.shape, source.dtype)
    copy_into(target, source)
    return target


class _Copy:
    """A copy in a thread of its own; here, where the system has no thread to give."""

    def __init__(self, target: np.ndarray, source: np.ndarray) -> None:
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(target, source), daemon=True)
        try:
            self._thread.start()
        except RuntimeError:
            self._run(target, source)

    def _run(self, target: np.ndarray, source: np.ndarray) -> None:
        try:
            np.copyto(target, source, casting="unsafe")
        except BaseException as error:  # it is raised where somebody waits
            self._error = error

    def wait(self) -> None:
        """Wait for the copy; raise the error that ended it."""
        if self._thread.ident is not None:
            self._thread.join()
        if self._error:
            raise self._error
