"""Several calls of one function: the next image is handed over while the previous one computes.

A batch has a connection of its own, so that the caller may do other calls between two results.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass

from ga3_nodes import connecting, home, wire
from ga3_nodes.errors import BadInput, Cancelled, GA3EnvError, WorkerStartFailed, WorkerTimeout
from ga3_nodes.link import Link
from ga3_nodes.results import Array, Inputs, Result, named
from ga3_nodes.running import Progress
from ga3_nodes.waiting import Patience

_TRIES = 5


@dataclass
class _Item:
    """One image of the batch; `number` is its call's, None where it was not handed over."""

    arrays: Mapping[str, Array]
    number: int | None = None
    error: GA3EnvError | None = None


class Batch:
    """The calls that are under way, oldest first.

    Parameters
    ----------
    message : dict
        The call, without its arrays.
    patience : callable
        Gives the patience for the next image.
    progress : callable, optional
        Is told the progress of the oldest call, while its result is waited for.
    """

    def __init__(
        self,
        entry: home.ModuleEntry,
        message: wire.Message,
        patience: Callable[[], Patience],
        progress: Progress | None = None,
    ) -> None:
        self._entry = entry
        self._message = message
        self._patience = patience
        self._progress = progress
        self._link: Link | None = None
        self._under_way: deque[_Item] = deque()

    def run(
        self, images: Iterable[Mapping[str, Array]]
    ) -> Generator[Result | GA3EnvError, None, None]:
        """Give for each image, in their order, the result or the error of its call.

        Raises
        ------
        Cancelled
            The caller has cancelled.
        NotInstalled, WorkerStartFailed, WorkerTimeout
            There is no worker to be had.
        """
        try:
            for arrays in images:
                if len(self._under_way) >= self._open(self._patience()).slots:
                    yield self._next()
                self._under_way.append(_Item(arrays))
                self._submit(len(self._under_way), self._patience())
            while self._under_way:
                yield self._next()
        finally:
            self.close()

    def close(self) -> None:
        """Give up what is under way."""
        if self._link is None or self._link.connection.closed:
            return
        if self._under_way:
            self._link.close()
        else:
            connecting.give_back(self._link)

    def _open(self, patience: Patience) -> Link:
        """Return the connection; on a new one what was under way must be handed over anew."""
        if self._link is None or self._link.connection.closed:
            self._link = connecting.lent_link(self._entry, patience)
            self._link.widen()
            for item in self._under_way:
                item.number = None
        return self._link

    def _submit(self, count: int, patience: Patience) -> None:
        """Hand over what is not yet, of the oldest `count`, in their order."""
        link = self._open(patience)
        for item in list(self._under_way)[:count]:
            if item.number is None and item.error is None:
                try:
                    item.number = self._hand_over(link, item.arrays)
                except wire.ConnectionLost:
                    return  # seen again when its result is waited for
                except BadInput as error:
                    item.error = error

    def _hand_over(self, link: Link, arrays: Mapping[str, Array]) -> int:
        message = self._message
        named("inputs", arrays)
        if isinstance(arrays, Inputs):
            message = {**message, "axes": dict(arrays.axes)}
        return link.submit(message, arrays, wants_progress=self._progress is not None)

    def _next(self) -> Result | GA3EnvError:
        """Wait for the oldest call that is under way."""
        outcome = self._outcome(self._under_way[0])
        self._under_way.popleft()
        return outcome

    def _outcome(self, item: _Item) -> Result | GA3EnvError:
        patience = self._patience()
        for _ in range(_TRIES):
            link = self._open(patience)
            # Alone on a new worker: the one behind may be what ended the last one.
            self._submit(1, patience)
            if item.error:
                return item.error
            if item.number is None:
                continue
            try:
                return link.collect(item.number, patience, self._progress)
            except wire.ConnectionLost:
                link.close()  # it ended before this call
            except WorkerTimeout as error:
                link.close()  # with this call, those behind it were given up
                if patience.exhausted():
                    return error
                # Else the worker has waited too long for us.
            except Cancelled:
                raise
            except GA3EnvError as error:
                return error
        return WorkerStartFailed(
            f"The workers of {self._entry.name} end before they take a call.",
            f"Repair {self._entry.name} in GA3 Environment Manager.",
            details=connecting.evidence(self._entry),
        )
