"""Verifies a generation: every file against what was installed, the imports, the module's tests.

`uv pip check` and `uv sync --check` see the metadata only: they pass with a file deleted.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from envmanager.data.paths import venv_base, venv_packages, venv_python
from envmanager.environments.generations import sites
from envmanager.events import CancelToken, Progress, Report, Stage, ignore
from envmanager.processes import process
from ga3_nodes import home, spawn

_CHUNK = 1 << 20
_KERNEL = Path(__file__).with_name("torch_kernel.py.txt")


@dataclass(frozen=True)
class Problem:
    """Something that is wrong with an environment.

    `kind` is a stable token, `package` the damaged package (empty where it is none), `path` the
    file, and `message` one sentence for people.
    """

    kind: str
    package: str
    path: str
    message: str

    def as_dict(self) -> dict[str, str]:
        """Return plain values."""
        return asdict(self)


def verify(
    folder: Path,
    manifest: dict[str, Any],
    *,
    quick: bool = False,
    report: Report = ignore,
    cancel: CancelToken | None = None,
) -> list[Problem]:
    """Verify a generation.

    Parameters
    ----------
    quick : bool
        Compare sizes instead of hashes, and run nothing.
    """
    cancel = cancel or CancelToken()
    report(Stage("copies", "Checking the module's files"))
    problems = list(copies(folder, manifest))
    base = list(_base_python(folder / ".venv"))
    report(Stage("files", "Checking the installed packages"))
    problems += base
    for site, wanted in sites(folder, manifest):
        problems += packages_in(site, wanted, quick=quick, report=report, cancel=cancel)
    if quick or base:
        return problems
    report(Stage("imports", "Importing"))
    failed = list(_imports(folder, manifest, cancel))
    if not failed:
        failed = list(_device(folder, manifest, cancel))
    if not failed:
        report(Stage("self-test", "Testing the module"))
        failed = list(_selftest(folder, manifest, cancel))
    return problems + failed


def packages(
    venv: Path,
    wanted: dict[str, str],
    *,
    quick: bool = False,
    report: Report = ignore,
    cancel: CancelToken | None = None,
) -> list[Problem]:
    """Check the packages of a virtual environment; see `packages_in`."""
    return packages_in(venv_packages(venv), wanted, quick=quick, report=report, cancel=cancel)


def packages_in(
    site: Path,
    wanted: dict[str, str],
    *,
    quick: bool = False,
    report: Report = ignore,
    cancel: CancelToken | None = None,
) -> list[Problem]:
    """Compare the packages in a folder with the wanted ones, and their files with ``RECORD``."""
    found = {}
    for info in sorted(site.glob("*.dist-info")):
        name, _, version = info.name.removesuffix(".dist-info").partition("-")
        found[_normal(name)] = (version, info)
    problems = list(_differences({n: v for n, (v, _) in found.items()}, wanted))
    checks = [(name, check) for name, (_, info) in found.items() for check in _record(info)]
    total, done = sum(check.size for _, check in checks), 0
    for name, check in checks:
        problem = check.problem(name, quick, cancel or CancelToken())
        if problem:
            problems.append(problem)
        done += check.size
        report(Progress(done, total))
    without = [n for n, (_, info) in found.items() if not (info / "RECORD").is_file()]
    problems += [
        Problem("file_missing", name, "RECORD", f"The list of files of {name} is missing.")
        for name in without
    ]
    return problems


@dataclass(frozen=True)
class _Check:
    """One line of a ``RECORD``; `digest` is empty where the wheel gives none."""

    path: Path
    shown: str
    size: int
    digest: str

    def problem(self, package: str, quick: bool, cancel: CancelToken) -> Problem | None:
        cancel.check()
        try:
            size = self.path.stat().st_size
        except OSError:
            message = f"{package}: the file {self.shown} is missing."
            return Problem("file_missing", package, str(self.path), message)
        if size == self.size and (
            quick or not self.digest or _digest(self.path, cancel) == self.digest
        ):
            return None
        how = "has changed" if size == self.size else f"has {size} bytes instead of {self.size}"
        message = f"{package}: the file {self.shown} {how}."
        return Problem("file_changed", package, str(self.path), message)


def _record(info: Path) -> Iterator[_Check]:
    """Read a package's files of known size (RECORD itself and what Python compiles have none)."""
    try:
        with (info / "RECORD").open(encoding="utf-8", newline="") as file:
            rows = list(csv.reader(file))
    except OSError:
        return
    for row in rows:
        if len(row) == 3 and row[2].isdecimal():
            digest = row[1].removeprefix("sha256=") if row[1].startswith("sha256=") else ""
            yield _Check((info.parent / row[0]), row[0], int(row[2]), digest)


