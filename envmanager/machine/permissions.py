"""Who may read and write the data folder of all accounts: looked at, and set.

What lies there runs in every account, so all may read it and only administrators may write it. On
Windows these are lists of who may do what (`acl`), elsewhere owner and mode.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from envmanager.events import CancelToken
from envmanager.machine import acl, windows
from ga3_nodes import owners

Kind = Literal["writable", "foreign", "unreadable", "private"]

# What accounts need not read: of administrators alone, or of the moment.
_OF_ADMINISTRATORS = frozenset(
    "run logs trash leases downloads uv-cache standin settings.toml reserve move.json".split()
)
_DEEP_ON_WINDOWS = 4  # folders; what lies deeper inherits, and asking for each file takes minutes
_ALL_READ, _ALL_RUN, _ONLY_OWNER = 0o644, 0o755, 0o700


@dataclass(frozen=True)
class Finding:
    """What is wrong with one file or folder.

    `kind` is ``writable`` (by others than administrators), ``foreign`` (another account owns it),
    ``unreadable`` (for others) or ``private`` (a Python in the home folder of an account).
    """

    kind: Kind
    path: Path
    text: str


def examine(
    root: Path, cancel: CancelToken, limit_s: float = 10.0, most: int = 1000
) -> list[Finding]:
    """Return what is wrong in a data folder of all accounts.

    Parameters
    ----------
    limit_s : float
        Seconds after which the rest is not looked at; the upper folders come first.
    most : int
        Findings that are enough.
    """
    deadline, found = time.monotonic() + limit_s, []
    for name, path, state in _walk(root):
        cancel.check()
        found += _findings(name, path, state)
        if len(found) >= most or time.monotonic() > deadline:
            break
    return found


def _findings(name: str, path: Path, state: os.stat_result) -> list[Finding]:
    if windows.IS_WINDOWS:
        return list(_of_list(name, path))
    return list(_of_mode(name, path, state))


def _of_mode(name: str, path: Path, state: os.stat_result) -> Iterator[Finding]:
    if state.st_uid != 0:
        yield Finding("foreign", path, f"belongs to the account {state.st_uid}")
    if _is_lock_of_uv(name):
        return
    if state.st_mode & stat.S_IWOTH and not state.st_mode & stat.S_ISVTX:
        yield Finding("writable", path, "can be changed by every account")
    elif state.st_mode & stat.S_IWGRP and state.st_gid != 0:
        yield Finding("writable", path, f"can be changed by the group {state.st_gid}")
    needed = stat.S_IROTH | (stat.S_IXOTH if stat.S_ISDIR(state.st_mode) else 0)
    if state.st_mode & needed != needed and not _is_of_administrators(name):
        yield Finding("unreadable", path, "cannot be read by the other accounts")


def _is_lock_of_uv(name: str) -> bool:
    """Tell a file that uv locks: it makes them writable for everybody, and reads nothing in them.

    They lie in its cache, in each virtual environment, and beside the Pythons that it manages.
    """
    file = name.rpartition("/")[2]
    return file == ".lock" or (name.startswith("uv-cache/") and file.endswith(".lock"))


def _of_list(name: str, path: Path) -> Iterator[Finding]:
    rights = acl.read(path)
    if rights is None:
        return
    if not owners.is_administrator(rights.owner):
        yield Finding("foreign", path, f"belongs to the account {rights.owner}")
    if rights.writers:
        yield Finding("writable", path, f"can be changed by {', '.join(rights.writers)}")
    if not rights.readable and not _is_of_administrators(name):
        yield Finding("unreadable", path, "cannot be read by the other accounts")


def _is_of_administrators(name: str) -> bool:
    top = name.partition("/")[0]
    return top in _OF_ADMINISTRATORS or top.endswith((".lock", ".tmp"))


def _walk(root: Path) -> Iterator[tuple[str, Path, os.stat_result]]:
    """Yield what lies in a folder, and itself: the upper folders first, and no links."""
    yield "", root, root.lstat()
    level = [("", root, 0)]
    for above, folder, depth in level:  # grows meanwhile
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError:
            continue  # for administrators only; its own line tells where it should not be
        for entry in entries:
            name = f"{above}/{entry.name}" if above else entry.name
            state = entry.stat(follow_symlinks=False)
            if entry.is_dir(follow_symlinks=False) and not _is_link(state):
                yield name, Path(entry.path), state
                if not windows.IS_WINDOWS or depth < _DEEP_ON_WINDOWS:
                    level.append((name, Path(entry.path), depth + 1))
            elif stat.S_ISREG(state.st_mode):
                yield name, Path(entry.path), state


def _is_link(state: os.stat_result) -> bool:
    return bool(getattr(state, "st_reparse_tag", 0))


# ---- setting them --------------------------------------------------------------------------------


def found(root: Path) -> None:
    """Make a data folder of all accounts that only administrators may write."""
    if not root.is_dir():
        root.mkdir(parents=True)
        close(root)


def close(root: Path) -> None:
    """Let only administrators write a folder, and all accounts read it.

    On Windows all that is made in it from now on inherits that.

    Raises
    ------
    OSError
        The system refuses.
    """
    if windows.IS_WINDOWS:
        acl.close(root)
    else:
        os.chown(root, 0, 0)
        root.chmod(_ALL_RUN)


def hide(folder: Path) -> None:
    """Let only administrators use a folder until it is closed; on Windows close it at once.

    Raises
    ------
    OSError
        The system refuses.
    """
    if windows.IS_WINDOWS:
        close(folder)
    else:
        os.chown(folder, 0, 0)
        folder.chmod(_ONLY_OWNER)


def give(folder: Path, owner: os.stat_result) -> None:
    """Give what an administrator has written in an account's folder to that account."""
    if windows.IS_WINDOWS or not owners.is_elevated() or owner.st_uid == 0:
        return
    for above, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(above, name)
            if path.lstat().st_uid == 0:
                os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)


def mend_below(root: Path, cancel: CancelToken) -> None:
    """Set owner and permissions of all that lies in a data folder of all accounts.

    Raises
    ------
    OSError
        The system refuses.
    """
    for name, path, state in _walk(root):
        cancel.check()
        if name and windows.IS_WINDOWS:
            if _findings(name, path, state):
                acl.inherit(path)
        elif name and not _is_of_administrators(name):
            _set_mode(path, state)
        elif name:
            _take(path, state)


def _set_mode(path: Path, state: os.stat_result) -> None:
    _take(path, state)
    runs = stat.S_ISDIR(state.st_mode) or state.st_mode & 0o111
    mode = _ALL_RUN if runs else _ALL_READ
    if stat.S_IMODE(state.st_mode) != mode:
        path.chmod(mode)


def _take(path: Path, state: os.stat_result) -> None:
    """Make a file the administrator's; what only he reads stays so."""
    if (state.st_uid, state.st_gid) != (0, 0):
        os.chown(path, 0, 0, follow_symlinks=False)
    if state.st_mode & 0o022 and not state.st_mode & stat.S_ISVTX:
        path.chmod(stat.S_IMODE(state.st_mode) & ~0o022)


def is_private(path: Path) -> bool:
    """Tell whether other accounts cannot run a program: it lies in a folder of one account."""
    real = path.resolve()
    if windows.IS_WINDOWS:
        return Path.home().resolve().parent in real.parents
    try:
        folders = [folder.stat().st_mode for folder in real.parents]
        return not real.stat().st_mode & stat.S_IXOTH or any(
            not mode & stat.S_IXOTH for mode in folders
        )
    except OSError:
        return False
