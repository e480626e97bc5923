"""Arrays in shared memory that is created once and reused: a call costs a memory copy.

Fresh memory faults on every page, so each side keeps its segment and only replaces it by a larger
one. Nothing has a name that could outlive its processes: Linux uses an anonymous file that the peer
opens through ``/proc``, Windows a named mapping that vanishes with its last handle. (Not
`multiprocessing.shared_memory`: before Python 3.13 its resource tracker destroys segments that it
does not own, and it starts ``sys.executable``, which inside NIS is not a Python.)
"""

from __future__ import annotations

import math
import mmap
import os
import secrets
import struct
import sys
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ga3_nodes.errors import ProtocolError

_ALIGN = 64
_STEP = 1 << 20
_TOKEN = 16
_MARK = struct.Struct("<q")  # behind the token: the number of the call that the peer has begun
MOST_MARK = (1 << 63) - 1
DTYPES = frozenset(
    {"bool", "float16", "float32", "float64"}
    | {f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)}
)


@dataclass(frozen=True)
class Segment:
    """A piece of shared memory; it lives as long as somebody refers to its `memory`."""

    handle: str
    memory: mmap.mmap


def create(size: int) -> Segment:
    """Make a segment of at least `size` bytes; its first bytes prove its identity."""
    size = -(-(size + _ALIGN) // _STEP) * _STEP
    token = secrets.token_bytes(_TOKEN)
    if sys.platform == "win32":
        place = f"Local\\ga3env-{token.hex()}"
        memory = mmap.mmap(-1, size, tagname=place)
    else:
        fd = _anonymous_file()
        os.ftruncate(fd, size)
        memory = mmap.mmap(fd, size)
        place = f"{os.getpid()}/{fd}"
    memory[:_TOKEN] = token
    segment = Segment(f"{place}:{size}:{token.hex()}", memory)
    if sys.platform != "win32":
        weakref.finalize(segment, os.close, fd)
    return segment


def attach(handle: str) -> Segment:
    """Open the segment that a peer made.

    Raises
    ------
    ProtocolError
        There is no such segment (any more). Windows would hand out a fresh one full of zeros, and
        a mask of zeros looks like a result: hence the token.
    """
    try:
        place, size_text, token = handle.rsplit(":", 2)
        size = int(size_text)
        if size < _ALIGN:
            raise ValueError("it is too small")
        if sys.platform == "win32":
            memory = mmap.mmap(-1, size, tagname=place)
        else:
            pid, fd_number = map(int, place.split("/"))
            fd = os.open(f"/proc/{pid}/fd/{fd_number}", os.O_RDWR)
            try:
                memory = mmap.mmap(fd, size)
            finally:
                os.close(fd)
        if memory[:_TOKEN] != bytes.fromhex(token):
            raise ValueError("the token differs")
    except (ValueError, OSError) as error:
        raise ProtocolError(
            f"The shared memory {handle!r} cannot be opened: {error}.",
            "The other process has ended; run again.",
        ) from error
    return Segment(handle, memory)


def _anonymous_file() -> int:
    return os.memfd_create("ga3env", os.MFD_CLOEXEC)


class Outbox:
    """The sending side's segment, which grows when needed."""

    def __init__(self) -> None:
        self._segment: Segment | None = None

    @property
    def handle(self) -> str:
        """What the peer opens the segment by; empty before something was reserved."""
        return self._segment.handle if self._segment else ""

    @property
    def marked(self) -> int:
        """The number that the peer has written last (`Inbox.mark`); 0 where it has not."""
        return int(_MARK.unpack_from(self._segment.memory, _TOKEN)[0]) if self._segment else 0

    def reserve(
        self, wanted: Sequence[tuple[tuple[int, ...], np.dtype[Any]]]
    ) -> list[tuple[dict[str, Any], np.ndarray]]:
        """Make room for arrays of the given shapes and dtypes.

        Returns
        -------
        list of (dict, ndarray)
            For each array its description for the peer and the view to write into. What was
            reserved before is overwritten.
        """
        offsets, end = [], _ALIGN
        for shape, dtype in wanted:
            offsets.append(end)
            end += -(-math.prod(shape) * dtype.itemsize // _ALIGN) * _ALIGN
        if self._segment is None or len(self._segment.memory) < end:
            self._segment = None  # free the old one before the larger one is made
            self._segment = create(end)
        segment = self._segment
        placed = []
        for (shape, dtype), offset in zip(wanted, offsets, strict=True):
            native = dtype.newbyteorder("=")
            description = {
                "segment": segment.handle,
                "offset": offset,
                "shape": list(shape),
                "dtype": native.name,
            }
            placed.append((description, _view(segment, offset, shape, native)))
        return placed


class Inbox:
    """The receiving side: keeps the peer's segment open between calls."""

    def __init__(self) -> None:
        self._segment: Segment | None = None

    def mark(self, handle: str, number: int) -> None:
        """Write a number (0 to `MOST_MARK`) where the peer sees it without being woken.

        Raises
        ------
        ProtocolError
            There is no such segment.
        """
        _MARK.pack_into(self._open(handle).memory, _TOKEN, number)

    def view(self, description: object) -> np.ndarray:
        """Return the described array without a copy; the peer's next message overwrites it.

        Raises
        ------
        ProtocolError
            The description is not one, or points outside of the segment.
        """
        handle, offset, shape, dtype = _checked(description)
        segment = self._open(handle)
        if offset + math.prod(shape) * dtype.itemsize > len(segment.memory):
            raise ProtocolError(f"An array of shape {shape} does not fit its shared memory.")
        return _view(segment, offset, shape, dtype)

    def _open(self, handle: str) -> Segment:
        if self._segment is None or self._segment.handle != handle:
            self._segment = None
            self._segment = attach(handle)
        return self._segment


def _checked(description: object) -> tuple[str, int, tuple[int, ...], np.dtype[Any]]:
    match description:
        case {"segment": str(handle), "offset": int(offset), "shape": list(sizes), "dtype": str(d)}:
            shape = tuple(n for n in sizes if type(n) is int and n >= 0)
            if len(shape) == len(sizes) <= 8 and offset >= _ALIGN and d in DTYPES:
                return handle, offset, shape, np.dtype(d)
    raise ProtocolError(f"Not the description of an array: {str(description)[:200]}")


def _view(
    segment: Segment, offset: int, shape: tuple[int, ...], dtype: np.dtype[Any]
) -> np.ndarray:
    count = math.prod(shape)
    if count == 0:
        return np.empty(shape, dtype)
    return np.frombuffer(segment.memory, dtype, count, offset).reshape(shape)
