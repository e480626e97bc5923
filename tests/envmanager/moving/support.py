"""Programs beside the test: a node, the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import PROJECT

CALL = """
import numpy as np
from ga3_nodes import client
result = client.call({module!r}, "segment", {{"image": np.array([[0, 900]])}})
assert (result["labels"] > 0).tolist() == [[False, True]], result
print(result.worker_pid)
"""
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="symbolic links of environments")


def node_call(module: str = "echo") -> int:
    """Call a module from a process of its own, as a node does; return the worker's pid."""
    done = subprocess.run(
        [sys.executable, "-c", CALL.format(module=module)],
        env=os.environ | {"PYTHONPATH": str(PROJECT)},
        capture_output=True,
        encoding="utf-8",
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def run(*words: object) -> dict:
    """Run the command line as a process; return its data."""
    done = subprocess.run(
        [*command(*words), "--json"], env=environment(), capture_output=True, timeout=300
    )
    found = json.loads(done.stdout)
    assert found["ok"], found
    return dict(found["data"])


def command(*words: object) -> list[str]:
    return [sys.executable, "-W", "error", "-m", "envmanager", *map(str, words)]


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(PROJECT), "PYTHONUTF8": "1"}


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {"run"} if folder.is_dir() else set()
