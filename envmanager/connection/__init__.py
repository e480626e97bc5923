"""Checks link by link whether a node's script reaches its module, as it would in NIS-Elements."""

from envmanager.connection.check import check
from envmanager.connection.frames import sample_frames
from envmanager.connection.links import LINKS, Link, Node

__all__ = ["LINKS", "Link", "Node", "check", "sample_frames"]
