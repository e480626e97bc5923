"""What is wrong with a pipeline file: all of it, each with its line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from difflib import get_close_matches
from pathlib import Path

from envmanager.errors import GA3EnvError, PipelineError


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong; `line` counts from 1, `step` is empty for the whole file."""

    line: int
    step: str
    message: str
    hint: str = ""

    @property
    def as_text(self) -> str:
        """All of it in one line."""
        place = f"line {self.line}" + (f", step {self.step!r}" if self.step else "")
        return " ".join(filter(None, (f"{place}: {self.message}", self.hint)))


class Problems:
    """Collects what is wrong, so that a user reads it at once and not one by one."""

    def __init__(self, found: Iterable[Problem] = ()) -> None:
        self._found = list(found)

    def __iter__(self) -> Iterator[Problem]:
        return iter(self._found)

    def add(self, line: int, step: str, message: str, hint: str = "") -> None:
        """Add a problem, once; its message becomes a sentence."""
        problem = Problem(line, step, message[:1].upper() + message[1:], hint)
        if problem not in self._found:
            self._found.append(problem)

    @contextmanager
    def caught(self, line: int, step: str) -> Iterator[None]:
        """Make a problem of an error; what comes after it in the block is left out."""
        try:
            yield
        except GA3EnvError as error:
            self.add(line, step, error.message, error.hint)

    def raise_any(self, path: Path) -> None:
        """Raise what was found.

        Raises
        ------
        PipelineError
            Its message tells the first problem in the order of the lines; ``details["problems"]``
            holds all of them.
        """
        if not self._found:
            return
        found = sorted(self._found, key=lambda problem: problem.line)
        first, others = found[0], len(found) - 1
        more = f" ({others} more problem{'s' * (others > 1)})" if others else ""
        raise PipelineError(
            f"{path.name}, {replace(first, hint='').as_text}{more}",
            first.hint,
            details={
                "file": str(path),
                "problems": [asdict(problem) for problem in found],
                "log_tail": "\n".join(problem.as_text for problem in found[1:]),
            },
        )


def candidates(wrong: str, known: Sequence[str], what: str = "Known") -> str:
    """Return a hint: the name that was probably meant, and all that there are."""
    if not known:
        return "There are none."
    near = get_close_matches(wrong, known, n=1) or [
        name for name in known if name.casefold() == wrong.casefold()
    ]
    return (f"Did you mean {near[0]!r}? " if near else "") + f"{what}: {', '.join(known)}."
