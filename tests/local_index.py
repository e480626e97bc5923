"""A package index on this machine (PEP 503), which can be broken on purpose in many ways.

It never uses a network: it serves the wheels that a test gives it, each under a prefix of its own
where the same name shall mean different files (``/simple/torch/``, ``/cu126/torch/``).
"""

from __future__ import annotations

import contextlib
import hashlib
import html
import io
import json
import re
import sys
import threading
import time
import zipfile
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote, unquote, urlsplit

import pytest

_CHUNK = 1 << 14
_RANGE = re.compile(r"^bytes=(\d*)-(\d*)$")


@dataclass(frozen=True)
class Fault:
    """How requests go wrong; what is not given goes well.

    Attributes
    ----------
    status : int
        Answer with this status and no file, such as 500.
    drop_after : int
        End the connection after so many bytes of the body.
    stall_after : int
        Send nothing more after so many bytes, and keep the connection open until `mend`.
    bytes_per_s : float
        Send so slowly.
    corrupt : bool
        Send other bytes, just as many.
    times : int
        Only the first requests go wrong; 0 means all of them.
    """

    status: int = 0
    drop_after: int | None = None
    stall_after: int | None = None
    bytes_per_s: float = 0.0
    corrupt: bool = False
    times: int = 0


@dataclass(frozen=True)
class _Served:
    path: Path
    sha256: str
    metadata: bytes


class LocalIndex:
    """An index server in this process; a context manager.

    Parameters
    ----------
    wheels : iterable of Path, or mapping of str to such
        What to serve below ``/simple/``, or by prefix.
    metadata : bool
        Offer each wheel's metadata as a file of its own too (PEP 658).
    sizes : bool
        Answer in JSON where the client takes it (PEP 691), with the size of each file.

    Attributes
    ----------
    requests : Counter of str
        How often each path was asked for. A proxy's request (``GET http://host/path``) counts, and
        is answered, as one for its path: the server can stand for a proxy.
    headers : dict of str
        Is sent with each answer, such as how long it may be cached.
    """

    def __init__(
        self,
        wheels: Iterable[Path] | Mapping[str, Iterable[Path]] = (),
        *,
        metadata: bool = False,
        sizes: bool = False,
    ) -> None:
        self.requests: Counter[str] = Counter()
        self.headers: dict[str, str] = {}
        self._metadata, self._sizes = metadata, sizes
        self._files: dict[str, dict[str, _Served]] = {}  # by page ("simple/numpy") and file name
        self._faults: list[tuple[str, Fault]] = []
        self._asked: list[str] = []
        self._lock = threading.Lock()
        self._mended = threading.Event()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.index = self
        prefixes = wheels if isinstance(wheels, Mapping) else {"simple": wheels}
        for prefix, paths in prefixes.items():
            for path in paths:
                self.add(path, prefix)

    def __enter__(self) -> LocalIndex:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.mend()
        self._server.shutdown()
        self._server.server_close()

    @property
    def host(self) -> str:
        """``127.0.0.1:PORT``."""
        return f"127.0.0.1:{self._server.server_port}"

    @property
    def url(self) -> str:
        """The address of the index ``simple``."""
        return self.at("simple")

    def at(self, prefix: str) -> str:
        """Return the address of the index below a prefix."""
        return f"http://{self.host}/{prefix}/"

    def add(self, path: Path, prefix: str = "simple", filename: str = "") -> str:
        """Serve one more wheel, also under another file name; return the path of its URL."""
        filename = filename or path.name
        page = f"{prefix}/{_normal(filename.partition('-')[0])}"
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        found = _Served(path, digest, _metadata_of(path) if self._metadata else b"")
        self._files.setdefault(page, {})[filename] = found
        return f"/{page}/{filename}"

    def swap(self, url_path: str, other: Path) -> None:
        """Serve another file's bytes at an address; its page still gives the sha256 of the old."""
        page, _, filename = url_path.strip("/").rpartition("/")
        self._files[page][filename] = replace(self._files[page][filename], path=other)

    def withdraw(self, page: str) -> None:
        """Serve a page such as ``simple/numpy`` no longer."""
        del self._files[page]

    def fail(self, pattern: str, **fault: Any) -> None:
        """Let requests whose path fits a pattern (``*.whl``) go wrong as `Fault` says."""
        with self._lock:
            self._faults.insert(0, (pattern, Fault(**fault)))
            self._asked.clear()
            self._mended.clear()

    def mend(self) -> None:
        """Let all go well again; what stalls goes on."""
        with self._lock:
            self._faults.clear()
            self._mended.set()

    def fault_of(self, path: str) -> Fault:
        """Return how a request goes wrong, and count it."""
        with self._lock:
            self.requests[path] += 1
            self._asked.append(path)
            for number, (pattern, fault) in enumerate(self._faults):
                if not fnmatchcase(path, pattern):
                    continue
                if fault.times == 1:
                    del self._faults[number]
                elif fault.times:
                    self._faults[number] = (pattern, replace(fault, times=fault.times - 1))
                return fault
        return Fault()

    def find(self, path: str, accept: str = "") -> tuple[bytes | Path, str] | None:
        """Return what lies at a path, and its content type."""
        page, _, filename = path.strip("/").rpartition("/")
        if path.endswith("/"):
            page = path.strip("/")
            if page in self._files and self._sizes and _JSON in accept:
                return json.dumps(self._json(page)).encode(), _JSON
            if page in self._files:
                return self._page(page).encode(), "text/html"
            names = [name.rpartition("/")[2] for name in self._files if name.startswith(page + "/")]
            links = "".join(f'<a href="{name}/">{name}</a>\n' for name in sorted(set(names)))
            return (_HTML.format(links).encode(), "text/html") if names else None
        served = self._files.get(page, {})
        if filename in served:
            return served[filename].path, "application/octet-stream"
        wheel = served.get(filename.removesuffix(".metadata"))
        return (wheel.metadata, "text/plain") if wheel and wheel.metadata else None

    def wait_for(self, pattern: str, seconds: float = 60.0) -> None:
        """Wait until a request whose path fits has come; only those since the last `fail` count."""
        deadline = time.monotonic() + seconds
        while not any(fnmatchcase(path, pattern) for path in list(self._asked)):
            assert time.monotonic() < deadline, f"nobody asks for {pattern}"
            time.sleep(0.01)

    def wait_mended(self, seconds: float) -> bool:
        """Wait until all goes well again, or for so many seconds."""
        return self._mended.wait(seconds)

    def _page(self, page: str) -> str:
        links = []
        for filename, wheel in sorted(self._files[page].items()):
            extra = ""
            if wheel.metadata:
                extra = f' data-core-metadata="sha256={hashlib.sha256(wheel.metadata).hexdigest()}"'
            href = f"{quote(filename)}#sha256={wheel.sha256}"
            links.append(f'<a href="{href}"{extra}>{html.escape(filename)}</a><br>\n')
        return _HTML.format("".join(links))

    def _json(self, page: str) -> dict[str, Any]:
        listed = []
        for filename, wheel in sorted(self._files[page].items()):
            entry: dict[str, Any] = {"filename": filename, "url": quote(filename)}
            entry |= {"hashes": {"sha256": wheel.sha256}, "size": wheel.path.stat().st_size}
            if wheel.metadata:
                digest = hashlib.sha256(wheel.metadata).hexdigest()
                entry["core-metadata"] = {"sha256": digest}
            listed.append(entry)
        name = page.rpartition("/")[2]
        return {"meta": {"api-version": "1.1"}, "name": name, "files": listed}


