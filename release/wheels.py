"""The wheels of the app's own environment for Windows, and the program uv.exe out of one."""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import Requirement

from external.pinned_uv import Pin, pip_of_our_own, unpack_uv
from external.places import base_python, sha256
from external.telling import refuse
from external.tools import run_tool
from release.errors import ReleaseError

PLATFORM = "windows-x86_64"  # in external/tools.toml
_MARKERS = {
    "os_name": "nt",
    "platform_machine": "AMD64",
    "platform_system": "Windows",
    "sys_platform": "win32",
    "implementation_name": "cpython",
    "platform_python_implementation": "CPython",
}


def fetch_uv(folder: Path) -> None:
    """Put the pinned ``uv.exe`` into a folder.

    Raises
    ------
    ReleaseError
        It could not be fetched, or is not the one that ``external/tools.toml`` names.
    """
    pin = Pin(PLATFORM)
    hashes = "".join(f" --hash=sha256:{value}" for value in pin.wheels)
    with tempfile.TemporaryDirectory(prefix="ga3-release-") as temporary:
        wheels = Path(temporary)
        _download(f"uv=={pin.version}{hashes}\n", wheels, "3.12")
        binary = unpack_uv(next(wheels.glob("uv-*.whl")), wheels, "uv.exe")
        if sha256(binary) not in pin.binaries:
            raise ReleaseError(
                f"The fetched uv.exe {pin.version} has not the sha256 in external/tools.toml.",
                "Do not use it; report this.",
                code="hash_mismatch",
            )
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(binary, folder / "uv.exe")


def fetch_wheels(lock: Path, python: str, folder: Path) -> None:
    """Fetch the wheels that a lock names for 64-bit Windows and a version of Python.

    Each is checked against the lock's hashes.

    Raises
    ------
    ReleaseError
        One could not be fetched, or has another hash.
    """
    lines = list(requirements(lock.read_text("utf-8"), python))
    _download("\n".join(lines) + "\n", folder, python.rpartition(".")[0])
    found = len(list(folder.glob("*.whl")))
    if found != len(lines):
        raise ReleaseError(f"{lock.name} names {len(lines)} packages, {found} wheels came.")


def requirements(lock: str, python: str) -> Iterator[str]:
    """Yield the lines of a lock that hold on Windows with this Python, without their markers."""
    major, minor, *_ = python.split(".")
    versions = {"python_version": f"{major}.{minor}", "python_full_version": python}
    environment = _MARKERS | versions  # the rest is as here
    for line in re.sub(r"\\\n", " ", lock).splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        text, *hashes = line.split("--hash=")
        wanted = Requirement(text.strip())
        if wanted.marker is None or wanted.marker.evaluate(environment):
            wanted.marker = None
            yield " ".join([str(wanted), *(f"--hash={value.strip()}" for value in hashes)])


def _download(wanted: str, folder: Path, python: str) -> None:
    """Fetch with pip: it knows the user's index, proxy and certificates, and picks for Windows."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="ga3-release-") as temporary:
        scratch = Path(temporary)
        (scratch / "wanted.txt").write_text(wanted, "utf-8")
        command: list[str | Path] = ["-P", "-m", "pip", "download", "-q", "--no-deps", "--no-input"]
        command += ["--only-binary=:all:", "--platform=win_amd64", "--implementation=cp"]
        command += [f"--python-version={python}", "--disable-pip-version-check"]
        command += ["--require-hashes", "-d", folder, "-r", "wanted.txt"]
        code, lines = run_tool([base_python(), *command], scratch)
        if code and any("No module named pip" in line for line in lines):
            pip = pip_of_our_own(Pin(), scratch)
            code, lines = run_tool([pip, *command], scratch)
    if code:
        hint = "Check the network, the proxy and pip's settings (pip config list)."
        what = f"A wheel for Windows could not be fetched with {Path(sys.executable).name}'s pip"
        refuse(lines, "wheel_not_fetched", what, hint)
