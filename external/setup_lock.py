"""One set-up at a time, and folders that it works in, which the next one sweeps."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

from external.places import UV_DIR
from external.telling import say

if TYPE_CHECKING:
    from collections.abc import Iterator

SCRATCH = ".setup-"  # how our temporary folders in external/UV begin


def try_lock(stream: IO[bytes]) -> bool:
    """Take the OS lock on an open file; the system gives it back however we end."""
    if sys.platform == "win32":
        import msvcrt

        try:
            stream.seek(0)
            msvcrt.locking(stream.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
    else:
        import fcntl

        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        # What we start inherits the lock: were we killed, the next start would otherwise work on
        # the environment while our uv still does.
        os.set_inheritable(stream.fileno(), True)
    return True


@contextmanager
def setup_lock() -> Iterator[None]:
    """Hold off other starts, then sweep what a killed one left."""
    UV_DIR.mkdir(parents=True, exist_ok=True)
    with (UV_DIR / ".lock").open("a+b") as stream:
        if not try_lock(stream):
            say("Another start is setting the app up; waiting for it ...")
            while not try_lock(stream):
                time.sleep(0.1)
        for left in UV_DIR.glob(SCRATCH + "*"):
            shutil.rmtree(left, ignore_errors=True)
        yield


@contextmanager
def scratch() -> Iterator[Path]:
    """Give a temporary folder on the same volume as what will be moved out of it."""
    folder = Path(tempfile.mkdtemp(prefix=SCRATCH, dir=UV_DIR))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
