"""What the sheets about handing on and comparing ask of the engine.

`root` is the data folder of the module: the account's own, or the one of all accounts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.background import Work
from app.pages.modules import work
from envmanager import presets
from envmanager.data import settings
from envmanager.data.paths import DataFolder, data_folder
from envmanager.environments import comparing, inventory, pins
from envmanager.environments.comparing import Comparison
from envmanager.environments.generations import Pin
from envmanager.environments.lifecycle import Environments
from envmanager.events import CancelToken, Report
from envmanager.modules import catalog
from envmanager.modules.own import Added
from envmanager.sharing import adding, freezing, packing
from envmanager.sharing.adding import Contents
from envmanager.sharing.freezing import Record
from envmanager.sharing.packing import Exported


@dataclass(frozen=True)
class Export:
    """What an export would write: a file of the usual name, and by whom."""

    file_name: str
    author: str
    files: tuple[str, ...]


def plan_export(name: str, root: Path) -> Export:
    """Return what an export would write."""
    module = catalog.find(name, DataFolder(root))
    author = settings.author(data_folder().settings)
    return Export(packing.default_name(module), author, tuple(packing.contents(module.folder)))


def export(
    name: str, root: Path, target: Path, author: str, weights: Sequence[str]
) -> Work[Exported]:
    """Write a module as one file, and remember the author."""

    def run(found: Environments, report: Report, cancel: CancelToken) -> Exported:
        done = packing.export(
            found.data,
            name,
            target,
            author=author,
            weights=weights,
            report=report,
            cancel=cancel,
        )
        packing.remember(data_folder(), done.manifest.author)
        return done

    return work.logged(run, root)


def look(path: Path, cancel: CancelToken) -> Contents:
    """Check a module's file, and return what it holds."""
    return adding.look(data_folder(), path, cancel=cancel)


def add_file(path: Path, checksum: str, *, replace: bool) -> Work[Added]:
    """Add the module of the file that was shown."""

    def run(found: Environments, report: Report, cancel: CancelToken) -> Added:
        return adding.add(
            found.data,
            found.settings,
            path,
            update=replace,
            replace_shipped=replace,
            checksum=checksum,
            report=report,
            cancel=cancel,
        )

    return work.logged(run)


# ---- versions -----------------------------------------------------------------------------------


def pin(name: str, root: Path, generation: int, note: str) -> Pin:
    """Keep a generation for good."""
    return pins.pin(DataFolder(root), name, generation, note)


def unpin(name: str, root: Path, generation: int) -> Pin:
    """Let a generation be cleaned up again."""
    return pins.unpin(DataFolder(root), name, generation)


def compare(name: str, root: Path, old: int) -> Comparison:
    """Compare a generation with the published one."""
    return comparing.compare(DataFolder(root), name, old)


# ---- methods ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Choices:
    """Functions of the published generation by name, with their titles and presets."""

    functions: dict[str, str]
    presets: dict[str, list[str]]


def choices(name: str, root: Path) -> Choices:
    """Return what a methods text can be made of."""
    entry, _ = inventory.installed(DataFolder(root), name)
    titles = {key: str(spec.get("title", key)) for key, spec in entry.functions.items()}
    return Choices(titles, {key: presets.names(data_folder(), name, key) for key in titles})


def freeze(name: str, root: Path, function: str, preset: str, cancel: CancelToken) -> Record:
    """Return the record of a function with a preset, or with its defaults."""
    values: dict[str, Any] = {}
    if preset:
        values = presets.load(data_folder(), name, preset, function).parameters
    return freezing.freeze(
        DataFolder(root), name, function=function, parameters=values, cancel=cancel
    )
