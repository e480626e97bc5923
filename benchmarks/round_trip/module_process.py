"""A process for each call that imports what a module's worker imports, before the trivial work."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.round_trip import measure, peer
from benchmarks.round_trip.transports import Shape
from ga3_nodes import spawn

_CALLS = 3


def row(folder: Path, module: dict[str, Any], shape: Shape, floor_ms: float) -> measure.Row:
    """Return the row of one installed module; the first call, which fills caches, is left out."""
    image, mask = measure.example(shape), np.zeros(shape, np.int32)
    there, back = str(folder / "image.npy"), str(folder / "mask.npy")
    command = [module["python"], "-s", *peer.ARGUMENTS, there, back, module["folder"]]
    environment = spawn.worker_environment(module["env"])
    quiet = subprocess.DEVNULL  # what a module prints is not our result
    times = []
    for _ in range(1 + _CALLS):
        started = time.perf_counter()
        np.save(there, image)
        subprocess.run(command, cwd=peer.PROJECT, check=True, env=environment, stdout=quiet)
        np.copyto(mask, np.load(back))
        times.append(time.perf_counter() - started)
    return {
        **measure.row("process_module", shape, times[1:], floor_ms),
        "module": module["name"],
    }
