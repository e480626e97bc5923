"""A package index that sends slowly, with one wheel that it makes: for the screenshots.

An install from it is a real one that lasts as long as a picture of it needs.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import os
import time
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

_SIZE = 60_000_000  # bytes of the wheel
_RATE = 8_000_000  # bytes per second
_CHUNK = 1 << 16
_PACKAGE = "slow_network"
_WHEEL = f"{_PACKAGE}-1.0-py3-none-any.whl"
_TOML = """schema = 1
name = "{name}"
title = "Example network"
version = "1.0.0"
summary = "Finds objects with a trained network: an example of a module of your own."
license = "MIT"

[environment]
imports = ["slow_network"]

[functions.segment]
title = "Segment"

[functions.segment.inputs.image]
axes = ["yx"]

[functions.segment.outputs.labels]
kind = "labels"
"""
_PROJECT = """[project]
name = "ga3-module-example"
version = "1.0.0"
requires-python = ">=3.10"
dependencies = ["slow-network"]
"""
_WORKER = "def segment(image, *, axes=''):\n    return (image > image.mean()).astype('int32')\n"


class SlowIndex:
    """Serves the wheel below ``/simple/`` until it is closed."""

    name = "example"

    def __init__(self) -> None:
        self.wheel = _wheel()
        self.sha256 = hashlib.sha256(self.wheel).hexdigest()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.daemon_threads = True
        _Handler.index = self

    @property
    def url(self) -> str:
        """The address of the index."""
        return f"http://127.0.0.1:{self._server.server_port}/simple/"

    def serve(self) -> None:
        """Answer until `close` is called; in a thread of the background."""
        self._server.serve_forever(0.05)

    def close(self) -> None:
        """End."""
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    index: SlowIndex

    def do_GET(self) -> None:
        """Send the page at once, and the wheel slowly."""
        if self.path.endswith(".whl"):
            self._send(self.index.wheel, "application/octet-stream", slowly=True)
        elif self.path.rstrip("/").endswith(_PACKAGE.replace("_", "-")):
            link = f'<a href="{_WHEEL}#sha256={self.index.sha256}">{_WHEEL}</a>'
            page = f"<!DOCTYPE html><html><body>{link}</body></html>"
            self._send(page.encode(), "text/html")
        else:
            self.send_error(404)

    def do_HEAD(self) -> None:
        """Tell how much there is."""
        self.do_GET()

    def _send(self, content: bytes, kind: str, *, slowly: bool = False) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "HEAD":
            return
        try:
            for start in range(0, len(content), _CHUNK):
                self.wfile.write(content[start : start + _CHUNK])
                if slowly:
                    time.sleep(_CHUNK / _RATE)
        except ConnectionError:
            pass  # the install was cancelled

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def write_module(modules: Path, index: SlowIndex) -> None:
    """Put a module that needs the wheel among the user's modules."""
    folder = modules / index.name
    folder.mkdir(parents=True)
    lock = f"{_PACKAGE.replace('_', '-')}==1.0 \\\n    --hash=sha256:{index.sha256}\n"
    test = "def test_nothing():\n    pass\n"
    files = {
        "module.toml": _TOML.format(name=index.name),
        "pyproject.toml": _PROJECT,
        "requirements.lock": lock,
        "worker.py": _WORKER,
        "test_worker.py": test,
    }
    for name, text in files.items():
        (folder / name).write_text(text, "utf-8")


def _wheel() -> bytes:
    """Return a wheel of bytes that nothing can make smaller."""
    info = f"{_PACKAGE}-1.0.dist-info"
    contents = {
        f"{_PACKAGE}/__init__.py": b"",
        f"{_PACKAGE}/data.bin": os.urandom(_SIZE),
        f"{info}/METADATA": b"Metadata-Version: 2.1\nName: slow-network\nVersion: 1.0\n",
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: app\nRoot-Is-Purelib: true\n"
        b"Tag: py3-none-any\n",
    }
    rows = io.StringIO()
    writer = csv.writer(rows, lineterminator="\n")
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, content in contents.items():
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=")
            writer.writerow([name, f"sha256={digest.decode()}", len(content)])
            archive.writestr(name, content)
        writer.writerow([f"{info}/RECORD", "", ""])
        archive.writestr(f"{info}/RECORD", rows.getvalue())
    return made.getvalue()
