"""The ``inputs`` of a step against what a function declares: arrays, and checked parameters."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from envmanager.errors import BadInput
from envmanager.pipelines import matching, references
from envmanager.pipelines.document import Given, Step
from envmanager.pipelines.problems import Problems, candidates
from envmanager.pipelines.variables import Variables
from ga3_nodes import params, weights

_AS_TEXT = ("choice", "text", weights.WEIGHTS)  # YAML may give such a value as a number


@dataclass
class Sorted:
    """The keys of a step's ``inputs``, by what they are for.

    Attributes
    ----------
    arrays, parameters : dict of str to str
        The function's input or parameter -> the key in the file.
    """

    arrays: dict[str, str] = field(default_factory=dict)
    parameters: dict[str, str] = field(default_factory=dict)


def sort(
    step: Step,
    required: Sequence[Sequence[str]],
    optional: Collection[str],
    declared: params.Declarations,
    problems: Problems,
    others: Collection[str] = (),
) -> Sorted:
    """Tell arrays from parameters; a reference is an array.

    A reference under an unknown key is the one required array that is not given otherwise: other
    runners call it ``images``, ``masks``, and so on.

    Parameters
    ----------
    required : sequence of sequence of str
        Of each of these groups of array inputs exactly one must be given.
    optional : collection of str
        Array inputs that may be given.
    others : collection of str
        Keys that are neither and that the caller reads itself.
    """
    found, strays = Sorted(), []
    inputs = {*optional, *(name for group in required for name in group)}
    names = _names(declared)
    for key in (key for key in step.inputs if key not in others):
        is_reference = references.is_reference(step.inputs[key])
        line = step.line_of(f"inputs.{key}")
        if key in inputs:
            found.arrays[key] = key
            if not is_reference:
                problems.add(
                    line, step.name, f"{key!r} must be an earlier result.", references.FORM + "."
                )
        elif key in names:
            _add_parameter(found, names[key], key, step, problems)
        elif is_reference:
            strays.append(key)
        else:
            known = [*inputs, *names, *others]
            problems.add(
                line, step.name, f"there is no input {key!r}.", candidates(key, sorted(known))
            )
    _place(strays, required, step, found, problems)
    return Sorted(
        {k: found.arrays[k] for k in _ordered(required, optional, found)}, found.parameters
    )


def _names(declared: params.Declarations) -> dict[str, str]:
    """Return each name that can be given, also the aliases, with the parameter that it means."""
    aliases = {alias: name for name, spec in declared.items() for alias in spec.get("aliases", ())}
    return {**aliases, **{name: name for name in declared}}


def _add_parameter(found: Sorted, name: str, key: str, step: Step, problems: Problems) -> None:
    line = step.line_of(f"inputs.{key}")
    if name in found.parameters:
        other = found.parameters[name]
        problems.add(line, step.name, f"{key!r} and {other!r} are the same.", "Give one of them.")
    elif references.is_reference(step.inputs[key]):
        problems.add(
            line, step.name, f"{key!r} takes a value, not an earlier result.", "Give a value."
        )
    found.parameters.setdefault(name, key)


def _place(
    strays: Sequence[str],
    required: Sequence[Sequence[str]],
    step: Step,
    found: Sorted,
    problems: Problems,
) -> None:
    """Place references under unknown keys; note what is missing or given twice."""
    for group in required:
        given = [name for name in group if name in found.arrays]
        if len(given) > 1:
            problems.add(
                step.line_of(f"inputs.{given[1]}"),
                step.name,
                f"{' and '.join(map(repr, given))} are given.",
                "Give one of them.",
            )
    missing = [group for group in required if not {*group} & found.arrays.keys()]
    if len(strays) == len(missing) == 1:
        found.arrays[missing[0][0]] = strays[0]
        return
    for key in strays:
        known = [name for group in required for name in group]
        problems.add(
            step.line_of(f"inputs.{key}"),
            step.name,
            f"there is no input {key!r} that takes an earlier result.",
            candidates(key, known, "Such inputs"),
        )
    for group in missing:
        what = " or ".join(map(repr, group))
        hint = f"Add it: {group[0]}: {references.FORM}"
        problems.add(step.line_of("inputs"), step.name, f"the input {what} is missing.", hint)


def _ordered(
    required: Sequence[Sequence[str]], optional: Collection[str], found: Sorted
) -> list[str]:
    """Return the arrays in the order of the declaration: the first one decides on the axes."""
    order = [*(name for group in required for name in group), *optional]
    return [name for name in dict.fromkeys(order) if name in found.arrays]


def values(
    step: Step,
    keys: Mapping[str, str],
    declared: params.Declarations,
    variables: Variables,
    folder: Path,
    problems: Problems,
) -> dict[str, Any] | None:
    """Return the values of all parameters, checked and complete; None where one does not fit.

    Parameters
    ----------
    keys : mapping of str to str
        The parameter -> the key in the file, see `Sorted`.
    folder : Path
        What relative paths of weights are relative to.
    """
    found: dict[str, Any] = {}
    fitting = 0
    given = {name: key for name, key in keys.items() if step.inputs[key] is not None}
    for name, key in given.items():
        if references.is_reference(step.inputs[key]):  # told already
            continue
        with problems.caught(step.line_of(f"inputs.{key}"), step.name):
            found[name] = _value(name, declared[name], step.inputs[key], variables, folder)
            fitting += 1
    return params.complete(declared, found) if fitting == len(given) else None


def _value(
    name: str, spec: Mapping[str, Any], given: Given, variables: Variables, folder: Path
) -> Any:
    if isinstance(given, tuple):
        raise BadInput(
            f"The parameter {name!r} cannot be a list.", f"It takes {params.describe(spec)}."
        )
    if isinstance(given, str):
        text = variables.resolve(given)
        if spec["type"] == weights.WEIGHTS and weights.is_path(text):
            text = matching.absolute(text, folder)
        return params.from_text(name, spec, text)
    if spec["type"] in _AS_TEXT:
        return params.check(
            name, spec, str(given).lower() if isinstance(given, bool) else str(given)
        )
    return params.check(name, spec, given)
