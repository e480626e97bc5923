"""What several test files share: a small module, laid out and published by hand."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent

ECHO_DECLARATION = {
    "name": "echo",
    "version": "1.0.0",
    "functions": {
        "segment": {
            "title": "Threshold",
            "inputs": {"image": {"axes": ["yx", "zyx"]}},
            "outputs": {"labels": {"kind": "labels"}},
            "parameters": {
                "threshold": {"type": "float", "default": 0.5, "min": 0.0, "max": 1e9},
                "mode": {
                    "type": "choice",
                    "default": "plain",
                    "choices": [
                        {"value": v} for v in ("plain", "crash", "fail", "refuse", "sleep")
                    ],
                },
            },
        },
        "measure": {
            "title": "Measure",
            "inputs": {"image": {"axes": ["yx"]}, "other": {"axes": ["yx"]}},
            "outputs": {"sum": {"kind": "image"}, "table": {"kind": "table"}},
            "parameters": {},
        },
    },
}
ECHO_WORKER = """
import os, time
import numpy as np

def segment(image, *, axes="", threshold=0.5, mode="plain"):
    if mode == "crash":
        print("about to crash", flush=True)
        os._exit(7)
    if mode == "fail":
        raise RuntimeError("the model exploded")
    if mode == "refuse":
        raise ValueError("The image is too dark.")
    if mode == "sleep":
        time.sleep(60)
    return np.cumsum(image > threshold, dtype=np.uint32).reshape(image.shape) * (image > threshold)

def measure(image, other):
    print(dict(os.environ))
    table = {"n": np.array([1, 2]), "name": ["a", "b"]}
    return {"sum": image + other.astype(float), "table": table}
"""


def publish(
    root: Path,
    declaration: dict,
    worker: str,
    *,
    generation: int = 1,
    python: str = sys.executable,
    **entry: object,
) -> Path:
    """Lay out a generation by hand and publish it; its interpreter is the one of the tests."""
    name = declaration["name"]
    folder = root / "envs" / name / str(generation)
    (folder / "ga3_nodes").mkdir(parents=True)
    for source in (PROJECT / "ga3_nodes").glob("*.py"):
        shutil.copy(source, folder / "ga3_nodes")
    (folder / "module.json").write_text(json.dumps(declaration), "utf-8")
    (folder / "worker.py").write_text(textwrap.dedent(worker), "utf-8")
    config_path = root / "config.json"
    config = {"schema": 1, "client_dir": str(PROJECT), "modules": {}}
    if config_path.exists():
        config = json.loads(config_path.read_text("utf-8"))
    config["modules"][name] = {
        "version": declaration["version"],
        "generation": generation,
        "dir": f"envs/{name}/{generation}",
        "python": python,
        "state": "ready",
        "device": "cpu",
        "functions": declaration["functions"],
        "idle_timeout_s": 30,
        "env": {},
        **entry,
    }
    config_path.write_text(json.dumps(config), "utf-8")
    return folder
