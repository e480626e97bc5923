"""What shall be run on which images, and what the engine says of it before. No widgets."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from app.background import Tell, Work
from app.pages.batch.pictures import Sources
from envmanager.data.paths import data_folder
from envmanager.errors import GA3EnvError, PipelineError
from envmanager.events import CancelToken
from envmanager.pipelines import builtin, composing, matching, previewing, running, variables
from envmanager.pipelines import document as documents
from envmanager.pipelines import plan as plans
from envmanager.pipelines.composing import Batch
from envmanager.pipelines.document import Document
from envmanager.pipelines.plan import Plan
from envmanager.pipelines.previewing import Preview
from envmanager.pipelines.running import Summary
from envmanager.pipelines.variables import INPUT_DIR, OUTPUT_DIR
from envmanager.reading.series import open_series

RESULTS = "results"  # the folder in that of the images, where nobody says another
_TRIED = 5  # images that are opened to learn of the channels
_LOOK_S = 0.25  # so much is told at once of what is seen


@dataclass(frozen=True)
class Wish:
    """A function over a folder, or a pipeline file that was opened.

    Attributes
    ----------
    batch : Batch or None
        The function; None where a pipeline was opened.
    opened : Document or None
        The pipeline.
    values : mapping of str to str
        Its other variables.
    force : bool
        Do images again that are done.
    """

    input: Path | None = None
    output: Path | None = None
    batch: Batch | None = None
    opened: Document | None = None
    values: Mapping[str, str] = field(default_factory=dict)
    force: bool = False

    @property
    def lack(self) -> str:
        """What must be entered first, as a sentence; empty where nothing is missing."""
        names = variables_of(self.opened) if self.opened else [INPUT_DIR, OUTPUT_DIR]
        if INPUT_DIR in names and self.input is None:
            return "Choose a folder of images."
        if OUTPUT_DIR in names and self.output is None:
            return "Choose a folder for the results."
        known = {INPUT_DIR, OUTPUT_DIR, *self.values, *os.environ}
        missing = [name for name in names if name not in known]
        return f"Enter a value for %{missing[0]}%." if missing else ""

    def plan(self) -> Plan:
        """Return what would be done; not in the GUI thread.

        Raises
        ------
        PipelineError
            Something stands in the way.
        """
        given = variables.given(self.input, self.output) | dict(self.values)
        document = self.opened
        if document is None:
            assert self.batch is not None
            assert self.input is not None
            text = composing.text_of(self.batch)
            document = documents.parse(text, self.input / "pipeline.yaml")
        return plans.check(document, given, data_folder())

    def root(self, plan: Plan) -> Path:
        """Return the folder that the results go to."""
        return self.output or plans.output_folder(plan)

    def work(self) -> Work[Summary]:
        """Return what runs it; it tells `Begun`, and then the record of each image."""

        def run(tell: Tell, cancel: CancelToken) -> Summary:
            plan = self.plan()
            tell(Begun(plan, self.root(plan), Sources.of(plan)))
            return running.run(
                plan, self.root(plan), force=self.force, report=tell, cancel=cancel, told=tell
            )

        return run


@dataclass(frozen=True, eq=False)
class Begun:
    """A run has begun: what it does, and how pictures of its results are found."""

    plan: Plan
    root: Path
    sources: Sources


@dataclass(frozen=True, eq=False)
class Found:
    """What was found for a wish.

    Attributes
    ----------
    files : tuple of Path
        The images; `base` is the folder that their names are told from.
    channels : tuple of str
        The names of the channels; empty where no image can be read.
    plan : Plan or None
        None where `problem` tells why not.
    """

    wish: Wish
    files: tuple[Path, ...]
    base: Path
    channels: tuple[str, ...] = ()
    plan: Plan | None = None
    problem: str = ""


def find(wish: Wish) -> Found:
    """Look which images there are, and whether the wish can be run."""
    try:
        plan = wish.plan()
    except GA3EnvError as error:
        files, base = _matched(wish)
        return Found(wish, files, base, _channels(files), problem=told(error, wish))
    return Found(wish, plan.load.files, plan.load.base, _channels(plan.load.files), plan)


def _matched(wish: Wish) -> tuple[tuple[Path, ...], Path]:
    """Return the images of a function that cannot be run, as long as a folder is given."""
    if wish.batch is None or wish.input is None:
        return (), Path()
    try:
        return matching.find(wish.batch.pattern, wish.input), wish.input
    except OSError:  # told as the problem
        return (), wish.input


def _channels(files: tuple[Path, ...]) -> tuple[str, ...]:
    """Return the names of the channels of the first image that can be read."""
    for path in files[:_TRIED]:
        try:
            series = open_series(path)
        except GA3EnvError:
            continue
        return tuple(one.name or f"Channel {n}" for n, one in enumerate(series.channels, 1))
    return ()


def told(error: GA3EnvError, wish: Wish) -> str:
    """Return why a wish cannot be run: of an opened file all problems, with their lines."""
    if not isinstance(error, PipelineError) or "problems" not in error.details:
        return " ".join(filter(None, (error.message, error.hint)))
    problems = error.details["problems"]
    lines = [" ".join(filter(None, (_sentence(one["message"]), one["hint"]))) for one in problems]
    if wish.opened is None:
        return lines[0]
    return "\n".join(
        f"Line {one['line']}: {line}" for one, line in zip(problems, lines, strict=True)
    )


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


class Looker:
    """Looks at the images of a plan, a part at a time. Call `more` in the background."""

    def __init__(self, plan: Plan, wish: Wish) -> None:
        self._seen: Iterator[Preview] = previewing.looking(plan, wish.root(plan), force=wish.force)

    def more(self) -> list[Preview]:
        """Return what was seen of the next images; nothing at the end."""
        until, found = time.monotonic() + _LOOK_S, []
        for preview in self._seen:
            found.append(preview)
            if time.monotonic() > until:
                break
        return found


# ---- pipelines that are opened -------------------------------------------------------------------


def variables_of(document: Document) -> list[str]:
    """Return the names of the variables that a pipeline uses."""
    texts = [
        value
        for step in document.steps
        for given in step.inputs.values()
        for value in (given if isinstance(given, tuple) else (given,))
        if isinstance(value, str)
    ]
    return variables.named("\n".join(texts))


def modules_of(document: Document) -> list[str]:
    """Return the modules that the steps of a pipeline call."""
    names = [step.module for step in document.steps if step.enabled]
    plain = [re.sub(r"^ga3_(.+)_node$", r"\1", name) for name in names]
    return [name for name in dict.fromkeys(plain) if name and name != builtin.MODULE]
