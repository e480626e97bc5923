"""What is checked, and what is told of each link."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from envmanager.modules.catalog import Module

LINKS = {
    "config": "Installation",
    "module": "Module and weights",
    "interpreter": "The module's Python",
    "script": "Script in NIS's Python",
    "worker": "Connection to the module",
    "result": "Result of a test image",
}


@dataclass(frozen=True)
class Link:
    """One link: whether it holds, and what was found.

    Attributes
    ----------
    name, title : str
        As in `LINKS`.
    seconds : float
        How long it took.
    message, hint : str
        What was found; what to do where it is broken.
    step : str
        The kind of the next step: ``install``, ``weights``, ``parameters``, ``repair``, ``script``
        (make it anew), ``try`` (look at the function with an image), ``system`` or empty.
    """

    name: str
    title: str
    ok: bool
    seconds: float
    message: str
    hint: str = ""
    step: str = ""
    details: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


@dataclass(frozen=True)
class Node:
    """What is checked: a script and what it was made from.

    `nis` is 6 or 7, as for `nodes.script`; `parameters` are those whose weights must be there.
    """

    module: Module
    script: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    function: str = "segment"
    nis: int = 6

    @property
    def embedded(self) -> bool:
        """Whether the script runs inside the process of NIS, as is usual in 6.x."""
        return self.nis == 6

    @property
    def spec(self) -> Mapping[str, Any]:
        """The declaration of the function."""
        found: Mapping[str, Any] = self.module.functions[self.function]
        return found
