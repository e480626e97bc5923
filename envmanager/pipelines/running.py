"""Runs a checked pipeline over its images: reading, computing and writing overlap.

While a worker computes, the next frame is read and the last one is written, all in this thread:
the worker is another process, and holds at most three images of a step.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from envmanager.errors import Cancelled, DiskFull, GA3EnvError, ImageError
from envmanager.events import CancelToken, Items, Notice, Report, Stage, ignore
from envmanager.pipelines import frames, matching, records
from envmanager.pipelines.calling import Step
from envmanager.pipelines.frames import Frame, Job
from envmanager.pipelines.plan import Plan
from envmanager.pipelines.records import ImageRecord, RunFolder
from envmanager.pipelines.saving import Saving, count_objects

Told = Callable[[ImageRecord], None]
Part = Callable[[float, str], None]
_RATE_AFTER = 1.0  # seconds until a rate says something


@dataclass(frozen=True)
class Task:
    """One image of a run: what it is called, what its result depends on."""

    path: Path
    stem: str
    key: str


Work = Callable[[Plan, list[Task], Part, CancelToken], Generator[ImageRecord, None, None]]


@dataclass(frozen=True)
class Summary:
    """How a run ended.

    `inside_s` is the time that the modules computed, `seconds` all of it; `objects` are those of
    the skipped images too.
    """

    images: int
    done: int
    skipped: int
    failed: list[ImageRecord]
    objects: int
    seconds: float
    inside_s: float
    run_dir: Path

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        failed = [{"input": one.input, **(one.error or {})} for one in self.failed]
        return {**vars(self), "failed": failed, "run_dir": str(self.run_dir)}


def tasks(plan: Plan) -> list[Task]:
    """Return what is to be done for each image of a plan.

    Raises
    ------
    GA3EnvError
        A module or its weights have gone.
    """
    stems = matching.stems(plan.load.files, plan.load.base)
    single = len(plan.load.files) == 1
    work = [records.call_facts(call) for call in plan.calls]
    kept = [[save.function, dict(save.inputs), dict(save.options)] for save in plan.saves]
    found = []
    for path in plan.load.files:
        places = [str(matching.output_path(s.path, stems[path], single)) for s in plan.saves]
        found.append(Task(path, stems[path], _key(path, plan, [work, kept], places)))
    return found


def _key(path: Path, plan: Plan, work: Any, places: list[str]) -> str:
    try:
        return records.key(path, plan.load, work, places)
    except OSError:  # it has gone since it was found; reading it tells
        return ""


def run(
    plan: Plan,
    root: Path,
    *,
    force: bool = False,
    report: Report = ignore,
    cancel: CancelToken | None = None,
    told: Told = lambda record: None,
    work: Work | None = None,
) -> Summary:
    """Run a pipeline; images that an earlier run has done are skipped.

    Parameters
    ----------
    root : Path
        The output folder, absolute: the run folder lies in its ``runs``.
    force : bool
        Do all images again.
    told : callable
        Gets the record of each image as it is done.
    work : callable, optional
        Does the images; by default `do`.

    Raises
    ------
    Cancelled, DiskFull
        What is done so far is kept, and the next run goes on there.
    GA3EnvError
        Nothing could be done at all.
    """
    wanted, work = tasks(plan), work or do
    for warning in plan.warnings:
        report(Notice(warning))
    with records.sole(root):
        before = {} if force else records.finished(root)
        folder = RunFolder(root, plan, _facts(plan, wanted))
        follow = _Following(folder, len(wanted), report, told)
        state = "stopped"
        try:
            left = [task for task in wanted if not follow.skip(task, before)]
            report(Stage("pipeline", plan.name))
            outcomes = work(plan, left, follow.part, cancel or CancelToken())
            with closing(outcomes):
                for record in outcomes:
                    follow.add(record)
            state = "done"
        except (Cancelled, KeyboardInterrupt):
            state = "cancelled"
            raise
        finally:
            follow.end(state)
    return follow.summary()


def _facts(plan: Plan, wanted: list[Task]) -> dict[str, Any]:
    steps = [{**records.call_facts(call), **records.place_facts(call)} for call in plan.calls]
    return {
        "pipeline": {"name": plan.name, "text": plan.text, "variables": dict(plan.variables)},
        "inputs": {"pattern": plan.load.pattern, "files": [str(task.path) for task in wanted]},
        "steps": steps,
        "machine": records.machine_facts(),
    }


class _Following:
    """Keeps count of the images and tells of them."""

    def __init__(self, folder: RunFolder, total: int, report: Report, told: Told) -> None:
        self._folder, self._total, self._report, self._told = folder, total, report, told
        self._started = time.perf_counter()
        self._failed: list[ImageRecord] = []
        self._notes: set[str] = set()
        self._done = self._skipped = self._objects = 0
        self._inside_s = 0.0

    def skip(self, task: Task, before: dict[str, ImageRecord]) -> bool:
        """Count an image that is done already; tell whether it is."""
        found = before.get(task.key)
        if found is None or not task.key or not records.is_whole(found):
            return False
        record = ImageRecord(**{**vars(found), "state": "skipped"})
        self._folder.add(record)
        self._skipped += 1
        self._objects += record.objects
        self._told(record)
        return True

    def add(self, record: ImageRecord) -> None:
        """Count an image, write it down and tell of it."""
        self._folder.add(record)
        self._inside_s += record.seconds
        if record.state == "failed":
            self._failed.append(record)
        else:
            self._done += 1
            self._objects += record.objects
        for note in record.notes:
            if note not in self._notes:  # a hundred images may have the same one
                self._notes.add(note)
                self._report(Notice(f"{Path(record.input).name}: {note}"))
        self._told(record)
        self.part(0.0, "")

    def part(self, share: float, text: str) -> None:
        """Tell how far the next image is."""
        computed = self._done + len(self._failed) + share
        waited = time.perf_counter() - self._started
        known = waited > _RATE_AFTER and computed > 0
        left = self._total - self._skipped - computed
        self._report(
            Items(
                self._skipped + computed,
                self._total,
                text,
                per_s=computed / waited if known else None,
                remaining_s=left * waited / computed if known else None,
            )
        )

    def end(self, state: str) -> None:
        """Write down how the run ended; a full disk hides no other failure."""
        try:
            self._folder.end(state, self._figures())
        except GA3EnvError:
            if state == "done":
                raise

    def _figures(self) -> dict[str, Any]:
        """Return what the run came to."""
        return {
            "done": self._done,
            "skipped": self._skipped,
            "failed": len(self._failed),
            "objects": self._objects,
            "seconds": round(time.perf_counter() - self._started, 3),
            "inside_s": round(self._inside_s, 3),
        }

    def summary(self) -> Summary:
        """Return it with the images that failed."""
        told = self._figures() | {"failed": self._failed}
        return Summary(images=self._total, run_dir=self._folder.path, **told)


# ---- the work ------------------------------------------------------------------------------------


def do(
    plan: Plan, wanted: list[Task], progress: Part, cancel: CancelToken
) -> Generator[ImageRecord, None, None]:
    """Do images on this computer; give the record of each, in their order.

    Raises
    ------
    Cancelled, DiskFull
        No further image can be done.
    """
    jobs = [Job(number, task.path, task.stem) for number, task in enumerate(wanted)]
    current = _Current(jobs, progress)
    flow: Iterable[Frame] = _reading(frames.read(jobs, plan.load, plan.calls), cancel)
    for call in plan.calls:
        flow = Step(call, lambda: cancel.cancelled, current.progress).run(flow)
    saving = Saving(plan, single=len(plan.load.files) == 1)
    try:
        for frame in flow:
            if record := _kept(plan, saving, frame, wanted, current):
                yield record
    except (Cancelled, DiskFull):
        raise
    except GA3EnvError as error:  # what is wrong for all images
        saving.give_up()
        for job in jobs[current.number :]:
            yield failed(wanted[job.number], job.error or error)
    finally:
        saving.give_up()


def _reading(flow: Iterator[Frame], cancel: CancelToken) -> Iterator[Frame]:
    for frame in flow:
        if cancel.cancelled:
            raise Cancelled("The run was cancelled.", "Start it again: it goes on where it was.")
        yield frame


class _Current:
    """Which image is under way, and how far it is."""

    def __init__(self, jobs: list[Job], progress: Part) -> None:
        self._jobs, self._told = jobs, progress
        self.number = 0  # how many images were told of
        self.frames = 0  # of the present one
        self.objects = 0

    def progress(self, done: float, text: str) -> None:
        """Take the progress of the call that is waited for."""
        if self.number < len(self._jobs):
            job = self._jobs[self.number]
            name = f"{job.path.name}, {text}" if text else job.path.name
            self._told(min(1.0, (self.frames + done) / job.frames), name)

    def next(self) -> None:
        """Go on with the next image."""
        self.number, self.frames, self.objects = self.number + 1, 0, 0


def _kept(
    plan: Plan, saving: Saving, frame: Frame, wanted: list[Task], current: _Current
) -> ImageRecord | None:
    """Save a frame; return the record of its image where it is complete or has failed."""
    job = frame.job
    if job.number < current.number:
        return None  # a later frame of an image that has failed
    outputs: list[Path] = []
    if job.error is None:
        try:
            outputs = saving.take(frame)
            current.objects += count_objects(plan, frame)
        except DiskFull:
            raise
        except GA3EnvError as error:
            job.error = error
    if job.error:
        saving.give_up()
        current.next()
        return failed(wanted[job.number], job.error)
    current.frames += 1
    current.progress(0.0, "")
    if not frame.ends_job:
        return None
    objects = current.objects
    current.next()
    return _done(wanted[job.number], job, outputs, objects)


def _done(task: Task, job: Job, outputs: list[Path], objects: int) -> ImageRecord:
    try:
        written = [records.output_record(path) for path in outputs]
    except OSError as error:
        return failed(task, ImageError(f"A file of the result has gone: {error}."))
    return ImageRecord(
        input=str(task.path),
        state="done",
        key=task.key,
        outputs=written,
        objects=objects,
        seconds=round(job.seconds, 4),
        devices=sorted(job.devices),
        notes=job.notes,
        finished=time.time(),
    )


def failed(task: Task, error: GA3EnvError) -> ImageRecord:
    """Return the record of an image that could not be done."""
    told = {"code": error.code, "message": error.message, "hint": error.hint}
    return ImageRecord(input=str(task.path), state="failed", error=told, finished=time.time())
