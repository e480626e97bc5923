"""Runs a node script as NIS would, in a clean process: ``python PATH/TO/standin --help``."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

if not __package__:  # started by its path: sys.path[0] is this folder
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import numpy as np

from ga3_nodes.standin.embedded import EmbeddedNis
from ga3_nodes.standin.limnode_types import TableData
from ga3_nodes.standin.nis import Nis, NodeFailed, StandinError
from ga3_nodes.standin.out_of_process import OutOfProcessNis, prepare_site


def main(arguments: list[str] | None = None) -> int:
    """Run the script and save its outputs; 0, or 1 where the script or its host failed."""
    options = _parse(arguments)
    report: dict[str, Any] = {"ok": True, "times_s": {}}
    with contextlib.ExitStack() as stack:
        site = options.site or Path(
            stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
        )
        try:
            _run(options, site, report)
        except StandinError as error:
            report |= {"ok": False, "error": type(error).__name__, "message": str(error)}
            if isinstance(error, NodeFailed):
                report["kind"] = error.kind
    _print(report, options.json)
    return 0 if report["ok"] else 1


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="standin", description=__doc__)
    parser.add_argument("--script", type=Path, required=True)
    parser.add_argument("--version", type=int, choices=(6, 7), default=6, help="of NIS-Elements")
    parser.add_argument("--input", type=Path, action="append", default=[], help=".npy (z, y, x, c)")
    parser.add_argument("--output", action="append", choices=("binary", "channel", "table"))
    parser.add_argument("--output-dir", type=Path, required=True)
    parser.add_argument("--calls", type=int, default=1, help="of run()")
    parser.add_argument("--python", type=Path, help="run out of process with this interpreter")
    parser.add_argument(
        "--site", type=Path, help="the child's current folder; else a temporary one"
    )
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--steps", action="store_true", help="tell each step's end on stderr")
    options = parser.parse_args(arguments)
    for name in ("script", "output_dir", "site"):
        path = getattr(options, name)
        setattr(options, name, path and path.absolute())
    return options


def _run(options: argparse.Namespace, site: Path, report: dict[str, Any]) -> None:
    script = options.script.read_text(encoding="utf-8")
    inputs = [np.load(path) for path in options.input]
    options.output_dir.mkdir(parents=True, exist_ok=True)
    times = report["times_s"]
    with _step("module_level", options, times):
        host = _host(options, script, site)
    try:
        with _step("output", options, times):
            host.output(inputs)  # out of process, the first call also starts the child
        with _step("build", options, times):
            host.build()
        times["run"] = []
        outputs = []
        for _ in range(options.calls):
            start = time.perf_counter()
            outputs = host.run(inputs)
            times["run"].append(time.perf_counter() - start)
    finally:
        try:
            host.close()
        finally:
            report["log"] = host.log
    report["outputs"] = [
        _save(data, options.output_dir / f"output_{index}") for index, data in enumerate(outputs)
    ]


@contextlib.contextmanager
def _step(name: str, options: argparse.Namespace, times: dict[str, Any]) -> Iterator[None]:
    start = time.perf_counter()
    yield
    times[name] = time.perf_counter() - start
    if options.steps:
        print(f"step {name}", file=sys.stderr, flush=True)


def _host(options: argparse.Namespace, script: str, site: Path) -> Nis:
    outputs = options.output or ["binary"]
    if options.python is not None:
        python = options.python.absolute()
        prepare_site(site)
        return OutOfProcessNis(script, options.version, python=python, site=site, outputs=outputs)
    _forget_ourselves()
    return EmbeddedNis(script, options.version, outputs=outputs)


def _forget_ourselves() -> None:
    """Leave the script no way to our packages but the one that it finds itself, nor a folder.

    This process is fit for nothing else afterwards.
    """
    root = str(Path(__file__).resolve().parents[2])
    sys.path[:] = [entry for entry in sys.path if entry not in ("", ".", root)]
    for name in [name for name in sys.modules if name.partition(".")[0] == "ga3_nodes"]:
        del sys.modules[name]
    os.chdir(Path(root).anchor)


def _save(data: Any, stem: Path) -> str:
    if isinstance(data, TableData):
        path = stem.with_suffix(".json")
        rows = {title: values.tolist() for title, values in data.values.items()}
        path.write_text(json.dumps(rows), encoding="utf-8")
    else:
        path = stem.with_suffix(".npy")
        np.save(path, data)
    return str(path)


def _print(report: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(report))
        return
    for name, seconds in report["times_s"].items():
        each = seconds if isinstance(seconds, list) else [seconds]
        print(f"{name:12}", *(f"{s * 1000:.1f} ms" for s in each))
    print(report.get("log", ""), end="")
    print(*report.get("outputs", []), report.get("message", ""), sep="\n")


if __name__ == "__main__":
    sys.exit(main())
