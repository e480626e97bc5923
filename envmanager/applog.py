"""``logs/app.log``: what the commands did, with all that an error message folds away."""

from __future__ import annotations

import json
import time
from pathlib import Path

from envmanager.data.paths import DataFolder
from envmanager.errors import GA3EnvError
from envmanager.events import Event, LogLine, Notice, Report, Stage
from ga3_nodes import home, spawn


def path(data: DataFolder) -> Path:
    """Return the log file; its folder is made where it is missing."""
    return home.log_dir(data.root) / "app.log"


def write(data: DataFolder, text: str) -> None:
    """Append a text with the time; a log that cannot be written is no reason to fail."""
    try:
        log = path(data)
        spawn.rotate(log)
        # A file name may hold what is no letter of any encoding.
        with log.open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text.rstrip()}\n")
    except (OSError, GA3EnvError):
        pass


def write_error(data: DataFolder, command: str, error: GA3EnvError) -> None:
    """Append an error with its details."""
    details = {k: v for k, v in error.details.items() if k != "traceback"}
    lines = [f"{command}: {error.code}: {error}", json.dumps(details, default=str)]
    write(data, "\n".join([*lines, str(error.details.get("traceback", ""))]))


def also(data: DataFolder, report: Report) -> Report:
    """Return a report that writes stages and lines to the log as well."""

    def both(event: Event) -> None:
        match event:
            case Stage(_, title):
                write(data, title)
            case LogLine(text):
                write(data, f"  {text}")
            case Notice(text):
                write(data, f"notice: {text}")
        report(event)

    return both
