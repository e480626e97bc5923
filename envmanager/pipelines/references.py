"""``steps.<name>.outputs.<output>``: what an earlier step has made.

The step is named in full or by the beginning of its name, up to a word boundary: "Run Cellpose" is
"Run Cellpose (External)" where no other earlier step begins so.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from envmanager.errors import BadInput
from envmanager.pipelines.problems import candidates

_STEPS, _OUTPUTS = "steps.", ".outputs."
FORM = "steps.NAME.outputs.OUTPUT"


@dataclass(frozen=True)
class Named:
    """A step that can be referred to: its name and those of its outputs, None if unknown."""

    name: str
    outputs: tuple[str, ...] | None
    enabled: bool = True


def is_reference(value: Any) -> bool:
    """Tell whether a value is meant as a reference; it may still be a broken one."""
    return isinstance(value, str) and value.strip().startswith(_STEPS)


def find(text: str, steps: Sequence[Named], at: int) -> tuple[int, str]:
    """Return the number of the step and the output that a reference of step `at` names.

    Parameters
    ----------
    steps : sequence of Named
        All steps of the file; those before `at` can be referred to.

    Raises
    ------
    BadInput
        The reference is no complete one, names nothing or several steps, or a step that comes
        later or is switched off; the hint lists the candidates.
    """
    name, output = _parts(text)
    number = _step(name, steps, at)
    outputs = steps[number].outputs
    if outputs is None:
        return number, output
    found = [one for one in outputs if _plain(one) == output]
    if not found:
        raise BadInput(
            f"The step {steps[number].name!r} has no output {output!r}.",
            candidates(output, outputs, "Its outputs"),
        )
    return number, found[0]


def _parts(text: str) -> tuple[str, str]:
    name, found, output = text.strip().removeprefix(_STEPS).rpartition(_OUTPUTS)
    name, output = _plain(name), _plain(output)
    if not found or not name or not output:
        raise BadInput(f"{text.strip()!r} is no complete reference.", f"Write it as {FORM}.")
    return name, output


def _step(name: str, steps: Sequence[Named], at: int) -> int:
    names = [_plain(step.name) for step in steps]
    earlier = [number for number in range(at) if steps[number].enabled]
    exact = [number for number in range(len(steps)) if names[number] == name]
    meant = [number for number in exact if number in earlier] or (
        [] if exact else [number for number in earlier if begins(names[number], name)]
    )
    known = [steps[number].name for number in earlier]
    if len(meant) == 1:
        return meant[0]
    if meant:
        raise BadInput(
            f"{name!r} can mean several steps.",
            "Name one in full: " + ", ".join(repr(steps[number].name) for number in meant) + ".",
        )
    others = exact or [n for n in range(len(steps)) if n != at and begins(names[n], name)]
    if not others:
        hint = candidates(name, known, "Earlier steps")
        raise BadInput(f"There is no earlier step {name!r}.", hint)
    step = steps[others[0]]
    if others[0] < at:
        raise BadInput(
            f"The step {step.name!r} is switched off.", "Remove its line 'enabled: false'."
        )
    if others[0] == at:
        raise BadInput(
            f"The step {step.name!r} refers to itself.",
            candidates(name, known, "Earlier steps"),
        )
    raise BadInput(
        f"The step {step.name!r} comes later.", "Move it before the step that uses its result."
    )


def begins(full: str, name: str) -> bool:
    """Tell whether `name` is the beginning of `full` up to a word boundary.

    Between two letters, digits or underscores there is none: "Run Cell" does not stand for "Run
    Cellpose".
    """
    if not name or not full.startswith(name):
        return False
    if full == name:
        return True
    return not (_in_word(name[-1]) and _in_word(full[len(name)]))


def _in_word(character: str) -> bool:
    return character.isalnum() or character == "_" or unicodedata.combining(character) != 0


def _plain(text: str) -> str:
    """Return a text as it can be compared: an editor may write é as one character or as two."""
    return unicodedata.normalize("NFC", text).strip()