def _digest(path: Path, cancel: CancelToken) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            cancel.check()  # one file may have gigabytes
            digest.update(chunk)
    return base64.urlsafe_b64encode(digest.digest()).rstrip(b"=").decode()


def _differences(found: dict[str, str], wanted: dict[str, str]) -> Iterator[Problem]:
    for name, version in wanted.items():
        if name not in found:
            message = f"The package {name} is missing."
            yield Problem("package_missing", name, "", message)
        elif found[name] != version:
            message = f"{name} is version {found[name]} instead of {version}."
            yield Problem("package_version", name, "", message)
    for name in found.keys() - wanted.keys():
        message = f"The package {name} was added by hand."
        yield Problem("package_extra", name, "", message)


def copies(folder: Path, manifest: dict[str, Any]) -> Iterator[Problem]:
    """Check the worker, the declaration, the locks and the host, as they were published."""
    for name, digest in manifest.get("files", {}).items():
        path = folder / name
        if not path.is_file():
            yield Problem("copy_missing", "", str(path), f"The generation's {name} is missing.")
        elif hashlib.sha256(path.read_bytes()).hexdigest() != digest:
            yield Problem("copy_changed", "", str(path), f"The generation's {name} has changed.")


def _base_python(venv: Path) -> Iterator[Problem]:
    base = venv_base(venv)
    python = venv_python(venv)
    if base is None:
        path = str(venv / "pyvenv.cfg")
        yield Problem("python_missing", "", path, "The environment's pyvenv.cfg is missing.")
    elif not base.is_dir() or not python.exists():
        message = f"The Python that the environment is made from is gone: {base}."
        yield Problem("python_missing", "", str(base), message)


def _imports(folder: Path, manifest: dict[str, Any], cancel: CancelToken) -> Iterator[Problem]:
    for name in manifest.get("imports", []):
        finished = run_python(folder, manifest, "-c", f"import {name}", cancel=cancel)
        if finished.exit_code:
            lines = finished.stderr.strip().splitlines() or ["it gave no reason"]
            yield Problem("import_failed", name, "", f"{name} cannot be imported: {lines[-1]}")


def _selftest(folder: Path, manifest: dict[str, Any], cancel: CancelToken) -> Iterator[Problem]:
    finished = selftest(folder, manifest, cancel)
    if finished.exit_code:
        lines = finished.stderr.strip().splitlines() or ["it gave no reason"]
        message = f"The self-test fails: {lines[-1].removeprefix('error: ')}"
        yield Problem("selftest_failed", "", "", message)


def selftest(
    folder: Path, manifest: dict[str, Any], cancel: CancelToken | None = None
) -> process.Finished:
    """Run the module's own tests in its environment."""
    host = folder / "ga3_nodes" / "host.py"
    return run_python(folder, manifest, host, folder, "--selftest", cancel=cancel)


def kernel(
    folder: Path, env: dict[str, str], device: str, cancel: CancelToken | None = None
) -> tuple[dict[str, Any], str]:
    """Let torch compute on a device; return what it says about itself, or nothing and the reason.

    Parameters
    ----------
    device : str
        ``cpu`` or ``cuda:N``.
    """
    code = _KERNEL.read_text("utf-8")  # as text: beside the script lie names such as `process`
    finished = run_python(folder, {"env": env}, "-c", code, device, cancel=cancel)
    lines = finished.stderr.strip().splitlines() or ["it gave no reason"]
    if finished.exit_code:
        return {}, lines[-1]
    return dict(json.loads(finished.stdout.strip().splitlines()[-1])), ""


def _device(folder: Path, manifest: dict[str, Any], cancel: CancelToken) -> Iterator[Problem]:
    """Check that the GPU of the manifest still computes; a CPU does whenever torch is imported."""
    device = manifest.get("device", "cpu")
    if device == "cpu":
        return
    _, reason = kernel(folder, manifest.get("env", {}), device, cancel)
    if reason:
        message = f"torch cannot compute on {device} any more: {reason}"
        yield Problem("device_failed", "torch", "", message)


def run_python(
    folder: Path,
    manifest: dict[str, Any],
    *arguments: str | Path,
    cancel: CancelToken | None = None,
) -> process.Finished:
    """Run a generation's interpreter just as a worker is run."""
    return process.run(
        [venv_python(folder / ".venv"), "-s", "-X", "utf8", *arguments],
        cwd=folder,
        env=spawn.worker_environment(_variables(folder, manifest)),
        inherit=False,
        cancel=cancel,
    )


def _variables(folder: Path, manifest: dict[str, Any]) -> dict[str, str]:
    root, declared = home.root_of(folder), manifest.get("env", {})
    return home.variables(root, folder.parent.name, declared) if root else declared


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
