"""The other process of the transports that are neither ours nor Appose's.

``python -m benchmarks.round_trip.peer``, in the project's folder: without arguments it lives on and
answers JSON lines; ``IMAGE.npy MASK.npy`` is one call. With ``worker MODULE_FOLDER`` behind them it
loads that folder's ``worker.py`` first, with ``library NAME`` it imports a package.
"""

from __future__ import annotations

import importlib
import json
import sys
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.round_trip import work

PROJECT = Path(__file__).resolve().parents[2]
ARGUMENTS = ["-m", "benchmarks.round_trip.peer"]
DONE = b"done\n"


def array(segment: Any, shape: tuple[int, ...], dtype: type[np.generic]) -> np.ndarray:
    """Return a segment's memory as an array; its first bytes are the segment's own."""
    return np.frombuffer(segment.memory, dtype, prod(shape), 64).reshape(shape)


def with_files(image: str, mask: str) -> None:
    """Read the image from a file, write the mask to one."""
    np.save(mask, work.segment(np.load(image)).astype(np.int32))


def live_on() -> None:
    """Answer until stdin ends."""
    from ga3_nodes import shm

    for line in sys.stdin.buffer:
        match json.loads(line):
            case {"from": "files", "image": image, "mask": mask}:
                with_files(image, mask)
            case {"from": "memory", "image": image, "mask": mask, "shape": sizes}:
                shape = tuple(sizes)
                there, back = shm.attach(image), shm.attach(mask)
                work.segment_into(array(there, shape, np.uint16), array(back, shape, np.int32))
        sys.stdout.buffer.write(DONE)
        sys.stdout.buffer.flush()


def once(image: str, mask: str, before: str = "", name: str = "") -> None:
    """Do one call, and before it the imports of a module's ``worker.py`` or of its library."""
    if before == "worker":
        from ga3_nodes import functions

        functions.load_worker(Path(name), functions.read_declaration(Path(name)))
    elif before == "library":
        importlib.import_module(name)
    with_files(image, mask)


if __name__ == "__main__":
    once(*sys.argv[1:]) if len(sys.argv) > 1 else live_on()
