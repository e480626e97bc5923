"""The user's own modules: make a new one, add one from a folder, renew the lock of one."""

from __future__ import annotations

import argparse
from pathlib import Path

from envmanager import console
from envmanager.commands.outcome import Add, Outcome, progress
from envmanager.data.paths import data_folder
from envmanager.data.settings import load
from envmanager.environments import inventory
from envmanager.events import Report
from envmanager.modules.own import Added, OwnModules

_SHIPPED_HELP = "also where a module of that name comes with the app"


def add_to(add: Add) -> None:
    """Add these commands to the parser."""
    new = add("new-module", new_command, "make a small module of your own, to be changed")
    new.add_argument("name", help="small letters, digits and _")
    new.add_argument("--title", default="", help="the module's name for people")
    folder = add("add-module", add_command, "make a module's folder a module of yours")
    folder.add_argument("folder", type=Path, help="it is checked and copied")
    folder.add_argument("--update", action="store_true", help="replace the one that you have")
    folder.add_argument("--lock", action="store_true", help="make the copy's lock anew")
    for command in (new, folder):
        command.add_argument("--replace-shipped", action="store_true", help=_SHIPPED_HELP)
    text = "renew a module's lock after a change of its pyproject.toml"
    add("lock-module", lock_command, text, module=True)


def _own_modules(report: Report) -> OwnModules:
    data = data_folder()
    return OwnModules(data, load(data.settings), report)


def new_command(options: argparse.Namespace) -> Outcome:
    """Make a new module."""
    with progress() as report:
        own = _own_modules(report)
        done = own.new(options.name, options.title, replace_shipped=options.replace_shipped)
    lines = [
        f"The module {done.name} is in {done.folder}",
        "It works as it is. Change worker.py, module.toml and test_worker.py to your liking, and "
        "read docs/howto-module.md.",
    ]
    return _outcome(done, lines, f"./run install {done.name}")


def add_command(options: argparse.Namespace) -> Outcome:
    """Add a module from a folder."""
    with progress() as report:
        done = _own_modules(report).add(
            options.folder,
            update=options.update,
            lock=options.lock,
            replace_shipped=options.replace_shipped,
        )
    what = "has replaced yours" if done.replaced else "is yours now"
    lines = [f"The module {done.name} {done.version} {what}, in {done.folder}"]
    return _outcome(done, lines, _build_command(done.name))


def lock_command(options: argparse.Namespace) -> Outcome:
    """Renew the lock of a module."""
    with progress() as report:
        done = _own_modules(report).lock(options.module)
    following = _build_command(done.name)

    def show() -> None:
        rows = [(c["package"], c["old"] or "-", c["new"] or "-") for c in done.changes]
        if rows:
            console.print_table(["package", "before", "now"], rows)
        console.print_line(f"The lock of {done.name} holds {done.packages} package(s).")
        console.print_line(f"Next: {following}")

    data = {"name": done.name, "folder": str(done.folder), "packages": done.packages}
    return Outcome({**data, "changes": done.changes, "next": following}, show)


def _build_command(name: str) -> str:
    """Return the command that makes an environment of the module's present files."""
    return f"./run {'update' if inventory.usable(data_folder(), name) else 'install'} {name}"


def _outcome(done: Added, lines: list[str], following: str) -> Outcome:
    def show() -> None:
        for line in (*lines, f"Next: {following}"):
            console.print_line(line)

    data = {"name": done.name, "version": done.version, "folder": str(done.folder)}
    return Outcome({**data, "replaced": done.replaced, "next": following}, show)
