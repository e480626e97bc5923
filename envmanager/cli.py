"""The command line: ``./run COMMAND``. Each command returns an `Outcome`; one place prints it."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NoReturn

from envmanager import applog, catalog, console, events, inventory, settings
from envmanager.environments import Environments, Installed, UpdatePlan
from envmanager.errors import Cancelled, GA3EnvError, NotInstalled, UsageError
from envmanager.paths import data_folder
from ga3_nodes import __version__, home

EXIT_DONE, EXIT_FAILED, EXIT_USAGE, EXIT_CANCELLED = 0, 1, 2, 130


@dataclass(frozen=True)
class Outcome:
    """A command's result: `data` for scripts, `show` prints it for people."""

    data: dict[str, Any]
    show: Callable[[], None]
    exit_code: int = EXIT_DONE


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return the exit code: 0 done, 1 failed, 2 wrong usage, 130 cancelled."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    as_json = "--json" in arguments
    command = next((word for word in arguments if not word.startswith("-")), "")
    try:
        signal.signal(signal.SIGTERM, _interrupt)
        options = _parser().parse_args(arguments)
        outcome: Outcome = options.run(options)
    except GA3EnvError as error:
        return _failed(error, command, as_json)
    except KeyboardInterrupt:
        cancelled = Cancelled("Cancelled.", "What was installed before is as it was.")
        return _failed(cancelled, command, as_json)
    except BrokenPipeError:  # the reader of our output is gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED
    except Exception as error:
        return _failed(_unexpected(error), command, as_json)
    if as_json:
        console.print_json({"ok": True, "command": command, "data": outcome.data})
    else:
        outcome.show()
    return outcome.exit_code


