"""How fast a download is, as people want to read it: over the last seconds."""

from __future__ import annotations

from collections import deque

LOOK_S = 0.25  # a shorter time says nothing about a rate
_PACE_S = 5.0  # the rate is that of so long


class Pace:
    """The rate of the last seconds, in bytes per second; None before anything can be said."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()
        self._first: tuple[float, int] | None = None

    def rate(self, now: float, done: int) -> float | None:
        """Take notice of what is done by now; return the rate."""
        self._seen.append((now, done))
        self._first = self._first or (now, done)
        while len(self._seen) > 2 and now - self._seen[1][0] > _PACE_S:
            self._seen.popleft()
        return self._between(self._seen[0])

    def mean(self) -> float | None:
        """Return the rate of the whole."""
        return self._between(self._first) if self._first else None

    def _between(self, start: tuple[float, int]) -> float | None:
        (then, before), (now, done) = start, self._seen[-1]
        return (done - before) / (now - then) if now - then >= LOOK_S and done > before else None
