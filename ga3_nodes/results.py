"""What goes into a call and what comes out of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from ga3_nodes.errors import BadInput

Array = np.ndarray | str | os.PathLike[str]


class Inputs(dict[str, Array]):
    """The inputs of one call of a batch by name, where its images differ in their axes.

    Attributes
    ----------
    axes : mapping of str
        The order of an input's axes where it is known, such as ``{"image": "zyx"}``.
    """

    def __init__(self, arrays: Mapping[str, Array], axes: Mapping[str, str]) -> None:
        super().__init__(arrays)
        self.axes = axes


_Named = TypeVar("_Named", bound=Mapping[str, Any])


def named(what: str, given: _Named) -> _Named:
    """Return what is given by name.

    Raises
    ------
    BadInput
        It is no mapping, such as an array in place of ``{"image": array}``.
    """
    if not isinstance(given, (dict, Mapping)):  # `Mapping` alone is slow to answer
        raise BadInput(
            f"The {what} of a call are given by their names, not as {type(given)}.",
            "Pass a dict.",
        )
    return given


class Result(dict[str, Any]):
    """The outputs of a call by name: ndarray, or dict of columns for a table.

    Attributes
    ----------
    seconds : float
        Time that the function took inside the worker.
    device : str
        Where it ran, such as ``"cpu"``.
    worker_pid : int
        The process that ran it.
    notes : list of str
        What the module says beside its result, such as that it fell back to the CPU.
    """

    seconds: float = 0.0
    device: str = ""
    worker_pid: int = 0
    notes: list[str]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Make it as a dict is made."""
        super().__init__(*args, **kwargs)
        self.notes = []


@dataclass(frozen=True)
class Delivery:
    """How a caller takes the arrays of a result.

    Attributes
    ----------
    copy : bool
        False for views that the next call overwrites.
    out : mapping of ndarray
        Arrays of the caller that take outputs; each fits as far as was known before the call.
    outputs : mapping
        The declarations of the function's outputs; needed with `out`.
    accept : callable, optional
        Gets the result before anything is written into `out`; where it raises, nothing is.
    """

    copy: bool = True
    out: Mapping[str, np.ndarray] = field(default_factory=dict)
    outputs: Mapping[str, Any] = field(default_factory=dict)
    accept: Callable[[Result], object] | None = None

    def kind(self, name: str) -> str:
        """Return the declared kind of an output."""
        return str(self.outputs[name]["kind"])
