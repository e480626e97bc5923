"""Reads an answer in a thread of its own, so that who waits for it can stop at any moment.

A read cannot be broken off everywhere (on Windows not even by Ctrl-C), nor can the search for a
server's address. So the thread only reads; whatever it still reads after the end is dropped.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Iterator, Mapping

import urllib3

from envmanager.events import CancelToken
from envmanager.fetching.connection import Connections

_CHUNK = 1 << 18  # bytes at most; what has come is given at once
_AHEAD = 16  # chunks that are read before they are taken
_POLL_S = 0.1


class Reading:
    """One answer: first its head, then its body; a context manager.

    Attributes
    ----------
    status : int
        The answer's status; 0 before `head`.
    headers : mapping of str
        Its headers.
    """

    def __init__(
        self, connections: Connections, url: str, headers: dict[str, str], cancel: CancelToken
    ) -> None:
        self.status = 0
        self.headers: Mapping[str, str] = {}
        self._cancel = cancel
        self._over = threading.Event()
        self._read: queue.Queue[urllib3.HTTPResponse | bytes | Exception] = queue.Queue(_AHEAD)
        arguments = (connections, url, headers)
        threading.Thread(target=self._run, args=arguments, daemon=True).start()

    def __enter__(self) -> Reading:
        return self

    def __exit__(self, *exc: object) -> None:
        self._over.set()

    def head(self) -> None:
        """Wait for the answer's head.

        Raises
        ------
        Cancelled
            The user wants no more.
        Exception
            Whatever kept it from coming.
        """
        found = self._next()
        assert isinstance(found, urllib3.HTTPResponse)
        self.status, self.headers = found.status, found.headers

    @property
    def is_packed(self) -> bool:
        """Whether the body is not the file itself, though that was asked for."""
        return self.headers.get("Content-Encoding", "identity") not in ("", "identity")

    def body(self) -> Iterator[bytes]:
        """Yield the body as it comes; raises as `head` does."""
        while data := self._next():
            assert isinstance(data, bytes)
            yield data

    def _next(self) -> urllib3.HTTPResponse | bytes:
        while True:
            self._cancel.check()
            with contextlib.suppress(queue.Empty):
                found = self._read.get(timeout=_POLL_S)
                if isinstance(found, Exception):
                    raise found
                return found

    # ---- the thread -------------------------------------------------------------------------

    def _run(self, connections: Connections, url: str, headers: dict[str, str]) -> None:
        response = None
        try:
            response = connections.open(url, headers)
            self._give(response)
            while not self._over.is_set() and (data := response.read1(_CHUNK, False)):
                self._give(data)
            self._give(b"")
        except Exception as error:
            self._give(error)
        finally:
            if response is not None:
                response.close()

    def _give(self, found: urllib3.HTTPResponse | bytes | Exception) -> None:
        while not self._over.is_set():
            with contextlib.suppress(queue.Full):
                self._read.put(found, timeout=_POLL_S)
                return
