"""What NIS-Elements' own Python environments take: read only, they are the vendor's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from envmanager.disk.counting import Counter, Usage, real
from envmanager.events import CancelToken, Report, Stage, ignore
from envmanager.machine import windows


@dataclass(frozen=True)
class VendorFolder:
    """An environment or the package cache of NIS-Elements; files may be shared between them."""

    path: Path
    usage: Usage


def vendor(report: Report = ignore, cancel: CancelToken | None = None) -> list[VendorFolder]:
    """Measure the environments that NIS-Elements manages, then its cache of packages.

    Raises
    ------
    Cancelled
        `cancel` was set.
    """
    folders = windows.vendor_environments()
    if folders:
        report(Stage("vendor", "Measuring NIS-Elements' own environments"))
    counter = Counter(report, cancel)
    for folder in folders:
        counter.tree(real(folder), lambda parts, place=str(folder): (place,))  # type: ignore[misc]
    counter.end()
    usages = counter.usages(lambda place: place[0])
    return [VendorFolder(folder, usages.get(str(folder), Usage())) for folder in folders]
