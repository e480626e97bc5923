"""The checklist: what it asks the computer, the data folder and Windows, and what it mends."""

from envmanager.doctor.checklist import checks, fix, usable_settings
from envmanager.doctor.line import Check

__all__ = ["Check", "checks", "fix", "usable_settings"]
