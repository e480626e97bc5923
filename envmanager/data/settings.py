"""``settings.toml``: typed and checked; rewritten without losing the user's comments."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import tomlkit
import tomlkit.exceptions

from envmanager.data import files, fulldisk, values
from envmanager.data.values import Kind
from envmanager.errors import SettingsError
from ga3_nodes import locks

_WEEK_S = 7 * 24 * 3600


def _setting(default: Any, kind: Kind, text: str) -> Any:
    return field(default=default, metadata={"kind": kind, "help": text})


@dataclass(frozen=True)
class Settings:
    """The user's settings, each with its default; an empty text or list means "not set"."""

    index_url: str = _setting("", values.url(), "package index instead of the usual one")
    extra_index_urls: tuple[str, ...] = _setting(
        (), values.several(values.url()), "package indexes to look into first"
    )
    find_links: tuple[str, ...] = _setting(
        (),
        values.several(values.url(folder=True)),
        "folders or pages with wheels, such as a USB stick",
    )
    constraints: tuple[str, ...] = _setting(
        (), values.several(values.requirement()), "version constraints, such as torch==2.13.0"
    )
    torch_index: str = _setting(
        "https://download.pytorch.org/whl",
        values.url(folder=True),
        "index or folder of PyTorch's builds, with a part for each backend",
    )
    offline: bool = _setting(False, values.flag(), "never use the network")
    proxy: str = _setting(
        "",
        values.url(("http", "https", "socks5", "socks5h")),
        "proxy for all connections, such as http://proxy:8080",
    )
    certificates: str = _setting(
        "",
        values.certificates(),
        "certificates to trust in place of the usual ones; system: those of this computer",
    )
    python: str = _setting("", values.python(), "Python for new environments: a version or a path")
    python_source: str = _setting(
        "any",
        values.choice("any", "system", "managed"),
        "any: of this computer, else downloaded; system: never downloaded; managed: always",
    )
    python_mirror: str = _setting(
        "", values.url(folder=True), "where downloaded Pythons come from, instead of GitHub"
    )
    nis_python: str = _setting(
        "", values.folder(), "folder of NIS-Elements' own Python, where it is not found by itself"
    )
    cache_dir: str = _setting(
        "", values.folder(), "cache of downloads; on the data folder's volume it costs no space"
    )
    resumable_downloads_above_mb: int = _setting(
        20,
        values.number(0, 1_000_000, " MB; 0 is never"),
        "wheels of at least so many MB are downloaded so that they go on where they broke off",
    )
    generations_kept: int = _setting(
        1, values.number(0, 50), "older environments of a module to keep for a rollback"
    )
    auto_install: bool = _setting(
        False, values.flag(), "a node whose module is not installed installs it at its first run"
    )
    idle_timeout_s: int = _setting(
        0,
        values.number(0, _WEEK_S, " seconds; 0 is the module's own time"),
        "seconds without a call after which a worker ends; 0: the module's own",
    )
    author: str = _setting(
        "", values.line(200), "your name, which stands in the modules that you export"
    )


NAMES = tuple(f.name for f in fields(Settings))
_FIELDS = {f.name: f for f in fields(Settings)}


def help_text(name: str) -> str:
    """Return one line about a setting."""
    return str(_FIELDS[name].metadata["help"])


def kind(name: str) -> Kind:
    """Return what a setting can hold."""
    found: Kind = _FIELDS[name].metadata["kind"]
    return found


def load(path: Path) -> Settings:
    """Read the settings; an absent file gives the defaults.

    Raises
    ------
    SettingsError
        The file is no TOML, holds an unknown name or a value that the setting cannot take.
    """
    try:
        found = tomlkit.parse(path.read_text("utf-8")).unwrap()
    except FileNotFoundError:
        return Settings()
    except (OSError, ValueError, tomlkit.exceptions.TOMLKitError, RecursionError) as error:
        raise SettingsError(
            f"{path} cannot be read: {error}.", "Correct the file, or rename it for the defaults."
        ) from error
    return Settings(**{name: _checked(name, value, path.name) for name, value in found.items()})


def change(path: Path, name: str, words: Sequence[str]) -> Settings:
    """Set one setting from the words of a command line (none: back to the default) and save.

    Raises
    ------
    SettingsError
        The setting does not exist, cannot take the value, or a file that it names is not there.
    """
    refuse_unknown(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    with locks.FileLock(path.with_suffix(".lock")):  # the app and a command may change it at once
        load(path)  # a broken file is not overwritten
        _rewrite(path, name, words)
        return load(path)


def _rewrite(path: Path, name: str, words: Sequence[str]) -> None:
    document = tomlkit.parse(path.read_text("utf-8")) if path.exists() else tomlkit.document()
    if words:
        value = _checked(name, kind(name).parse(values.absolute(kind(name), words)), "")
        look(name, value)
        document[name] = list(value) if isinstance(value, tuple) else value
    else:
        document.pop(name, None)
    fulldisk.with_reserve(path.parent, lambda: files.write_text(path, tomlkit.dumps(document)))


def look(name: str, value: Any) -> None:
    """Look for the files that a value names.

    Raises
    ------
    SettingsError
        One of them is missing or is not what it should be.
    """
    if wrong := kind(name).look(value):
        raise SettingsError(
            f"The setting {name} cannot be used: {wrong}.",
            f"Correct it with ./run settings {name} VALUE, or drop it with --unset.",
        )


def refuse_unknown(name: str, where: str = "") -> None:
    """Raise SettingsError for a name that is none, with the nearest one."""
    if name in NAMES:
        return
    near = difflib.get_close_matches(name, NAMES, 1, 0.5)
    raise SettingsError(
        f"{where and where + ': '}there is no setting {name!r}.",
        f"Did you mean {near[0]}?" if near else f"Settings: {', '.join(NAMES)}.",
    )


def as_dict(settings: Settings) -> dict[str, Any]:
    """Return the settings as plain values."""
    return asdict(settings)


def cache_dir(path: Path) -> Path | None:
    """Return where the user wants the cache of downloads, as far as the file can be read."""
    chosen = _one(path, "cache_dir")
    return Path(chosen) if chosen else None


def resumable_above(path: Path) -> int:
    """Return from how many bytes on a wheel's download can be resumed, 0 for none.

    As far as the file can be read, else the default.
    """
    chosen = _one(path, "resumable_downloads_above_mb", Settings.resumable_downloads_above_mb)
    return int(chosen) * 1_000_000


def auto_install(path: Path) -> bool:
    """Tell whether nodes may install what they lack, as far as the file can be read."""
    return bool(_one(path, "auto_install"))


def author(path: Path) -> str:
    """Return the name that stands in exported modules, as far as the file can be read."""
    return str(_one(path, "author", ""))


def _one(path: Path, name: str, default: Any = None) -> Any:
    """Return one setting, the default where it is not set.

    Unlike `load` it never fails: what only shows or publishes things needs no valid settings.
    """
    try:
        chosen = tomllib.loads(path.read_text("utf-8")).get(name)
        return kind(name).check(chosen) if chosen not in (None, "") else default
    except (OSError, ValueError, RecursionError):
        return default


def _checked(name: str, value: Any, where: str) -> Any:
    refuse_unknown(name, where)
    try:
        return kind(name).check(value)
    except ValueError as error:
        raise SettingsError(
            f"{where and where + ': '}{name} cannot be {value!r}.",
            f"It takes {kind(name).takes}; the default is {_shown(_FIELDS[name].default)}.",
        ) from error


def _shown(default: Any) -> str:
    return "empty" if default in ((), "") else str(default)
