"""A pipeline file as it is written: YAML 1.2, with the lines of everything.

What is wrong with its form is kept in `Document.problems`, so that `plan.check` can tell it
together with what is wrong with its content.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from envmanager.errors import PipelineError
from envmanager.pipelines.problems import Problem, Problems, candidates

KEYS = ("pipeline_name", "description", "steps")
STEP_KEYS = ("name", "module", "function", "inputs", "outputs", "loop", "enabled")
OUTPUT_KEYS = ("name",)
LOOPS = ("z", "c")
MOST_BYTES = 1_000_000  # a larger file is no pipeline, and would take long to read
Value = str | bool | int | float | None
Given = Value | tuple[Value, ...]  # a list only holds single values
_LINE = "In double quotes a backslash begins a special character: use / or single quotes."


@dataclass(frozen=True, kw_only=True)
class Step:
    """A step as it is written.

    Attributes
    ----------
    number : int
        From 0, among all steps of the file.
    function : str
        Empty where the file gives none.
    inputs : mapping
        Plain values, in the order of the file; lists as tuples.
    outputs : tuple of str or None
        None where the file gives none.
    lines : mapping of str to int
        The lines of the keys, and of the inputs as ``inputs.KEY``; `line` is that of the step.
    """

    number: int
    name: str
    module: str
    function: str = ""
    inputs: Mapping[str, Given] = field(default_factory=dict)
    outputs: tuple[str, ...] | None = None
    loop: frozenset[str] = frozenset()
    enabled: bool = True
    line: int
    lines: Mapping[str, int] = field(default_factory=dict)

    def line_of(self, key: str) -> int:
        """Return the line of a key, or of an input as ``inputs.KEY``."""
        return self.lines.get(key, self.line)


@dataclass(frozen=True, kw_only=True)
class Document:
    """A pipeline file; `text` is all of it, `problems` what is wrong with its form."""

    path: Path
    text: str
    name: str
    description: str
    steps: tuple[Step, ...]
    problems: tuple[Problem, ...] = ()

    @property
    def folder(self) -> Path:
        """What relative paths in the file are relative to."""
        return self.path.parent


def load(path: Path) -> Document:
    """Read a pipeline file.

    Raises
    ------
    PipelineError
        It cannot be read, or is no YAML; the message names the line.
    """
    path = path.absolute()
    try:
        if path.is_file() and path.stat().st_size > MOST_BYTES:
            raise PipelineError(f"{path} is too large to be a pipeline.", "Give a YAML file.")
        text = path.read_text("utf-8-sig")  # Notepad may put a mark at the beginning
    except FileNotFoundError as error:
        raise PipelineError(
            f"There is no file {path}.", "Check the name and the folder."
        ) from error
    except UnicodeDecodeError as error:
        raise PipelineError(
            f"{path.name} is no text in UTF-8.", "Save it in UTF-8 with a text editor."
        ) from error
    except OSError as error:
        raise PipelineError(
            f"{path} cannot be read: {error.strerror}.", "Give a file that you may read."
        ) from error
    return parse(text, path)


def parse(text: str, path: Path) -> Document:
    """Read the text of a pipeline file; `path` is where it lies, or would lie.

    Raises
    ------
    PipelineError
        It is no YAML; the message names the line.
    """
    return _Reader(path).document(_yaml(text, path), text)


def _yaml(text: str, path: Path) -> Any:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    problems = Problems()
    try:
        return YAML().load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        message = " ".join(str(error.problem or error.context or "it is no YAML").split())
        problems.add(mark.line + 1 if mark else 1, "", f"{message}.", _advice(message))
    except (YAMLError, ValueError, RecursionError) as error:  # such as characters that no text has
        message = str(error).splitlines()[0] if str(error) else type(error).__name__
        problems.add(1, "", f"the file is no YAML: {message}.", "Correct it in a text editor.")
    problems.raise_any(path)
    return None


def _advice(message: str) -> str:
    """Return what to do about an error of the YAML reader."""
    if "escape" in message:
        return _LINE
    if "'%'" in message or "alias" in message:
        return "Put a text that begins with % or * into quotes."
    if "duplicate key" in message:
        return "Each key may stand once."
    if r"'\t'" in message:
        return "Indent with spaces, not with tabs."
    if "another document" in message:
        return "One file holds one pipeline: delete the line with --- and what comes after it."
    return "Compare with docs/pipelines.md: each key is followed by a colon and a space."


class _Reader:
    """Turns what the YAML holds into a document; what does not fit is noted."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._problems = Problems()

    def document(self, top: Any, text: str) -> Document:
        """Return the document; of a file of a wrong form what can be understood."""
        if not isinstance(top, Mapping):
            self._problems.add(
                1, "", "the file holds no pipeline.", f"It needs the keys {', '.join(KEYS)}."
            )
            top = {}
        elif "steps" not in top:
            self._problems.add(1, "", "the key 'steps' is missing.", "It is the list of the steps.")
        self._check_keys(top, KEYS, "")
        return Document(
            path=self._path,
            text=text,
            name=self._text(top, "pipeline_name", "") or self._path.stem,
            description=self._text(top, "description", ""),
            steps=self._steps(top),
            problems=tuple(self._problems),
        )

    def _steps(self, top: Mapping[Any, Any]) -> tuple[Step, ...]:
        given = top.get("steps", [])
        line = _line(top, "steps")
        if not isinstance(given, list) or (not given and "steps" in top):
            self._problems.add(
                line, "", "'steps' must be a list.", "Each step begins with: - name: ..."
            )
            return ()
        steps = []
        for number, item in enumerate(given):
            at = _line(given, number)
            if isinstance(item, Mapping):
                steps.append(self._step(number, item, at))
            else:
                self._problems.add(
                    at, "", f"step {number + 1} is no step.", "It needs a name and a module."
                )
        self._check_names(steps)
        return tuple(steps)

    def _check_names(self, steps: list[Step]) -> None:
        lines: dict[str, int] = {}
        for step in steps:
            if step.name and step.name in lines:
                self._problems.add(
                    step.line_of("name"),
                    step.name,
                    f"the step in line {lines[step.name]} has the same name.",
                    "Give each step a name of its own.",
                )
            lines.setdefault(step.name, step.line_of("name"))

    def _step(self, number: int, item: Mapping[Any, Any], line: int) -> Step:
        name = self._required(item, "name", f"step {number + 1}", line)
        self._check_keys(item, STEP_KEYS, name)
        lines = {str(key): _line(item, key) for key in item}
        inputs = item.get("inputs")
        if isinstance(inputs, Mapping):
            lines |= {f"inputs.{key}": _line(inputs, key) for key in inputs}
        return Step(
            number=number,
            name=name,
            module=self._required(item, "module", name or f"step {number + 1}", line),
            function=self._text(item, "function", name),
            inputs=self._inputs(item, name),
            outputs=self._outputs(item, name),
            loop=self._loop(item, name),
            enabled=self._flag(item, name),
            line=line,
            lines=lines,
        )

    def _required(self, item: Mapping[Any, Any], key: str, step: str, line: int) -> str:
        if item.get(key) is None or item.get(key) == "":
            self._problems.add(line, step, f"the key {key!r} is missing.", f"Add it: {key}: ...")
            return ""
        return self._text(item, key, step)

    def _text(self, item: Mapping[Any, Any], key: str, step: str) -> str:
        value = item.get(key)
        if value is None:
            return ""
        if not isinstance(value, str):
            self._problems.add(
                _line(item, key), step, f"{key!r} must be a text.", "Put it into quotes."
            )
            return ""
        return str(value).strip()

    def _flag(self, item: Mapping[Any, Any], step: str) -> bool:
        value = item.get("enabled", True)
        if not isinstance(value, bool):
            self._problems.add(
                _line(item, "enabled"), step, "'enabled' must be true or false.", "Without quotes."
            )
        return value is not False

    def _inputs(self, item: Mapping[Any, Any], step: str) -> dict[str, Given]:
        given = item.get("inputs")
        if given is None:
            return {}
        if not isinstance(given, Mapping):
            self._problems.add(
                _line(item, "inputs"), step, "'inputs' must hold keys and values.", "key: value"
            )
            return {}
        found: dict[str, Given] = {}
        for key in given:
            try:
                if not isinstance(key, str):
                    raise ValueError(f"{key!r} cannot be the name of an input")
                found[str(key)] = _given(given[key])
            except ValueError as error:
                self._problems.add(
                    _line(given, key),
                    step,
                    f"{error}.",
                    "Give a text, a number, or a list.",
                )
        for key, value in found.items():
            self._check_characters(key, value, step, _line(given, key))
        return found

    def _check_characters(self, key: str, value: Given, step: str, line: int) -> None:
        texts = value if isinstance(value, tuple) else (value,)
        if any(isinstance(text, str) and re.search(r"[\x00-\x1f\x7f]", text) for text in texts):
            self._problems.add(line, step, f"{key!r} holds a line break or a tab.", _LINE)

    def _outputs(self, item: Mapping[Any, Any], step: str) -> tuple[str, ...] | None:
        given = item.get("outputs")
        if given is None:
            return None
        line = _line(item, "outputs")
        if not isinstance(given, list):
            self._problems.add(line, step, "'outputs' must be a list.", "Such as: - name: masks")
            return None
        names = [self._output(one, step, _line(given, i)) for i, one in enumerate(given)]
        names = [name for name in names if name]
        for name in dict.fromkeys(names):
            if names.count(name) > 1:
                self._problems.add(line, step, f"two outputs are called {name!r}.", "Rename one.")
        return tuple(dict.fromkeys(names))

    def _output(self, one: Any, step: str, line: int) -> str:
        if isinstance(one, Mapping):
            self._check_keys(one, OUTPUT_KEYS, step)
            return self._required(one, "name", step, line)
        if isinstance(one, str) and one.strip():
            return str(one).strip()
        self._problems.add(line, step, "an output needs a name.", "Such as: - name: masks")
        return ""

    def _loop(self, item: Mapping[Any, Any], step: str) -> frozenset[str]:
        given = item.get("loop")
        if given is None:
            return frozenset()
        found = given if isinstance(given, list) else [given]
        for one in found:
            if one not in LOOPS:
                self._problems.add(
                    _line(item, "loop"),
                    step,
                    f"'loop' cannot be {one!r}.",
                    "It takes z (slice by slice), c (channel by channel) or [z, c].",
                )
        return frozenset(str(one) for one in found if one in LOOPS)

    def _check_keys(self, table: Mapping[Any, Any], known: tuple[str, ...], step: str) -> None:
        for key in table:
            if key not in known:
                self._problems.add(
                    _line(table, key),
                    step,
                    f"the key {str(key)!r} is not known.",
                    candidates(str(key), known),
                )


def _given(value: Any) -> Given:
    """Return a plain value; the YAML reader's own types know how they were written."""
    if isinstance(value, list):
        if any(one is None for one in value):
            raise ValueError("a list holds an empty item")
        return tuple(_single(one) for one in value)
    return _single(value)


def _single(value: Any) -> Value:
    if value is None or isinstance(value, bool):
        return value
    for kind in (str, int, float):
        if isinstance(value, kind):
            return kind(value)
    raise ValueError(f"{type(value).__name__} is no value that an input can have")


def _line(table: Any, key: Any) -> int:
    """Return the line of a key or item, from 1."""
    places = getattr(getattr(table, "lc", None), "data", None) or {}
    return int(places[key][0]) + 1 if key in places else 1
