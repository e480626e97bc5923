"""Downloads sets of weights: each file checked against its sha256, or trusted on first use.

Where a module declares no sha256 the one of the first download is recorded. From then on, also
after a removal, another file at the same address is refused.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from envmanager.data.settings import Settings
from envmanager.errors import BadInput, DownloadFailed
from envmanager.events import CancelToken, Notice, Progress, Report, Stage, ignore
from envmanager.fetching.connection import Connections
from envmanager.fetching.download import Download, Patience, Remote
from envmanager.fetching.hashing import Fetched
from envmanager.fetching.pace import LOOK_S, Pace
from envmanager.modules.declared_weights import WeightsFile, WeightsSet
from envmanager.weights import unpacking
from envmanager.weights.store import Entry, Got, Store, size_of, today
from ga3_nodes.weights import valid_name


@dataclass(frozen=True)
class Getter:
    """What downloads the sets of one module."""

    store: Store
    settings: Settings
    report: Report = ignore
    cancel: CancelToken | None = None
    patience: Patience = field(default_factory=Patience)
    accept_changed: bool = False

    def get(self, names: Sequence[str]) -> list[Got]:
        """Download sets that are not present.

        Raises
        ------
        BadInput
            A name is that of no set.
        DownloadFailed, DiskFull, Cancelled
            What has come stays, and the next time goes on from there.
        """
        wanted = [self._wanted(name) for name in names]
        if all(self.store.is_present(name) for name in names) and not self.accept_changed:
            return [self._there(found, new=False) for found in wanted]
        with self.store.writing("weights", self.report, self.cancel) as report:
            return [self._got(found, report) for found in wanted]

    def _wanted(self, name: str) -> WeightsSet:
        module = self.store.module
        present = self.store.entries().get(name, {})
        by_id = module.collection is not None and valid_name(name) and not present.get("custom")
        if name in module.weights or by_id:
            return self.store.described(name)
        hint = f"It has: {', '.join(module.weights) or 'none'}."
        if present:
            hint = f"{name} was imported; import it again: ./run weights {module.name} add"
        raise BadInput(
            f"{module.title} has no weights {name!r} to download.", hint, code="weights_unknown"
        )

    def _got(self, found: WeightsSet, report: Report) -> Got:
        new = not self.store.is_present(found.name) or self.accept_changed
        if new:
            listed: dict[str, dict[str, Any]] = {}
            for number, file in enumerate(found.files, 1):
                part = f" ({number} of {len(found.files)})" if len(found.files) > 1 else ""
                report(Stage("download", f"Downloading {found.name}{part}"))
                listed |= self._file(found.name, file, report)
            self.store.put(found.name, _entry(found, listed))
        return self._there(found, new=new)

    def _there(self, found: WeightsSet, *, new: bool) -> Got:
        entry = self.store.entries()[found.name]
        return Got(found.name, str(self.store.folder / entry["path"]), size_of(entry), new)

    def _file(self, name: str, file: WeightsFile, report: Report) -> dict[str, dict[str, Any]]:
        """Download one file, and unpack it where it is a zip; return what is there of it now."""
        place = self.store.folder / (f".{file.name}.zip" if file.unpack else file.name)
        found = self._fetched(name, file, place, report)
        self.store.trust(file.url, found.sha256)
        if not file.unpack:
            return {file.name: asdict(found)}
        report(Stage("unpack", f"Unpacking {name}"))
        folder = self.store.folder / file.name
        unpacked = unpacking.unpack(place, folder, self.store.data.trash, self._token)
        place.unlink()
        return {f"{file.name}/{inside}": asdict(one) for inside, one in unpacked.items()}

    def _fetched(self, name: str, file: WeightsFile, place: Path, report: Report) -> Fetched:
        known = "" if self.accept_changed else self.store.trusted(file.url)
        remote = Remote(file.url, file.size if file.sha256 else 0, file.sha256 or known)
        meter = _Meter(report, file.size)
        download = Download(
            remote,
            place,
            Connections(self.settings),
            self._token,
            self.patience,
            meter.tell,
            lambda text: report(Notice(text)),
            "Look at the page of the source in a browser; the file may have moved. A file that you "
            f"have can be imported: ./run weights {self.store.module.name} add FILE --name NAME",
        )
        try:
            return download.run()
        except DownloadFailed as error:
            if error.code != "download_sha256" or file.sha256:
                raise
            raise self._changed(name, error) from error

    @property
    def _token(self) -> CancelToken:
        return self.cancel or CancelToken()

    def _changed(self, name: str, error: DownloadFailed) -> DownloadFailed:
        module = self.store.module.name
        return DownloadFailed(
            f"The weights {name} are not the file that they were when they were first downloaded "
            f"here. {error.message}",
            "They were published anew, or altered by somebody: masks may differ. If their source "
            f"tells of it: ./run weights {module} get {name} --accept-changed",
            code="weights_changed",
        )


class _Meter:
    """Turns bytes into progress with rate and remaining time."""

    def __init__(self, report: Report, expected: int) -> None:
        self._report, self._expected = report, expected
        self._pace, self._next = Pace(), 0.0

    def tell(self, done: int, total: int) -> None:
        """Tell how far it is, but not at every moment."""
        now, total = time.monotonic(), total or max(self._expected, done)
        if now < self._next and done != total:
            return
        self._next = now + LOOK_S
        rate = self._pace.rate(now, done)
        left = (total - done) / rate if rate and total else None
        self._report(Progress(done, total, remaining_s=left, bytes_per_s=rate))


def _entry(found: WeightsSet, listed: dict[str, dict[str, Any]]) -> Entry:
    return {
        "path": found.files[0].name,
        "files": listed,
        "custom": False,
        "note": "",
        "added": today(),
    }
