"""What the details of a module show beyond its status; read in the background."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from app import words
from envmanager import workers
from envmanager.data.paths import DataFolder
from envmanager.environments import generations, inventory
from envmanager.environments.generations import Pin
from ga3_nodes import spawn

VERSIONS = "Versions"  # the tab
_LINES = 400  # of a log


@dataclass(frozen=True)
class Version:
    """A generation of a module: its number, whether it is published and whole, and its pin."""

    number: int
    title: str
    told: str
    published: bool
    complete: bool
    pin: Pin | None = None


@dataclass(frozen=True)
class Installed:
    """What installs have made: packages with their versions, and the generations."""

    packages: tuple[tuple[str, str], ...] = ()
    versions: tuple[Version, ...] = ()


@dataclass(frozen=True)
class Running:
    """The workers of a module, and the last lines of their log."""

    workers: tuple[workers.Worker, ...] = ()
    log: str = field(default="", repr=False)


def installed(data: DataFolder, name: str) -> Installed:
    """Read what installs have made."""
    entry = inventory.usable(data, name)
    manifest = (generations.read_manifest(entry.folder) if entry else None) or {}
    found = dict(manifest.get("packages") or {})
    packages = tuple(sorted((str(name), str(version)) for name, version in found.items()))
    pins = {pin.generation: pin for pin in inventory.pins(data, name)}
    versions = tuple(
        _version(
            number,
            generations.read_manifest(data.generation(name, number)),
            published=entry is not None and number == entry.generation,
            pin=pins.get(number),
        )
        for number in reversed(inventory.numbers(data, name))
    )
    return Installed(packages, versions)


def running(data: DataFolder, name: str) -> Running:
    """Read who works and what was logged."""
    entry = inventory.usable(data, name)
    log = spawn.log_tail(spawn.log_path(entry), lines=_LINES) if entry else ""
    return Running(tuple(workers.live(data, name)), log)


def _version(
    number: int, manifest: dict[str, Any] | None, *, published: bool, pin: Pin | None
) -> Version:
    if manifest is None:
        return Version(number, f"Build {number}", "Incomplete", published, False, pin)
    finished, disk = manifest.get("finished"), manifest.get("disk") or {}
    told = [
        time.strftime("%Y-%m-%d %H:%M", time.localtime(finished)) if finished else "",
        words.size(sum(disk.values())) if disk else "",
        f"Python {manifest['python']}" if manifest.get("python") else "",
    ]
    title = f"Version {manifest.get('version', '?')}, build {number}"
    return Version(number, title, "   ·   ".join(filter(None, told)), published, True, pin)
