"""What the data folder of all accounts takes: to look at, for only administrators clean it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from envmanager.data import access
from envmanager.disk import kept
from envmanager.disk.figures import Overview
from envmanager.disk.overview import overview
from envmanager.events import CancelToken, Report, ignore


@dataclass(frozen=True)
class OfAll:
    """The data folder of all accounts; `figures` are None where it was not counted yet."""

    root: Path
    may_change: bool
    figures: Overview | None

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        figures = self.figures.as_dict() if self.figures else {}
        return {"root": str(self.root), "may_change": self.may_change, **figures}


def of_all(
    report: Report = ignore, cancel: CancelToken | None = None, *, count: bool | None = None
) -> OfAll | None:
    """Return what all accounts share; None where that is nothing, or the account's own folder.

    Parameters
    ----------
    count : bool, optional
        Count anew, or take the figures of the last count; by default count where there are none.

    Raises
    ------
    Cancelled
        `cancel` was set; the figures of last time stay.
    """
    data = access.shared_folder()
    if data is None:
        return None
    figures = None if count else kept.cached(data)
    if figures is None and count is not False:
        figures = overview(data, report, cancel)
    return OfAll(data.root, access.access(data).may_change, figures)
