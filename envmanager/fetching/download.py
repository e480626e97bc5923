"""Downloads one file: with resume, retries and checks, and put in place whole.

Whatever goes wrong leaves the destination as it was, and what has come as a part beside it, with
which the next try or the next command goes on.
"""

from __future__ import annotations

import re
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import urllib3.exceptions

from envmanager.data import fulldisk
from envmanager.errors import DownloadFailed
from envmanager.events import CancelToken
from envmanager.fetching import connection, failures
from envmanager.fetching.addresses import shown
from envmanager.fetching.connection import Connections
from envmanager.fetching.failures import Passing
from envmanager.fetching.hashing import Fetched, hashed
from envmanager.fetching.partial import Partial, Version
from envmanager.fetching.reading import Reading
from ga3_nodes import home, locks

_RANGE = re.compile(r"bytes (?:([0-9]{1,18})-([0-9]{1,18})|\*)/([0-9]{1,18}|\*)")
_LENGTH = re.compile(r"[0-9]{1,18}")  # more digits are no length of any file
_POLL_S = 0.1


@dataclass(frozen=True)
class Remote:
    """A file on a server; `size` in bytes and `sha256` where they are known, else 0 and empty."""

    url: str
    size: int = 0
    sha256: str = ""


@dataclass(frozen=True)
class Patience:
    """How often and when a download is tried again.

    Attributes
    ----------
    waits_s : tuple of float
        The seconds before each further try; they begin anew with each byte that came.
    longest_s : float
        What a server may ask for at most (Retry-After).
    """

    waits_s: tuple[float, ...] = (1.0, 2.0, 4.0, 8.0, 16.0)
    longest_s: float = 120.0