def _interrupt(number: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt


def _failed(error: GA3EnvError, command: str, as_json: bool) -> int:
    if isinstance(error, UsageError):
        exit_code = EXIT_USAGE
    else:
        exit_code = EXIT_CANCELLED if isinstance(error, Cancelled) else EXIT_FAILED
        applog.write_error(data_folder(), command, error)
    if as_json:
        console.print_json({"ok": False, "command": command, "error": error.to_dict()})
    else:
        console.print_error(error)
    return exit_code


def _unexpected(error: Exception) -> GA3EnvError:
    """Wrap what the system refused, or a defect of ours; the log has the traceback."""
    details = {"traceback": traceback.format_exc(), "log": str(applog.path(data_folder()))}
    if isinstance(error, OSError):
        return GA3EnvError(
            f"The system refused: {error}.",
            "Check free space and permissions of the data folder.",
            code="system",
            details=details,
        )
    return GA3EnvError(
        f"Unexpected {type(error).__name__}: {error}.",
        "This is a defect of the app; please report it with the log.",
        code="internal",
        details=details,
    )


# ---- commands -----------------------------------------------------------------------------------


def _environments() -> Environments:
    data = data_folder()
    return Environments(data, settings.load(data.settings))


@contextmanager
def _progress() -> Iterator[events.Report]:
    with console.progress() as report:
        yield applog.also(data_folder(), report)


def _list(options: argparse.Namespace) -> Outcome:
    statuses = inventory.statuses(data_folder())

    def show() -> None:
        rows = [
            (s.name, s.state, s.installed_version, s.generation, _disk(s.disk), _users(s.in_use_by))
            for s in statuses
        ]
        console.print_table(["module", "state", "version", "gen.", "disk", "in use by"], rows)

    return Outcome({"modules": [_without_manifest(s.as_dict()) for s in statuses]}, show)


def _status(options: argparse.Namespace) -> Outcome:
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


def _install(options: argparse.Namespace) -> Outcome:
    with _progress() as report:
        done = _environments().install(options.module, python=options.python or "", report=report)
    return _installed(done)


def _update(options: argparse.Namespace) -> Outcome:
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


def _rollback(options: argparse.Namespace) -> Outcome:
    with _progress() as report:
        return _installed(_environments().rollback(options.module, options.to, report=report))


def _verify(options: argparse.Namespace) -> Outcome:
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


def _repair(options: argparse.Namespace) -> Outcome:
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


def _selftest(options: argparse.Namespace) -> Outcome:
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


def _remove(options: argparse.Namespace) -> Outcome:
    freed = _environments().remove(options.module)
    text = f"{options.module} is removed; {console.size(freed)} are free again."
    return Outcome({"name": options.module, "freed_bytes": freed}, lambda: console.print_line(text))


def _segment(options: argparse.Namespace) -> Outcome:
    from envmanager import images, segmentation

    spec = segmentation.function_of(_published(options.module), options.function)
    parameters = segmentation.parse_parameters(options.parameter, spec["parameters"])
    outputs = segmentation.output_paths(options.image, options.output)
    done = [
        segmentation.segment(
            options.module,
            images.read(image),
            parameters,
            function=options.function,
            output=output,
        )
        for image, output in zip(options.image, outputs, strict=True)
    ]
    rows = [
        {
            "input": str(d.input),
            "output": str(d.output),
            "objects": d.objects,
            "seconds": d.seconds,
            "device": d.device,
        }
        for d in done
    ]

    def show() -> None:
        for d in done:
            line = f"{d.input.name}: {d.objects} objects in {d.seconds:.2f} s ({d.device})"
            console.print_line(f"{line} -> {d.output}")

    return Outcome({"outputs": rows}, show)


def _published(name: str) -> home.ModuleEntry:
    try:
        return home.published(name)
    except NotInstalled:
        catalog.find(name, data_folder())  # a misspelt name is told as such
        raise


def _node(options: argparse.Namespace) -> Outcome:
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


def _workers(options: argparse.Namespace) -> Outcome:
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


def _settings(options: argparse.Namespace) -> Outcome:
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


def _demo(options: argparse.Namespace) -> Outcome:
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


# ---- the parser ---------------------------------------------------------------------------------


class _Parser(argparse.ArgumentParser):
    """Raises instead of printing, so that wrong usage too can be told as JSON."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message[:1].upper()}{message[1:]}.", f"See {self.prog} --help.")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="./run", description="Environments of AI segmentation modules for NIS-Elements GA3."
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def add(name: str, run: Callable[[argparse.Namespace], Outcome], text: str) -> Any:
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("--json", action="store_true", help="print one JSON object")
        command.set_defaults(run=run)
        return command

    demo = add("demo", _demo, "install, segment and run a GA3 node, end to end")
    demo.add_argument("--image", type=Path, help="your own TIFF, ND2 or PNG")
    demo.add_argument("--nis", type=int, choices=(6, 7), default=6, help="NIS-Elements version")
    add("list", _list, "all modules with their state")
    add("status", _status, "one module in detail").add_argument("module")
    install = add("install", _install, "build, test and publish a module's environment")
    install.add_argument("module")
    install.add_argument("--python", help="version or path of the Python to use")
    update = add("update", _update, "publish a newer version of a module as a new generation")
    update.add_argument("module")
    update.add_argument("--dry-run", action="store_true", help="show what would change")
    update.add_argument("--fresh", action="store_true", help="newest versions of all packages")
    verify = add("verify", _verify, "check every file, the imports and the module's tests")
    verify.add_argument("module")
    verify.add_argument("--quick", action="store_true", help="sizes only, run nothing")
    add("repair", _repair, "verify, and build anew what is damaged").add_argument("module")
    rollback = add("rollback", _rollback, "publish an older generation again")
    rollback.add_argument("module")
    rollback.add_argument("--to", type=int, metavar="N", help="generation; else the one before")
    add("selftest", _selftest, "run the module's own tests").add_argument("module")
    add("remove", _remove, "remove a module's environment").add_argument("module")
    segment = add("segment", _segment, "segment images and save their label masks")
    segment.add_argument("module")
    segment.add_argument("image", type=Path, nargs="+")
    segment.add_argument("-o", "--output", type=Path, required=True, help="mask file, or a folder")
    node = add("node", _node, "print the GA3 node script of a module")
    node.add_argument("module")
    node.add_argument("--nis", type=int, choices=(6, 7), default=6, help="NIS-Elements version")
    node.add_argument("-o", "--output", type=Path, help="file to write instead")
    for command in (segment, node):
        command.add_argument("--function", default="segment")
        command.add_argument("-p", "--parameter", action="append", default=[], metavar="KEY=VALUE")
    workers = add("workers", _workers, "list, start or stop the worker processes")
    workers.add_argument("action", nargs="?", choices=("list", "start", "stop"), default="list")
    workers.add_argument("module", nargs="?")
    change = add("settings", _settings, "show or change the settings")
    change.add_argument("name", nargs="?")
    change.add_argument("value", nargs="*")
    change.add_argument("--unset", action="store_true", help="back to the default")
    return parser
