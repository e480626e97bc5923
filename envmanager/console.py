"""What people see in the terminal: progress on stderr, results as text or as one JSON object."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, SpinnerColumn, TextColumn
from rich.table import Table
from rich.text import Text

from envmanager import events
from envmanager.errors import GA3EnvError

_DETAIL_LINES = 12


@contextmanager
def progress(*, quiet: bool = False) -> Iterator[events.Report]:
    """Show stages and bytes: a moving bar in a terminal, plain lines elsewhere."""
    console = Console(stderr=True)
    if quiet:
        yield events.ignore
    elif console.is_terminal:
        with _bar(console) as bar:
            yield _moving(bar)
    else:
        yield _lines


def _bar(console: Console) -> Progress:
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        DownloadColumn(),
    )
    return Progress(*columns, console=console, transient=True)


def _moving(bar: Progress) -> events.Report:
    task = bar.add_task("", total=None)

    def report(event: events.Event) -> None:
        match event:
            case events.Stage(_, title):
                bar.reset(task, description=title, total=None)
            case events.Progress(done, total):
                bar.update(task, completed=done, total=total or None)

    return report


def _lines(event: events.Event) -> None:
    match event:
        case events.Stage(_, title):
            print(title + " ...", file=sys.stderr, flush=True)
        case events.Progress(done, total) if total:
            print(f"  {done / 1e6:.1f} of {total / 1e6:.1f} MB", file=sys.stderr, flush=True)


def print_json(value: Mapping[str, Any]) -> None:
    """Print one JSON object on stdout."""
    print(json.dumps(value, ensure_ascii=False, default=str), flush=True)


def print_error(error: GA3EnvError) -> None:
    """Print message and hint on stderr, with the last lines of a log where there is one."""
    console = Console(stderr=True, soft_wrap=True, highlight=False)
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
    _stdout().print(table)


def print_pairs(pairs: Mapping[str, object]) -> None:
    """Print names and values below each other on stdout."""
    width = max((len(name) for name in pairs), default=0)
    for name, value in pairs.items():
        _stdout().print(Text.assemble((f"{name:<{width}}", "bold"), "  ", str(value)))


def print_line(text: str = "") -> None:
    """Print one line on stdout."""
    _stdout().print(Text(text))


def _stdout() -> Console:
    return Console(soft_wrap=True, highlight=False, emoji=False)


def size(number: int) -> str:
    """Return a number of bytes for people."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if number >= factor:
            return f"{number / factor:.1f} {unit}"
    return f"{number} B"