_JSON = "application/vnd.pypi.simple.v1+json"
_HTML = "<!DOCTYPE html><html><body>\n{}</body></html>\n"


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    index: LocalIndex

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a client that was killed: that is what the tests do."""
        if not isinstance(sys.exception(), (ConnectionError, TimeoutError)):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60
    server: _Server

    def do_GET(self) -> None:
        """Answer with a page, a file or a part of one, or with the fault."""
        index = self.server.index
        path = unquote(urlsplit(self.path).path)
        fault = index.fault_of(path)
        found = index.find(path, self.headers.get("Accept", ""))
        if fault.status or found is None:
            self._head(fault.status or 404, 0, "text/plain")
            return
        content, kind = found
        size = content.stat().st_size if isinstance(content, Path) else len(content)
        start, end = self._range(size)
        whole = (start, end) == (0, size)
        extra = {} if whole else {"Content-Range": f"bytes {start}-{end - 1}/{size}"}
        self._head(200 if whole else 206, end - start, kind, extra)
        if self.command == "HEAD":
            return
        with content.open("rb") if isinstance(content, Path) else io.BytesIO(content) as file:
            file.seek(start)
            self._body(file, end - start, fault)

    do_HEAD = do_GET  # noqa: N815 - the base class's name

    def _range(self, size: int) -> tuple[int, int]:
        match = _RANGE.match(self.headers.get("Range", ""))
        if not match or not (match[1] or match[2]):
            return 0, size
        if not match[1]:
            return max(0, size - int(match[2])), size
        return min(int(match[1]), size), min(int(match[2]) + 1 if match[2] else size, size)

    def _head(
        self, status: int, length: int, kind: str, extra: Mapping[str, str] | None = None
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(length))
        self.send_header("Accept-Ranges", "bytes")
        for name, value in {**self.server.index.headers, **(extra or {})}.items():
            self.send_header(name, value)
        self.end_headers()

    def _body(self, file: IO[bytes], length: int, fault: Fault) -> None:
        sent = 0
        while sent < length:
            if fault.drop_after is not None and sent >= fault.drop_after:
                self.close_connection = True
                return
            if fault.stall_after is not None and sent >= fault.stall_after:
                self._stall()
                fault = Fault()
            limits = [length, sent + _CHUNK, fault.drop_after, fault.stall_after]
            data = file.read(min(limit for limit in limits if limit is not None) - sent)
            self.wfile.write(bytes(byte ^ 0x55 for byte in data) if fault.corrupt else data)
            sent += len(data)
            if fault.bytes_per_s:
                self.server.index.wait_mended(len(data) / fault.bytes_per_s)

    def _stall(self) -> None:
        """Keep still until all is mended or the client has gone."""
        self.wfile.flush()
        deadline = time.monotonic() + self.timeout
        while not self.server.index.wait_mended(0.1) and time.monotonic() < deadline:
            pass

    def log_message(self, *_: object) -> None:
        """Print nothing: `LocalIndex.requests` is the log."""


def _metadata_of(wheel: Path) -> bytes:
    with zipfile.ZipFile(wheel) as archive:
        name = next(n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        return archive.read(name)


def _normal(name: str) -> str:
    """Normalise a package name (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.fixture
def local_index():
    """Return a function that starts an index server, as `LocalIndex` does, for this test."""
    with contextlib.ExitStack() as stack:
        yield lambda *args, **options: stack.enter_context(LocalIndex(*args, **options))
