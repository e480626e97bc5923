"""The folders of the user's own modules, ``DATA/modules/<name>/``: whole, or as they were.

A folder is made beside its place, as ``.<name>.new``, and two renames put it there; in between the
one before is ``.<name>.old``. All this happens under the lock of the module's writer, so that no
install reads half of each. What a kill interrupts, the next command mends (`mend`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from envmanager.data import access, files, fulldisk, writers
from envmanager.data.paths import DataFolder
from envmanager.errors import ConfigError, ModuleInUse, NotWritable
from envmanager.events import Report
from ga3_nodes import home, records

_NEW, _OLD = ".new", ".old"


@contextmanager
def staging(data: DataFolder, name: str, what: str, report: Report) -> Iterator[Path]:
    """Be the module's only writer; yield an empty folder, which is gone at the end.

    Raises
    ------
    NotWritable
        This account may not change the data folder.
    ModuleInUse
        Another command is changing the module.
    ConfigError
        The folder of the user's modules cannot be written.
    """
    access.require(data)
    _prove_writable(data)
    with writers.sole(data, name, what, report), fulldisk.named(data.root):
        folder = _beside(data, name, _NEW)
        _mend(data, name)
        files.discard(folder, data.trash)
        folder.mkdir()
        try:
            yield folder
        finally:
            files.discard(folder, data.trash)


def put(data: DataFolder, name: str, staged: Path) -> None:
    """Make a staged folder the module's; the one before goes. Needs `staging`.

    Raises
    ------
    ModuleInUse
        Windows cannot rename the folder, since a program has a file of it open; it is as it was.
    """
    place, old = data.user_modules / name, _beside(data, name, _OLD)
    try:
        if place.exists():
            home.patiently(lambda: place.rename(old))
        home.patiently(lambda: staged.rename(place))
    except PermissionError as error:
        raise ModuleInUse(
            f"{place} cannot be replaced: a program has it open.",
            "Close the editors and windows that show it, then run the command again.",
        ) from error
    finally:
        _mend(data, name)


def mend(data: DataFolder) -> None:
    """Finish or undo what a command that was killed left; what is being worked on stays."""
    for leftover in data.user_modules.glob(".*.*"):
        name = leftover.stem.removeprefix(".")
        if leftover.suffix not in (_NEW, _OLD) or not records.valid_name(name):
            continue
        # A read-only data folder, or a writer that is quicker: the present command does without.
        with contextlib.suppress(OSError, ModuleInUse, NotWritable):
            if not writers.present(data, name):
                with writers.sole(data, name, "mend"):
                    _mend(data, name)
                    files.discard(_beside(data, name, _NEW), data.trash)


def _mend(data: DataFolder, name: str) -> None:
    """Put the old folder back where nothing is in its place; else it is not needed any more."""
    place, old = data.user_modules / name, _beside(data, name, _OLD)
    if not old.exists():
        return
    if place.exists():
        files.discard(old, data.trash)
    else:
        home.patiently(lambda: old.rename(place))


def _beside(data: DataFolder, name: str, suffix: str) -> Path:
    return data.user_modules / f".{name}{suffix}"


def _prove_writable(data: DataFolder) -> None:
    """Write: the permission bits alone say little on Windows."""
    probe = data.user_modules / ".probe"
    try:
        with fulldisk.named(data.root), access.readable_by_all(data):
            data.user_modules.mkdir(parents=True, exist_ok=True)
            home.patiently(lambda: probe.write_bytes(b""))
            probe.unlink(missing_ok=True)
    except OSError as error:
        raise ConfigError(
            f"{data.user_modules} cannot be written: {error.strerror or error}.",
            "Correct its permissions, or set GA3ENV_HOME to a data folder of your own.",
            code="modules_not_writable",
        ) from error
