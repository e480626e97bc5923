"""The home page: a card per module, and beside it all about the chosen one."""

from app.pages.modules.page import ModulesPage

__all__ = ["ModulesPage"]
