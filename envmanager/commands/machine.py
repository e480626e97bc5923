"""The computer and the data folder: doctor, disk, workers, settings."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

from envmanager import console, disk, workers
from envmanager.commands.outcome import (
    EXIT_DONE,
    EXIT_FAILED,
    Add,
    Outcome,
    date_text,
    environments,
    progress,
    users_text,
)
from envmanager.data import access, redaction, settings
from envmanager.data.paths import data_folder
from envmanager.disk import Usage
from envmanager.environments import everywhere, preferences
from envmanager.errors import UsageError
from envmanager.moving import machine_wide, relocation
from envmanager.uv.program import Uv

_PATIENCE_S, _FORCED_S = 15.0, 2.0  # for workers that were told to end
_CLEANABLE = "Its cache is cleaned by ./run disk --clean-cache with GA3ENV_MACHINE_WIDE=1."
_NOT_CLEANABLE = "Only an administrator may clean it."
_MACHINE_WIDE_HELP = "make its environments those of all accounts (for administrators)"
_FROM_HELP = "with --machine-wide: the data folder of another account"


def add_to(add: Add) -> None:
    """Add these commands to the parser."""
    check = add("doctor", doctor_command, "check this computer and every module")
    check.add_argument("--fix", action="store_true", help="mend what can be mended")
    space = add("disk", disk_command, "what takes how much disk space")
    space.add_argument("--refresh", action="store_true", help="count anew")
    space.add_argument("--clean-cache", action="store_true", help="remove what nothing uses")
    space.add_argument("--everything", action="store_true", help="empty the cache")
    work = add("workers", workers_command, "list, start or stop the worker processes")
    work.add_argument("action", nargs="?", choices=("list", "start", "stop"), default="list")
    work.add_argument("module", nargs="?")
    work.add_argument("--force", action="store_true", help="kill what does not stop by itself")
    change = add("settings", settings_command, "show or change the settings")
    change.add_argument("name", nargs="?")
    change.add_argument("value", nargs="*")
    change.add_argument("--unset", action="store_true", help="back to the default")
    place = add("move-root", move_root_command, "move the data folder, or end a broken-off move")
    place.add_argument("folder", nargs="?", help="an empty or new folder")
    place.add_argument("--machine-wide", action="store_true", help=_MACHINE_WIDE_HELP)
    place.add_argument("--from", dest="source", type=Path, metavar="FOLDER", help=_FROM_HELP)
    place.add_argument("--dry-run", action="store_true", help="show what would be done")


def doctor_command(options: argparse.Namespace) -> Outcome:
    """Check this computer, the data folder and every module; mend what can be mended."""
    from envmanager import doctor

    data = data_folder()
    usable = doctor.usable_settings(data)  # a broken settings.toml is a line of the list

    def show_line(check: doctor.Check) -> None:
        if not options.json:
            console.print_line(f"{check.status:<8} {check.message}")
            if check.hint:
                console.print_line(f"{'':<8} -> {check.hint}")

    if options.fix:
        before = doctor.checks(data, usable)  # silent: the second pass is shown
        found = doctor.fix(data, usable, before, show_line)
    else:
        found = doctor.checks(data, usable, show_line)
    errors = sum(check.status == "error" for check in found)
    warnings = sum(check.status == "warning" for check in found)
    values = {"ok": not errors, "checks": [check.as_dict() for check in found]}
    text = f"{errors} error(s), {warnings} warning(s)."
    return Outcome(values, lambda: console.print_line(text), EXIT_FAILED if errors else EXIT_DONE)


def disk_command(options: argparse.Namespace) -> Outcome:
    """Show the disk figures, counted anew where asked for, and clean uv's cache."""
    if options.everything and not options.clean_cache:
        raise UsageError("--everything belongs to --clean-cache.", "See ./run disk --help.")
    engine = environments()
    freed, anew = None, options.refresh or options.clean_cache
    with progress() as report:
        if options.clean_cache:
            access.require(engine.data)
            uv = Uv(engine.data, engine.settings)
            freed = disk.clean_cache(uv, engine.data, everything=options.everything, report=report)
        kept = None if anew else disk.cached(engine.data)
        found = kept or disk.overview(engine.data, report)
        of_all = disk.of_all(report, count=options.refresh or None)

    def show() -> None:
        _show_disk(found)
        for volume in disk.volumes(engine.data):
            console.print_line(f"{console.size(volume.free)} free on the volume of {volume.path}")
        if freed is not None:
            console.print_line(f"{console.size(freed)} of the cache are free again.")
        console.print_line(f"Counted on {date_text(found.date)}")
        if of_all and of_all.figures:
            console.print_line(f"\nFor all accounts of this computer, in {of_all.root}:")
            _show_disk(of_all.figures)
            console.print_line(_CLEANABLE if of_all.may_change else _NOT_CLEANABLE)

    # Free space is asked anew each time: it costs nothing, and the last count may be old.
    now = {"volumes": [asdict(volume) for volume in disk.volumes(engine.data)]}
    shared = {"of_all_accounts": of_all.as_dict() if of_all else None}
    return Outcome({**found.as_dict(), **now, "freed_bytes": freed, **shared}, show)


def _show_disk(found: disk.Overview) -> None:
    rows = [(f"module {n}", *_own_and_shared(u)) for n, u in sorted(found.modules.items())]
    rows += [(name, *_own_and_shared(u)) for name, u in found.parts.items() if u.total]
    rows.append(("cache", *_own_and_shared(found.cache)))
    rows.append(("total", console.size(found.total), ""))
    console.print_table(["place", "own", "shared"], rows)


