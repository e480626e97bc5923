"""What goes into a call and what comes out of it."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

Array = np.ndarray | str | os.PathLike[str]


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
