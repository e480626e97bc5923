"""Starts a module's worker ahead of the first call, so that the call finds it loaded.

A node does this while the user still looks at its dialog: nothing may wait for it, and nothing that
goes wrong may show. The call that follows tells what is wrong.
"""

from __future__ import annotations

import contextlib
import threading
import time

from ga3_nodes import client, home, records, spawn
from ga3_nodes.errors import GA3EnvError

_threads: dict[str, threading.Thread] = {}
_lock = threading.Lock()


def begin(module: str) -> None:
    """Start the worker of a module in a thread, unless one is at it."""
    with _lock:
        before = _threads.get(module)
        if before is None or not before.is_alive():
            _threads[module] = threading.Thread(
                target=_start, args=(module,), name=f"prewarm {module}", daemon=True
            )
            with contextlib.suppress(RuntimeError):  # the system has no thread to give
                _threads[module].start()


def _start(module: str) -> None:
    try:
        client.start(module)
    except Exception as error:
        with contextlib.suppress(OSError, GA3EnvError):
            _log(module, error)


def _log(module: str, error: Exception) -> None:
    """Leave a line in the worker's log."""
    if records.valid_name(module):
        log = home.log_dir(home.located(home.places()[0])) / f"worker-{module}.log"
        spawn.rotate(log)
        with log.open("a", encoding="utf-8") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} not started ahead: {error}\n")
