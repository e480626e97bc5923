"""TOML tables that are read strictly: an error names the file and the key."""

from __future__ import annotations

import keyword
from pathlib import Path
from typing import Any

from envmanager.errors import CatalogError

REQUIRED: Any = object()


class Table:
    """A TOML table that remembers where it is and which of its keys were asked for.

    Parameters
    ----------
    path : Path
        The file.
    place : str
        The table's place in it, such as ``functions.segment``; empty for the whole file.
    """

    def __init__(self, path: Path, place: str, values: dict[str, Any]) -> None:
        self._path = path
        self._place = place
        self._values = values
        self._taken: set[str] = set()

    def error(self, key: str, problem: str) -> CatalogError:
        """Return the error for a key; `problem` is the rest of the sentence."""
        return CatalogError(
            f"{self._path}: {self._at(key)} {problem}.", "See docs/modules.md for the keys."
        )

    def _at(self, key: str) -> str:
        return f"{self._place}.{key}" if self._place else key

    def keys(self) -> list[str]:
        """Return all keys."""
        return list(self._values)

    def has(self, key: str) -> bool:
        """Tell whether a key is there."""
        return key in self._values

    def take(self, key: str, default: Any = REQUIRED) -> Any:
        """Return a value of any type."""
        self._taken.add(key)
        if key in self._values:
            return self._values[key]
        if default is REQUIRED:
            raise self.error(key, "is missing")
        return default

    def text(self, key: str, default: Any = REQUIRED) -> str:
        """Return one line of text."""
        value = self.take(key, default)
        if not isinstance(value, str) or (not value and default is REQUIRED):
            raise self.error(key, "must be a text")
        if not value.isprintable():  # it becomes a line of a node script
            raise self.error(key, "must be one line of plain text")
        return value

    def flag(self, key: str) -> bool:
        """Return true or false; what is absent is false."""
        value = self.take(key, False)
        if not isinstance(value, bool):
            raise self.error(key, "must be true or false")
        return value

    def number(self, key: str, default: Any = REQUIRED) -> int | float:
        """Return a finite number."""
        value = self.take(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or value - value != 0:
            raise self.error(key, "must be a finite number")
        return value

    def texts(self, key: str) -> list[str]:
        """Return a list of texts that is not empty."""
        value = self.take(key)
        if not isinstance(value, list) or not value or not all(isinstance(v, str) for v in value):
            raise self.error(key, "must be a list of texts")
        return value

    def one_of(self, key: str, known: tuple[Any, ...], default: Any = REQUIRED) -> Any:
        """Return one of the known values."""
        value = self.take(key, default)
        if value not in known:
            raise self.error(key, f"is {value!r}; known: {', '.join(map(str, known))}")
        return value

    def table(self, key: str, default: Any = REQUIRED) -> Table:
        """Return a table inside of this one."""
        value = self.take(key, default)
        if not isinstance(value, dict):
            raise self.error(key, "must be a table")
        return Table(self._path, self._at(key), value)

    def tables(self, key: str, default: Any = REQUIRED) -> list[tuple[str, Table]]:
        """Return the tables inside of a table, each under a name that is an identifier."""
        outer = self.table(key, default)
        if not outer.keys() and default is REQUIRED:
            raise self.error(key, "is empty")
        for name in outer.keys():
            if not name.isidentifier() or keyword.iskeyword(name):
                raise outer.error(name, "must be a name made of letters, digits and _")
        return [(name, outer.table(name)) for name in outer.keys()]

    def list_of_tables(self, key: str) -> list[Table]:
        """Return a list of tables that is not empty."""
        value = self.take(key)
        if not isinstance(value, list) or not value or not all(isinstance(v, dict) for v in value):
            raise self.error(key, "must be a list of tables")
        return [Table(self._path, f"{self._at(key)}[{i}]", v) for i, v in enumerate(value)]

    def finish(self) -> None:
        """Refuse what nobody asked for: most often a misspelt key."""
        for key in self._values:
            if key not in self._taken:
                raise self.error(key, f"is not known; known: {', '.join(sorted(self._taken))}")
