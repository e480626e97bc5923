"""The data folders that this account uses, and which of them it may change.

Commands change the account's own data folder. Besides, modules, weights and environments are found
in the one that all accounts of the computer share, which only administrators may change.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from envmanager.data.paths import DataFolder, data_folder
from envmanager.errors import ConfigError, NotInstalled, NotWritable
from ga3_nodes import home, owners

_ALONE = "./run install MODULE (without GA3ENV_MACHINE_WIDE and --all-accounts)"
_READABLE = 0o022  # all may read what is made, and only its owner may write it


@dataclass(frozen=True)
class Access:
    """What this account may do in a data folder.

    Attributes
    ----------
    shared : bool
        It is the data folder of all accounts of the computer.
    may_change : bool
        This account may write there.
    reason, hint : str
        Why not, in a sentence, and what can be done instead; empty where it may.
    """

    root: Path
    shared: bool
    may_change: bool
    reason: str = ""
    hint: str = ""


def access(data: DataFolder) -> Access:
    """Ask the system what this account may do in a data folder, which need not exist."""
    shared = home.is_shared(data.root)
    if shared:
        try:
            owners.refuse_unsafe(data.root)
        except ConfigError as error:
            if not owners.is_elevated():
                return Access(data.root, shared, False, error.message, error.hint)
    made = not shared or data.root.is_dir() or owners.is_elevated()  # Windows lets everybody
    if made and all(map(home.may_write, _asked(data.root))):
        return Access(data.root, shared, True)
    if not shared:
        return Access(
            data.root,
            shared,
            False,
            f"This account may not write the data folder {data.root}.",
            "Correct its permissions, or choose a folder of your own with the variable "
            "GA3ENV_HOME.",
        )
    return Access(
        data.root,
        shared,
        False,
        f"The data folder {data.root} is for all accounts of this computer, and this one may not "
        "change it.",
        "An administrator can, in an app or a command prompt started as administrator. Or have the "
        f"module for yourself alone: {_ALONE}",
    )


def _asked(root: Path) -> list[Path]:
    """Return the folders that must be writable: what is there of those that commands change."""
    nearest = root
    while not nearest.is_dir() and nearest != nearest.parent:
        nearest = nearest.parent
    return [nearest, *filter(Path.is_dir, [root / "envs"])]


@contextmanager
def readable_by_all(data: DataFolder) -> Iterator[None]:
    """Make files that all accounts can read in their data folder, whatever the umask says."""
    if not home.is_shared(data.root):
        yield
        return
    before = os.umask(_READABLE)
    try:
        yield
    finally:
        os.umask(before)


def require(data: DataFolder) -> None:
    """Refuse what this account may not do, before anything is begun.

    Raises
    ------
    NotWritable
        It may not change the data folder.
    """
    found = access(data)
    if not found.may_change:
        raise NotWritable(found.reason, found.hint)


def shared_folder() -> DataFolder | None:
    """Return the data folder of all accounts, where there is one beside the account's own."""
    places = home.places()
    if len(places) == 1:
        return None
    try:
        root = home.trusted(places[1])
        if root == home.located(places[0]):
            return None
    except ConfigError:  # nodes do not use it either; the checklist says why
        return None
    return DataFolder(root) if (root / "config.json").is_file() else None


def folders() -> list[DataFolder]:
    """Return the account's own data folder, then the one of all accounts where there is one."""
    return [data_folder(), *filter(None, [shared_folder()])]


def of_module(name: str) -> DataFolder:
    """Return the data folder whose environment of a module this account uses.

    That is its own where the module is ready there, else the one of all accounts where it is
    there, else its own.
    """
    own, shared = data_folder(), shared_folder()
    if shared is None:
        return own
    try:
        return shared if home.published(name).root == shared.root else own
    except (ConfigError, NotInstalled):
        listed = [name in home.read_config(folder.root)["modules"] for folder in (own, shared)]
        return shared if listed == [False, True] else own
