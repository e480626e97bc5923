"""A process for each call that imports what the real work needs, before the trivial work."""

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
# What a script imports that uses a module's library without us; our `worker.py` may be faster.
_LIBRARIES = {
    "cellpose": "cellpose.models",
    "cellpose_sam": "cellpose.models",
    "stardist": "stardist.models",
}


def rows(folder: Path, module: dict[str, Any], shape: Shape, floor_ms: float) -> list[measure.Row]:
    """Return the rows of one installed module: ``worker.py``'s imports, and its library's own."""
    found = {"process_module": _times(folder, module, shape, "worker", module["folder"])}
    if library := _LIBRARIES.get(module["name"]):
        found["process_library"] = _times(folder, module, shape, "library", library)
    return [
        {**measure.row(name, shape, times, floor_ms), "module": module["name"]}
        for name, times in found.items()
    ]


def _times(folder: Path, module: dict[str, Any], shape: Shape, *before: str) -> list[float]:
    """Return what the calls took, in s, but for the first, which fills caches."""
    image, mask = measure.example(shape), np.zeros(shape, np.int32)
    there, back = str(folder / "image.npy"), str(folder / "mask.npy")
    command = [module["python"], "-s", *peer.ARGUMENTS, there, back, *before]
    environment = spawn.worker_environment(module["env"])
    quiet = subprocess.DEVNULL  # what a module prints is not our result
    times = []
    for _ in range(1 + _CALLS):
        started = time.perf_counter()
        np.save(there, image)
        subprocess.run(command, cwd=peer.PROJECT, check=True, env=environment, stdout=quiet)
        np.copyto(mask, np.load(back))
        times.append(time.perf_counter() - started)
    return times[1:]
