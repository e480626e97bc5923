"""Programs beside the test's own: the command line, clients of a worker, holders of a lock."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import psutil

from tests.support import PROJECT

CALL = """
import json, sys
import numpy as np
from ga3_nodes import client
function, shape, parameters = json.loads(sys.argv[1])
names = ("image", "other") if function == "measure" else ("image",)
client.call("echo", function, {name: np.ones(shape) for name in names}, parameters)
"""


def python(code: str, *words: object, **env: str) -> subprocess.Popen[str]:
    """Start Python code that can import the project."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, words)],
        env=os.environ | {"PYTHONPATH": str(PROJECT), "PYTHONUTF8": "1"} | env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )


def caller(
    function: str,
    shape: tuple[int, int] = (4, 4),
    env: dict[str, str] | None = None,
    **parameters: Any,
) -> subprocess.Popen[str]:
    """Start a program that calls the echo module once."""
    return python(CALL, json.dumps([function, shape, parameters]), **(env or {}))


def command(*words: object, **env: str) -> subprocess.Popen[str]:
    """Start a command of the command line, with JSON as its output."""
    return python(
        "import sys; from envmanager.cli import main; sys.exit(main())", *words, "--json", **env
    )


def answer(process: subprocess.Popen[str]) -> tuple[int, dict[str, Any]]:
    """Wait for a command; return its exit code, and its data or its error."""
    out, err = process.communicate(timeout=300)
    assert out.count("\n") == 1, out + err
    told = json.loads(out)
    return process.returncode, told["data"] if told["ok"] else told["error"]


def until(condition: Callable[[], Any], seconds: float = 60.0) -> Any:
    """Wait for a condition, and return what it returns."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"still not: {condition}"
        time.sleep(0.05)
    return found


def family(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """Return a program with its children: on Windows a venv's Python is a child of its launcher."""
    own = psutil.Process(process.pid)
    return [own, *own.children(recursive=True)]


def end(process: subprocess.Popen[str]) -> None:
    """Kill a program."""
    if process.poll() is None:
        for one in reversed(family(process)):
            with contextlib.suppress(psutil.NoSuchProcess):  # a launcher ends with its program
                one.kill()
    process.communicate()
