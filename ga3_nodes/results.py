"""What goes into a call and what comes out of it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

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
