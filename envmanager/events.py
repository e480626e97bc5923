"""What long work tells its caller, and how the caller stops it. Plain values, no threads, no Qt."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from envmanager.errors import Cancelled


@dataclass(frozen=True)
class Stage:
    """A new step of the work has begun: a stable `name` and a `title` for people."""

    name: str
    title: str


@dataclass(frozen=True)
class Progress:
    """How far the present stage is, in bytes; a total of 0 is unknown.

    `bytes_per_s` is the rate of the last seconds and `remaining_s` what it lets expect; None where
    nothing can be said.
    """

    done: int
    total: int
    remaining_s: float | None = None
    bytes_per_s: float | None = None


@dataclass(frozen=True)
class Items:
    """How far the present stage is, in things such as images.

    `done` counts the part of the next one too, of which `text` tells more. `per_s` is the rate so
    far and `remaining_s` what it lets expect; None where nothing can be said.
    """

    done: float
    total: int
    text: str = ""
    per_s: float | None = None
    remaining_s: float | None = None


@dataclass(frozen=True)
class LogLine:
    """A line of a tool's output, for the log."""

    text: str


@dataclass(frozen=True)
class Notice:
    """What the user must read though the work goes on, such as a GPU that cannot be used."""

    text: str


Event = Stage | Progress | Items | LogLine | Notice
Report = Callable[[Event], None]


def ignore(event: Event) -> None:
    """Report to nobody."""


class CancelToken:
    """A wish to stop that one thread expresses and another obeys."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def cancel(self) -> None:
        """Ask the work to stop."""
        self._event.set()

    @property
    def cancelled(self) -> bool:
        """Whether the work shall stop."""
        return self._event.is_set()

    def check(self) -> None:
        """Stop here if asked to.

        Raises
        ------
        Cancelled
            Somebody called `cancel`.
        """
        if self.cancelled:
            raise Cancelled("The work was cancelled.", "Nothing was changed.")


class Deadline(CancelToken):
    """Cancels by itself when the time is over, or when the user's token is set."""

    def __init__(self, seconds: float, other: CancelToken) -> None:
        super().__init__()
        self._end, self._other = time.monotonic() + seconds, other

    @property
    def cancelled(self) -> bool:
        """Whether the work shall stop."""
        return self._other.cancelled or time.monotonic() > self._end
