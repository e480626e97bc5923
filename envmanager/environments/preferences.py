"""Changing a setting, with what follows from it for the environments that are there."""

from __future__ import annotations

from collections.abc import Sequence

from envmanager.data import access, config, settings
from envmanager.data.paths import DataFolder
from envmanager.data.settings import Settings
from envmanager.environments import idle_time


def change(data: DataFolder, name: str, words: Sequence[str]) -> Settings:
    """Set one setting from words as on a command line; none: back to the default.

    Raises
    ------
    NotWritable
        This account may not change the data folder.
    SettingsError
        The setting does not exist, cannot take the value, or a file that it names is not there.
    """
    access.require(data)
    found = settings.change(data.settings, name, words)
    if name == "idle_timeout_s":
        idle_time.apply(data, found)
    if name == "auto_install":
        config.change(data, lambda modules: None)  # nodes read it there
    return found
