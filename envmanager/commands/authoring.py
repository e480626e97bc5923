"""The user's own modules: make a new one, add one from a folder or file, renew a lock."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from envmanager import console
from envmanager.commands.outcome import Add, Outcome, progress
from envmanager.data.paths import data_folder
from envmanager.data.settings import load
from envmanager.environments import inventory
from envmanager.errors import BadInput, Cancelled, UsageError
from envmanager.events import Report
from envmanager.modules.own import Added, OwnModules

if TYPE_CHECKING:
    from envmanager.sharing.adding import Contents

_SOURCE_HELP = "checked and copied; a file is one that export-module has made"
_SHIPPED_HELP = "also where a module of that name comes with the app"


def add_to(add: Add) -> None:
    """Add these commands to the parser."""
    new = add("new-module", new_command, "make a small module of your own, to be changed")
    new.add_argument("name", help="small letters, digits and _")
    new.add_argument("--title", default="", help="the module's name for people")
    folder = add("add-module", add_command, "make a module's folder or file a module of yours")
    folder.add_argument("source", type=Path, metavar="FOLDER_OR_FILE", help=_SOURCE_HELP)
    folder.add_argument("--update", action="store_true", help="replace the one that you have")
    folder.add_argument("--lock", action="store_true", help="make the copy of a folder's lock anew")
    folder.add_argument("--show", action="store_true", help="only show what a file contains")
    folder.add_argument("--yes", action="store_true", help="do not ask before a file is added")
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
    """Add a module from a folder, or from a file."""
    if options.source.is_file():
        return _add_file(options)
    if not options.source.exists():
        raise BadInput(
            f"There is no {options.source}.",
            "Give the folder of a module, or a file that export-module has made.",
        )
    if options.show:
        raise UsageError("--show is for files of modules.", "A folder you can look into yourself.")
    with progress() as report:
        done = _own_modules(report).add(
            options.source,
            update=options.update,
            lock=options.lock,
            replace_shipped=options.replace_shipped,
        )
    return _added(done)


def _added(done: Added) -> Outcome:
    what = "has replaced yours" if done.replaced else "is yours now"
    lines = [f"The module {done.name} {done.version} {what}, in {done.folder}"]
    return _outcome(done, lines, _build_command(done.name))


def _add_file(options: argparse.Namespace) -> Outcome:
    """Show what a file contains; add it where the user agrees."""
    from envmanager.sharing import adding

    if options.lock:
        raise UsageError(
            "The lock in a file stays as it is.",
            "Add the file, then renew the lock of your module: ./run lock-module NAME",
        )
    data = data_folder()
    with progress() as report:
        found = adding.look(data, options.source, report)
    if options.show:
        return Outcome(found.as_dict(), lambda: _show_contents(found))
    if not options.yes:
        _agree(found, as_json=options.json)
    with progress() as report:
        done = adding.add(
            data,
            load(data.settings),
            options.source,
            update=options.update,
            replace_shipped=options.replace_shipped,
            checksum=found.checksum,
            report=report,
        )
    return _added(done)


def _agree(found: Contents, *, as_json: bool) -> None:
    """Show what a file contains, and raise where the user does not agree to add it."""
    agreed = None
    if not as_json:
        _show_contents(found)
        agreed = console.ask(f"Add {found.module} {found.version}?")
    if agreed is None:
        raise UsageError(
            f"{found.path.name} holds code that will run on this computer, and nobody can be "
            "asked here.",
            "Look into it with --show; to add it without a question, say --yes.",
        )
    if not agreed:
        raise Cancelled(f"{found.path.name} was not added.", "Nothing was changed.")


def _show_contents(found: Contents) -> None:
    pairs: dict[str, object] = {"module": f"{found.module} {found.version} ({found.title})"}
    pairs |= {"about": found.summary, "functions": ", ".join(found.functions)}
    pairs |= {"author": f"{found.author}, {found.date}", "licence": found.license or "-"}
    pairs |= {"packages": f"{', '.join(found.packages)} ({found.locked} in the lock)"}
    pairs |= {"checksum": found.checksum}
    if found.replaces:
        pairs |= {"replaces": f"your {found.module} {found.replaces} (needs --update)"}
    elif found.shipped:
        pairs |= {"replaces": f"{found.module} of the app (needs --replace-shipped)"}
    console.print_pairs(pairs)
    rows = [(f["name"], console.size(f["size"]), f["sha256"][:16]) for f in found.files]
    rows += [(f"weights {w['name']}", console.size(w["size"]), w["note"]) for w in found.weights]
    console.print_table(["file", "size", "sha256 (begins)"], rows)
    console.print_line(found.warning)


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
