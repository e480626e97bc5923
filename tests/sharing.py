"""What is dear to make is made once for all processes of a test run."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ga3_nodes.locks import FileLock

PATIENCE_S = 1200


def once(tmp_path_factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """Return the folder `name`, which `make` has filled in whichever process came first.

    A `make` that fails is tried again by the next who asks.
    """
    place = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        place = place.parent  # that of the whole run
    folder, done = place / name, place / f"{name}.done"
    lock = FileLock(place / f"{name}.lock")
    assert lock.acquire(PATIENCE_S), f"another process still makes {name}"
    try:
        if not done.exists():
            folder.mkdir(exist_ok=True)
            make(folder)
            done.touch()
    finally:
        lock.release()
    return folder
