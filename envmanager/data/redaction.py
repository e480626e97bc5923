"""Blanks in a text what must not leave the computer: passwords, and who the user is."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

_USER = "<user>"
# "user:secret@" in an address; the last "@" before a slash ends it, for a password may hold one.
_PASSWORD = re.compile(r"(://[^/@:\s\"'<>]*):[^/\s\"'<>]*@")
_TOKEN = re.compile(r"(://)[^/@:\s\"'<>]+@")  # an address with a name only: often a token
_PARAMETER = re.compile(
    r"([?&](?:access_token|api_?key|key|password|sig|signature|token)=)[^&\s\"'<>]+", re.IGNORECASE
)
# Any account's folder, with slashes of either kind, doubled in JSON.
_HOMES = re.compile(
    r"((?:[a-z]:)?[\\/]+(?:users|home)[\\/]+)(?:[^\\/\"'<>:|\n]+(?=[\\/])|[^\\/\s\"'<>:|,;)\]]+)",
    re.IGNORECASE,
)
_SHORTEST = 3  # letters of a name that can be told from a part of a sentence


def without_passwords(text: str) -> str:
    """Return a text with every password in an address as ``***``."""
    return _PASSWORD.sub(r"\1:***@", text)


@dataclass(frozen=True)
class Redactor:
    """Blanks secrets of addresses, home folders and the names of accounts.

    Parameters
    ----------
    names : tuple of str
        Names of accounts, blanked where they stand as a word of their own.
    home : Path
        The user's home folder, wherever it lies.
    """

    names: tuple[str, ...]
    home: Path

    def __call__(self, text: str) -> str:
        """Return the text without what tells who the user is."""
        text = _PARAMETER.sub(r"\1***", without_passwords(text))
        text = _TOKEN.sub(r"\1***@", text)
        for place in self._places():
            text = re.sub(place, "<home>", text, flags=re.IGNORECASE)
        text = _HOMES.sub(rf"\1{_USER}", text)
        if pattern := "|".join(map(re.escape, self._names())):
            text = re.sub(rf"(?<!\w)(?:{pattern})(?!\w)", _USER, text, flags=re.IGNORECASE)
        return text

    def _places(self) -> Iterator[str]:
        """Give patterns of the home folder, with either kind of slash, doubled or not."""
        for place in dict.fromkeys((str(self.home), os.path.realpath(self.home))):
            parts = [part for part in re.split(r"[\\/]+", place) if part]
            if parts and Path(place) != Path(Path(place).anchor):
                start = r"[\\/]+" if place[0] in "\\/" else ""
                # A longer name of another folder only begins in the same way.
                yield start + r"[\\/]+".join(map(re.escape, parts)) + r"(?![\w.-])"

    def _names(self) -> list[str]:
        found = {name for name in self.names if len(name) >= _SHORTEST}
        return sorted(found, key=len, reverse=True)


def of_this_user(names: Iterable[str] = ()) -> Redactor:
    """Return what blanks the present user, and further accounts by their names."""
    home = Path.home()
    variables = (os.environ.get(name) for name in ("USERNAME", "USER", "LOGNAME"))
    known = {home.name, *_short_names(home), *filter(None, variables), *names}
    # "DOMAIN\user" is the user's name too.
    return Redactor(tuple(sorted({name.rpartition("\\")[2] for name in known})), home)


def _short_names(home: Path) -> Iterator[str]:
    """Give the home folder's name as the variables of Windows shorten it: ``JANEDO~1``."""
    for variable in ("TEMP", "TMP"):
        place = Path(os.environ.get(variable, ""))
        if home.parent in place.parents and home != home.parent:
            yield place.relative_to(home.parent).parts[0]
