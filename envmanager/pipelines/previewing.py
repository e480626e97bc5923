"""Shows what a pipeline would run on what, without running it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from envmanager.errors import GA3EnvError
from envmanager.pipelines import matching, records, running
from envmanager.pipelines.frames import Job
from envmanager.pipelines.plan import Plan

NEW, DONE = "to do", "done before"
STATES = (NEW, DONE)


@dataclass(frozen=True)
class Preview:
    """What would be done with an image.

    Attributes
    ----------
    shape : str
        What is worked on, such as ``"2 times, 3 channels, 512 x 512"``.
    frames : int
        How many pieces of it go through the pipeline.
    problem : str
        Why it would fail.
    """

    input: str
    state: str
    shape: str = ""
    frames: int = 0
    outputs: list[str] = field(default_factory=list)
    problem: str = ""


def preview(plan: Plan, root: Path, *, force: bool = False) -> list[Preview]:
    """Look at each image of a plan; only its description is read.

    Raises
    ------
    GA3EnvError
        A module or its weights have gone.
    """
    return list(looking(plan, root, force=force))


def looking(plan: Plan, root: Path, *, force: bool = False) -> Iterator[Preview]:
    """Look at one image after the other; see `preview`."""
    before = {} if force else records.finished(root)
    for number, task in enumerate(running.tasks(plan)):
        record = before.get(task.key)
        is_done = bool(task.key) and record is not None and records.is_whole(record)
        job = Job(number, task.path, task.stem)
        yield _look(plan, job, DONE if is_done else NEW)


def _look(plan: Plan, job: Job, state: str) -> Preview:
    try:
        job.begin(plan.load, plan.calls)
    except GA3EnvError as error:
        told = " ".join(filter(None, (error.message, error.hint)))
        return Preview(str(job.path), state, problem=told)
    series, cut = job.series, job.cut
    assert series is not None
    assert cut is not None
    counts = {
        "position": len(cut.positions),
        "time": len(cut.times),
        "channel": len(cut.channels),
        "slice": len(cut.slices),
    }
    parts = [f"{n} {what}s" for what, n in counts.items() if n > 1]
    shape = ", ".join([*parts, f"{series.width} x {series.height}"])
    single = len(plan.load.files) == 1 and len(cut.positions) == 1
    stems = [
        matching.with_position(job.stem, p, len(cut.positions)) for p in range(len(cut.positions))
    ]
    outputs = [
        str(matching.output_path(save.path, stem, single)) for stem in stems for save in plan.saves
    ]
    return Preview(str(job.path), state, shape, job.frames, outputs)
