"""What a pipeline costs beyond its module: a folder of images with `classic`, three ways.

`.venv/bin/python benchmarks/pipeline_speed.py [--images N] [--rounds N] [--json]`, with `classic`
installed in the data folder in use. Each way reads TIFF files and writes a label mask for each:

* `pipeline`: `running.run` with a worker that is started anew, so its start counts;
* `plain_loop`: one process in the module's own Python: read, call the function, write;
* `process_each`: a process for each image (`host.py --once`); of few images, scaled to all.

All ways are measured in each round, in an order that turns; compare the ratios, not the seconds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.modules import picture
from envmanager.data.paths import data_folder
from envmanager.pipelines import document, plan, running
from ga3_nodes import client, home, records
from ga3_nodes.spawn import worker_environment

MODULE = "classic"
SIDE = 512  # px
ALONE = 8  # images that get a process each
SHARE_GOAL = 0.8  # of the time of a pipeline is the module's own
PIPELINE = f"""
pipeline_name: speed
steps:
  - name: Load
    module: bioimage_pipeline_utils
    function: load_tczyx_image
    inputs: {{path: "%INPUT_DIR%/*.tif"}}
    outputs: [images]
  - name: Segment
    module: {MODULE}
    inputs: {{image: steps.Load.outputs.images}}
    outputs: [labels]
  - name: Save
    module: bioimage_pipeline_utils
    function: save_tczyx_image
    inputs: {{labels: steps.Segment.outputs.labels, path: "%OUTPUT_DIR%/%STEM%.tif"}}
"""
PLAIN_LOOP = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import numpy as np
import tifffile
import worker
inside = 0.0
for path in sorted(Path(sys.argv[2]).iterdir()):
    image = tifffile.imread(path)
    began = time.perf_counter()
    labels = worker.segment(image, axes="yx")
    inside += time.perf_counter() - began
    place = Path(sys.argv[3]) / path.name
    tifffile.imwrite(place, labels.astype(np.uint16), compression="zlib")
print(inside)
"""


class Folders:
    """The images and the results of one round.

    Attributes
    ----------
    images, few : Path
        All images, and those that get a process each.
    results : Path
        Of the way that is measured now.
    """

    def __init__(self, folder: Path, count: int) -> None:
        self.images, self.few, self._folder = folder / "images", folder / "few", folder
        self.images.mkdir()
        self.few.mkdir()
        base = picture(SIDE)
        for number in range(count):
            noise = np.random.default_rng(number).normal(0, 20, base.shape)
            image = np.roll(base, (3 * number, 7 * number), (0, 1)) + noise
            name = f"{number:03d}.tif"
            tifffile.imwrite(self.images / name, image.clip(0).astype(np.uint16))
            if number < ALONE:
                (self.few / name).write_bytes((self.images / name).read_bytes())

    def new(self) -> Path:
        """Return an empty folder for results."""
        return Path(tempfile.mkdtemp(dir=self._folder))


def pipeline(entry: home.ModuleEntry, folders: Folders) -> dict[str, float]:
    """Run the pipeline, and return `seconds` of all of it and of it `inside_s`."""
    for _, record in records.live(entry.root):
        if record.module == MODULE:
            client.stop(record)
    results = folders.new()
    began = time.perf_counter()
    text = document.parse(PIPELINE, results / "speed.yaml")
    given = {"INPUT_DIR": str(folders.images), "OUTPUT_DIR": str(results)}
    done = running.run(plan.check(text, given, data_folder()), results)
    seconds = time.perf_counter() - began
    assert not done.failed, done.failed
    return {"seconds": seconds, "inside_s": done.inside_s, "objects": _objects(results)}


def plain_loop(entry: home.ModuleEntry, folders: Folders) -> dict[str, float]:
    """Run a loop over the images in the module's own Python."""
    results = folders.new()
    began = time.perf_counter()
    out = _python(entry, "-c", PLAIN_LOOP, entry.folder, folders.images, results)
    seconds = time.perf_counter() - began
    return {"seconds": seconds, "inside_s": float(out), "objects": _objects(results)}


