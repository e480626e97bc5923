"""``./run bench``: what a call costs, ours beside others. The work is done in ``benchmarks/``.

It runs in an environment of its own, since what it compares with is no dependency of the app.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from envmanager import console, nodes, workers
from envmanager.commands.outcome import Add, Outcome, progress
from envmanager.data import settings
from envmanager.data.paths import (
    APP,
    DataFolder,
    base_python,
    data_folder,
    venv_packages,
    venv_python,
)
from envmanager.errors import GA3EnvError, ToolFailed
from envmanager.events import Report, Stage
from envmanager.modules import catalog
from envmanager.processes import process
from envmanager.uv.program import Uv
from ga3_nodes import home
from ga3_nodes.locks import FileLock

_LOCK = APP / "requirements-bench.lock"
PLACE = APP / ".cache" / "bench"  # environments, and a folder of the run
_STAGE = "stage: "  # begins a line of the benchmark that is for the user
_SEGMENTS = Path("/dev/shm")  # Windows has no names that outlive their processes
_PATIENCE_S = 2.0
_NODE = "classic"  # whose script is timed

_QUICK = {"shapes": [(512, 512), (2048, 2048)], "seconds": 2, "starts": 3, "pings": 50}
_FULL = {
    "shapes": [(512, 512), (2048, 2048), (4096, 4096), (32, 512, 512)],
    "seconds": 25,  # for all transports of one shape
    "starts": 15,
    "pings": 500,
}


def add_to(add: Add) -> None:
    """Add this command to the parser."""
    bench = add("bench", bench_command, "measure what a call costs, ours beside others")
    bench.add_argument("--quick", action="store_true", help="fewer calls and no large images")
    bench.add_argument(
        "--modules",
        nargs="*",
        metavar="MODULE",
        help="also a process per call with these modules' packages; without a name: all installed",
    )


def bench_command(options: argparse.Namespace) -> Outcome:
    """Run the benchmark, and show its figures."""
    if not _LOCK.is_file():
        raise GA3EnvError(
            "This copy of the project holds no benchmarks.",
            "Run them in a clone of the repository.",
            code="no_benchmarks",
        )
    data = data_folder()
    modules = [] if options.modules is None else _installed(data, options.modules)
    with progress() as report, alone(), _run_folder() as folder:
        python = _environment(data, report)
        script = folder / "node.py"
        script.write_text(nodes.script(catalog.find(_NODE, data), {}), "utf-8")
        plan = {**(_QUICK if options.quick else _FULL), "modules": modules}
        (folder / "plan.json").write_text(json.dumps({**plan, "node_script": str(script)}), "utf-8")
        found = _measured(python, folder, report)
    return Outcome({**found, "quick": options.quick}, lambda: _show(found))


def _installed(data: DataFolder, names: list[str]) -> list[dict[str, Any]]:
    """Return what the benchmark needs to know of these modules, or of all that are installed."""
    entries = [home.published(n) for n in names or home.read_config(data.root)["modules"]]
    return [
        {"name": e.name, "python": str(e.python), "folder": str(e.folder), "env": e.env}
        for e in entries
    ]


def _measured(python: Path, folder: Path, report: Report) -> dict[str, Any]:
    def on_line(line: str) -> None:
        if line.startswith(_STAGE):
            report(Stage("bench", line.removeprefix(_STAGE)))

    command: list[str | Path] = [python, "-m", "benchmarks.round_trip", folder]
    finished = process.run(command, cwd=APP, on_line=on_line)
    if finished.exit_code:
        raise ToolFailed(
            "The benchmark failed.",
            "Its last lines say why.",
            details={"exit_code": finished.exit_code, "log_tail": finished.stderr[-4000:]},
        )
    return dict(json.loads(finished.stdout))


# ---- the places ---------------------------------------------------------------------------------


@contextmanager
def alone() -> Iterator[None]:
    """Hold off other benchmarks: together they would measure each other.

    Raises
    ------
    GA3EnvError
        One is running.
    """
    PLACE.mkdir(parents=True, exist_ok=True)
    lock = FileLock(PLACE / "lock")
    if not lock.acquire():
        raise GA3EnvError(
            "A benchmark is running already.",
            "Wait until it has ended: two at once would disturb each other.",
            code="benchmark_running",
        )
    try:
        for left in PLACE.glob("run-*"):  # of a command that was killed without mercy
            _sweep(left)
        yield
    finally:
        lock.release()


def _environment(data: DataFolder, report: Report) -> Path:
    """Return the interpreter of the benchmark's environment, which is made at the first use."""
    digest = hashlib.sha256(_LOCK.read_bytes() + str(base_python()).encode()).hexdigest()[:12]
    venv, done = PLACE / digest, PLACE / f"{digest}.done"
    if not done.exists():
        report(Stage("bench", "Installing the benchmark's packages"))
        shutil.rmtree(venv, ignore_errors=True)  # of a command that was killed
        data.root.mkdir(parents=True, exist_ok=True)  # uv's cache lies there
        uv = Uv(data, settings.load(data.settings))
        uv.make_venv(venv, str(base_python()))
        uv.install_into(venv_packages(venv), _LOCK, venv_python(venv))
        done.touch()
    return venv_python(venv)


@contextmanager
def _run_folder() -> Iterator[Path]:
    """Give a folder for all that a run writes; nothing of it stays."""
    folder = Path(tempfile.mkdtemp(prefix="run-", dir=PLACE))
    try:
        yield folder
    finally:
        _sweep(folder)


def _sweep(folder: Path) -> None:
    """End the workers of a run, and remove its files and shared memory."""
    data = DataFolder(folder / "data")
    if data.root.is_dir():
        workers.stop(data, patience_s=_PATIENCE_S, force=True)
    for segment in _SEGMENTS.glob(f"{folder.name}-*"):
        segment.unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


# ---- for people ---------------------------------------------------------------------------------


def _show(found: dict[str, Any]) -> None:
    titles = ["pixels", "transport", "median ms", "p95 ms", "x floor", "calls"]
    console.print_table(titles, [_cells(row) for row in found["rows"]])
    console.print_line()
    for goal in found["goals"]:
        state = "met" if goal["met"] else "MISSED"
        bound = "at least" if goal["at_least"] else "at most"
        text = f"{goal['name']}: {goal['value']:.2f} ({bound} {goal['limit']:g})"
        console.print_line(f"{state:<7} {text}")


def _cells(row: dict[str, Any]) -> list[str]:
    pixels = " x ".join(map(str, row["shape"]))
    name = f"{row['transport']} {row['module']}" if "module" in row else row["transport"]
    figures = [f"{row[key]:.2f}" for key in ("median_ms", "p95_ms", "x_floor")]
    return [pixels, name, *figures, str(row["calls"])]
