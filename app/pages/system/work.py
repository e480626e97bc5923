"""What the page does: each is a call of the engine, as the command line makes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from app.background import Tell, Work
from envmanager import applog, disk, doctor, support, workers
from envmanager.data import settings
from envmanager.data.paths import data_folder
from envmanager.disk import OfAll, Overview, VendorFolder, Volume
from envmanager.doctor import Check
from envmanager.environments import everywhere
from envmanager.events import CancelToken, Stage
from envmanager.machine import hardware, windows
from envmanager.machine.hardware import Hardware
from envmanager.moving import relocation
from envmanager.support import Made
from envmanager.uv.program import Uv
from envmanager.workers import Stopped, Worker

_PATIENCE_S, _FORCED_S = 15.0, 2.0  # for a worker that was told to end


def check(tell: Tell, cancel: CancelToken) -> list[Check]:
    """Run the checklist, and tell each line as it is known."""
    data = data_folder()
    return doctor.checks(data, doctor.usable_settings(data), tell, cancel)


def fix(found: Sequence[Check]) -> Work[list[Check]]:
    """Mend some lines, then check again."""

    def run(tell: Tell, cancel: CancelToken) -> list[Check]:
        relocation.settle()
        data = data_folder()
        return doctor.fix(data, doctor.usable_settings(data), list(found), tell, cancel)

    return run


def gpus() -> Hardware:
    """Ask for the GPUs."""
    return hardware.gpus()


@dataclass(frozen=True)
class DiskFigures:
    """What was counted last, and the free space of now; None for what was not counted yet."""

    own: Overview | None = None
    of_all: OfAll | None = None
    volumes: tuple[Volume, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether all of it was counted."""
        return self.own is not None and (self.of_all is None or self.of_all.figures is not None)


def disk_figures() -> DiskFigures:
    """Return the figures of the last count, and the free space of now."""
    data = data_folder()
    return DiskFigures(disk.cached(data), disk.of_all(count=False), disk.volumes(data))


def count(tell: Tell, cancel: CancelToken) -> Overview:
    """Count the disk space anew, also of what all accounts share."""
    disk.of_all(tell, cancel, count=True)
    return disk.overview(data_folder(), tell, cancel)


def clean_cache(*, everything: bool) -> Work[int]:
    """Clean or empty uv's cache; return the bytes that this freed."""

    def run(tell: Tell, cancel: CancelToken) -> int:
        relocation.settle()
        data = data_folder()
        report = applog.also(data, tell)
        report(Stage("clean", "Cleaning the cache"))
        uv = Uv(data, settings.load(data.settings), cancel)
        freed = disk.clean_cache(uv, data, everything=everything, report=report, cancel=cancel)
        disk.overview(data, report, cancel)
        return freed

    return run


def live_workers() -> list[Worker]:
    """Return the workers of now, with the memory that they hold."""
    return workers.measured(everywhere.live())


def stop_worker(module: str, *, force: bool) -> Work[Stopped]:
    """End a module's workers after their call, or kill them."""

    def run(tell: Tell, cancel: CancelToken) -> Stopped:
        patience_s = _FORCED_S if force else _PATIENCE_S
        return everywhere.stop(module, patience_s, force=force)

    return run


def vendor_folders() -> list[Path]:
    """Return the environments that NIS-Elements manages."""
    return windows.vendor_environments()


def measure_vendor(tell: Tell, cancel: CancelToken) -> list[VendorFolder]:
    """Measure the environments that NIS-Elements manages."""
    return disk.vendor(tell, cancel)


def make_support_file(folder: Path) -> Work[Made]:
    """Write the support file into a folder."""

    def run(tell: Tell, cancel: CancelToken) -> Made:
        folder.mkdir(parents=True, exist_ok=True)
        return support.make(data_folder(), folder, tell, cancel)

    return run
