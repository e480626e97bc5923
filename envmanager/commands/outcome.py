"""What every command returns, and what most of them need."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from envmanager import applog, console, events
from envmanager.data.paths import data_folder
from envmanager.data.users import user_text
from envmanager.environments import everywhere
from envmanager.environments.lifecycle import Environments
from envmanager.moving import relocation

EXIT_DONE, EXIT_FAILED = 0, 1


@dataclass(frozen=True)
class Outcome:
    """A command's result: `data` for scripts, `show` prints it for people."""

    data: dict[str, Any]
    show: Callable[[], None]
    exit_code: int = EXIT_DONE


def environments(module: str = "") -> Environments:
    """Return the engine on the data folder that a module is in, else on the account's own."""
    relocation.settle()
    return everywhere.engine(module)


@contextmanager
def progress() -> Iterator[events.Report]:
    with console.progress() as report:
        yield applog.also(data_folder(), report)


def date_text(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def disk_text(disk: dict[str, int]) -> str:
    if not any(disk.values()):
        return "-"
    text = f"{console.size(disk['own'])} + {console.size(disk['shared'])} shared"
    return f"{text} + {console.size(disk['weights'])} weights" if disk.get("weights") else text


def users_text(users: list[dict[str, Any]]) -> str:
    return ", ".join(map(user_text, users))


class Add(Protocol):
    """Adds a command to the parser, and returns its own parser for more arguments."""

    def __call__(
        self,
        name: str,
        run: Callable[[argparse.Namespace], Outcome],
        text: str,
        *,
        module: bool = False,
    ) -> argparse.ArgumentParser:
        """Add the command `name`, with a module as its first argument where `module` is set."""
