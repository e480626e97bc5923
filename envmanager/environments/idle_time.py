"""The setting for the workers' idle time, put into force for what is installed already."""

from __future__ import annotations

from typing import Any

from envmanager.data import config
from envmanager.data.paths import DataFolder
from envmanager.data.settings import Settings
from envmanager.errors import CatalogError
from envmanager.modules import catalog
from ga3_nodes import home


def apply(data: DataFolder, settings: Settings) -> None:
    """Publish the idle time for every installed module; running workers see it within seconds.

    Raises
    ------
    ConfigError
        ``config.json`` is damaged.
    """

    def edit(modules: dict[str, Any]) -> None:
        for name, entry in modules.items():
            seconds = settings.idle_timeout_s or _own(data, name, entry)
            if seconds:
                entry["idle_timeout_s"] = seconds

    if home.read_config(data.root)["modules"]:
        config.change(data, edit)


def _own(data: DataFolder, name: str, entry: dict[str, Any]) -> float | None:
    """Return the module's own time; None where its files cannot be read."""
    try:
        return catalog.load(data.root / entry["dir"], name).idle_timeout_s
    except (CatalogError, OSError, KeyError, TypeError):
        return None
