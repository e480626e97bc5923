"""Copies of large arrays by two threads: one core alone does not use up a memory's bandwidth."""

from __future__ import annotations

import _thread
import contextlib
import threading
from collections import deque

import numpy as np

_LARGE = 6 << 20
_PART = 1 << 20  # bytes of the target, of which each thread takes the next when it is free


def copy_into(target: np.ndarray, source: np.ndarray) -> None:
    """Copy `source` into `target`, of the same shape and any dtype, cast on the way.

    NumPy lets go of Python's lock while it copies, so that two parts are copied at once.
    """
    axis = next((axis for axis, length in enumerate(target.shape) if length > 1), None)
    alone = target.nbytes < _LARGE or np.may_share_memory(target, source)
    if axis is None or alone or source.shape != target.shape:
        np.copyto(target, source, casting="unsafe")
    else:
        _Copy(target, source, axis).run()


def copied(source: np.ndarray) -> np.ndarray:
    """Return a copy of an array, of the same dtype and in the order of C."""
    target = np.empty(source.shape, source.dtype)
    copy_into(target, source)
    return target


class _Copy:
    """A copy in parts, of which a second thread takes some, as soon as the system lets it run.

    Not a `threading.Thread`, whose start waits for it: where all cores are busy, that takes longer
    than the copy. Nor is its end waited for: it has nothing of the arrays when it has no part.
    """

    def __init__(self, target: np.ndarray, source: np.ndarray, axis: int) -> None:
        length = target.shape[axis]
        step = -(-length * _PART // target.nbytes)
        places = ((*(slice(None),) * axis, slice(i, i + step)) for i in range(0, length, step))
        self._parts = deque((target[place], source[place]) for place in places)
        self._helping = threading.Lock()
        self._error: BaseException | None = None

    def run(self) -> None:
        with contextlib.suppress(RuntimeError):  # the system has no thread to give
            _thread.start_new_thread(self._help, ())
        try:
            while self._copy_next():
                pass
        finally:
            self._parts.clear()  # where this thread failed, the other one shall not go on
            with self._helping:  # it is done with its last part
                pass
        if self._error:
            raise self._error

    def _help(self) -> None:
        with self._helping:
            try:
                while self._copy_next():
                    pass
            except BaseException as error:  # raised where somebody waits for the copy
                self._error = error
                self._parts.clear()

    def _copy_next(self) -> bool:
        try:
            target, source = self._parts.popleft()
        except IndexError:
            return False
        np.copyto(target, source, casting="unsafe")
        return True