@dataclass
class Download:
    """The download of one file.

    Parameters
    ----------
    on_bytes : callable
        Is told how many bytes of the file are there, and how many there will be (0: unknown).
    on_trouble : callable
        Is told in words why there will be another try.
    advice : str
        The next step for the user where the server does not give the file.
    """

    remote: Remote
    destination: Path
    connections: Connections
    cancel: CancelToken = field(default_factory=CancelToken)
    patience: Patience = Patience()
    on_bytes: Callable[[int, int], object] = lambda done, total: None
    on_trouble: Callable[[str], object] = lambda text: None
    advice: str = ""

    def __post_init__(self) -> None:
        self._part = Partial(self.destination)
        self._address = shown(self.remote.url)

    def run(self) -> Fetched:
        """Download the file; of two processes the second waits, and finds what the first got.

        A destination that is there is replaced, unless it is the wanted file already.

        Raises
        ------
        DownloadFailed
            The message says why; its code is stable.
        DiskFull
            There is no room. What has come stays, for the next time.
        Cancelled
            `cancel` was set.
        """
        with fulldisk.named(self.destination.parent), _sole(self.destination, self.cancel):
            try:
                return self._whole()
            except DownloadFailed as error:
                error.hint = error.hint or self.advice
                raise

    def _whole(self) -> Fetched:
        if self.remote.sha256 and self.destination.is_file():
            found = hashed(self.destination, self.cancel)
            if found.sha256 == self.remote.sha256:
                return found
        self._part.cut_unsafe()
        self._come_through()
        found = self._checked()
        home.patiently(lambda: self._part.path.replace(self.destination), seconds=10.0)
        self._part.forget_note()
        return found

    def _come_through(self) -> None:
        """Try until the part is complete, for as long as the patience lasts."""
        waits, most = iter(self.patience.waits_s), self._part.size
        while True:
            try:
                return self._try()
            except Passing as failed:
                if self._part.size > most:  # it goes on, be it in small steps
                    waits, most = iter(self.patience.waits_s), self._part.size
                wait = next(waits, None)
                if wait is None or (failed.wait_s or 0.0) > self.patience.longest_s:
                    raise self._given_up(failed) from failed
                self._wait(max(wait, failed.wait_s or 0.0), failed.reason)

    def _wait(self, seconds: float, reason: str) -> None:
        self.on_trouble(f"{self._address}: {reason}; trying again in {seconds:.0f} s.")
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.cancel.check()
            time.sleep(min(left, _POLL_S))

    def _given_up(self, failed: Passing) -> DownloadFailed:
        asked = f" The server asks to wait {failed.wait_s:.0f} s." if failed.wait_s else ""
        return DownloadFailed(
            f"{self._address} could not be downloaded: {failed.reason}.{asked}",
            "What has come is kept: run the command again later and it goes on from there.",
        )

    # ---- one try ----------------------------------------------------------------------------

    def _try(self) -> None:
        version = self._part.version(self.remote.url)
        headers = {}
        if version:
            headers = {"Range": f"bytes={self._part.size}-", "If-Range": version.mark}
        with Reading(self.connections, self.remote.url, headers, self.cancel) as reading:
            with self._told():
                reading.head()
            if reading.status == 416 and version:
                if self._is_whole(reading, version):
                    return
                self._part.drop()
                raise Passing("the server cannot go on where the download broke off", 0.0)
            if reading.status not in (200, 206) or reading.is_packed:
                raise failures.of_status(reading.status, self._address, reading.headers)
            self._take(reading, version)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Tell what a further try may mend from what it will not."""
        try:
            yield
        except urllib3.exceptions.SSLError as error:
            cause = error.args[0] if error.args else error
            if isinstance(cause, ssl.SSLCertVerificationError):
                raise failures.untrusted(self._address, cause.verify_message) from error
            raise Passing(connection.reason(error)) from error
        except (urllib3.exceptions.HTTPError, ConnectionError, TimeoutError) as error:
            raise Passing(connection.reason(error)) from error

    def _is_whole(self, reading: Reading, version: Version) -> bool:
        """Tell whether there is nothing behind what has come (416: no such range)."""
        match = _RANGE.match(reading.headers.get("Content-Range", ""))
        told = int(match[3]) if match and match[3] != "*" else version.length
        return told == self._part.size

    def _take(self, reading: Reading, version: Version | None) -> None:
        """Write the body; begin anew where it is not the rest of what is there."""
        start, total = _place(reading)
        found = Version.of(self.remote.url, reading.headers, total)
        if reading.status == 206 and not (version and self._continues(version, found, start)):
            self._part.drop()
            raise Passing("the server sent another part than it was asked for", 0.0)
        if reading.status == 200:
            self._part.begin(found)
        self._refuse_size(total)
        self._refuse_without_room(total)
        done = self._part.size
        self.on_bytes(done, total)
        with self._part.appending() as append, self._told():
            for data in reading.body():
                append(data)
                done += len(data)
                self.on_bytes(done, total)
        if total and done != total:
            if done > total:
                self._part.drop()
            raise Passing(f"{done} of {total} bytes came")

    def _continues(self, version: Version, found: Version, start: int) -> bool:
        same = not (version.etag and found.etag) or version.etag == found.etag
        length = not (version.length and found.length) or version.length == found.length
        return same and length and start == self._part.size

    def _refuse_size(self, total: int) -> None:
        if self.remote.size and total and total != self.remote.size:
            self._part.drop()
            raise self._other_file(f"it has {total:,} bytes and not {self.remote.size:,}", "size")

    def _refuse_without_room(self, total: int) -> None:
        """Say it before the first byte, where the length is known."""
        folder = self.destination.parent
        if total - self._part.size > fulldisk.free(folder):
            raise fulldisk.failure(folder)

    # ---- what has come ----------------------------------------------------------------------

    def _checked(self) -> Fetched:
        """Return the size and hash of the part, if they are the wanted ones; else drop it."""
        found = hashed(self._part.path, self.cancel)
        wrong = ""
        if self.remote.sha256 not in ("", found.sha256):
            wrong = f"its sha256 is {found.sha256} and not {self.remote.sha256}"
        elif self.remote.size not in (0, found.size):
            wrong = f"it has {found.size:,} bytes and not {self.remote.size:,}"
        if wrong:
            self._part.drop()
            raise self._other_file(wrong, "sha256" if self.remote.sha256 else "size")
        return found

    def _other_file(self, why: str, what: str) -> DownloadFailed:
        return DownloadFailed(
            f"{self._address} is not the file that was expected: {why}.",
            "It was damaged on its way, or replaced on the server. Try again; if it stays so, do "
            "not use it before you know why.",
            code=f"download_{what}",
        )


def _place(reading: Reading) -> tuple[int, int]:
    """Return where in the file the body begins, and the file's length (0 where not said)."""
    if reading.status == 206:
        match = _RANGE.match(reading.headers.get("Content-Range", ""))
        if not match or match[1] is None:
            return -1, 0
        return int(match[1]), _length(match[3])
    return 0, _length(reading.headers.get("Content-Length", ""))


def _length(text: str) -> int:
    return int(text) if _LENGTH.fullmatch(text) else 0


@contextmanager
def _sole(destination: Path, cancel: CancelToken) -> Iterator[None]:
    """Be the only one that downloads to a place."""
    destination.parent.mkdir(parents=True, exist_ok=True)
    lock = locks.FileLock(destination.with_name(f"{destination.name}.part.lock"))
    while not lock.acquire(timeout=_POLL_S):
        cancel.check()
    try:
        yield
    finally:
        lock.release()
