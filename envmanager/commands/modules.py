"""A module's life: list, status, install, update, verify, repair, rollback, selftest, remove."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from envmanager import console
from envmanager.commands.outcome import (
    EXIT_DONE,
    EXIT_FAILED,
    Add,
    Outcome,
    date_text,
    disk_text,
    environments,
    progress,
    users_text,
)
from envmanager.commands.weights import print_sets, usual_weights
from envmanager.data.users import user_text
from envmanager.data.writers import Writer
from envmanager.environments import everywhere, inventory, planning
from envmanager.environments.building import Wish
from envmanager.environments.generations import read_manifest
from envmanager.environments.inventory import ModuleStatus
from envmanager.environments.lifecycle import Environments, Installed, UpdatePlan
from envmanager.environments.removal import Removal
from envmanager.errors import NotInstalled, UsageError
from envmanager.modules import catalog
from envmanager.weights import upkeep
from envmanager.weights.store import Store

_BACKEND_HELP = "build of torch: auto (the default), cpu, or a CUDA build such as cu130"
_ALL_HELP = "for all accounts of this computer (for administrators), not for this one alone"


def add_to(add: Add) -> None:
    """Add these commands to the parser."""
    add("list", list_command, "all modules with their state")
    add("status", status_command, "one module in detail", module=True)
    install = add("install", install_command, "build, test and publish an environment", module=True)
    install.add_argument("--dry-run", action="store_true", help="show what would be fetched")
    install.add_argument("--python", help="version or path of the Python to use")
    install.add_argument("--backend", help=_BACKEND_HELP)
    install.add_argument("--weights", action="store_true", help="download its usual weights too")
    install.add_argument("--all-accounts", action="store_true", help=_ALL_HELP)
    update = add("update", update_command, "publish a newer version of a module", module=True)
    update.add_argument("--dry-run", action="store_true", help="show what would change")
    update.add_argument("--fresh", action="store_true", help="newest versions of all packages")
    update.add_argument("--backend", help=_BACKEND_HELP)
    verify = add("verify", verify_command, "check every file, imports and tests", module=True)
    verify.add_argument("--quick", action="store_true", help="sizes only, run nothing")
    add("repair", repair_command, "verify, and build anew what is damaged", module=True)
    rollback = add("rollback", rollback_command, "publish an older generation again", module=True)
    rollback.add_argument("--to", type=int, metavar="N", help="generation; else the one before")
    add("selftest", selftest_command, "run the module's own tests", module=True)
    remove = add("remove", remove_command, "remove a module's environment", module=True)
    remove.add_argument("--when-free", action="store_true", help="as soon as nobody uses it")
    remove.add_argument("--weights", action="store_true", help="remove its weights too")
    remove.add_argument("--force", action="store_true", help="remove pinned generations too")


def list_command(options: argparse.Namespace) -> Outcome:
    """List all modules with their state."""
    statuses = everywhere.statuses()

    def show() -> None:
        rows = [
            (
                s.name,
                s.state,
                s.installed_version,
                s.generation,
                s.device,
                disk_text(s.disk),
                users_text(s.in_use_by),
                _pins_text(s),
                "all accounts" if s.shared else "",
            )
            for s in statuses
        ]
        titles = ["module", "state", "version", "gen.", "device", "disk", "in use by", "pinned"]
        console.print_table(*_without_empty([*titles, "for"], rows, last=2))
        if dates := [s.disk_date for s in statuses if s.disk_date]:
            counted = f"Disk space as counted on {date_text(min(dates))}"
            console.print_line(f"{counted}; count anew: ./run disk --refresh")

    return Outcome({"modules": [_without_manifest(s.as_dict()) for s in statuses]}, show)


def status_command(options: argparse.Namespace) -> Outcome:
    """Show one module."""
    status = everywhere.status(options.module)

    def show() -> None:
        pairs: dict[str, object] = {"module": f"{status.name} ({status.title})"}
        pairs |= {"state": status.state, "version": status.installed_version or "-"}
        pairs |= {"generations": status.generations, "disk": disk_text(status.disk)}
        pairs |= {"data folder": status.root + (" (for all accounts)" if status.shared else "")}
        if status.pins:
            pairs |= {"pinned": _pins_text(status)}
        pairs |= {"in use by": users_text(status.in_use_by) or "-"}
        if status.busy:
            pairs |= {"busy": _busy_text(status.busy)}
        if status.manifest:
            pairs |= {"python": status.manifest["python"], "self-test": status.manifest["selftest"]}
            pairs |= {"backend": status.backend, "device": status.device}
        console.print_pairs(pairs)
        if status.weights:
            print_sets(status.weights)
        for problem in status.problems:
            console.print_line(f"! {problem}")

    return Outcome(status.as_dict(), show)


def _without_empty(
    titles: list[str], rows: Sequence[tuple[object, ...]], last: int
) -> tuple[list[str], list[tuple[object, ...]]]:
    """Leave out those of the last columns of a table that say nothing."""
    first = len(titles) - last
    shown = [n for n in range(len(titles)) if n < first or any(row[n] for row in rows)]
    return [titles[n] for n in shown], [tuple(row[n] for n in shown) for row in rows]


def _pins_text(status: ModuleStatus) -> str:
    return ", ".join(pin.text for pin in status.pins)


def install_command(options: argparse.Namespace) -> Outcome:
    """Install a module, or show what would be fetched."""
    if options.dry_run:
        return _install_planned(options)
    engine = _target(options)
    with progress() as report:
        done = engine.install(
            options.module,
            python=options.python or "",
            backend=options.backend or "",
            report=report,
        )
        if options.weights:
            usual_weights(engine, options.module, report)
    return _with_weights(_installed(done), engine, options.module)


def update_command(options: argparse.Namespace) -> Outcome:
    """Update a module, or show what would change."""
    engine = environments(options.module)
    wish = {"backend": options.backend or "", "fresh": options.fresh}
    if options.dry_run:
        return _planned(engine.plan_update(options.module, **wish))
    with progress() as report:
        return _installed(engine.update(options.module, **wish, report=report))


def _target(options: argparse.Namespace) -> Environments:
    """Return the engine on the data folder to install into."""
    return everywhere.engine_for_all() if options.all_accounts else environments()


def _install_planned(options: argparse.Namespace) -> Outcome:
    engine = _target(options)
    wish = Wish(options.python or "", options.backend or "")
    plan = planning.install(engine.data, engine.settings, options.module, wish=wish)

    def show() -> None:
        if not plan.needed:
            console.print_line(f"{plan.name} {plan.version} is installed already.")
            return
        console.print_pairs(
            {
                "module": f"{plan.name} {plan.version}",
                "python": plan.python + (" (will be fetched too)" if plan.python_missing else ""),
                "download": console.size(plan.space.download_bytes),
                "disk": console.size(plan.space.disk_bytes),
                "free": console.size(plan.space.free_bytes),
            }
        )
        for line in filter(None, (plan.why, plan.space.sentence)):
            console.print_line(line)
        rows = [(p["package"], p["version"], console.size(p["bytes"])) for p in plan.packages]
        console.print_table(["package", "version", "size"], rows)

    return Outcome(plan.as_dict(), show)


def _planned(plan: UpdatePlan) -> Outcome:
    def show() -> None:
        if not plan.needed:
            console.print_line(f"{plan.name} {plan.old_version} is up to date.")
            return
        size = console.size(plan.download_bytes)
        versions = f"{plan.old_version} -> {plan.new_version}"
        console.print_line(f"{plan.name} {versions}, {size} to download.")
        console.print_line(
            f"It takes about {console.size(plan.disk_bytes)}; {console.size(plan.free_bytes)} are "
            f"free{'' if plan.fits else ': it may not fit'}."
        )
        if plan.why:
            console.print_line(plan.why)
        rows = [(c["package"], c["old"] or "-", c["new"] or "-") for c in plan.changes]
        console.print_table(["package", "now", "then"], rows)

    return Outcome(asdict(plan), show)


def rollback_command(options: argparse.Namespace) -> Outcome:
    """Publish an older generation again."""
    engine = environments(options.module)
    with progress() as report:
        return _installed(engine.rollback(options.module, options.to, report=report))


def verify_command(options: argparse.Namespace) -> Outcome:
    """Verify a module."""
    with progress() as report:
        engine = environments(options.module)
        problems = engine.verify(options.module, quick=options.quick, report=report)

    def show() -> None:
        for problem in problems:
            console.print_line(problem.message)
        if problems:
            console.print_line(f"Mend it: ./run repair {options.module}")
        else:
            console.print_line(f"{options.module} is whole.")

    data = {"ok": not problems, "problems": [problem.as_dict() for problem in problems]}
    return Outcome(data, show, EXIT_FAILED if problems else EXIT_DONE)


def repair_command(options: argparse.Namespace) -> Outcome:
    """Repair a module."""
    with progress() as report:
        done = environments(options.module).repair(options.module, report=report)

    def show() -> None:
        for problem in done.problems:
            console.print_line(problem.message)
        if done.new:
            console.print_line(f"{done.name} is mended (generation {done.generation}).")
        else:
            console.print_line(f"{done.name} is whole; nothing was changed.")

    data = {"name": done.name, "generation": done.generation, "new": done.new}
    return Outcome({**data, "problems": [p.as_dict() for p in done.problems]}, show)


def selftest_command(options: argparse.Namespace) -> Outcome:
    """Run a module's own tests."""
    finished = environments(options.module).selftest(options.module)
    passed = finished.exit_code == 0

    def show() -> None:
        console.print_line(finished.stdout.rstrip())
        console.print_line("passed" if passed else finished.stderr.strip().splitlines()[-1])

    data = {"ok": passed, "output": finished.stdout + finished.stderr}
    return Outcome(data, show, EXIT_DONE if passed else EXIT_FAILED)


