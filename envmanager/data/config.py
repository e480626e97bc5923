"""Writes ``config.json``, the contract with the node scripts; `ga3_nodes.home` reads it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from envmanager.data import files, fulldisk, settings
from envmanager.data.paths import APP, NODE_PACKAGE, DataFolder
from envmanager.errors import GA3EnvError
from ga3_nodes import __version__, home, locks


def change(data: DataFolder, edit: Callable[[dict[str, Any]], None]) -> None:
    """Let `edit` change the modules of ``config.json``, and replace the file atomically.

    Raises
    ------
    ConfigError
        The file is damaged or of a newer schema; it is left as it is.
    DiskFull
        There is not even the reserve left; the file is as it was.
    """
    data.root.mkdir(parents=True, exist_ok=True)
    with locks.FileLock(data.root / "config.lock"):
        fulldisk.with_reserve(data.root, lambda: _rewrite(data, edit))


def refresh(data: DataFolder) -> None:
    """Bring what does not depend on modules up to date, where there is a ``config.json``.

    A file that cannot be read or written stays as it is: a later command that needs it tells.
    """
    if data.config.exists():
        with contextlib.suppress(GA3EnvError, OSError):
            change(data, lambda modules: None)


def _rewrite(data: DataFolder, edit: Callable[[dict[str, Any]], None]) -> None:
    config = home.read_config(data.root)
    edit(config["modules"])
    config |= {
        "schema": home.SCHEMA,
        "app_version": __version__,
        "client_dir": data.relative(publish_client(data)),
        "manager": manager_command(),
        "auto_install": settings.auto_install(data.settings),
    }
    files.write_text(data.config, json.dumps(config, indent=2, ensure_ascii=False) + "\n")


def manager_command() -> list[str]:
    """Return the command that starts the CLI, for nodes that ask it to do something."""
    return [str(APP / ("run.cmd" if sys.platform == "win32" else "run"))]


def publish_client(data: DataFolder) -> Path:
    """Copy the package that node scripts import into the data folder; return the folder above it.

    A copy for each version of its code: node scripts depend on the data folder alone, and a NIS
    that runs keeps the files that it has imported.
    """
    folder = data.clients / _digest(NODE_PACKAGE)
    if _digest(folder / NODE_PACKAGE.name) != folder.name:  # not there, or a file of it is lost
        for leftover in (folder, *data.clients.glob("*.tmp")):
            files.discard(leftover, data.trash)
        temporary = data.clients / f"{folder.name}.tmp"
        copy_node_package(temporary)
        temporary.rename(folder)
        _keep_newest(data, folder)
    return folder


def copy_node_package(folder: Path) -> None:
    """Copy the client and host code (not the stand-in, not the templates) below `folder`."""
    target = folder / NODE_PACKAGE.name
    target.mkdir(parents=True, exist_ok=True)
    for source in NODE_PACKAGE.glob("*.py"):
        shutil.copyfile(source, target / source.name)


def _digest(package: Path) -> str:
    digest = hashlib.sha256()
    for source in sorted(package.glob("*.py")):
        digest.update(source.name.encode() + b"\0" + source.read_bytes())
    return digest.hexdigest()[:12]


def _keep_newest(data: DataFolder, current: Path) -> None:
    """Keep the present copy and the one before: a NIS that runs may import from it again."""
    others = [path for path in data.clients.iterdir() if path != current]
    others.sort(key=lambda path: path.stat().st_mtime)
    for path in others[:-1]:
        files.discard(path, data.trash)
