"""Fetches all wheels of a bundle into the `WheelStore`: resumed, hashed, several at once."""

from __future__ import annotations

import queue
import shutil
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from envmanager.data import fulldisk
from envmanager.data.settings import Settings
from envmanager.errors import InstallFailed
from envmanager.events import CancelToken, LogLine, Progress, Report
from envmanager.fetching.connection import Connections
from envmanager.fetching.download import Download, Patience, Remote
from envmanager.fetching.hashing import hashed
from envmanager.fetching.pace import LOOK_S, Pace
from envmanager.fetching.stopping import Stop
from envmanager.packages import wheelhouse
from envmanager.packages.lockfile import Wheel
from envmanager.packages.wheel_store import WheelStore
from ga3_nodes import home

_AT_ONCE = 4
_POLL_S = 0.05


@dataclass(frozen=True)
class Collection:
    """The wheels of a bundle, and where they come from.

    Parameters
    ----------
    here : mapping of str to Path
        Files that lie on a disk of ours, by the sha256 of the wheel.
    """

    store: WheelStore
    settings: Settings
    wheels: list[Wheel]
    here: Mapping[str, Path]
    report: Report
    cancel: CancelToken
    patience: Patience = field(default_factory=Patience)

    def fetch(self) -> None:
        """Have all wheels in the store, whole and with their hashes.

        Raises
        ------
        DownloadFailed, DiskFull, Cancelled
            What has come is kept, and the next time goes on from there.
        InstallFailed
            A file on a disk of ours is another one than its index says.
        """
        stop, told = Stop(self.cancel), queue.SimpleQueue[str]()
        come = {wheel: self.store.come(wheel) for wheel in self.wheels}
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            largest_first = sorted(self.wheels, key=lambda wheel: -wheel.size)
            running = [pool.submit(self._have, w, stop, come, told) for w in largest_first]
            try:
                self._watch(running, come, told)
            finally:
                stop.cancel()

    def _have(
        self,
        wheel: Wheel,
        stop: CancelToken,
        come: dict[Wheel, int],
        told: queue.SimpleQueue[str],
    ) -> None:
        stop.check()
        if local := self.here.get(wheelhouse.digest(wheel)):
            self._copy(wheel, local, stop)
            come[wheel] = wheel.size
            return
        Download(
            Remote(wheel.url, wheel.size, wheelhouse.digest(wheel)),
            self.store.place(wheel),
            Connections(self.settings),
            stop,
            self.patience,
            lambda done, total: come.update({wheel: done}),
            told.put,
            "Try again; if it stays so, check the settings index_url and torch_index.",
        ).run()

    def _copy(self, wheel: Wheel, local: Path, stop: CancelToken) -> None:
        place = self.store.place(wheel)
        place.parent.mkdir(parents=True, exist_ok=True)
        aside = place.with_name(f"{place.name}.copy")
        with fulldisk.named(place.parent):
            shutil.copyfile(local, aside)
        if hashed(aside, stop).sha256 != wheelhouse.digest(wheel):
            aside.unlink()
            raise InstallFailed(
                f"{local} is not the file that its index says: it has another sha256.",
                "Get it again.",
                code="hash_mismatch",
            )
        home.patiently(lambda: aside.replace(place), seconds=10.0)

    def _watch(
        self, running: list[Future[None]], come: dict[Wheel, int], told: queue.SimpleQueue[str]
    ) -> None:
        """Report until all have come; raise what one of them failed of."""
        sizes = [wheel.size for wheel in self.wheels]
        pace, next_look, total = Pace(), 0.0, sum(sizes) if all(sizes) else 0
        while True:
            over = [future for future in running if future.done()]
            while not told.empty():
                self.report(LogLine(told.get()))
            for future in over:
                future.result()
            now = time.monotonic()
            if now >= next_look or len(over) == len(running):
                next_look = now + LOOK_S
                self.report(_progress(pace, now, sum(list(come.values())), total))
            if len(over) == len(running):
                return
            time.sleep(_POLL_S)


def _progress(pace: Pace, now: float, done: int, total: int) -> Progress:
    rate, done = pace.rate(now, done), min(done, total or done)
    left = (total - done) / rate if rate and total else None
    return Progress(done, total, remaining_s=left, bytes_per_s=rate)
