"""Hand on and compare: export a module, diff and pin its generations, freeze them as a text."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from envmanager import console
from envmanager.commands.outcome import Add, Outcome, environments, progress
from envmanager.data import settings
from envmanager.data.access import of_module
from envmanager.data.paths import data_folder
from envmanager.environments import comparing, inventory, pins
from envmanager.environments.comparing import Comparison

# What needs presets, weights and the network's hashes is imported where it is used: every command
# reads this file.


def add_to(add: Add) -> None:
    """Add these commands to the parser."""
    export = add("export-module", export_command, "make one file of a module", module=True)
    export.add_argument("-o", "--output", type=Path, default=Path(), help="the file, or a folder")
    export.add_argument("--weights", default="none", metavar="NAME,...", help="also all or none")
    export.add_argument("--author", help="whom to ask about it; remembered")
    diff = add("diff", diff_command, "what differs between two generations", module=True)
    diff.add_argument("old", type=int, metavar="GEN1")
    diff.add_argument("new", type=int, metavar="GEN2", nargs="?", help="else the published one")
    pin = add("pin", pin_command, "never clean up a generation", module=True)
    pin.add_argument("--note", default="", help='what for, such as "paper 2026"')
    unpin = add("unpin", unpin_command, "let a generation be cleaned up again", module=True)
    for command, other in ((pin, "the published one"), (unpin, "the only one that is pinned")):
        command.add_argument("generation", type=int, nargs="?", metavar="GEN", help=f"else {other}")
    freeze = add("freeze", freeze_command, "text and record for a methods section", module=True)
    freeze.add_argument("-o", "--output", type=Path, help="FILE.md, .txt or .json; else printed")
    freeze.add_argument("--generation", type=int, metavar="GEN", help="else the published one")
    freeze.add_argument("--function", default="segment")
    freeze.add_argument("-p", "--parameter", action="append", default=[], metavar="KEY=VALUE")
    freeze.add_argument("--preset", metavar="NAME", help="parameters that were kept by name")


def export_command(options: argparse.Namespace) -> Outcome:
    """Write a module of the user's as one file."""
    from envmanager.sharing import packing

    data = data_folder()
    author = options.author or settings.load(data.settings).author
    chosen = [name for name in options.weights.split(",") if name.strip() not in ("", "none")]
    with progress() as report:
        done = packing.export(
            data,
            options.module,
            options.output,
            author=author,
            weights=[name.strip() for name in chosen],
            report=report,
        )
    manifest = done.manifest
    if options.author:
        packing.remember(data, manifest.author)

    def show() -> None:
        names = [*sorted(manifest.files), *(f"weights {found.name}" for found in manifest.weights)]
        console.print_line(f"{done.path} ({console.size(done.size)}) holds: {', '.join(names)}")
        if done.left_out:
            console.print_line(f"Not in it: {', '.join(done.left_out)}")
        console.print_line(f"Author: {manifest.author}   Checksum: {manifest.checksum}")
        name = console.quoted(done.path.name)
        console.print_line(f"On another computer: ./run add-module {name}")

    values = {"path": str(done.path.absolute()), "bytes": done.size}
    return Outcome({**values, "left_out": list(done.left_out), **manifest.as_dict()}, show)


def diff_command(options: argparse.Namespace) -> Outcome:
    """Compare two generations."""
    found = comparing.compare(of_module(options.module), options.module, options.old, options.new)
    return Outcome(found.as_dict(), lambda: _show_diff(found))


def _show_diff(found: Comparison) -> None:
    console.print_line(f"{found.module}: generation {found.old} -> {found.new}")
    if found.same:
        console.print_line("Nothing differs.")
    rows: list[tuple[str, object, object]] = []
    rows += [(one["fact"], one["old"] or "-", one["new"] or "-") for one in found.facts]
    rows += [(str(p["package"]), p["old"] or "-", p["new"] or "-") for p in found.packages]
    if rows:
        console.print_table(["what", str(found.old), str(found.new)], rows)
    for package in found.rebuilt:
        console.print_line(f"{package} has the same version, but another file.")
    for file in found.files:
        console.print_line(f"{file['file']}: {file['change']}")


def pin_command(options: argparse.Namespace) -> Outcome:
    """Keep a generation for good."""
    data = environments(options.module).data
    made = pins.pin(data, options.module, options.generation, options.note)
    text = f"Generation {made.text} of {options.module} is kept until you unpin it."
    return _pinned(options.module, text)


def unpin_command(options: argparse.Namespace) -> Outcome:
    """Let a generation be cleaned up again."""
    freed = pins.unpin(environments(options.module).data, options.module, options.generation)
    text = f"Generation {freed.text} of {options.module} is no longer pinned. "
    text += "It stays until a later update cleans up."
    return _pinned(options.module, text)


def _pinned(name: str, text: str) -> Outcome:
    found = [vars(pin) for pin in inventory.pins(of_module(name), name)]
    return Outcome({"module": name, "pins": found}, lambda: console.print_line(text))


def freeze_command(options: argparse.Namespace) -> Outcome:
    """Write what a methods section needs."""
    from envmanager.sharing import freezing, methods

    data = of_module(options.module)
    if options.output:
        methods.check_place(options.output)
    with progress() as report:
        record = freezing.freeze(
            data,
            options.module,
            generation=options.generation,
            function=options.function,
            parameters=_parameters(options),
            report=report,
        )
    if options.output:
        methods.save(record, options.output)
    text = methods.section(record)

    def show() -> None:
        if options.output:
            console.print_line(f"The methods text is in {options.output}")
        else:
            console.print_line(text)
        for note in record.notes:
            console.print_line(f"! {note}")

    path = str(options.output.absolute()) if options.output else None
    return Outcome({**record.values, "notes": list(record.notes), "text": text, "path": path}, show)


def _parameters(options: argparse.Namespace) -> dict[str, Any]:
    """Return the values of a preset, and of the words, which win."""
    from envmanager import presets
    from envmanager.segmentation import parse_parameters
    from envmanager.sharing.freezing import declared

    data, values = data_folder(), {}
    if options.preset:
        found = presets.load(data, options.module, options.preset, options.function)
        values = found.parameters
    if options.parameter:
        place = of_module(options.module)
        spec = declared(place, options.module, options.generation, options.function)
        values = {**values, **parse_parameters(options.parameter, spec)}
    return values
