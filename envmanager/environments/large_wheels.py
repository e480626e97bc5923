"""Fetches large wheels before uv runs: so that they go on where they broke off.

uv begins a download anew when it breaks off, and again when it is run again; that is nothing for
2.5 GB over a laboratory's network. So what is large, and what uv's cache lacks, comes into the
`WheelStore` first, and uv installs it from there. What we cannot get as uv can (a server that asks
for a password, one with a certificate that only uv knows) is left to uv.
"""

from __future__ import annotations

import os
import queue
import time
from collections.abc import Collection, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from envmanager.errors import DownloadFailed
from envmanager.events import CancelToken, LogLine, Progress, Report
from envmanager.fetching.connection import Connections
from envmanager.fetching.download import Download, Patience, Remote
from envmanager.fetching.hashing import Fetched
from envmanager.fetching.pace import LOOK_S, Pace
from envmanager.fetching.stopping import Stop
from envmanager.packages import wheelhouse
from envmanager.packages.lockfile import Wheel
from envmanager.packages.wheel_store import WheelStore
from envmanager.uv import cache as uv_cache
from envmanager.uv.program import Uv

_AT_ONCE = 3  # downloads: one alone may be slowed by its server, many slow each other
_POLL_S = 0.1
# Why we may fail where uv does not: it asks a keyring, trusts other certificates and plain http.
_LEFT_TO_UV = frozenset({"download_forbidden", "certificate_untrusted", "download_address"})
_ADVICE = (
    "Try again; if it stays so, check the settings index_url and torch_index. Another way: "
    "./run settings resumable_downloads_above_mb 0 leaves all downloads to uv."
)
LOCAL = "pylock.local.toml"


@dataclass(frozen=True)
class Provided:
    """What uv shall install from.

    Attributes
    ----------
    pylock : Path
        The ``pylock.toml`` for uv: the generation's own, or a variant that names files.
    packages : frozenset of str
        The packages that uv takes from files or from what its cache has of such.
    fetched : int
        The bytes of the wheels that were fetched now, or had come before.
    """

    pylock: Path
    packages: frozenset[str] = frozenset()
    fetched: int = 0


