"""What people see in the terminal: progress on stderr, results as text or as one JSON object."""

from __future__ import annotations

import io
import json
import math
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NoReturn, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn
from rich.table import Table
from rich.text import Text

from envmanager import events
from envmanager.errors import GA3EnvError
from envmanager.units import duration as duration
from envmanager.units import size as size

_DETAIL_LINES = 12
_LINES_S, _SILENCE_S = 2.0, 20.0  # between lines of progress: at least, and at most


class OutputLost(Exception):
    """Stdout takes no more: its reader has gone, or its disk is full."""


class _Console(Console):
    def on_broken_pipe(self) -> NoReturn:
        """Leave it to `writing`; rich would exit here, whatever else is to be cleaned up."""
        raise


def prepare(*, as_json: bool) -> None:
    """Make stdout and stderr take every text: names of files need not fit the user's encoding."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    if as_json and isinstance(sys.stdout, io.TextIOWrapper):
        # What even UTF-8 cannot hold becomes \udcXX, which JSON reads as it was.
        sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")


@contextmanager
def writing() -> Iterator[None]:
    """Raise OutputLost where stdout takes no more, now and not at the exit of the interpreter."""
    try:
        yield
        if sys.stdout is not None:  # pythonw has none
            sys.stdout.flush()
    except OSError as error:
        _drop(sys.stdout)
        raise OutputLost(str(error)) from error


@contextmanager
def _telling() -> Iterator[None]:
    """Go on where stderr takes no more: no work may fail because nobody watches it."""
    try:
        yield
    except OSError:
        _drop(sys.stderr)


def _drop(stream: TextIO | None) -> None:
    """Let what a stream still holds go nowhere, else the interpreter tells of it at its end."""
    if stream is None:
        return
    with suppress(OSError, ValueError):  # a stream without a file
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


@contextmanager
def progress(*, quiet: bool = False) -> Iterator[events.Report]:
    """Show stages and bytes: a moving bar in a terminal, plain lines elsewhere."""
    console = _Console(stderr=True)
    if quiet:
        yield events.ignore
    elif console.is_terminal:
        with _bar(console) as bar:
            yield _moving(bar)
    else:
        yield _Lines().report


def _bar(console: Console) -> Progress:
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=14),
        TextColumn("{task.fields[figures]}"),
    )
    return Progress(*columns, console=console, transient=True)


def _moving(bar: Progress) -> events.Report:
    task = bar.add_task("", total=None, figures="")

    def report(event: events.Event) -> None:
        match event:
            case events.Stage(_, title):
                bar.reset(task, description=title, total=None, figures="")
            case events.Progress(done, total) | events.Items(done, total):
                bar.update(task, completed=done, total=total or None, figures=figures(event))
            case events.Notice(text):
                bar.console.print(Text.assemble(("notice: ", "bold yellow"), text))

    return report


class _Lines:
    """Progress as lines of text, for a log: few of them, however often it is reported."""

    def __init__(self) -> None:
        self._last = -math.inf  # when the last line was printed
        self._tenths = 0

    def report(self, event: events.Event) -> None:
        """Print what is new."""
        match event:
            case events.Stage(_, title):
                self._tenths = 0
                self._print(f"{title} ...")
            case events.Progress(done) | events.Items(done) if done and self._is_due(event):
                self._tenths = _tenths(event)
                self._print(f"  {figures(event)}")
            case events.Notice(text):
                self._print(f"notice: {text}")

    def _is_due(self, progress: events.Progress | events.Items) -> bool:
        """Tell whether another tenth is done, or nothing was said for long."""
        waited = time.monotonic() - self._last
        further = _tenths(progress) > self._tenths
        return waited >= (_LINES_S if further else _SILENCE_S)

    def _print(self, text: str) -> None:
        self._last = time.monotonic()
        with _telling():
            print(text, file=sys.stderr, flush=True)


def _tenths(progress: events.Progress | events.Items) -> int:
    return int(10 * progress.done / progress.total) if progress.total else 0


def figures(progress: events.Progress | events.Items) -> str:
    """Return what is done, rate and remaining time for people, as far as they are known."""
    if isinstance(progress, events.Items):
        parts = [f"{int(progress.done)} of {progress.total}", progress.text]
        if progress.per_s:
            digits = ".0f" if progress.per_s >= 10 else ".2g"
            parts.append(f"{progress.per_s:{digits}} per second")
        if progress.remaining_s is not None and progress.done < progress.total:
            parts.append(f"{duration(progress.remaining_s)} left")
        return ", ".join(filter(None, parts))
    done, total = progress.done, progress.total
    parts = [_share(done, total) if total else size(done) if done else ""]
    if progress.bytes_per_s:
        parts.append(f"{size(round(progress.bytes_per_s))}/s")
    if progress.remaining_s is not None and done < total:
        parts.append(f"{duration(progress.remaining_s)} left")
    return ", ".join(part for part in parts if part)


def print_json(value: Mapping[str, Any]) -> None:
    """Print one JSON object on stdout."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    try:
        with writing():
            print(text)
    except KeyboardInterrupt:  # some of it is out: a second object must not follow
        _drop(sys.stdout)
        raise


def print_error(error: GA3EnvError) -> None:
    """Print message and hint on stderr, with the last lines of a log where there is one."""
    with _telling():
        console = _Console(stderr=True, soft_wrap=True, highlight=False)
        console.print(Text.assemble(("error: ", "bold red"), error.message))
        if error.hint:
            console.print(Text.assemble(("hint: ", "bold"), " ", error.hint))
        tail = str(error.details.get("log_tail") or "").splitlines()[-_DETAIL_LINES:]
        for line in tail:
            console.print(Text(f"  | {line}", style="dim"))
        if error.details.get("log"):
            console.print(Text(f"  log: {error.details['log']}", style="dim"))


# Texts, not rich's markup: paths and messages hold brackets.


def print_table(titles: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table on stdout."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in titles:
        table.add_column(title, overflow="fold")
    for row in rows:
        table.add_row(*(Text("" if cell is None else str(cell)) for cell in row))
    with writing():
        _stdout().print(table)


def print_pairs(pairs: Mapping[str, object]) -> None:
    """Print names and values below each other on stdout."""
    width = max((len(name) for name in pairs), default=0)
    with writing():
        for name, value in pairs.items():
            _stdout().print(Text.assemble((f"{name:<{width}}", "bold"), "  ", str(value)))


def print_line(text: str = "") -> None:
    """Print one line on stdout."""
    with writing():
        _stdout().print(Text(text))


def quoted(name: str) -> str:
    """Return a file's name as a command takes it, on Windows too."""
    return f'"{name}"' if " " in name else name


def ask(question: str) -> bool | None:
    """Ask in the terminal; None where nobody can answer. Only a clear yes is one."""
    if not (sys.stdin and sys.stdin.isatty() and sys.stderr and sys.stderr.isatty()):
        return None
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _stdout() -> Console:
    return _Console(soft_wrap=True, highlight=False, emoji=False)


def _share(done: int, total: int) -> str:
    """Return a part of a number of bytes; a unit that both have is named once."""
    number, _, unit = size(done).partition(" ")
    return f"{number if size(total).endswith(f' {unit}') else size(done)} of {size(total)}"
