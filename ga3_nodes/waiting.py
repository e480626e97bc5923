"""How long a caller is willing to wait for the answer to a call."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ga3_nodes.errors import Cancelled, GA3EnvError, WorkerTimeout

POLL_S = 0.05  # how often a wait looks at `cancelled`; a reply is seen at once


def _never() -> bool:
    return False


@dataclass(frozen=True)
class Patience:
    """Until when, and whether still, a caller waits; `deadline` is of `time.monotonic`."""

    deadline: float | None = None
    cancelled: Callable[[], bool] = _never

    def exhausted(self) -> GA3EnvError | None:
        """Return the error that ends the wait, where it is over."""
        if self.cancelled():
            return Cancelled("The call was cancelled.")
        if self.deadline is not None and time.monotonic() >= self.deadline:
            return WorkerTimeout(
                "The call took longer than its timeout.", "Allow more time or use a smaller image."
            )
        return None


def patience(timeout: float | None, cancelled: Callable[[], bool] | None) -> Patience:
    """Return the patience of a caller who waits for `timeout` seconds, or without limit."""
    deadline = None if timeout is None else time.monotonic() + timeout
    return Patience(deadline, cancelled or _never)


@contextmanager
def held(lock: threading.Lock, patience: Patience) -> Iterator[None]:
    """Hold a lock that another thread may keep for the time of its call."""
    while not lock.acquire(timeout=POLL_S):
        if error := patience.exhausted():
            raise error
    try:
        yield
    finally:
        lock.release()
