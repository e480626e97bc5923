"""A package index whose files lie on a `FileServer`: each wheel can go wrong as that one knows."""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path

from tests.file_server import Fault, FileServer

_JSON = "application/vnd.pypi.simple.v1+json"


class WheelServer(FileServer):
    """Serves wheels below ``/simple/`` (PEP 691), with sizes and metadata; a context manager."""

    @property
    def index_url(self) -> str:
        """The address of the index."""
        return f"{self.url}/simple/"

    def add(self, wheel: Path, *faults: Fault, **options: object) -> None:
        """Serve a wheel; the first requests for it go wrong, or as `FileServer.put` takes them."""
        content, metadata = wheel.read_bytes(), _metadata_of(wheel)
        self.put(wheel.name, content, *faults, **options)
        self.put(f"{wheel.name}.metadata", metadata)
        entry = {
            "filename": wheel.name,
            "url": f"{self.url}/{wheel.name}",
            "hashes": {"sha256": hashlib.sha256(content).hexdigest()},
            "size": len(content),
            "core-metadata": {"sha256": hashlib.sha256(metadata).hexdigest()},
        }
        name = wheel.name.partition("-")[0].replace("_", "-")
        page = {"meta": {"api-version": "1.1"}, "name": name, "files": [entry]}
        self.put(f"simple/{name}/", json.dumps(page).encode(), kind=_JSON)


def _metadata_of(wheel: Path) -> bytes:
    with zipfile.ZipFile(wheel) as archive:
        name = next(n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        return archive.read(name)