def process_each(entry: home.ModuleEntry, folders: Folders) -> dict[str, float]:
    """Start a process for each of few images; return what all would take."""
    results, images = folders.new(), sorted(folders.few.iterdir())
    host = entry.folder / "ga3_nodes" / "host.py"
    began = time.perf_counter()
    for path in images:
        mask = results / f"{path.stem}.npy"
        _python(
            entry, host, entry.folder, "--once", "--input", path, "--output", mask, "--axes", "yx"
        )
    each = (time.perf_counter() - began) / len(images)
    return {"seconds": each * len(list(folders.images.iterdir()))}


WAYS: dict[str, Callable[[home.ModuleEntry, Folders], dict[str, float]]] = {
    "pipeline": pipeline,
    "plain_loop": plain_loop,
    "process_each": process_each,
}


def _python(entry: home.ModuleEntry, *words: object) -> str:
    done = subprocess.run(
        [entry.python, "-X", "utf8", *map(str, words)],
        env=worker_environment(entry.env),
        stdout=subprocess.PIPE,
        encoding="utf-8",
        check=True,
    )
    return done.stdout


def _objects(results: Path) -> int:
    return sum(int(tifffile.imread(path).max()) for path in sorted(results.glob("*.tif")))


def measure(images: int, rounds: int) -> dict[str, Any]:
    """Return all figures; those of a way are medians over the rounds."""
    entry, names = home.published(MODULE), list(WAYS)
    found: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for number in range(rounds):
        turn = number % len(names)
        with tempfile.TemporaryDirectory() as folder:
            folders = Folders(Path(folder), images)
            for name in names[turn:] + names[:turn]:
                found[name].append(WAYS[name](entry, folders))
    client.close()
    assert found["pipeline"][0]["objects"] == found["plain_loop"][0]["objects"] > 0
    rows = [_row(name, images, found) for name in names]
    share = statistics.median(one["inside_s"] / one["seconds"] for one in found["pipeline"])
    goal = {"name": "share of time inside the module", "value": share, "limit": SHARE_GOAL}
    goals = [goal | {"at_least": True, "met": share >= SHARE_GOAL}]
    about = {"images": images, "side": SIDE, "rounds": rounds, "alone": ALONE}
    return {**about, "objects": found["pipeline"][0]["objects"], "rows": rows, "goals": goals}


def _row(name: str, images: int, found: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    """Return a way's figures; `x_pipeline` is how many times longer it takes in the same round."""
    pairs = list(zip(found[name], found["pipeline"], strict=True))
    seconds = statistics.median(one["seconds"] for one, _ in pairs)
    return {
        "way": name,
        "seconds": seconds,
        "images_per_s": images / seconds,
        "x_pipeline": statistics.median(one["seconds"] / ours["seconds"] for one, ours in pairs),
        **({"inside_s": _median(found[name])} if "inside_s" in found[name][0] else {}),
    }


def _median(found: list[dict[str, float]]) -> float:
    return statistics.median(one["inside_s"] for one in found)


def main() -> None:
    """Print a table, or one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = measure(options.images, options.rounds)
    if options.json:
        print(json.dumps(found))
        return
    print(f"{found['images']} images of {SIDE} x {SIDE} px, medians of {found['rounds']} rounds")
    print(f"  {'way':14}{'seconds':>9}{'images/s':>10}{'inside s':>10}{'x pipeline':>12}")
    for row in found["rows"]:
        inside = f"{row['inside_s']:.2f}" if "inside_s" in row else "-"
        figures = f"{row['seconds']:9.2f}{row['images_per_s']:10.2f}{inside:>10}"
        print(f"  {row['way']:14}{figures}{row['x_pipeline']:12.2f}")
    for goal in found["goals"]:
        state = "met" if goal["met"] else "MISSED"
        print(f"{state}: {goal['name']} {goal['value']:.2f} (at least {goal['limit']:g})")


if __name__ == "__main__":
    main()
