"""What a setting can hold: each kind checks a value and says in words what it takes."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version

_T = TypeVar("_T")
_URL = re.compile(r"^[a-z][a-z0-9+.-]+://", re.IGNORECASE)


@dataclass(frozen=True)
class Kind:
    """One kind of value.

    Attributes
    ----------
    takes : str
        What is allowed, as the end of the sentence "It takes ...".
    check : callable
        Returns the value as the engine uses it; raises ValueError where it does not fit. The value
        is what stands in the file.
    parse : callable
        Makes a value for `check` from the words of a command line.
    look : callable
        Looks for the files that a value names; returns what is wrong with them, else "". Asked when
        a value is set, not when it is read: a USB stick that is not plugged in is no damage.
    item : Kind, optional
        The kind of a list's items.
    options : tuple of str
        All values of a choice, for forms.
    limits : (int, int), optional
        The least and the highest number, for forms.
    """

    takes: str
    check: Callable[[Any], Any]
    parse: Callable[[Sequence[str]], Any] = " ".join
    look: Callable[[Any], str] = lambda value: ""
    item: Kind | None = None
    options: tuple[str, ...] = ()
    limits: tuple[int, int] | None = None


def flag() -> Kind:
    """Take true or false."""

    def check(value: Any) -> Any:
        return _require(isinstance(value, bool), value)

    words = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
    return Kind(
        "true or false",
        check,
        lambda given: words.get(" ".join(given).lower(), " ".join(given)),
    )


def number(low: int, high: int, unit: str = "") -> Kind:
    """Take a whole number of a range."""

    def check(value: Any) -> Any:
        return _require(type(value) is int and low <= value <= high, value)

    def parse(given: Sequence[str]) -> Any:
        text = " ".join(given)
        return int(text) if re.fullmatch(r"-?[0-9]{1,18}", text) else text

    takes = f"a whole number from {low} to {high}{unit}"
    return Kind(takes, check, parse, limits=(low, high))


def choice(*options: str) -> Kind:
    """Take one of a few words."""
    takes = f"one of {', '.join(options)}"
    return Kind(takes, lambda value: _require(value in options, value), options=options)


def url(schemes: Sequence[str] = ("http", "https", "file"), *, folder: bool = False) -> Kind:
    """Take an address, or also the full path of a folder."""
    takes = "an address that begins with " + " or ".join(f"{scheme}://" for scheme in schemes)
    takes += ", or the full path of a folder" if folder else ""

    def check(value: Any) -> str:
        text = _text(value)
        if folder and text and not _URL.match(text):
            return _require(Path(text).is_absolute(), text)
        return _require(not text or _is_url(text, schemes), text)

    return Kind(takes, check, look=_missing)


def line(longest: int) -> Kind:
    """Take one line of text that can be printed."""

    def check(value: Any) -> str:
        text = _text(value)
        return _require(len(text) <= longest and (not text or text.isprintable()), text)

    return Kind(f"one line of text, up to {longest} characters", check)


def folder() -> Kind:
    """Take the full path of a folder, which need not exist yet."""

    def check(value: Any) -> str:
        text = _text(value)
        return _require(not text or Path(text).is_absolute(), text)

    return Kind("the full path of a folder", check)


def certificates() -> Kind:
    """Take the full path of a file of certificates, or ``system``."""
    takes = "the full path of a file of certificates (PEM), or system"

    def check(value: Any) -> str:
        text = _text(value)
        return _require(text in ("", "system") or Path(text).is_absolute(), text)

    return Kind(takes, check, look=_no_certificates)


def python() -> Kind:
    """Take a version of Python, a range of versions, or the full path of an interpreter."""

    def check(value: Any) -> str:
        text = _text(value)
        return _require(not text or Path(text).is_absolute() or _is_version(text), text)

    takes = "a version such as 3.12, a range such as >=3.10,<3.13, or a full path"
    return Kind(takes, check, look=_missing)


def requirement() -> Kind:
    """Take a version constraint of a package."""

    def check(value: Any) -> str:
        text = _text(value)
        try:
            parsed = Requirement(text)
        except InvalidRequirement as error:
            raise ValueError(text) from error
        return _require(not parsed.url and not parsed.extras, text)

    return Kind("a constraint such as torch==2.13.0", check)


def several(kind: Kind) -> Kind:
    """Take a list of values of another kind; the engine gets a tuple."""

    def check(value: Any) -> Any:
        _require(isinstance(value, (list, tuple)), value)
        return tuple(kind.check(_require(item != "", item)) for item in value)

    def look(value: Any) -> str:
        return next(filter(None, map(kind.look, value)), "")

    return Kind(f"a list, each item {kind.takes}", check, list, look, kind)


def absolute(kind: Kind, words: Sequence[str]) -> list[str]:
    """Write out the words of a command line that fit only as paths from the current folder."""
    return [_absolute(kind.item or kind, word) for word in words]


def _absolute(kind: Kind, word: str) -> str:
    full = str(Path(word).absolute())
    fits = _fits(kind, word) or not Path(full).exists() or not _fits(kind, full)
    return word if fits else full


def _fits(kind: Kind, value: Any) -> bool:
    try:
        kind.check(value)
    except ValueError:
        return False
    return True


def _missing(value: str) -> str:
    place = local_place(value)
    return f"there is no {place}" if place and not place.exists() else ""


def _no_certificates(value: str) -> str:
    place = local_place(value)
    if not place:
        return ""
    try:
        found = b"-----BEGIN CERTIFICATE-----" in place.read_bytes()
    except OSError as error:
        return f"{place} cannot be read ({error.strerror})"
    return "" if found else f"{place} holds no certificate in PEM format"


def local_place(text: str) -> Path | None:
    """Return the file or folder of this computer that a path or a ``file:`` address names."""
    if not _URL.match(text):
        return Path(text) if Path(text).is_absolute() else None
    parts = urlsplit(text)
    if parts.scheme.lower() != "file":
        return None
    # file:///C:/wheels has the path /C:/wheels.
    return Path(re.sub(r"^/(?=[A-Za-z]:)", "", unquote(parts.path)))


def _is_url(text: str, schemes: Sequence[str]) -> bool:
    try:
        parts = urlsplit(text)
        port_fits = parts.port is None or parts.port > 0
    except ValueError:  # a port that is no number, a broken IPv6 address
        return False
    if parts.scheme.lower() not in schemes or not port_fits or re.search(r"\s", text):
        return False
    return bool(parts.path) if parts.scheme.lower() == "file" else bool(parts.hostname)


def _is_version(text: str) -> bool:
    try:
        return bool(Version(text.removeprefix("cpython@").removeprefix("cpython-")))
    except InvalidVersion:
        pass
    try:
        return bool(SpecifierSet(text))
    except InvalidSpecifier:
        return False


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(value)
    return _require("\n" not in value and value == value.strip(), value)


def _require(fits: bool, value: _T) -> _T:
    if not fits:
        raise ValueError(value)
    return value
