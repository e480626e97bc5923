"""What a generation is: ``envs/<module>/<n>/`` with all that a call runs, and its manifest.

It holds the virtual environment and copies of the module's files and of the host, so that an
upgrade of the app changes no published environment. The manifest is written last of all: a folder
without one is not complete.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from envmanager.data.paths import venv_packages
from envmanager.errors import CatalogError
from envmanager.modules.catalog import Module

MANIFEST = "manifest.json"
PIN = "pin.json"  # in a generation that is never cleaned up
OVERLAY = "overlay"  # the packages of a module that runs inside NIS
_COPIED = ("worker.py", "test_worker.py", "module.toml", "pyproject.toml", "requirements.lock")


def copied(folder: Path) -> list[str]:
    """Return the names of a module's files that a generation copies; they need not be there.

    ``requirements-<backend>.lock`` is what a backend of torch needs beside the module's lock.
    """
    return [*_COPIED, *sorted(path.name for path in folder.glob("requirements-*.lock"))]


def requires_python(module: Module) -> str:
    """Return ``requires-python`` of the module's ``pyproject.toml``.

    Raises
    ------
    CatalogError
        The file is missing or broken.
    """
    path = module.folder / "pyproject.toml"
    try:
        return str(tomllib.loads(path.read_text("utf-8"))["project"]["requires-python"])
    except (OSError, ValueError, KeyError) as error:
        raise CatalogError(
            f"{path}: project.requires-python cannot be read ({error!r}).", "Correct the file."
        ) from error


def sha256(path: Path) -> str:
    """Return the sha256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def source_sha256(module: Module) -> str:
    """Return one sha256 over all files of the module that a generation copies."""
    digest = hashlib.sha256()
    for name in copied(module.folder):
        path = module.folder / name
        digest.update(name.encode() + b"\0" + (path.read_bytes() if path.is_file() else b""))
    return digest.hexdigest()


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """Return a generation's manifest, or None where the generation is not complete."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return manifest if isinstance(manifest, dict) else None


def sites(folder: Path, manifest: dict[str, Any]) -> list[tuple[Path, dict[str, str]]]:
    """Return the folders that a generation's packages lie in, each with what belongs there."""
    packages, overlaid = manifest["packages"], set(manifest.get("overlaid", ()))
    rest = {name: version for name, version in packages.items() if name not in overlaid}
    found = [(venv_packages(folder / ".venv"), rest)]
    if "overlaid" in manifest:
        found.append((folder / OVERLAY, {name: packages[name] for name in overlaid}))
    return found


# ---- pins: see `pins` ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Pin:
    """A generation that is kept; `date` is ISO 8601, UTC, and empty where it is not known."""

    generation: int
    note: str
    date: str

    @property
    def text(self) -> str:
        """The generation with its note: ``2 (paper 2026)``."""
        return f"{self.generation} ({self.note})" if self.note else str(self.generation)


def is_pinned(folder: Path) -> bool:
    """Tell whether a generation is never to be cleaned up; a damaged pin still holds."""
    return (folder / PIN).exists()


def pin_of(folder: Path) -> Pin:
    """Return the pin of a pinned generation's folder."""
    number = int(folder.name)
    try:
        content = json.loads((folder / PIN).read_text("utf-8"))
        return Pin(number, str(content["note"]), str(content["date"]))
    except (OSError, ValueError, KeyError, TypeError):
        return Pin(number, "", "")
