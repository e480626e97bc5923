"""Deletes the user's data folder. The uninstaller of a release runs it when it was asked to."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from envmanager import workers
from envmanager.data.paths import DataFolder
from ga3_nodes import home
from ga3_nodes.errors import GA3EnvError

PATIENCE_S = 10.0  # files of a worker that was just ended


def remove(folder: Path) -> None:
    """Delete a folder, again for a while where files are still in use."""
    deadline = time.monotonic() + PATIENCE_S
    while folder.is_dir() and time.monotonic() < deadline:
        shutil.rmtree(folder, ignore_errors=True)
        time.sleep(0.1)


def main() -> None:
    """End the workers, delete the data folder where it is now, then the place it belongs to."""
    place = home.user_root()
    try:
        root = home.located(place)
        workers.stop(DataFolder(root), force=True)
    except GA3EnvError as error:  # on a disk that is not there
        print(error.message)
        root = place
    if (root / "config.json").is_file():  # a folder of ours
        remove(root)
    remove(place)


if __name__ == "__main__":
    main()
