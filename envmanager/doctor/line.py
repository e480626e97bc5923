"""One line of the checklist, and what every check gets to see."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from envmanager.data.paths import DataFolder
from envmanager.data.settings import Settings
from envmanager.errors import ConfigError
from envmanager.events import CancelToken, Deadline
from envmanager.uv.program import Uv
from ga3_nodes import home

TOOL_LIMIT_S = 20.0
# Gives up on the network sooner than an install does.
_IMPATIENT = {"UV_HTTP_RETRIES": "1", "UV_HTTP_TIMEOUT": "8"}


@dataclass(frozen=True)
class Check:
    """One line of the list.

    `id` is a stable token (``module:NAME`` for a module), `message` a plain sentence, `hint` the
    next step, and `fixable` tells that `fix` can do it.
    """

    id: str
    status: Literal["ok", "warning", "error"]
    message: str
    hint: str = ""
    fixable: bool = False

    @classmethod
    def ok(cls, message: str, hint: str = "") -> Check:
        """Make a line without its id: all is well."""
        return cls("", "ok", message, hint)

    @classmethod
    def warning(cls, message: str, hint: str, fixable: bool = False) -> Check:
        """Make a line without its id: it works, but not as well as it could."""
        return cls("", "warning", message, hint, fixable)

    @classmethod
    def error(cls, message: str, hint: str, fixable: bool = False) -> Check:
        """Make a line without its id: something does not work."""
        return cls("", "error", message, hint, fixable)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


@dataclass(frozen=True)
class _Scratch(DataFolder):
    """An empty data folder with the interpreters of the real one: no cache may answer for uv."""

    interpreters: Path

    @property
    def python(self) -> Path:
        return self.interpreters

    @property
    def uv_cache(self) -> Path:
        return self.root / "uv-cache"


@dataclass(frozen=True)
class Patient:
    """What is examined."""

    data: DataFolder
    settings: Settings
    cancel: CancelToken

    @contextmanager
    def uv(self, settings: Settings | None = None) -> Iterator[Uv]:
        """Give a uv with an empty cache and a time limit; it works in an empty folder."""
        options: dict[str, Any] = {"prefix": "ga3env-doctor-", "ignore_cleanup_errors": True}
        with tempfile.TemporaryDirectory(**options) as folder:
            data = _Scratch(Path(folder).resolve(), self.data.python)
            limit = Deadline(TOOL_LIMIT_S, self.cancel)
            yield Uv(data, settings or self.settings, limit, _IMPATIENT)

    def config(self) -> dict[str, Any] | None:
        """Return ``config.json``, or None where it cannot be read."""
        try:
            return home.read_config(self.data.root)
        except ConfigError:
            return None


Examine = Callable[[Patient], Check]


def size(number: int) -> str:
    """Return a number of bytes for people."""
    return f"{number / 1e9:.1f} GB" if number >= 1e8 else f"{number / 1e6:.1f} MB"
