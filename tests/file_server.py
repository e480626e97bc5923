"""A file server on this machine, with versions of files and ways to go wrong, one per request."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import re
import socket
import ssl
import struct
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

_RANGE = re.compile(r"bytes=(\d+)-")
_CHUNK = 1 << 14


@dataclass(frozen=True)
class Fault:
    """How one request goes wrong; what is not given goes well.

    Attributes
    ----------
    status : int
        Answer with it, and no file.
    headers : dict
        Sent beside.
    drop_after, reset_after : int
        Close, or reset, the connection after so many bytes of the body.
    stall_after : int
        Send nothing more after so many bytes until the server is closed, or `go` is set.
    bytes_per_s : float
        Send so slowly.
    extra : int
        Add to the Content-Length that is told; the connection closes after the body.
    """

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    drop_after: int | None = None
    reset_after: int | None = None
    stall_after: int | None = None
    bytes_per_s: float = 0.0
    extra: int = 0


@dataclass
class Served:
    """A file; without `etag` and `ranges` the server knows no versions and no parts.

    `kind` is the Content-Type that is told, if any.
    """

    content: bytes
    etag: str = ""
    kind: str = ""
    ranges: bool = True
    chunked: bool = False
    faults: list[Fault] = field(default_factory=list)


@dataclass
class Asked:
    """A request, and how many bytes of a body were sent for it."""

    path: str
    range: str
    if_range: str
    sent: int = 0


class FileServer:
    """Serves what is put into `files`; `asked` holds the requests; a context manager.

    Where `login` is set (``user:password``), whoever does not say it gets a 401.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._scheme = "https" if tls else "http"
        self.files: dict[str, Served] = {}
        self.asked: list[Asked] = []
        self.login = ""
        self.go = threading.Event()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.owner = self
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)

    def __enter__(self) -> FileServer:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.go.set()
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        """The address of the root, without a slash at its end."""
        return f"{self._scheme}://127.0.0.1:{self._server.server_port}"

    def put(self, name: str, content: bytes, *faults: Fault, **options: Any) -> str:
        """Serve a file, its first requests with these faults; return its address."""
        etag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
        self.files[f"/{name}"] = Served(content, **{"etag": etag, **options}, faults=[*faults])
        return f"{self.url}/{name}"

    def sent(self, name: str) -> list[int]:
        """Return the bytes of a file that were sent for each request."""
        return [asked.sent for asked in self.asked if asked.path == f"/{name}"]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    owner: FileServer

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a client that went away."""
        if not isinstance(sys.exception(), (ConnectionError, TimeoutError, ssl.SSLError)):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 30
    server: _Server

    def do_GET(self) -> None:
        """Answer with the file, its rest, or the fault of this request."""
        owner = self.server.owner
        get = self.headers.get
        asked = Asked(self.path, get("Range", ""), get("If-Range", ""))
        owner.asked.append(asked)
        served = owner.files.get(self.path)
        fault = served.faults.pop(0) if served and served.faults else Fault()
        if owner.login and get("Authorization", "") != _basic(owner.login):
            fault = Fault(status=401, headers={"WWW-Authenticate": "Basic"})
        if served is None or fault.status:
            self._head(fault.status or 404, {"Content-Length": "0", **fault.headers})
            return
        start, size = self._start(served), len(served.content)
        if start >= size:
            self._head(416, {"Content-Length": "0", "Content-Range": f"bytes */{size}"})
            return
        headers = {"ETag": served.etag} if served.etag else {}
        headers |= {"Content-Type": served.kind} if served.kind else {}
        if start:
            headers["Content-Range"] = f"bytes {start}-{size - 1}/{size}"
        if served.chunked:
            headers["Transfer-Encoding"] = "chunked"
        else:
            headers["Content-Length"] = str(size - start + fault.extra)
        self._head(206 if start else 200, {**headers, **fault.headers})
        self.close_connection = bool(fault.extra)
        self._body(served.content[start:], fault, asked, chunked=served.chunked)

    def _start(self, served: Served) -> int:
        match = _RANGE.match(self.headers.get("Range", ""))
        condition = self.headers.get("If-Range", served.etag)
        return int(match[1]) if match and served.ranges and condition == served.etag else 0

    def _head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def _body(self, content: bytes, fault: Fault, asked: Asked, *, chunked: bool) -> None:
        ends = [fault.drop_after, fault.reset_after, fault.stall_after]
        end = min([len(content), *(one for one in ends if one is not None)])
        for at in range(0, end, _CHUNK):
            data = content[at : min(at + _CHUNK, end)]
            self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n" if chunked else data)
            asked.sent += len(data)
            if fault.bytes_per_s and self.server.owner.go.wait(len(data) / fault.bytes_per_s):
                return
        self._end(fault, chunked=chunked, broken=end < len(content))

    def _end(self, fault: Fault, *, chunked: bool, broken: bool) -> None:
        if fault.stall_after is not None:
            self.server.owner.go.wait(30)
        if fault.reset_after is not None:  # closes with RST, not FIN
            linger = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.close_connection = self.close_connection or broken
        if chunked and not broken:
            self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *_: object) -> None:
        """Print nothing: `FileServer.asked` is the log."""


def _basic(login: str) -> str:
    return f"Basic {base64.b64encode(login.encode()).decode()}"


@pytest.fixture
def file_server() -> Iterator[FileServer]:
    """Start a file server for this test."""
    with contextlib.ExitStack() as stack:
        yield stack.enter_context(FileServer())
