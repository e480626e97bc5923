"""The support file, for whoever helps with a fault."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from envmanager import console
from envmanager.commands.outcome import Add, Outcome, progress
from envmanager.data.paths import data_folder


def add_to(add: Add) -> None:
    """Add the command to the parser."""
    support = add("support", support_command, "make a ZIP of logs and settings for who helps")
    support.add_argument("-o", "--output", type=Path, default=Path(), help="the ZIP, or a folder")


def support_command(options: argparse.Namespace) -> Outcome:
    """Write the support file: no images, no weights, no passwords, no names."""
    from envmanager import support

    with progress() as report:
        made = support.make(data_folder(), options.output, report)

    def show() -> None:
        console.print_line(f"{made.path} ({console.size(made.size)}) holds:")
        for name in made.names:
            console.print_line(f"  {name}")
        console.print_line("No images, no weights; passwords, home folders and names are blanked.")

    return Outcome({**asdict(made), "path": str(made.path.absolute())}, show)
