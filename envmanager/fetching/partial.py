"""A file that is not complete yet: its bytes, and a note of which version they are of.

The bytes lie beside the file as ``NAME.part``, the note as ``NAME.part.json``. A server is asked
for the rest of that very version (``If-Range``): bytes of two versions are never mixed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from envmanager.data import files

_SYNCED_EVERY = 16 << 20  # bytes


@dataclass(frozen=True)
class Version:
    """What a server says about the version of a file; `length` is in bytes, 0 where not said."""

    url: str
    etag: str = ""
    modified: str = ""
    length: int = 0

    @property
    def mark(self) -> str:
        """What to send as ``If-Range``: a strong ETag, else the date; empty where neither is said.

        RFC 9110, 13.1.5: a weak ETag does not vouch for the bytes.
        """
        strong = self.etag and not self.etag.startswith("W/")
        return self.etag if strong else self.modified

    @classmethod
    def of(cls, url: str, headers: Mapping[str, str], length: int) -> Version:
        """Return what an answer says."""
        return cls(url, headers.get("ETag", ""), headers.get("Last-Modified", ""), length)


class Partial:
    """The part of a file that has come so far."""

    def __init__(self, destination: Path) -> None:
        self.path = destination.with_name(f"{destination.name}.part")
        self._note = destination.with_name(f"{destination.name}.part.json")

    @property
    def size(self) -> int:
        """The bytes that have come."""
        try:
            return self.path.stat().st_size
        except OSError:
            return 0

    def version(self, url: str) -> Version | None:
        """Return the version that the bytes are of; None where they cannot be resumed."""
        try:
            found = Version(**json.loads(self._note.read_text("utf-8")))
        except (OSError, ValueError, TypeError):
            return None
        return found if found.url == url and found.mark and self.size else None

    def begin(self, version: Version) -> None:
        """Drop what is there, and note the version that comes now: before its first byte."""
        self.drop()
        files.write_text(self._note, json.dumps(asdict(version)))

    @contextmanager
    def appending(self) -> Iterator[Callable[[bytes], None]]:
        """Give what appends bytes: they are there after a kill, and soon after a power cut too."""
        with self.path.open("ab", buffering=0) as file:
            unsafe = 0

            def append(data: bytes) -> None:
                nonlocal unsafe
                view = memoryview(data)
                while view:  # a disk that is nearly full takes a part of it
                    view = view[file.write(view) or 0 :]
                unsafe += len(data)
                if unsafe >= _SYNCED_EVERY:
                    os.fsync(file.fileno())
                    unsafe = 0

            try:
                yield append
            finally:
                os.fsync(file.fileno())

    def cut_unsafe(self) -> None:
        """Drop the last bytes where the computer was started since: a power cut may spoil them."""
        try:
            written = self.path.stat().st_mtime
        except OSError:
            return
        if written < psutil.boot_time():
            os.truncate(self.path, max(0, self.size - 2 * _SYNCED_EVERY))

    def drop(self) -> None:
        """Delete the bytes, then their note."""
        self.path.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)

    def forget_note(self) -> None:
        """Delete the note: the file has got its place."""
        self._note.unlink(missing_ok=True)
