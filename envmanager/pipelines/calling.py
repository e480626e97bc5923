"""Runs one step of a pipeline on the frames that flow by, through the module's worker."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from envmanager.errors import GA3EnvError
from envmanager.pipelines import frames
from envmanager.pipelines.frames import Frame, Part
from envmanager.pipelines.plan import Call
from envmanager.segmentation import concerns_all
from ga3_nodes import client
from ga3_nodes.errors import Cancelled, WorkerCrashed

Progress = Callable[[float, str], None]


@dataclass(eq=False)
class _Pending:
    """A frame whose calls are under way; `open` are those handed over, the oldest first."""

    frame: Frame
    open: deque[Part] = field(default_factory=deque)
    done: list[tuple[Part, client.Result]] = field(default_factory=list)
    all_cut: bool = False

    @property
    def complete(self) -> bool:
        return self.all_cut and not self.open


class Step:
    """A step at work: it takes frames in their order and gives them on with its outputs.

    Parameters
    ----------
    cancelled : callable
        Is asked many times a second.
    progress : callable
        Is told of the call that is waited for: the part that is done (0 to 1) and a text.
    """

    def __init__(self, call: Call, cancelled: Callable[[], bool], progress: Progress) -> None:
        self._call = call
        self._cancelled, self._progress = cancelled, progress
        self._waiting: deque[_Pending] = deque()

    def run(self, flow: Iterable[Frame]) -> Iterator[Frame]:
        """Give each frame on; one that fails sets the error of its job and stops no other job.

        Raises
        ------
        GA3EnvError
            What is wrong for all images, such as a worker that does not start; or the user has
            cancelled.
        """
        results = client.call_many(
            self._call.module,
            self._call.function,
            self._feed(flow),
            self._call.parameters,
            cancelled=self._cancelled,
            progress=self._progress,
        )
        with contextlib.closing(results):
            for result in results:
                yield from self._ready()
                self._take(result)
                yield from self._ready()
        yield from self._ready()

    def _feed(self, flow: Iterable[Frame]) -> Iterator[client.Inputs]:
        for frame in flow:
            pending = _Pending(frame)
            self._waiting.append(pending)
            try:
                for part in () if frame.job.error else frames.parts(self._call, frame):
                    if frame.job.error:
                        break
                    pending.open.append(part)
                    yield part.inputs
            except GA3EnvError as error:
                frame.job.error = error
            pending.all_cut = True

    def _ready(self) -> Iterator[Frame]:
        """Give the frames that need no call any more."""
        while self._waiting and self._waiting[0].complete:
            pending = self._waiting.popleft()
            if not pending.frame.job.error:
                pending.frame.values |= frames.joined(self._call, pending.done)
            yield pending.frame

    def _take(self, result: client.Result | GA3EnvError) -> None:
        pending = next(one for one in self._waiting if one.open)
        part, job = pending.open.popleft(), pending.frame.job
        if isinstance(result, WorkerCrashed) and not job.error:
            result = self._again(part)
        if isinstance(result, GA3EnvError):
            if concerns_all(result):
                raise result
            job.error = job.error or result
            return
        pending.done.append((part, result))
        job.seconds += result.seconds
        job.devices.add(result.device)
        for note in result.notes:
            job.note(note)

    def _again(self, part: Part) -> client.Result | GA3EnvError:
        """Try a call once more whose worker has ended in the middle of it."""
        call = self._call
        try:
            return client.call(
                call.module,
                call.function,
                part.inputs,
                call.parameters,
                axes=part.inputs.axes,
                cancelled=self._cancelled,
                progress=self._progress,
            )
        except Cancelled:
            raise
        except GA3EnvError as error:  # it crashed again, or failed in another way: of this image
            return error
