"""The commands: each takes the parsed options and returns an `Outcome`; nothing is printed here."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from envmanager import applog, catalog, console, disk, events, inventory, settings
from envmanager.disk import Usage
from envmanager.environments import Environments, Installed, UpdatePlan
from envmanager.errors import NotInstalled, UsageError
from envmanager.paths import data_folder
from envmanager.uv import Uv
from ga3_nodes import home

EXIT_DONE, EXIT_FAILED = 0, 1


@dataclass(frozen=True)
class Outcome:
    """A command's result: `data` for scripts, `show` prints it for people."""

    data: dict[str, Any]
    show: Callable[[], None]
    exit_code: int = EXIT_DONE


def _environments() -> Environments:
    data = data_folder()
    return Environments(data, settings.load(data.settings))


@contextmanager
def _progress() -> Iterator[events.Report]:
    with console.progress() as report:
        yield applog.also(data_folder(), report)


def list_command(options: argparse.Namespace) -> Outcome:
    """List all modules with their state."""
    statuses = inventory.statuses(data_folder())

    def show() -> None:
        rows = [
            (s.name, s.state, s.installed_version, s.generation, _disk(s.disk), _users(s.in_use_by))
            for s in statuses
        ]
        console.print_table(["module", "state", "version", "gen.", "disk", "in use by"], rows)

    return Outcome({"modules": [_without_manifest(s.as_dict()) for s in statuses]}, show)


def status_command(options: argparse.Namespace) -> Outcome:
    """Show one module."""
    status = inventory.status(data_folder(), options.module)

    def show() -> None:
        pairs: dict[str, object] = {"module": f"{status.name} ({status.title})"}
        pairs |= {"state": status.state, "version": status.installed_version or "-"}
        pairs |= {"generations": status.generations, "disk": _disk(status.disk)}
        pairs |= {"in use by": _users(status.in_use_by) or "-"}
        if status.manifest:
            pairs |= {"python": status.manifest["python"], "self-test": status.manifest["selftest"]}
        console.print_pairs(pairs)
        for problem in status.problems:
            console.print_line(f"! {problem}")

    return Outcome(status.as_dict(), show)


def install_command(options: argparse.Namespace) -> Outcome:
    """Install a module."""
    with _progress() as report:
        done = _environments().install(options.module, python=options.python or "", report=report)
    return _installed(done)


def update_command(options: argparse.Namespace) -> Outcome:
    """Update a module, or show what would change."""
    engine = _environments()
    if options.dry_run:
        return _planned(engine.plan_update(options.module, fresh=options.fresh))
    with _progress() as report:
        return _installed(engine.update(options.module, fresh=options.fresh, report=report))


def _planned(plan: UpdatePlan) -> Outcome:
    def show() -> None:
        if not plan.needed:
            console.print_line(f"{plan.name} {plan.old_version} is up to date.")
            return
        size = console.size(plan.download_bytes)
        versions = f"{plan.old_version} -> {plan.new_version}"
        console.print_line(f"{plan.name} {versions}, at most {size} to download.")
        rows = [(c["package"], c["old"] or "-", c["new"] or "-") for c in plan.changes]
        console.print_table(["package", "now", "then"], rows)

    return Outcome(asdict(plan), show)


def rollback_command(options: argparse.Namespace) -> Outcome:
    """Publish an older generation again."""
    with _progress() as report:
        return _installed(_environments().rollback(options.module, options.to, report=report))


def verify_command(options: argparse.Namespace) -> Outcome:
    """Verify a module."""
    with _progress() as report:
        problems = _environments().verify(options.module, quick=options.quick, report=report)

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
    with _progress() as report:
        done = _environments().repair(options.module, report=report)

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
    finished = _environments().selftest(options.module)
    passed = finished.exit_code == 0

    def show() -> None:
        console.print_line(finished.stdout.rstrip())
        console.print_line("passed" if passed else finished.stderr.strip().splitlines()[-1])

    data = {"ok": passed, "output": finished.stdout + finished.stderr}
    return Outcome(data, show, EXIT_DONE if passed else EXIT_FAILED)


def _installed(done: Installed) -> Outcome:
    data = {
        "name": done.name,
        "version": done.version,
        "generation": done.generation,
        "folder": str(done.folder),
        "new": done.new,
        "seconds": done.seconds,
    }
    text = f"{done.name} {done.version} is ready (generation {done.generation}"
    text += f", {done.seconds:.1f} s)." if done.new else ", was installed already)."
    return Outcome(data, lambda: console.print_line(text))


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
    engine = _environments()
    freed = None
    with _progress() as report:
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