@dataclass(frozen=True)
class LargeWheels:
    """What fetches the large wheels of one ``pylock.toml``.

    Parameters
    ----------
    pace : Pace
        Measures the rate of these downloads, and goes on with uv's.
    """

    uv: Uv
    python: Path
    wheels: list[Wheel]
    report: Report
    cancel: CancelToken
    pace: Pace
    target: Path | None = None
    patience: Patience = field(default_factory=Patience)

    def provide(self, pylock: Path, damaged: Collection[str] = ()) -> Provided:
        """Fetch what is large and not in uv's cache; return what uv shall install from.

        Parameters
        ----------
        damaged : collection of str
            Packages whose files in the cache have changed: they are fetched anew.

        Raises
        ------
        DownloadFailed
            A file does not come, or is another one. What has come is kept.
        DiskFull, Cancelled
            What has come is kept.
        """
        wanted = [wheel for wheel in self.wheels if wheelhouse.is_known(wheel)]
        origins = {w: self._origins(w) for w in wanted if w.package not in damaged}
        wanted = [
            wheel
            for wheel in wanted
            # What uv has from a server it may ask the server about; a file needs nobody.
            if uv_cache.HTTP not in origins.get(wheel, ()) or self._store.has(wheel)
        ]
        local = pylock.with_name(LOCAL)
        pointed = [wheel for wheel in wanted if uv_cache.LOCAL in origins.get(wheel, ())]
        cached = self._in_cache(pylock, local, pointed)
        ours = [wheel for wheel in wanted if wheel not in cached and self._is_ours(wheel)]
        came = self._fetch(ours, self._left_to_uv({*cached, *ours}))
        for wheel in came:
            if wheel.package in damaged:
                os.utime(self._store.place(wheel))  # else uv would take it from its cache again
        if not cached and not came:
            return Provided(pylock)
        self._write(pylock, local, [*cached, *came])
        packages = frozenset(wheel.package for wheel in (*cached, *came))
        return Provided(local, packages, sum(map(self._store.come, came)))

    # ---- which ------------------------------------------------------------------------------

    @property
    def _store(self) -> WheelStore:
        return WheelStore(self.uv.data)

    def _is_ours(self, wheel: Wheel) -> bool:
        """Tell whether a wheel that is not cached is to be fetched, or is in the store already."""
        limit = self.uv.settings.resumable_downloads_above_mb * 1_000_000
        large = bool(limit) and wheel.size >= limit and wheelhouse.is_remote(wheel)
        return (large and not self.uv.offline) or self._store.has(wheel)

    def _origins(self, wheel: Wheel) -> set[str]:
        hashes = [wheelhouse.digest(wheel)]
        return uv_cache.origins(self.uv.data.uv_cache, wheel.package, wheel.version, hashes)

    def _in_cache(self, pylock: Path, local: Path, wheels: list[Wheel]) -> list[Wheel]:
        """Return those that uv links from its cache as wheels that came from files.

        A pointer alone does not tell: it may be that of a folder of the setting ``find_links``.
        """
        if not wheels:
            return []
        self._write(pylock, local, wheels)
        found = self.uv.linked_from_cache(local, self.python, self.target)
        return [wheel for wheel in wheels if wheel.package in found]

    def _write(self, pylock: Path, local: Path, wheels: Iterable[Wheel]) -> None:
        here = {wheelhouse.digest(wheel): self._store.place(wheel) for wheel in wheels}
        wheelhouse.write(pylock, here, local)

    def _left_to_uv(self, ours: Collection[Wheel]) -> list[int]:
        """Return the sizes of what uv will download by itself, as far as can be told before."""
        return [
            wheel.size
            for wheel in self.wheels
            if wheel not in ours and wheelhouse.is_remote(wheel) and not self._origins(wheel)
        ]

    # ---- fetching ---------------------------------------------------------------------------

    def _fetch(self, wheels: list[Wheel], others: list[int]) -> list[Wheel]:
        """Fetch wheels, the largest first; return those that came, others are left to uv."""
        if not wheels:
            return []
        stop, told = Stop(self.cancel), queue.SimpleQueue[str]()
        meter = _Meter(self._store, wheels, others, self.pace)
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            largest_first = sorted(wheels, key=lambda wheel: -wheel.size)
            running = {
                wheel: pool.submit(self._download(wheel, stop, told).run) for wheel in largest_first
            }
            try:
                self._watch(running, meter, told)
            finally:
                stop.cancel()  # Ctrl-C, or one that failed: the others go on another time
                pool.shutdown(wait=False, cancel_futures=True)
        return [wheel for wheel in wheels if self._came(wheel, running[wheel])]

    def _download(self, wheel: Wheel, stop: CancelToken, told: queue.SimpleQueue[str]) -> Download:
        return Download(
            Remote(wheel.url, wheel.size, wheelhouse.digest(wheel)),
            self._store.place(wheel),
            Connections(self.uv.settings),
            stop,
            self.patience,
            on_trouble=told.put,
            advice=_ADVICE,
        )

    def _watch(
        self, running: dict[Wheel, Future[Fetched]], meter: _Meter, told: queue.SimpleQueue[str]
    ) -> None:
        """Report until all have come; raise what one of them failed of."""
        next_look = 0.0
        while True:
            over = [future for future in running.values() if future.done()]
            while not told.empty():
                self.report(LogLine(told.get()))
            for future in over:
                if (error := future.exception()) and not _uv_may_succeed(error):
                    raise error
            if len(over) == len(running):
                self.report(meter.progress())
                return
            if time.monotonic() >= next_look:
                next_look = time.monotonic() + LOOK_S
                self.report(meter.progress())
            time.sleep(_POLL_S)

    def _came(self, wheel: Wheel, future: Future[Fetched]) -> bool:
        error = future.exception()
        if isinstance(error, DownloadFailed):
            self.report(LogLine(f"{error.message} uv tries it by itself."))
        return error is None


def _uv_may_succeed(error: BaseException) -> bool:
    return isinstance(error, DownloadFailed) and error.code in _LEFT_TO_UV


class _Meter:
    """How far all downloads are, ours and those that uv will make.

    Judged by the files: so it also tells of one that another install is just fetching.
    """

    def __init__(
        self, store: WheelStore, wheels: list[Wheel], others: list[int], pace: Pace
    ) -> None:
        self._store, self._wheels, self._pace = store, wheels, pace
        sizes = [*others, *(wheel.size for wheel in wheels)]
        self._total = sum(sizes) if all(sizes) else 0
        self._most = 0

    def progress(self) -> Progress:
        """Return how far they are; where a file begins anew, the figure waits for it."""
        self._most = max(self._most, sum(map(self._store.come, self._wheels)))
        rate = self._pace.rate(time.monotonic(), self._most)
        left = (self._total - self._most) / rate if rate and self._total else None
        return Progress(self._most, self._total, remaining_s=left, bytes_per_s=rate)
