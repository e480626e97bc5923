"""The check of the data folder of all accounts: who may read and write what lies there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from envmanager.data.paths import venv_base
from envmanager.doctor.line import Check, Patient
from envmanager.errors import ConfigError
from envmanager.machine import permissions, windows
from envmanager.machine.permissions import Finding
from ga3_nodes import home, owners

_SHOWN = 3
_RISKS = "writable", "foreign"  # what lets one account give code to the others


def root() -> Path | None:
    """Return the data folder of all accounts, where there is one."""
    try:
        found = home.located(home.machine_root())
    except ConfigError:
        return None
    return found if found.is_dir() else None


def shared_folder(patient: Patient) -> Check:
    """Look whether all accounts can use what lies there, and only administrators change it."""
    place = root()
    if place is None:
        return Check.ok("There is no data folder for all accounts.")
    found = [one for folder in _both(place) for one in permissions.examine(folder, patient.cancel)]
    found += _private_pythons(place)
    if not found:
        text = f"The data folder for all accounts, {place}, is read by all of them"
        return Check.ok(f"{text} and changed by administrators only.")
    text = _sentences(place, found)
    hint, fixable = _hint(place, found)
    # Where one account that is no administrator looks after all of it, that may be meant.
    meant = {one.kind for one in found} == {"foreign"} and len({one.text for one in found}) == 1
    return (Check.warning if meant else Check.error)(text, hint, fixable)


def _both(place: Path) -> dict[Path, None]:
    """Return the data folder, and the place that leads to it where that is another one."""
    return dict.fromkeys((place, home.machine_root()))


def _sentences(place: Path, found: list[Finding]) -> str:
    parts = []
    for kind in dict.fromkeys(one.kind for one in found):
        same = [one for one in found if one.kind == kind]
        shown = [f"{one.path} {one.text}" for one in same[:_SHOWN]]
        more = f" (and {len(same) - _SHOWN} more)" if len(same) > _SHOWN else ""
        parts.append(f"{'; '.join(shown)}{more}.")
    risk = any(one.kind in _RISKS for one in found)
    why = " So one account could run code as another." if risk else ""
    return f"The data folder for all accounts, {place}: {' '.join(parts)}{why}"


def _hint(place: Path, found: list[Finding]) -> tuple[str, bool]:
    if all(one.kind == "private" for one in found):
        text = "./run settings python_source managed, then remove and install those modules."
        return text, False
    if owners.is_elevated():
        return "./run doctor --fix", True
    return f"As administrator: ./run doctor --fix, or {mending_command(place)}", False


def mending_command(place: Path) -> str:
    """Return the command of the system that sets the permissions."""
    if windows.IS_WINDOWS:
        users = "*S-1-5-32-544:(OI)(CI)F *S-1-5-18:(OI)(CI)F *S-1-5-32-545:(OI)(CI)RX"
        return f'icacls "{place}" /inheritance:r /grant:r {users}'
    return f"chown -R root: '{place}' && chmod -R go-w,a+rX '{place}'"


def _private_pythons(place: Path) -> Iterator[Finding]:
    """Look for environments whose Python only one account can run."""
    try:
        entries = home.read_config(place)["modules"]
    except ConfigError:
        return
    for name, told in entries.items():
        try:
            venv = home.entry(place, name, told).folder / ".venv"
        except ConfigError:
            continue
        base = venv_base(venv)
        if base and permissions.is_private(base):
            text = f"is the Python of {name}, which other accounts cannot run"
            yield Finding("private", base, text)


def fix(patient: Patient) -> Check:
    """Set owner and permissions of all that lies there."""
    if place := root():
        for folder in _both(place):
            permissions.close(folder)
            permissions.mend_below(folder, patient.cancel)
    return Check.ok("")
