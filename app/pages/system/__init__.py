"""The computer: the checklist, GPUs, disk space, workers, and the file for who helps."""

from app.pages.system.page import SystemPage

__all__ = ["SystemPage"]
