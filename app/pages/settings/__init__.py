"""The settings, each with its help, and the place of the data folder."""

from app.pages.settings.page import SettingsPage

__all__ = ["SettingsPage"]
