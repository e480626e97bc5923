"""The computer and the data folder: doctor, disk, workers, settings."""

from __future__ import annotations

import argparse
import time
from typing import Any

from envmanager import console, disk, settings
from envmanager.commands.outcome import (
    EXIT_DONE,
    EXIT_FAILED,
    Add,
    Outcome,
    environments,
    progress,
    users_text,
)
from envmanager.disk import Usage
from envmanager.errors import UsageError
from envmanager.paths import data_folder
from envmanager.uv import Uv


def add_to(add: Add) -> None:
    """Add these commands to the parser."""
    check = add("doctor", doctor_command, "check this computer and every module")
    check.add_argument("--fix", action="store_true", help="mend what can be mended")
    space = add("disk", disk_command, "what takes how much disk space")
    space.add_argument("--refresh", action="store_true", help="count anew")
    space.add_argument("--clean-cache", action="store_true", help="remove what nothing uses")
    space.add_argument("--everything", action="store_true", help="empty the cache")
    workers = add("workers", workers_command, "list, start or stop the worker processes")
    workers.add_argument("action", nargs="?", choices=("list", "start", "stop"), default="list")
    workers.add_argument("module", nargs="?")
    change = add("settings", settings_command, "show or change the settings")
    change.add_argument("name", nargs="?")
    change.add_argument("value", nargs="*")
    change.add_argument("--unset", action="store_true", help="back to the default")


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
    engine = environments()
    freed = None
    with progress() as report:
        if options.clean_cache:
            uv = Uv(engine.data, engine.settings)
            freed = disk.clean_cache(uv, engine.data, everything=options.everything, report=report)
        kept = None if options.refresh or options.clean_cache else disk.cached(engine.data)
        found = kept or disk.overview(engine.data, report)

    def show() -> None:
        rows = [(f"module {n}", *_own_and_shared(u)) for n, u in sorted(found.modules.items())]
        rows += [(name, *_own_and_shared(u)) for name, u in found.parts.items() if u.total]
        rows.append(("cache", *_own_and_shared(found.cache)))
        rows.append(("total", console.size(found.total), ""))
        console.print_table(["place", "own", "shared"], rows)
        for volume in disk.volumes(engine.data):
            console.print_line(f"{console.size(volume.free)} free on the volume of {volume.path}")
        if freed is not None:
            console.print_line(f"{console.size(freed)} of the cache are free again.")
        console.print_line(
            f"Counted on {time.strftime('%Y-%m-%d %H:%M', time.localtime(found.date))}"
        )

    return Outcome({**found.as_dict(), "freed_bytes": freed}, show)


def _own_and_shared(usage: Usage) -> tuple[str, str]:
    return console.size(usage.own), console.size(usage.shared)


def workers_command(options: argparse.Namespace) -> Outcome:
    """List, start or stop workers."""
    from envmanager import workers

    data = data_folder()
    if options.action == "start":
        if not options.module:
            raise UsageError("Which module's worker shall start?", "./run workers start classic")
        workers.start(options.module)
    found = (
        workers.stop(data, options.module)
        if options.action == "stop"
        else workers.live(data, options.module)
    )

    def show() -> None:
        if options.action == "stop":
            console.print_line(f"{len(found)} worker(s) ended.")
            for worker in workers.live(data, options.module):
                console.print_line(f"{worker.module} (PID {worker.pid}) is still computing.")
        elif not found:
            console.print_line("No worker is running.")
        else:
            rows = [(w.module, w.generation, w.pid, w.idle_s, users_text(w.clients)) for w in found]
            console.print_table(["module", "gen.", "pid", "idle s", "clients"], rows)

    return Outcome({"action": options.action, "workers": [w.as_dict() for w in found]}, show)


def settings_command(options: argparse.Namespace) -> Outcome:
    """Show or change settings."""
    path = data_folder().settings
    changes = options.name and (options.value or options.unset)
    found = settings.change(path, options.name, options.value) if changes else settings.load(path)
    values = settings.as_dict(found)
    if options.name and not changes:
        if options.name not in values:
            raise UsageError(f"There is no setting {options.name!r}.", "See ./run settings.")
        values = {options.name: values[options.name]}

    def show() -> None:
        rows = [(n, _shown(v), settings.help_text(n)) for n, v in values.items()]
        console.print_table(["setting", "value", "meaning"], rows)

    return Outcome({"path": str(path), "settings": values}, show)


def _shown(value: Any) -> str:
    return ", ".join(value) if isinstance(value, tuple) else str(value)
