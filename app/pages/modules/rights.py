"""What this account may do with a module: its own it may change, a shared one it may use."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.store import Snapshot
    from envmanager.environments.inventory import ModuleStatus

SHARED = "Shared by all accounts"
# What changes an environment or a module's files, by the keys of the steps.
_CHANGING = frozenset(
    ("install", "update", "repair", "rollback", "remove", "keep", "lock", "pin", "unpin")
)


@dataclass(frozen=True)
class Rights:
    """What an account may do with a module.

    Attributes
    ----------
    shared : bool
        The environment is the one of all accounts of this computer.
    refusal : str
        Why it cannot be changed, and what can be done instead; empty where it can.
    can_have_own : bool
        The account can install the module for itself beside the shared one.
    """

    shared: bool = False
    refusal: str = ""
    can_have_own: bool = False

    def refuses(self, key: str) -> bool:
        """Tell whether a step, by its key, is one that this account may not take."""
        return bool(self.refusal) and key in _CHANGING


ALL = Rights()


def of(snapshot: Snapshot | None, status: ModuleStatus) -> Rights:
    """Return what this account may do with a module."""
    if snapshot is None:
        return ALL
    own = snapshot.access(snapshot.root)
    found = snapshot.access(Path(status.root))
    can_have_own = status.shared and own is not None and own.may_change and not own.shared
    if status.may_change:
        return Rights(status.shared, "", can_have_own)
    if status.shared:
        return Rights(True, refusal(status.title, can_have_own=can_have_own), can_have_own)
    told = f"{found.reason} {found.hint}" if found else "This account may not change it."
    return Rights(False, told.strip(), False)


def refusal(title: str, *, can_have_own: bool) -> str:
    """Say why a shared module cannot be changed by this account, and what can be done."""
    way_out = ", or choose Install for me alone to have your own" if can_have_own else ""
    return (
        f"{title} is shared by all accounts of this computer, and only an administrator can "
        f"change it. Ask one{way_out}."
    )


def weights_root(snapshot: Snapshot, status: ModuleStatus) -> Path:
    """Return the data folder that weights of a module go to: the module's, else the account's."""
    return Path(status.root) if status.may_change else snapshot.root
