"""What the engine costs: install over bare uv, ``list`` with ten modules, ``verify`` of 1 GB.

Run it with the app's own interpreter, from the project's folder:

    .venv/bin/python -m benchmarks.engine [--quick]

All figures come from one run on one machine: compare them with each other, not with others.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from envmanager.data.paths import APP, DataFolder, uv_binary, venv_python
from envmanager.data.settings import Settings
from envmanager.environments import inventory
from envmanager.environments.generations import read_manifest
from envmanager.environments.lifecycle import Environments

_MODULE = """
schema = 1
name = "{name}"
title = "{name}"
version = "1.0.0"
summary = "For a measurement."
[environment]
imports = ["numpy"]
[functions.segment]
title = "Segment"
[functions.segment.inputs.image]
axes = ["yx"]
[functions.segment.outputs.labels]
kind = "labels"
"""
_WORKER = 'def segment(image, *, axes=""):\n    return (image > 0).astype("int32")\n'
_TEST = "import worker\n\n\ndef test_it_loads():\n    assert worker.segment\n"
_LARGE = ["numpy", "scipy", "PySide6", "pyarrow", "scikit-image", "matplotlib", "pandas"]


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="without the environment of 1 GB")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ga3 bench ") as folder:
        os.environ["GA3ENV_HOME"] = folder
        engine = Environments(DataFolder(Path(folder)), Settings())
        _install_overhead(engine)
        _many_modules(engine)
        if not options.quick:
            _large_environment(engine)


def _install_overhead(engine: Environments, rounds: int = 5) -> None:
    """Install ``classic`` by turns with bare uv and with the engine, the cache warm."""
    engine.install("classic")
    bare, ours, tests = [], [], []
    for _ in range(rounds):
        folder = inventory.installed(engine.data, "classic")[0].folder
        bare.append(_seconds(lambda folder=folder: _bare_uv(engine, folder)))
        engine.remove("classic")
        ours.append(_seconds(lambda: engine.install("classic")))
        timings = inventory.installed(engine.data, "classic")[1]["timings_s"]
        tests.append(timings["self-test"])
    self_test = statistics.median(tests)
    both = statistics.median(a - b for a, b in zip(ours, bare, strict=True))
    print(f"bare uv venv + uv pip sync of classic   {statistics.median(bare):6.2f} s")
    print(f"our install                             {statistics.median(ours):6.2f} s")
    print(f"  more than bare, with the self-test    {both:6.2f} s")
    print(f"  more than bare, import test only      {both - self_test:6.2f} s")
    print(f"  stages of the last one                {timings}")


def _bare_uv(engine: Environments, generation: Path) -> None:
    python = venv_python(generation / ".venv")
    environment = os.environ | {"UV_CACHE_DIR": str(engine.data.uv_cache)}
    with tempfile.TemporaryDirectory(dir=engine.data.root) as folder:
        venv = Path(folder) / ".venv"
        sync = ["pip", "sync", generation / "pylock.toml", "--require-hashes"]
        sync += ["--preview-features", "pylock", "--python", venv_python(venv)]
        for arguments in (["venv", "--python", python, venv], sync):
            command = [str(part) for part in (uv_binary(), *arguments, "--quiet")]
            subprocess.run(command, check=True, env=environment, cwd=folder)


def _many_modules(engine: Environments) -> None:
    """Install ten small modules, then list them in this process and by the command line."""
    lock = _lock(engine.data.root, ["numpy"])
    for number in range(9):  # and classic
        _write_module(engine, f"small{number}", lock, ["numpy"])
        engine.install(f"small{number}")
    count = len([s for s in inventory.statuses(engine.data) if s.state == "ready"])
    listing = _median(lambda: inventory.statuses(engine.data))
    one = _median(lambda: inventory.status(engine.data, "classic"))
    command = [sys.executable, "-m", "envmanager", "list", "--json"]
    whole = _median(lambda: subprocess.run(command, cwd=APP, check=True, capture_output=True), 5)
    bare = [sys.executable, "-m", "envmanager", "--version"]
    start = _median(lambda: subprocess.run(bare, cwd=APP, check=True, capture_output=True), 5)
    print(f"list, {count} modules installed            {listing:7.3f} s (goal: 0.3 s)")
    print(f"status of one                           {one:7.3f} s")
    print(
        f"./run list, whole process               {whole:6.2f} s, of which start-up {start:.2f} s"
    )


def _large_environment(engine: Environments) -> None:
    """Verify an environment of about 1 GB."""
    _write_module(engine, "large", _lock(engine.data.root, _LARGE), _LARGE)
    engine.install("large")
    manifest = read_manifest(inventory.installed(engine.data, "large")[0].folder) or {}
    size = sum(manifest["disk"].values()) / 1e9
    quick = _median(lambda: engine.verify("large", quick=True), 3)
    full = _median(lambda: engine.verify("large"), 3)
    print(f"verify --quick of {size:.2f} GB               {quick:6.2f} s")
    print(f"verify of {size:.2f} GB                       {full:6.2f} s")


def _write_module(engine: Environments, name: str, lock: str, packages: list[str]) -> None:
    folder = engine.data.user_modules / name
    folder.mkdir(parents=True)
    (folder / "module.toml").write_text(_MODULE.format(name=name), "utf-8")
    (folder / "pyproject.toml").write_text(_pyproject(packages), "utf-8")
    (folder / "requirements.lock").write_text(lock, "utf-8")
    (folder / "worker.py").write_text(_WORKER, "utf-8")
    (folder / "test_worker.py").write_text(_TEST, "utf-8")


def _pyproject(packages: list[str]) -> str:
    version = f'requires-python = "=={sys.version_info[0]}.{sys.version_info[1]}.*"'
    return f'[project]\nname = "bench"\nversion = "1"\n{version}\ndependencies = {packages!r}\n'


def _lock(root: Path, packages: list[str]) -> str:
    with tempfile.TemporaryDirectory(dir=root) as folder:
        (Path(folder) / "pyproject.toml").write_text(_pyproject(packages), "utf-8")
        command = [str(uv_binary()), "pip", "compile", "pyproject.toml", "--universal", "-q"]
        command += ["--generate-hashes", "--no-header", "-o", "requirements.lock"]
        subprocess.run(command, check=True, cwd=folder)
        return (Path(folder) / "requirements.lock").read_text("utf-8")


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _median(work: Callable[[], object], rounds: int = 15) -> float:
    return statistics.median(_seconds(work) for _ in range(rounds))


if __name__ == "__main__":
    main()
