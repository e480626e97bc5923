"""Where things lie: in the data folder, in the app's own folder, and in a virtual environment."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from envmanager.data import settings
from envmanager.errors import UnknownModule
from ga3_nodes import home, records

APP = Path(__file__).resolve().parents[2]
SHIPPED_MODULES = APP / "modules"
NODE_PACKAGE = APP / "ga3_nodes"
MOVE_NOTE = "move.json"  # lies in a data folder while it moves


@dataclass(frozen=True)
class DataFolder:
    """The data folder: environments, caches and everything else that users own."""

    root: Path

    @property
    def config(self) -> Path:
        """The contract with the node scripts."""
        return self.root / "config.json"

    @property
    def settings(self) -> Path:
        """The user's settings."""
        return self.root / "settings.toml"

    @property
    def user_modules(self) -> Path:
        """Modules that the user made or added."""
        return self.root / "modules"

    @property
    def python(self) -> Path:
        """Interpreters that uv manages."""
        return self.root / "python"

    @property
    def trash(self) -> Path:
        """What could not be deleted yet, because Windows has it open."""
        return self.root / "trash"

    @property
    def downloads(self) -> Path:
        """Files of large wheels, whole or begun, of installs that are not published yet."""
        return self.root / "downloads"

    @property
    def clients(self) -> Path:
        """Copies of the client package that the node scripts import."""
        return self.root / "client"

    @property
    def node_hosts(self) -> Path:
        """Small environments in which the stand-in for NIS runs node scripts."""
        return self.root / "standin"

    @property
    def uv_cache(self) -> Path:
        """The cache of uv: UV_CACHE_DIR, else the setting, else a folder in the data folder.

        On the volume of the environments uv can hard-link from it.
        """
        if chosen := os.environ.get("UV_CACHE_DIR"):
            return Path(chosen)
        return settings.cache_dir(self.settings) or self.root / "uv-cache"

    def module(self, name: str) -> Path:
        """The folder of a module's generations.

        Raises
        ------
        UnknownModule
            The name is none: it must not lead out of ``envs/``.
        """
        if not records.valid_name(name):
            raise UnknownModule(f"There is no module {name!r}.", "See ./run list.")
        return self.root / "envs" / name

    def generation(self, name: str, number: int) -> Path:
        """The folder of one generation."""
        return self.module(name) / str(number)

    def relative(self, path: Path) -> str:
        """Return a path as ``config.json`` stores it: relative to the root, with slashes."""
        return path.relative_to(self.root).as_posix()


def data_folder() -> DataFolder:
    """Return the data folder that commands work on.

    Raises
    ------
    ConfigError
        It was moved to a place that is not there now, such as a disk that is not connected.
    """
    return DataFolder(home.located(home.places()[0]))


def uv_binary() -> Path:
    """Return the pinned uv: GA3ENV_UV, else the one that the set-up put into ``external/UV``."""
    chosen = os.environ.get("GA3ENV_UV")
    name = "uv.exe" if sys.platform == "win32" else "uv"
    return Path(chosen) if chosen else APP / "external" / "UV" / name


def base_python() -> Path:
    """Return the interpreter below the app's own virtual environment."""
    return Path(getattr(sys, "_base_executable", "") or sys.executable)


def venv_python(venv: Path) -> Path:
    """Return the interpreter of a virtual environment."""
    return venv / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def venv_packages(venv: Path) -> Path:
    """Return the folder of a virtual environment's packages."""
    if sys.platform == "win32":
        return venv / "Lib" / "site-packages"
    found = sorted((venv / "lib").glob("python3*/site-packages"))
    return found[0] if found else venv / "lib" / "site-packages"


def venv_version(venv: Path) -> str:
    """Return the Python version of a virtual environment that uv made; empty where unknown."""
    return _venv_setting(venv, "version_info") or ""


def venv_base(venv: Path) -> Path | None:
    """Return the folder of the Python that a virtual environment is made from."""
    home_folder = _venv_setting(venv, "home")
    return Path(home_folder) if home_folder else None


def _venv_setting(venv: Path, name: str) -> str | None:
    try:
        lines = (venv / "pyvenv.cfg").read_text("utf-8").splitlines()
    except OSError:
        return None
    for line in lines:
        key, _, value = line.partition("=")
        if key.strip() == name:
            return value.strip()
    return None
