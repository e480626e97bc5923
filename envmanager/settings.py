"""``settings.toml``: typed and checked; rewritten without losing the user's comments."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import tomlkit
import tomlkit.exceptions

from envmanager import files
from envmanager.errors import SettingsError


@dataclass(frozen=True)
class Settings:
    """The user's settings, each with its default."""

    find_links: tuple[str, ...] = field(
        default=(), metadata={"help": "folders or pages with wheels, such as a USB stick"}
    )
    constraints: tuple[str, ...] = field(
        default=(), metadata={"help": "version constraints, such as torch==2.13.0"}
    )
    index_url: str = field(default="", metadata={"help": "package index instead of the usual one"})
    extra_index_urls: tuple[str, ...] = field(
        default=(), metadata={"help": "package indexes to look into first"}
    )
    offline: bool = field(default=False, metadata={"help": "never use the network"})
    python: str = field(
        default="", metadata={"help": "Python for new environments: a version or a path"}
    )
    generations_kept: int = field(
        default=1, metadata={"help": "older environments of a module to keep for a rollback"}
    )


def help_text(name: str) -> str:
    """Return one line about a setting."""
    return next(str(f.metadata["help"]) for f in fields(Settings) if f.name == name)


def load(path: Path) -> Settings:
    """Read the settings; an absent file gives the defaults.

    Raises
    ------
    SettingsError
        The file is no TOML, holds an unknown name or a value of a wrong type.
    """
    try:
        values = tomlkit.parse(path.read_text("utf-8")).unwrap()
    except FileNotFoundError:
        return Settings()
    except (OSError, ValueError, tomlkit.exceptions.ParseError) as error:
        raise SettingsError(
            f"{path} cannot be read: {error}.", "Correct the file, or rename it for the defaults."
        ) from error
    return Settings(**{name: _checked(name, value, path) for name, value in values.items()})


def change(path: Path, name: str, texts: list[str]) -> Settings:
    """Set one setting from the words of a command line (none: back to the default) and save.

    Raises
    ------
    SettingsError
        The setting does not exist or cannot take the value.
    """
    load(path)  # a broken file is not overwritten
    value = _checked(name, _from_words(name, texts), path) if texts else None
    document = tomlkit.parse(path.read_text("utf-8")) if path.exists() else tomlkit.document()
    if value is None:
        document.pop(_known(name, path), None)
    else:
        document[name] = list(value) if isinstance(value, tuple) else value
    files.write_text(path, tomlkit.dumps(document))
    return load(path)


def as_dict(settings: Settings) -> dict[str, Any]:
    """Return the settings as plain values."""
    return asdict(settings)


def _known(name: str, path: Path) -> str:
    names = [f.name for f in fields(Settings)]
    if name not in names:
        raise SettingsError(
            f"{path.name}: there is no setting {name!r}.", f"Settings: {', '.join(names)}."
        )
    return name


def _checked(name: str, value: Any, path: Path) -> Any:
    default = getattr(Settings(), _known(name, path))
    if isinstance(default, tuple):
        fits = isinstance(value, list) and all(isinstance(item, str) for item in value)
        value = tuple(value) if fits else value
    elif isinstance(default, bool) or not isinstance(default, int):
        fits = type(value) is type(default)
    else:
        fits = type(value) is int and value >= 0
    if not fits:
        raise SettingsError(
            f"{path.name}: {name} cannot be {value!r}.",
            f"It takes {_kind(default)}; the default is {_shown(default)}.",
        )
    return value


def _from_words(name: str, words: list[str]) -> Any:
    default = getattr(Settings(), name, None)
    if isinstance(default, tuple):
        return words
    text = " ".join(words)
    if isinstance(default, bool):
        return {"true": True, "false": False}.get(text.lower(), text)
    if isinstance(default, int):
        return int(text) if text.isdecimal() else text
    return text


def _kind(default: Any) -> str:
    if isinstance(default, bool):
        return "true or false"
    if isinstance(default, int):
        return "a whole number"
    return "a list of texts" if isinstance(default, tuple) else "a text"


def _shown(default: Any) -> str:
    return "an empty list" if default == () else repr(default)
