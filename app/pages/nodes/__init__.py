"""The page *GA3 nodes*: from a module to a script that runs in NIS-Elements."""

from app.pages.nodes.page import NodesPage

__all__ = ["NodesPage"]
