"""From a module's lock to the exact files for this machine: ``pylock.toml``, proven by hashes."""

from __future__ import annotations

import shutil
from pathlib import Path

from envmanager import lockfile
from envmanager.catalog import Module
from envmanager.uv import Uv


def resolve(lock: Path, uv: Uv, python: Path, *, fresh: bool = False) -> list[lockfile.Wheel]:
    """Resolve a generation's ``requirements.lock`` into the ``pylock.toml`` beside it.

    Parameters
    ----------
    fresh : bool
        First renew the lock: the newest versions that the ``pyproject.toml`` beside it allows.

    Raises
    ------
    ToolFailed
        uv cannot, most often for want of a network.
    InstallFailed
        The index offers a file that the lock does not know.
    """
    if fresh:
        uv.lock(lock.with_name("pyproject.toml"), lock)
    pylock = lock.with_name("pylock.toml")
    uv.resolve(lock, python, pylock)
    return lockfile.check(lock, pylock)


def plan(
    module: Module, uv: Uv, python: Path, folder: Path, *, fresh: bool = False
) -> list[lockfile.Wheel]:
    """Resolve in an empty `folder` what a build with this interpreter would install."""
    for name in ("requirements.lock", "pyproject.toml"):
        shutil.copyfile(module.folder / name, folder / name)
    return resolve(folder / "requirements.lock", uv, python, fresh=fresh)
