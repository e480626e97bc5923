"""Time to the first mask and of a warm call: a module's worker beside its library as shipped.

`.venv/bin/python benchmarks/modules.py MODULE MODEL [SIDE]`, with the module installed in the data
folder in use. MODEL is the full path of its weights, SIDE the image's side in pixels (512). The
library runs in the module's own Python, started anew, as a script of a user would run it.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from ga3_nodes import client, home, records
from ga3_nodes.spawn import worker_environment

REPEATS = 5
DIAMETER = 30.0  # px
AS_SHIPPED = {
    "cellpose": """
import json, sys, time
import numpy as np
from cellpose import models
model = models.CellposeModel(gpu=False, pretrained_model=sys.argv[2])
image = np.load(sys.argv[1])
seconds = []
for _ in range(int(sys.argv[4]) + 1):
    began = time.perf_counter()
    model.eval(image, channels=[0, 0], diameter=float(sys.argv[3]))
    seconds.append(time.perf_counter() - began)
print(json.dumps(seconds[1:]))
""",
}


def picture(side: int) -> np.ndarray:
    """Return an image (y, x) of uint16 with blurred discs on a grid, and noise."""
    y, x = np.indices((side, side)) % 40 - 20.0
    image = 200 + 1000 * np.clip((15 - np.hypot(y, x)) / 3, 0, 1)
    image += np.random.default_rng(0).normal(0, 20, image.shape)
    return image.clip(0).astype(np.uint16)


def as_shipped(entry: home.ModuleEntry, model: str, image: np.ndarray) -> tuple[float, float]:
    """Return the seconds to the first mask and of a later call, with the library only."""
    with tempfile.TemporaryDirectory() as folder:
        np.save(f"{folder}/image.npy", image)
        words = [f"{folder}/image.npy", model, str(DIAMETER), str(REPEATS)]
        began = time.perf_counter()
        done = subprocess.run(
            [entry.python, "-X", "utf8", "-c", AS_SHIPPED[entry.name], *words],
            env=worker_environment(entry.env),
            capture_output=True,
            encoding="utf-8",
            check=True,
        )
        whole = time.perf_counter() - began
    later = [float(seconds) for seconds in json.loads(done.stdout.splitlines()[-1])]
    return whole - sum(later), statistics.median(later)


def as_module(entry: home.ModuleEntry, model: str, image: np.ndarray) -> tuple[float, float]:
    """Return the seconds to the first mask and of a later call, with a worker started anew."""
    for _, record in records.live(entry.root):
        if record.module == entry.name:
            client.stop(record)
    seconds = []
    for _ in range(REPEATS + 1):
        began = time.perf_counter()
        parameters = {"model": model, "diameter": DIAMETER}
        client.call(entry.name, "segment", {"image": image}, parameters)
        seconds.append(time.perf_counter() - began)
    return seconds[0], statistics.median(seconds[1:])


def main() -> None:
    """Print a table, in seconds."""
    name, model, side = sys.argv[1], sys.argv[2], int((sys.argv[3:] or ["512"])[0])
    entry, image = home.published(name), picture(side)
    print(f"{name} on {side} x {side} px, {entry.device}, seconds: first mask, later call")
    for title, measure in (("library as shipped", as_shipped), ("module", as_module)):
        first, later = measure(entry, model, image)
        print(f"  {title:20} {first:7.2f} {later:7.2f}")
    client.close()


if __name__ == "__main__":
    main()
