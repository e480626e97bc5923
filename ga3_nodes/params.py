"""Parameters of a module's function, checked against their declaration in ``module.toml``."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ga3_nodes import weights
from ga3_nodes.errors import BadInput

Declarations = Mapping[str, Mapping[str, Any]]
_WORDS = {"true": True, "yes": True, "on": True, "1": True}
_WORDS |= {"false": False, "no": False, "off": False, "0": False}


def complete(declared: Declarations, given: Mapping[str, Any]) -> dict[str, Any]:
    """Check the given values and fill in the defaults of the others.

    Raises
    ------
    BadInput
        An unknown name, a value of the wrong type, or one outside of its limits.
    """
    for name in given:
        if name not in declared:
            raise BadInput(
                f"There is no parameter {name!r}.",
                f"Known parameters: {', '.join(declared) or 'none'}.",
                code="bad_parameter",
            )
    return {
        name: check(name, spec, given.get(name, spec["default"])) for name, spec in declared.items()
    }


def from_text(name: str, spec: Mapping[str, Any], text: str) -> Any:
    """Turn the text of a command line into a checked value."""
    value: Any = text
    try:
        if spec["type"] == "bool":
            value = _WORDS[text.strip().lower()]
        elif spec["type"] == "int":
            value = int(text)
        elif spec["type"] == "float":
            value = float(text)
        elif spec["type"] == weights.WEIGHTS and weights.is_path(text):
            value = str(Path(text).absolute())
    except (KeyError, ValueError):
        raise _wrong(name, spec, text) from None
    return check(name, spec, value)


def check(name: str, spec: Mapping[str, Any], value: Any) -> Any:
    """Return `value` in its declared type.

    Raises
    ------
    BadInput
        The type is wrong or the value lies outside of the limits.
    """
    kind = spec["type"]
    if kind == "choice":
        fits = value in [choice["value"] for choice in spec["choices"]]
    elif kind == "bool":
        fits = isinstance(value, bool)
    elif kind in ("text", weights.WEIGHTS):
        fits = isinstance(value, str)
    else:
        fits, value = _number(kind, value)
        fits = fits and spec.get("min", -math.inf) <= value <= spec.get("max", math.inf)
    if not fits:
        raise _wrong(name, spec, value)
    return value


def _number(kind: str, value: Any) -> tuple[bool, Any]:
    if isinstance(value, bool) or not isinstance(value, numbers.Real):  # numpy's are such, too
        return False, value
    try:
        number = float(value)
    except OverflowError:
        return False, value
    if not math.isfinite(number):
        return False, value
    return (True, number) if kind == "float" else (number.is_integer(), int(number))


def _wrong(name: str, spec: Mapping[str, Any], value: Any) -> BadInput:
    return BadInput(
        f"The parameter {name!r} cannot be {value!r}.",
        f"It takes {describe(spec)}; the default is {spec['default']!r}.",
        code="bad_parameter",
    )


def describe(spec: Mapping[str, Any]) -> str:
    """Say in words which values a parameter takes."""
    kind, unit = spec["type"], f" {spec['unit']}" if spec.get("unit") else ""
    if kind == "choice":
        return "one of " + ", ".join(str(choice["value"]) for choice in spec["choices"])
    if kind in ("bool", "text"):
        return {"bool": "true or false", "text": "text"}[kind]
    if kind == weights.WEIGHTS:
        return "the name of weights, or the full path of a file or folder"
    noun = {"int": "a whole number", "float": "a number"}[kind]
    low, high = spec.get("min"), spec.get("max")
    if low is not None and high is not None:
        return f"{noun} from {low:g} to {high:g}{unit}"
    if low is not None:
        return f"{noun} of at least {low:g}{unit}"
    if high is not None:
        return f"{noun} of at most {high:g}{unit}"
    return f"{noun}{unit and ' in' + unit}"