def remove_command(options: argparse.Namespace) -> Outcome:
    """Remove a module, now or as soon as nobody uses it."""
    engine, name = environments(options.module), options.module
    if options.weights and options.when_free:
        raise UsageError("--weights cannot wait.", "Remove the weights when the module is gone.")
    if options.when_free:
        done = engine.remove_when_free(name, force=options.force)
    else:
        freed = _removed(engine, name, weights=options.weights, force=options.force)
        done = Removal(name, freed, [])
    text = f"{name} is removed; {console.size(done.freed_bytes)} are free again."
    if done.deferred:
        text = f"{name} is in use by {users_text(done.waiting_for)}.\n"
        text += "A later command removes it, once nobody uses it any more; until then it works."
        text += f"\nTo keep it: ./run install {name}"
    kept = inventory.weights_bytes(engine.data, name)
    if kept and not done.deferred:
        text += f"\nIts weights ({console.size(kept)}) are kept: ./run remove {name} --weights"
    data = {**done.as_dict(), "weights_bytes": kept}
    return Outcome(data, lambda: console.print_line(text))


def _removed(engine: Environments, name: str, *, weights: bool, force: bool) -> int:
    """Remove a module, and its weights where that is wanted; return the bytes freed."""
    kept = inventory.weights_bytes(engine.data, name) if weights else 0
    try:
        freed = engine.remove(name, force=force)
    except NotInstalled:
        if not kept:
            raise
        freed = 0  # its weights are all that is left
    return freed + (upkeep.remove_all(engine.data, name) if weights else 0)


