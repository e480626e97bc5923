"""What a module's status says, in words: for its card and its details."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from app import words
from envmanager.data.users import User, user_text

if TYPE_CHECKING:
    from app.pages.modules.rights import Rights
    from app.store import Snapshot
    from envmanager.environments.inventory import ModuleStatus

_PID = os.getpid()
_CHANGES = {
    "install": "Being installed",
    "update": "Being updated",
    "repair": "Being repaired",
    "rollback": "Being rolled back",
    "remove": "Being removed",
    "weights": "Getting weights",
    "add-module": "Being added",
    "lock-module": "Being locked",
    "pin": "Being pinned",
    "unpin": "Being unpinned",
}


def state(status: ModuleStatus) -> tuple[str, str]:
    """Return what a card says of the state, and the colour that goes with it."""
    text, tone = words.STATES[status.state]
    if status.busy:
        return busy(status), "accent"
    if status.state == "removing":
        return "Is removed once nobody uses it", tone
    if status.state == "broken" and status.problems:
        return f"{text}: {status.problems[0]}", tone
    if status.state == "weights_missing":
        names = [found.title for found in status.weights if found.default and not found.present]
        return f"{text}: {', '.join(names)}" if names else text, tone
    if status.state == "update_available" and status.version != status.installed_version:
        return f"{text}: {status.version}", tone
    if status.state == "ready" and status.problems:
        return f"{text}, but: {status.problems[0]}", "warning"
    return text, tone


def busy(status: ModuleStatus) -> str:
    """Say who else changes a module: ``Being installed by ga3env (PID 42, since 10:42)``."""
    told = status.busy or {}
    what = _CHANGES.get(str(told.get("what")), "Being changed")
    return f"{what} by {user_text({key: told.get(key) for key in ('program', 'pid', 'since')})}"


def line(status: ModuleStatus) -> str:
    """Return disk, device and the last self-test in one line."""
    taken = status.disk if status.generation else {"weights": status.disk.get("weights", 0)}
    found = [disk(taken)] if any(taken.values()) else []
    if status.device:
        found.append(device(status))
    if tested(status):
        found.append(f"Self-test {tested(status)}")
    return "   ·   ".join(found)


def users(status: ModuleStatus) -> str:
    """Say who uses a module; empty where nobody does."""
    who = names(status.in_use_by)
    return f"In use by {who}" if who else ""


def names(found: list[User]) -> str:
    """Name programs that use a module; this app stays connected after a run on Try it."""
    return ", ".join("this app" if user.get("pid") == _PID else user_text(user) for user in found)


def others(status: ModuleStatus) -> list[User]:
    """Return who uses a module beside this app."""
    return [user for user in status.in_use_by if user.get("pid") != _PID]


def disk(found: dict[str, int]) -> str:
    """Say how much disk space a module takes: ``3.1 GB, 1.2 GB of it shared``."""
    own, shared = found.get("own", 0), found.get("shared", 0)
    parts = [words.size(own + shared)] if own + shared else []
    if shared:
        parts.append(f"{words.size(shared)} of it shared")
    if weights := found.get("weights", 0):
        parts.append(f"weights {words.size(weights)}")
    return ", ".join(parts)


def device(status: ModuleStatus) -> str:
    """Say where a module computes: ``GPU: RTX A4000, cu130``, or ``CPU``."""
    if not status.device or status.device == "cpu":
        return "CPU"
    kernel = (status.manifest or {}).get("kernel") or {}
    gpu = kernel.get("name") or status.device
    return f"GPU: {gpu}" + (f", {status.backend}" if status.backend else "")


def tested(status: ModuleStatus) -> str:
    """Return the outcome of the last self-test."""
    return str((status.manifest or {}).get("selftest") or "")


def due(status: ModuleStatus, may: Rights) -> str:
    """Return what is told of a change that is due and that this account may not make."""
    if not may.refusal or status.busy or status.state in ("ready", "weights_missing"):
        return ""
    if status.state == "update_available" and may.shared:
        return "It works as it is. Only an administrator can update it: all accounts share it."
    return may.refusal


def is_own(snapshot: Snapshot | None, status: ModuleStatus) -> bool:
    """Tell whether a module is one that was added here, and not one that comes with the app."""
    declared = snapshot.declarations.get(status.name) if snapshot else None
    return bool(declared and declared.folder.parent == Path(status.root) / "modules")
