"""Checks a module's GA3 node from the script to its result."""

from __future__ import annotations

import argparse
from pathlib import Path

from envmanager import console
from envmanager.commands.outcome import EXIT_DONE, EXIT_FAILED, Add, Outcome
from envmanager.data import settings
from envmanager.data.paths import data_folder
from envmanager.errors import UsageError
from envmanager.modules import catalog


def add_to(add: Add) -> None:
    """Add these commands to the parser."""
    check = add(
        "check-node", check_command, "check the way from NIS to a module, link by link", module=True
    )
    check.add_argument("--nis", type=int, choices=(6, 7), default=6, help="NIS-Elements version")
    check.add_argument("--function", default="segment")
    check.add_argument("-p", "--parameter", action="append", default=[], metavar="KEY=VALUE")
    check.add_argument("--script", type=Path, metavar="FILE", help="a script that you changed")


def check_command(options: argparse.Namespace) -> Outcome:
    """Check a node, and print each link as soon as it is known."""
    from envmanager import connection, nodes, segmentation
    from envmanager.data import config

    data = data_folder()
    module = catalog.find(options.module, data)
    declared = module.functions.get(options.function, {}).get("parameters", {})
    values = segmentation.parse_parameters(options.parameter, declared)
    text = nodes.script(module, values, nis=options.nis, function=options.function)
    if options.script:
        text = _read(options.script)
    config.refresh(data)  # a script of this app needs the client of this app
    node = connection.Node(module, text, values, options.function, options.nis)

    def tell(link: connection.Link) -> None:
        if options.json:
            return
        status = "ok" if link.ok else "failed"
        console.print_line(f"{status:<8} {link.title} ({link.seconds:.2f} s)")
        console.print_line(f"{'':<8} {link.message}")
        if link.hint:
            console.print_line(f"{'':<8} -> {link.hint}")

    found = connection.check(data, settings.load(data.settings), node, tell=tell)
    ok = all(link.ok for link in found)
    told = "The node works." if ok else "The node does not work yet."
    values_told = {"works": ok, "links": [link.as_dict() for link in found]}
    return Outcome(values_told, lambda: console.print_line(told), EXIT_DONE if ok else EXIT_FAILED)


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read: {error}.", "Name a script of a node.") from error
