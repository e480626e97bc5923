"""The step that reads images: which files, and what of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from envmanager.pipelines import builtin, matching
from envmanager.pipelines.document import Step
from envmanager.pipelines.problems import Problems, candidates
from envmanager.pipelines.variables import Variables

_PATH = f"inputs.{builtin.PATH}"
Places = tuple[int | str, ...] | None


@dataclass(frozen=True)
class Source:
    """What a step reads; `selection` has a value for each of `builtin.SELECTIONS`."""

    pattern: str
    files: tuple[Path, ...]
    base: Path
    selection: dict[str, Any]


def check(step: Step, folder: Path, variables: Variables, problems: Problems) -> Source | None:
    """Return what a step reads; None where it gives no pattern. What is wrong is noted.

    Parameters
    ----------
    folder : Path
        What relative patterns are relative to.
    """
    known = (builtin.PATH, *builtin.SELECTIONS)
    for key in step.inputs:
        if key not in known:
            line = step.line_of(f"inputs.{key}")
            problems.add(line, step.name, f"there is no input {key!r}.", candidates(key, known))
    selection = _selection(step, variables, problems)
    pattern = _pattern(step, variables, problems)
    if not pattern:
        return None
    with problems.caught(step.line_of(_PATH), step.name):
        files = _files(step, pattern, folder, problems)
        base = matching.base(pattern, folder)
        return Source("; ".join(pattern), files, base, selection)
    return None


def _pattern(step: Step, variables: Variables, problems: Problems) -> tuple[str, ...]:
    given = step.inputs.get(builtin.PATH)
    texts = given if isinstance(given, tuple) else (given,)
    line = step.line_of(_PATH)
    if not texts or not all(isinstance(text, str) and text.strip() for text in texts):
        hint = 'Such as: path: "%INPUT_DIR%/*.tif"'
        problems.add(line, step.name, "the input 'path' needs a file or pattern.", hint)
        return ()
    found = []
    for text in texts:
        with problems.caught(line, step.name):
            found.append(variables.resolve(str(text)))
    return tuple(found) if len(found) == len(texts) else ()


def _files(
    step: Step, pattern: Sequence[str], folder: Path, problems: Problems
) -> tuple[Path, ...]:
    line = step.line_of(_PATH)
    try:
        files = matching.find(pattern, folder)
        for one in pattern:
            if not (files if len(pattern) == 1 else matching.find(one, folder)):
                hint = matching.contents(matching.base(one, folder))
                problems.add(line, step.name, f"nothing matches {one!r}.", hint)
    except OSError as error:
        problem = f"{error.filename or folder} cannot be read: {error.strerror}."
        problems.add(line, step.name, problem, "Check the folder and its permissions.")
        return ()
    if strange := [path for path in files if not matching.is_image(path)]:
        hint = f"Known: {', '.join(sorted(matching.IMAGES))}."
        problems.add(line, step.name, f"{strange[0].name} is of no known image format.", hint)
    return files


def _selection(step: Step, variables: Variables, problems: Problems) -> dict[str, Places]:
    found: dict[str, Places] = {}
    for key in builtin.SELECTIONS:
        with problems.caught(step.line_of(f"inputs.{key}"), step.name):
            given = step.inputs.get(key)
            text = variables.resolve(given) if isinstance(given, str) else given
            found[key] = builtin.places(key, text)
    return found
