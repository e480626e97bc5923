"""What the page asks of the engine; nothing here runs in the GUI thread."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app.background import Tell, Work
from envmanager import connection, nodes
from envmanager.connection import Link, Node
from envmanager.data import config, files, settings
from envmanager.data.paths import data_folder
from envmanager.events import CancelToken
from envmanager.machine import windows
from envmanager.machine.windows import Nis
from envmanager.modules.catalog import Module


@dataclass(frozen=True)
class Wish:
    """What the script shall be made from; see `nodes.script`."""

    module: Module
    function: str
    values: dict[str, Any] = field(default_factory=dict)
    nis: int = 6
    name: str = ""
    color: str = ""
    binary: str = "int32"
    channel: str = "float"


def script(wish: Wish) -> str:
    """Return the text of the node."""
    return nodes.script(
        wish.module,
        wish.values,
        nis=wish.nis,
        function=wish.function,
        name=wish.name,
        color=wish.color,
        binary=wish.binary,
        channel=wish.channel,
    )


def installed_nis() -> list[Nis]:
    """Return the installations of NIS-Elements on this computer."""
    return windows.nis_installations()


def publish() -> None:
    """Let scripts of this app find the client of this app."""
    config.refresh(data_folder())


def save(path: Path, text: str) -> Path:
    """Write the script into a file; return the file."""
    publish()
    files.write_text(path, text)
    return path


def check(wish: Wish) -> Work[list[Link]]:
    """Check the way from NIS to the module; each link is told as it is known."""

    def run(report: Tell, cancel: CancelToken) -> list[Link]:
        data = data_folder()
        publish()
        node = Node(wish.module, script(wish), wish.values, wish.function, wish.nis)
        known = settings.load(data.settings)
        return connection.check(data, known, node, tell=report, report=report, cancel=cancel)

    return run
