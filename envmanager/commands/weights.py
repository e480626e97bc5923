"""The weights of a module: list, get, add, remove, verify."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from envmanager import console
from envmanager.commands.outcome import (
    EXIT_DONE,
    EXIT_FAILED,
    Add,
    Outcome,
    environments,
    progress,
)
from envmanager.data import access
from envmanager.environments.lifecycle import Environments
from envmanager.errors import UsageError
from envmanager.events import Report
from envmanager.modules import catalog
from envmanager.weights import importing, upkeep
from envmanager.weights.store import SetState, Store


def add_to(add: Add) -> None:
    """Add this command to the parser."""
    command = add("weights", weights_command, "download, import and check weights", module=True)
    actions = command.add_subparsers(metavar="ACTION", dest="action")
    actions.add_parser("list", help="what there is (the default)")
    get = actions.add_parser("get", help="download")
    get.add_argument("name", nargs="*")
    get.add_argument("--default", action="store_true", help="what the module usually needs")
    get.add_argument("--accept-changed", action="store_true", help="trust files that have changed")
    own = actions.add_parser("add", help="import a file or folder")
    own.add_argument("source", metavar="FILE_OR_FOLDER")
    own.add_argument("--name", required=True, help="by which it is chosen")
    own.add_argument("--note", default="", help="a line about it")
    own.add_argument("--replace", action="store_true", help="replace those of the same name")
    remove = actions.add_parser("remove", help="delete")
    remove.add_argument("name")
    verify = actions.add_parser("verify", help="compare with what came")
    verify.add_argument("name", nargs="*")
    verify.add_argument("--full", action="store_true", help="each byte, not the sizes alone")


def weights_command(options: argparse.Namespace) -> Outcome:
    """Do one action on the weights of a module."""
    engine = environments()
    store = Store(engine.data, catalog.find(options.module, engine.data))
    match options.action:
        case "get":
            return _get(options, engine, _store_of_all(store) or store)
        case "add":
            return _add(options, store)
        case "remove":
            return _remove(options, _holding(store, options.name))
        case "verify":
            return _verify(options, store)
    return _list(store)


def _store_of_all(store: Store) -> Store | None:
    """Return where an administrator puts the weights of a module that all accounts use."""
    place = access.of_module(store.module.name)
    shared = place.root != store.data.root and access.access(place).may_change
    return Store(place, store.module) if shared else None


def _holding(store: Store, name: str) -> Store:
    """Return the store that has a set: the account's own, else the one of all accounts."""
    shared = access.shared_folder()
    if shared is None or name in store.entries():
        return store
    other = Store(shared, store.module)
    return other if name in other.entries() else store


def usual_weights(engine: Environments, name: str, report: Report) -> None:
    """Download the default weights of a module."""
    from envmanager.weights.getting import Getter  # its network libraries take a while to import

    store = Store(engine.data, catalog.find(name, engine.data))
    Getter(store, engine.settings, report).get(store.missing())


def print_sets(states: Sequence[SetState]) -> None:
    """Print a table of weights."""
    rows = [
        (
            state.name,
            "damaged" if state.problem else "present" if state.present else "-",
            console.size(state.size) if state.size else "",
            "yes" if state.default else "",
            "your own" if state.custom else state.license,
            state.note or ("" if state.title == state.name else state.title),
        )
        for state in states
    ]
    console.print_table(["weights", "state", "size", "usual", "licence", "about"], rows)


def _list(store: Store) -> Outcome:
    states, collection = store.states(), store.module.collection

    def show() -> None:
        if states:
            print_sets(states)
        else:
            console.print_line(f"{store.module.name} has no weights.")
        for state in states:
            if state.problem:
                console.print_line(f"! {state.name}: {state.problem}")
        if collection:
            place = f" ({collection.page.replace('{id}', 'ID')})" if collection.page else ""
            console.print_line(
                f"More from {collection.title}{place}: ./run weights {store.module.name} get ID"
            )

    data: dict[str, Any] = {"module": store.module.name, "folder": str(store.folder)}
    data |= {"sets": [state.as_dict() for state in states], "missing": store.missing()}
    return Outcome({**data, "collection": asdict(collection) if collection else None}, show)


def _get(options: argparse.Namespace, engine: Environments, store: Store) -> Outcome:
    from envmanager.weights.getting import Getter

    names = list(options.name)
    if options.default:
        names += [found.name for found in store.module.weights.values() if found.default]
    if not names:
        example = f"./run weights {store.module.name}"
        raise UsageError("Which weights?", f"See {example} list; or: {example} get --default")
    with progress() as report:
        getter = Getter(store, engine.settings, report, accept_changed=options.accept_changed)
        done = getter.get(list(dict.fromkeys(names)))

    def show() -> None:
        for got in done:
            text = "is here" if got.new else "was here already"
            console.print_line(f"{got.name} ({console.size(got.size)}) {text}: {got.path}")

    return Outcome(
        {"module": store.module.name, "sets": [got.as_dict() for got in done]},
        show,
    )


def _add(options: argparse.Namespace, store: Store) -> Outcome:
    with progress() as report:
        got = importing.add(
            store,
            Path(options.source),
            options.name,
            note=options.note,
            replace=options.replace,
            report=report,
        )
    text = f"{got.name} ({console.size(got.size)}) is imported: {got.path}"
    return Outcome(
        {"module": store.module.name, "set": got.as_dict()}, lambda: console.print_line(text)
    )


def _remove(options: argparse.Namespace, store: Store) -> Outcome:
    freed = upkeep.remove(store, options.name)
    text = f"{options.name} is removed; {console.size(freed)} are free again."
    data = {"module": store.module.name, "name": options.name, "freed_bytes": freed}
    return Outcome(data, lambda: console.print_line(text))


def _verify(options: argparse.Namespace, store: Store) -> Outcome:
    by_store: dict[Path, tuple[Store, list[str]]] = {}
    for name in options.name or [one.name for one in store.states() if one.path]:
        found = _holding(store, name)
        by_store.setdefault(found.data.root, (found, []))[1].append(name)
    problems = []
    with progress() as report:
        for found, names in by_store.values():
            problems += upkeep.verify(found, names, full=options.full, report=report)

    def show() -> None:
        for problem in problems:
            console.print_line(f"{problem.set}: {problem.message}")
        if not problems:
            console.print_line(f"The weights of {store.module.name} are as they came.")

    data = {"ok": not problems, "problems": [problem.as_dict() for problem in problems]}
    return Outcome(data, show, EXIT_FAILED if problems else EXIT_DONE)