def remove_command(options: argparse.Namespace) -> Outcome:
    """Remove a module."""
    freed = _environments().remove(options.module)
    text = f"{options.module} is removed; {console.size(freed)} are free again."
    return Outcome({"name": options.module, "freed_bytes": freed}, lambda: console.print_line(text))


def segment_command(options: argparse.Namespace) -> Outcome:
    """Segment images."""
    from pathlib import Path

    from envmanager import segmentation

    spec = segmentation.function_of(_published(options.module), options.function)
    parameters = segmentation.parse_parameters(options.parameter, spec["parameters"])
    outputs = segmentation.output_paths(options.image, options.output)
    rows: list[dict[str, Any]] = []
    failed: list[dict[str, Any]] = []
    # Rows, not results: a hundred masks need not stay in memory.
    for found in segmentation.segment_files(
        options.module, options.image, outputs, parameters, function=options.function
    ):
        name = str(found.input)
        if isinstance(found, segmentation.Failed):
            applog.write_error(data_folder(), "segment", found.error)
            message, hint = found.error.message, found.error.hint
            failed.append({"input": name, "message": message, "hint": hint})
        else:
            row = {"input": name, "output": str(found.output), "objects": found.objects}
            rows.append(row | {"seconds": found.seconds, "device": found.device})

    def show() -> None:
        for row in rows:
            line = f"{Path(row['input']).name}: {row['objects']} objects in {row['seconds']:.2f} s"
            console.print_line(f"{line} ({row['device']}) -> {row['output']}")
        for row in failed:
            console.print_line(f"{row['input']}: failed: {row['message']} {row['hint']}".rstrip())

    data = {"outputs": rows, "failed": failed}
    return Outcome(data, show, EXIT_FAILED if failed else EXIT_DONE)


def _published(name: str) -> home.ModuleEntry:
    try:
        return home.published(name)
    except NotInstalled:
        catalog.find(name, data_folder())  # a misspelt name is told as such
        raise


def node_command(options: argparse.Namespace) -> Outcome:
    """Make a node script."""
    from envmanager import files, nodes, segmentation

    module = catalog.find(options.module, data_folder())
    declared = module.functions.get(options.function, {}).get("parameters", {})
    values = segmentation.parse_parameters(options.parameter, declared)
    text = nodes.script(module, values, nis=options.nis, function=options.function)
    if options.output:
        files.write_text(options.output, text)
    data = {"module": module.name, "nis": options.nis, "script": text}
    data["path"] = str(options.output) if options.output else None
    line = f"The node script is in {options.output}. Paste its text into the Python node."
    return Outcome(
        data,
        lambda: console.print_line(line) if options.output else print(text, end=""),
    )


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
            rows = [(w.module, w.generation, w.pid, w.idle_s, _users(w.clients)) for w in found]
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


def demo_command(options: argparse.Namespace) -> Outcome:
    """Run the demo."""
    from envmanager import demo

    with _progress() as report:
        done = demo.run(_environments(), image_path=options.image, report=report, nis=options.nis)

    def show() -> None:
        call = "running worker" if done.worker_was_running else "worker started"
        same = "the same as from the command line" if done.node_equals_cli else "DIFFERENT"
        console.print_pairs(
            {
                "image": done.image,
                "objects": done.objects,
                "first call": f"{done.first_call_s:.2f} s ({call})",
                "warm call": f"{done.warm_call_s:.3f} s",
                "GA3 node": f"{done.node_call_s:.3f} s in Python {done.node_python}, "
                f"its mask is {same}",
                "overlay": done.overlay,
                "mask": done.labels,
                "node script": done.node_script,
                "config": done.config,
                "environment": done.environment,
            }
        )

    exit_code = EXIT_DONE if done.node_equals_cli else EXIT_FAILED
    return Outcome(done.as_dict(), show, exit_code)


def _without_manifest(data: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in data.items() if key != "manifest"}


def _disk(disk: dict[str, int]) -> str:
    if not any(disk.values()):
        return "-"
    return f"{console.size(disk['own'])} + {console.size(disk['shared'])} shared"


def _users(users: list[dict[str, Any]]) -> str:
    return ", ".join(f"{user['program']} (PID {user['pid']})" for user in users)


def _shown(value: Any) -> str:
    return ", ".join(value) if isinstance(value, tuple) else str(value)