def _with_weights(outcome: Outcome, engine: Environments, name: str) -> Outcome:
    """Say which of the usual weights an installed module lacks."""
    missing = Store(engine.data, catalog.find(name, engine.data)).missing()

    def show() -> None:
        outcome.show()
        if missing:
            console.print_line(f"Before it can be used it needs weights: {', '.join(missing)}")
            console.print_line(f"Download them: ./run weights {name} get --default")

    return Outcome({**outcome.data, "weights_missing": missing}, show, outcome.exit_code)


def _busy_text(busy: dict[str, Any]) -> str:
    writer = Writer(**busy)
    stage = f", stage {writer.stage}" if writer.stage else ""
    return user_text(writer.as_user()) + stage


def _installed(done: Installed) -> Outcome:
    manifest = read_manifest(done.folder) or {}
    data: dict[str, Any] = {
        "name": done.name,
        "version": done.version,
        "generation": done.generation,
        "folder": str(done.folder),
        "new": done.new,
        "seconds": done.seconds,
        "backend": manifest.get("backend"),
        "device": manifest.get("device"),
        "backend_why": manifest.get("backend_why"),
        "device_problem": manifest.get("device_problem"),
    }
    text = f"{done.name} {done.version} is ready (generation {done.generation}"
    text += f", {done.seconds:.1f} s)." if done.new else ", was installed already)."
    why = "\n".join(filter(None, (data["backend_why"], data["device_problem"])))
    return Outcome(data, lambda: console.print_line(f"{text}\n{why}".rstrip()))


def _without_manifest(data: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in data.items() if key != "manifest"}
