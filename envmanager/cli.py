"""The command line: ``./run COMMAND``. Parses the words, runs the command, prints its outcome."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from envmanager import applog, console, failures
from envmanager.commands import (
    authoring,
    bench,
    bundles,
    images,
    machine,
    modules,
    nodes,
    pipelines,
    sharing,
    support,
    weights,
)
from envmanager.commands.outcome import EXIT_FAILED, Outcome, progress
from envmanager.data import access
from envmanager.data.paths import data_folder
from envmanager.environments import removal
from envmanager.errors import Cancelled, GA3EnvError, UsageError
from envmanager.modules import placing
from ga3_nodes import __version__

EXIT_USAGE, EXIT_CANCELLED = 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return the exit code: 0 done, 1 failed, 2 wrong usage, 130 cancelled."""
    arguments, as_json = _without_json(list(sys.argv[1:] if argv is None else argv))
    command = next((word for word in arguments if not word.startswith("-")), "")
    failure: GA3EnvError
    try:
        console.prepare(as_json=as_json)
        _heed_signals()
        _fix_home()
        return _run(arguments, command, as_json)
    except console.OutputLost:  # nobody reads us, or the disk is full: the exit code must do
        return EXIT_FAILED
    except GA3EnvError as error:
        failure = error
    except KeyboardInterrupt:
        failure = _cancelled(command)
    except Exception as error:
        failure = failures.as_error(error)
    return _failed(failure, command, as_json)


def _without_json(words: list[str]) -> tuple[list[str], bool]:
    """Take ``--json`` out, so that it may stand before the command; after ``--`` it is a name."""
    end = words.index("--") if "--" in words else len(words)
    options = [word for word in words[:end] if word != "--json"]
    return options + words[end:], len(options) < end


def _heed_signals() -> None:
    """Let a closed terminal or a system that shuts down end a command as Ctrl-C does."""
    for name in ("SIGTERM", "SIGHUP", "SIGBREAK"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) != signal.SIG_IGN:  # nohup stays so
            signal.signal(number, signal.default_int_handler)


def _fix_home() -> None:
    """Make a relative GA3ENV_HOME absolute: what we start has another current folder."""
    if chosen := os.environ.get("GA3ENV_HOME"):
        os.environ["GA3ENV_HOME"] = str(Path(chosen).absolute())


def _run(arguments: list[str], command: str, as_json: bool) -> int:
    try:
        options = _parser().parse_args(arguments)
        options.json = as_json
        _finish_removals(options)
        placing.mend(data_folder())
        outcome: Outcome = options.run(options)
    except _Told as told:
        command, text = told.name, told.text
        outcome = Outcome({"text": text}, lambda: print(text))
    if as_json:
        console.print_json({"ok": True, "command": command, "data": outcome.data})
    else:
        with console.writing():
            outcome.show()
    return outcome.exit_code


def _finish_removals(options: argparse.Namespace) -> None:
    """Do the removals that waited until their modules were free, except of the one named now."""
    for data in access.folders():
        if removal.pending(data) and access.access(data).may_change:
            with progress() as report:
                removal.sweep(data, spared=getattr(options, "module", None) or "", report=report)


def _cancelled(command: str) -> Cancelled:
    kept = "What was installed before is as it was."
    hints = dict.fromkeys(("install", "update", "repair"), kept)
    hints["bundle"] = "What was downloaded is kept: start it again, and it goes on there."
    hints["pipeline"] = "What is done is kept: start it again, and it goes on there."
    return Cancelled("Cancelled.", hints.get(command, "Nothing more was done."))


def _failed(error: GA3EnvError, command: str, as_json: bool) -> int:
    if isinstance(error, UsageError):
        exit_code = EXIT_USAGE
    else:
        exit_code = EXIT_CANCELLED if isinstance(error, Cancelled) else EXIT_FAILED
        if failures.log():
            applog.write_error(data_folder(), command, error)
    if as_json:
        with contextlib.suppress(console.OutputLost):
            console.print_json({"ok": False, "command": command, "error": error.to_dict()})
    else:
        console.print_error(error)
    return exit_code


# ---- the parser ---------------------------------------------------------------------------------


_Command = Callable[[argparse.Namespace], Outcome]


class _Told(Exception):
    """What ``--help`` or ``--version`` has to say: a result as any other, as JSON too."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(name)
        self.name, self.text = name, text


class _Tell(argparse.Action):
    """Ends the parsing with a text: `const`, or else the parser's help."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        """Raise the text."""
        raise _Told(self.dest, self.const or parser.format_help().rstrip())


class _Parser(argparse.ArgumentParser):
    """Raises instead of printing, so that all it has to say can be told as JSON."""

    def __init__(self, **options: Any) -> None:
        # No abbreviations: --js would be taken for --json here, and not where we look for it.
        super().__init__(add_help=False, allow_abbrev=False, **options)
        self.add_argument("-h", "--help", action=_Tell, nargs=0, help="show this text")
        self.add_argument("--json", action="store_true", help="print one JSON object")

    def error(self, message: str) -> NoReturn:
        """Raise UsageError."""
        raise UsageError(f"{message[:1].upper()}{message[1:]}.", f"See {self.prog} --help.")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="./run", description="Environments of AI segmentation modules for NIS-Elements GA3."
    )
    parser.add_argument(
        "--version", action=_Tell, nargs=0, const=__version__, help="show the version"
    )
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)

    def add(name: str, run: _Command, text: str, *, module: bool = False) -> Any:
        command = subparsers.add_parser(name, help=text, description=text)
        command.set_defaults(run=run)
        if module:
            command.add_argument("module")
        return command

    own = (authoring, sharing, bundles)
    for group in (images, pipelines, nodes, modules, weights, *own, machine, support, bench):
        group.add_to(add)
    return parser
