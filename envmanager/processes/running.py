"""Which processes of other accounts run files of a folder, as the system tells an administrator."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import psutil


@dataclass(frozen=True)
class Running:
    """A process; `file` is the first file of the folder in its command line.

    `since` is seconds since the epoch; `account` is empty where the system does not tell it. `pids`
    are those of the process and of all below it that run such files.
    """

    pid: int
    account: str
    since: float
    file: Path
    pids: tuple[int, ...]

    def environment(self) -> dict[str, str]:
        """Return the variables of the process; empty where the system does not tell them."""
        try:
            return dict(psutil.Process(self.pid).environ())
        except (psutil.Error, OSError):
            return {}


def below(folder: Path) -> list[Running]:
    """Return the processes of other accounts that run a file below a folder, each family once.

    An ordinary account may not see all of them.
    """
    own = psutil.Process().username()
    found = {one.pid: (one, parent) for one, parent in _all(folder) if one.account != own}
    families: dict[int, list[int]] = {}
    for pid in found:
        families.setdefault(_eldest(pid, found), []).append(pid)
    return [replace(found[pid][0], pids=tuple(pids)) for pid, pids in families.items()]


def _eldest(pid: int, found: Mapping[int, tuple[Running, int]]) -> int:
    """Return the ancestor: on Windows a venv's interpreter starts the real one below itself."""
    seen = {pid}
    while (parent := found[pid][1]) in found and parent not in seen:
        pid = parent
        seen.add(pid)
    return pid


def _all(folder: Path) -> Iterator[tuple[Running, int]]:
    start = os.path.normcase(os.path.join(folder, ""))  # noqa: PTH118 - with its last slash
    asked = ["pid", "ppid", "username", "cmdline", "create_time"]
    for process in psutil.process_iter():
        try:
            told = process.as_dict(asked)
        except (psutil.Error, OSError):  # it has just ended; Windows has errors of its own for that
            continue
        for word in told["cmdline"] or ():
            if os.path.normcase(word).startswith(start):
                file = folder / word[len(start) :]
                account, since = told["username"] or "", told["create_time"] or 0.0
                yield Running(told["pid"], account, since, file, ()), told["ppid"] or 0
                break
