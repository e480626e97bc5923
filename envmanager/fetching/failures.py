"""Why a file could not be downloaded: what a further try may mend, and what it will not.

A failure has no hint where the next step depends on what is fetched: `Download.advice` is given.
"""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from time import time
from typing import Any

from envmanager.errors import DownloadFailed

# A server that is busy or restarts; all else above 400 will be the same in a minute.
_PASSING = (408, 425, 429, 500, 502, 503, 504)
_WORDS = {
    401: ("asks for a password, which this download has none for", "download_forbidden"),
    403: ("does not give the file away", "download_forbidden"),
    404: ("has no such file", "download_not_found"),
    410: ("has that file no more", "download_not_found"),
}


class Offline(DownloadFailed):
    """The user wants no network."""

    def __init__(self) -> None:
        super().__init__(
            "The setting offline is on, so nothing is downloaded.",
            "Turn it off: ./run settings offline --unset",
            code="offline",
        )


class Unusable(DownloadFailed):
    """An address that a file must not come from."""

    def __init__(self, message: str) -> None:
        super().__init__(message, code="download_address")


class Passing(Exception):
    """A failed try, after which the next one may go well; `wait_s` is what the server asks for."""

    def __init__(self, reason: str, wait_s: float | None = None) -> None:
        super().__init__(reason)
        self.reason, self.wait_s = reason, wait_s


def of_status(status: int, address: str, headers: Any) -> Exception:
    """Return the failure that an answer's status means."""
    if status in _PASSING:
        return Passing(f"the server answered {status}", _wait(headers.get("Retry-After", "")))
    words, code = _WORDS.get(status, (f"answered {status}", "download_failed"))
    return DownloadFailed(f"The server of {address} {words}.", code=code)


def _wait(text: str) -> float | None:
    """Return the seconds that Retry-After names, by number or by date."""
    if text.strip().isdecimal():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time())
    except (ValueError, OSError):  # no date; Windows knows no local times before 1970
        return None


def untrusted(address: str, detail: str) -> DownloadFailed:
    """Return the error for a server whose certificate cannot be verified."""
    return DownloadFailed(
        f"The certificate of {address} cannot be verified: {detail}.",
        "In a company whose proxy has a certificate of its own: "
        "./run settings certificates system. Is the computer's date right?",
        code="certificate_untrusted",
    )