def _own_and_shared(usage: Usage) -> tuple[str, str]:
    return console.size(usage.own), console.size(usage.shared)


def workers_command(options: argparse.Namespace) -> Outcome:
    """List, start or stop workers."""
    if options.action == "stop":
        patience_s = _FORCED_S if options.force else _PATIENCE_S
        done = everywhere.stop(options.module, patience_s, force=options.force)
        return _workers_stop(done)
    if options.action == "start":
        if not options.module:
            raise UsageError("Which module's worker shall start?", "./run workers start classic")
        workers.start(options.module)
    found = workers.measured(everywhere.live(options.module))

    def show() -> None:
        if not found:
            console.print_line("No worker is running.")
            return
        titles = ["module", "gen.", "pid", "device", "memory", "idle s", "clients"]
        console.print_table(titles, [_worker_row(worker) for worker in found])

    return Outcome({"action": options.action, "workers": [w.as_dict() for w in found]}, show)


def _worker_row(worker: workers.Worker) -> tuple[object, ...]:
    memory = "" if worker.memory is None else console.size(worker.memory)
    place = (worker.module, worker.generation, worker.pid, worker.device, memory)
    return (*place, worker.idle_s, users_text(worker.clients))


def _workers_stop(stopped: workers.Stopped) -> Outcome:
    def show() -> None:
        console.print_line(f"{len(stopped.ended)} worker(s) ended.")
        for worker in stopped.still_running:
            state = "is still computing" if worker.responding else "does not answer"
            users = f" for {users_text(worker.clients)}" if worker.clients else ""
            console.print_line(f"{worker.module} (PID {worker.pid}) {state}{users}.")
        if stopped.still_running:
            console.print_line("Kill it: ./run workers stop --force")

    data = {
        "action": "stop",
        "workers": [worker.as_dict() for worker in stopped.ended],
        "still_running": [worker.as_dict() for worker in stopped.still_running],
    }
    return Outcome(data, show, EXIT_FAILED if stopped.still_running else EXIT_DONE)


def settings_command(options: argparse.Namespace) -> Outcome:
    """Show or change settings."""
    data, name = data_folder(), options.name
    if name:
        settings.refuse_unknown(name)
    if name and (options.value or options.unset):
        relocation.settle()
        found = preferences.change(data, name, [] if options.unset else options.value)
    else:
        found = settings.load(data.settings)
    values = settings.as_dict(found)
    if name and not options.value and not options.unset:
        values = {name: values[name]}

    def show() -> None:
        rows = [(n, _shown(v), settings.help_text(n)) for n, v in values.items()]
        console.print_table(["setting", "value", "meaning"], rows)
        console.print_line(f"The data folder is {data.root}; move it with ./run move-root FOLDER.")

    return Outcome(
        {"path": str(data.settings), "data_root": str(data.root), "settings": values}, show
    )


def _shown(value: Any) -> str:
    text = ", ".join(value) if isinstance(value, tuple) else str(value)
    if isinstance(value, bool):
        return text.lower()
    return redaction.without_passwords(text)


def move_root_command(options: argparse.Namespace) -> Outcome:
    """Move the data folder; without a folder only finish or undo a move that was interrupted."""
    if options.machine_wide:
        return _move_to_all(options)
    if options.source or options.dry_run:
        raise UsageError("--from and --dry-run belong to --machine-wide.", "See --help.")
    if not options.folder:
        with progress() as report:
            relocation.settle(report)
        root = data_folder().root
        return Outcome(
            {"data_root": str(root)}, lambda: console.print_line(f"The data folder is {root}.")
        )
    with progress() as report:
        moved = relocation.move(Path(options.folder), report)
    return _moved(moved, "The data folder ({size}) is now {target}.")


def _move_to_all(options: argparse.Namespace) -> Outcome:
    """Make the environments those of all accounts, or show what that would do."""
    if options.folder:
        raise UsageError(
            "--machine-wide takes no folder: it has a place of its own.", "See --help."
        )
    with progress() as report:
        if options.dry_run:
            return _planned(machine_wide.plan(options.source, report))
        moved = machine_wide.move(options.source, report)
    return _moved(moved, "The environments ({size}) are those of all accounts now, in {target}.")


def _planned(plan: machine_wide.Plan) -> Outcome:
    def show() -> None:
        console.print_pairs(
            {
                "from": plan.source,
                "to": plan.target,
                "size": f"{console.size(plan.size)}, {console.size(plan.free)} free",
                "for all accounts": ", ".join(plan.modules) or "-",
                "stays yours": ", ".join(plan.stays) or "-",
            }
        )
        for error in plan.obstacles:
            console.print_line(f"! {error}")

    exit_code = EXIT_FAILED if plan.obstacles else EXIT_DONE
    return Outcome({"ok": not plan.obstacles, **plan.as_dict()}, show, exit_code)


def _moved(moved: relocation.Moved, text: str) -> Outcome:
    def show() -> None:
        console.print_line(text.format(size=console.size(moved.size), target=moved.target))
        if moved.rest:
            console.print_line(moved.rest)

    return Outcome(
        {
            "data_root": str(moved.target),
            "moved_from": str(moved.source),
            "bytes": moved.size,
            "old_deleted": moved.old_deleted,
        },
        show,
    )
