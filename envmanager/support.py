"""The support file: a ZIP with what is needed to find a fault, and nothing that is private.

It holds logs, manifests, the contract with the nodes, settings and the checklist. No images, no
weights; passwords, home folders and the names of accounts are blanked in every text.
"""

from __future__ import annotations

import importlib.metadata
import json
import platform
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from envmanager import doctor
from envmanager.data import files, redaction, settings
from envmanager.data.paths import APP, DataFolder
from envmanager.environments import everywhere
from envmanager.environments.generations import MANIFEST
from envmanager.errors import Cancelled
from envmanager.events import CancelToken, Items, Report, Stage, ignore
from envmanager.machine import hardware
from ga3_nodes import __version__, home

_LOG_BYTES = 1_000_000  # of one log: its end
_LOGS = 40  # the newest ones
_README = """\
This file was made by GA3 Environment Manager for whoever helps with a fault.
It holds logs, manifests, settings and the checklist; no images and no weights.
Passwords in addresses, home folders and names of accounts are blanked.

"""
_Text = Callable[[], str]


@dataclass(frozen=True)
class Made:
    """A support file: where it is, its bytes, and the names of the texts in it."""

    path: Path
    size: int
    names: tuple[str, ...]


def default_name() -> str:
    """Return a file name with the present time: ``ga3env-support-20250131-1042.zip``."""
    return time.strftime("ga3env-support-%Y%m%d-%H%M%S.zip")


def make(
    data: DataFolder, target: Path, report: Report = ignore, cancel: CancelToken | None = None
) -> Made:
    """Write the support file.

    What cannot be read is told in the place of its text: a broken data folder is when this file is
    needed most.

    Parameters
    ----------
    target : Path
        The file, which is replaced, or a folder for a file with a name of the present time.

    Raises
    ------
    Cancelled
        `cancel` was set; there is no new file.
    DiskFull
        There is no room for it.
    """
    cancel = cancel or CancelToken()
    path = target / default_name() if target.is_dir() else target
    report(Stage("support", "Gathering the support file"))
    parts = list(_parts(data, cancel))
    author = settings.author(data.settings)
    redact = redaction.of_this_user(_other_accounts() | {author})

    def write(place: Path) -> None:
        with zipfile.ZipFile(place, "w", zipfile.ZIP_DEFLATED) as archive:
            for number, (name, text) in enumerate(parts):
                cancel.check()
                report(Items(number, len(parts), redact(name)))
                archive.writestr(redact(name), redact(_told(text)))

    files.write_whole(path, write)
    report(Items(len(parts), len(parts)))
    return Made(path, path.stat().st_size, tuple(redact(name) for name, _ in parts))


def _told(text: _Text) -> str:
    try:
        return text()
    except Cancelled:
        raise
    except Exception as error:  # whatever is broken must not keep the rest back
        return f"This could not be read: {type(error).__name__}: {error}\n"


def _parts(data: DataFolder, cancel: CancelToken) -> Iterator[tuple[str, _Text]]:
    """Give name and content of every text."""
    yield "README.txt", lambda: _README + time.strftime("Made on %Y-%m-%d at %H:%M:%S %z.\n")
    yield "versions.json", lambda: _json(_versions(cancel))
    yield "doctor.json", lambda: _json(_checklist(data, cancel))
    yield "list.json", lambda: _json(_modules())
    for path in (data.config, data.settings, data.root / "disk.json"):
        if path.is_file():
            yield path.name, _reader(path)
    for path in sorted((data.root / "envs").glob(f"*/*/{MANIFEST}")):
        yield path.relative_to(data.root).as_posix(), _reader(path)
    for path in _logs(data):
        yield f"logs/{path.name}", _reader(path, _LOG_BYTES)


def _reader(path: Path, most: int = 0) -> _Text:
    return lambda: _end_of(path, most) if most else path.read_text("utf-8", "replace")


def _end_of(path: Path, most: int) -> str:
    """Return the last bytes of a file, from the beginning of a line on."""
    with path.open("rb") as file:
        left_out = max(0, path.stat().st_size - most)
        file.seek(left_out)
        content = file.read(most)
    if not left_out:
        return content.decode("utf-8", "replace")
    rest = content.partition(b"\n")[2] or content
    return f"[{left_out} bytes before this are left out]\n" + rest.decode("utf-8", "replace")


def _logs(data: DataFolder) -> list[Path]:
    """Return the newest logs, of the data folder and of the user's own where they lie there."""
    folders = dict.fromkeys(
        (data.root / "logs", home.user_root() / "logs", home.log_dir(data.root))
    )
    found = [path for folder in folders for path in folder.glob("*.log*") if path.is_file()]
    found = sorted(set(found), key=lambda path: path.stat().st_mtime, reverse=True)
    return list({path.name: path for path in reversed(found[:_LOGS])}.values())


def _versions(cancel: CancelToken) -> dict[str, Any]:
    packages = {found.name: found.version for found in importlib.metadata.distributions()}
    return {
        "app": __version__,
        "app_folder": str(APP),
        "python": sys.version,
        "system": platform.platform(),
        "processor": platform.machine(),
        "hardware": asdict(hardware.gpus(cancel=cancel)),
        "packages": dict(sorted(packages.items(), key=lambda item: item[0].lower())),
    }


def _checklist(data: DataFolder, cancel: CancelToken) -> dict[str, Any]:
    found = doctor.checks(data, doctor.usable_settings(data), cancel=cancel)
    return {"checks": [check.as_dict() for check in found]}


def _modules() -> dict[str, Any]:
    """Return what ``./run list --json`` says; the manifests are texts of their own."""
    statuses = [status.as_dict() for status in everywhere.statuses()]
    return {"modules": [{**status, "manifest": None} for status in statuses]}


def _other_accounts() -> set[str]:
    """Return the names of accounts that use or change modules of this computer."""
    try:
        statuses = everywhere.statuses()
    except Exception:  # the texts tell
        return set()
    told = [user for status in statuses for user in (*status.in_use_by, status.busy or {})]
    return {str(user["user"]) for user in told if user.get("user")}


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n"
