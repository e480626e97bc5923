"""Deletes the user's data folder. The uninstaller of a release runs it when it was asked to.

Exit codes: 3 a program works with an environment, and nothing was removed; 6 something is left.
The last line printed says which.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from contextlib import suppress
from pathlib import Path

from envmanager import workers
from envmanager.data.paths import DataFolder
from envmanager.data.users import user_text
from ga3_nodes import home
from ga3_nodes.errors import GA3EnvError

PATIENCE_S = 10.0  # files of a worker that was just ended
IN_USE, NOT_ALL = 3, 6
# What the app puts into a data folder. One that was moved may by now hold files of others.
OURS = """
    client config.json config.lock demo disk.json disk-of-all.json downloads envs leases
    location.json logs modules move.json move.lock presets python reserve run samples settings.toml
    standin trash trusted.json uv-cache weights
""".split()
MARKS = ("config.json", "settings.toml")  # a folder with one of these is the app's


def users(root: Path) -> list[str]:
    """List who works with an environment."""
    data = DataFolder(root)
    modules = home.read_config(root)["modules"]
    return [
        f"{user_text(user)} uses {name}" for name in modules for user in workers.users(data, name)
    ]


def remove(paths: list[Path]) -> None:
    """Delete folders and files; again for a while where one is in use."""
    deadline = time.monotonic() + PATIENCE_S
    while left := [path for path in paths if os.path.lexists(path)]:
        for path in left:
            shutil.rmtree(path, ignore_errors=True)
            with suppress(OSError):  # it was a folder, or is in use
                path.unlink(missing_ok=True)
        if time.monotonic() >= deadline:
            return
        time.sleep(0.1)


def is_filled(folder: Path) -> bool:
    """Say whether a folder is still there with something in it; remove an empty one."""
    if not folder.is_dir():
        return False
    if any(folder.iterdir()):
        return True
    folder.rmdir()
    return False


def main() -> int:
    """End the workers, delete the data folder where it is now, then the place it belongs to."""
    place = home.user_root()
    try:
        root = home.located(place)
        if busy := users(root):
            print(f"{busy[0]}. Close it, then try again. Nothing was removed.")
            return IN_USE
        workers.stop(DataFolder(root), force=True)
    except GA3EnvError as error:  # on a disk that is not there
        remove([place])
        print(error.message)
        return NOT_ALL
    if root != place and any((root / mark).is_file() for mark in MARKS):
        remove([root / name for name in OURS])
    remove([place])
    left = [folder for folder in (root, place) if is_filled(folder)]
    if left:
        print(f"Some files were left in {left[0]}: they are in use, or not the app's.")
    return NOT_ALL if left else 0


if __name__ == "__main__":
    sys.exit(main())
