"""The page on which a module is tried on the user's own image."""

from app.pages.try_it.page import TryPage

__all__ = ["TryPage"]
