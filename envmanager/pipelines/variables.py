"""``%NAME%`` in the texts of a pipeline.

A name stands for what the command line gives (``--input-dir`` is INPUT_DIR, ``--output-dir`` is
OUTPUT_DIR, ``--set NAME=value``), else for a variable of the environment. ``%%`` is a percent sign.
``%STEM%`` stays in the path of an output: each image has its own.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from envmanager.errors import BadInput, UsageError
from envmanager.pipelines.problems import candidates

INPUT_DIR, OUTPUT_DIR, STEM = "INPUT_DIR", "OUTPUT_DIR", "STEM"
# Windows has such names as ProgramFiles(x86), too.
_NAME = r"[^\W\d][\w().-]*"
_PLACE = re.compile(rf"%%|%({_NAME})%")


def given(
    input_dir: Path | None = None, output_dir: Path | None = None, settings: Sequence[str] = ()
) -> dict[str, str]:
    """Return the variables that a command line gives.

    Parameters
    ----------
    settings : sequence of str
        ``NAME=value``, of ``--set``.

    Raises
    ------
    UsageError
        A setting has no ``=``, or a name that cannot be one.
    """
    found = {}
    for text in settings:
        name, equals, value = text.partition("=")
        if not equals or not re.fullmatch(_NAME, name) or name == STEM:
            raise UsageError(
                f"{text!r} sets no variable.",
                "Write it as NAME=value, with a name of letters, digits and _"
                f" (not {STEM}, which each image has of its own).",
            )
        found[name] = value
    if input_dir:
        found[INPUT_DIR] = str(input_dir.absolute())
    if output_dir:
        found[OUTPUT_DIR] = str(output_dir.absolute())
    return found


def named(text: str) -> list[str]:
    """Return the variables that stand in a text, each once; STEM is none."""
    found = dict.fromkeys(match[1] for match in _PLACE.finditer(text) if match[1])
    return [name for name in found if name != STEM]


class Variables:
    """Fills in variables, and remembers which were asked for.

    Parameters
    ----------
    known : mapping of str to str
        What the command line gives; it wins over the environment.
    environment : mapping of str to str, optional
        By default that of this process.

    Attributes
    ----------
    used : dict of str to str
        Those that were filled in, with their values.
    """

    def __init__(
        self, known: Mapping[str, str], environment: Mapping[str, str] | None = None
    ) -> None:
        self._known = dict(known)
        self._environment = os.environ if environment is None else environment
        self.used: dict[str, str] = {}

    def resolve(self, text: str, keep: Collection[str] = ()) -> str:
        """Fill in the variables of a text; those of `keep` stay as they are.

        Raises
        ------
        BadInput
            A variable has no value; the hint names those that the command line gives.
        """
        return _PLACE.sub(lambda found: self._value(found, keep), text)

    def _value(self, found: re.Match[str], keep: Collection[str]) -> str:
        name = found[1]
        if name is None:
            return "%"
        if name in keep:
            return found[0]
        value = self._known.get(name, self._environment.get(name))
        if value is None:
            raise BadInput(f"The variable %{name}% has no value.", _advice(name, self._known))
        self.used[name] = value
        return value


def _advice(name: str, known: Mapping[str, str]) -> str:
    if name == STEM:
        return "%STEM% can only stand in the path of an output."
    option = {INPUT_DIR: "--input-dir FOLDER", OUTPUT_DIR: "--output-dir FOLDER"}.get(name)
    near = f" {candidates(name, list(known), 'Given')}" if known else ""
    return f"Give it: {option or f'--set {name}=...'}, or write %% for a percent sign.{near}"
