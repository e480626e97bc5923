"""The memory that the out-of-process host shares with its child: made once, reused by each call."""

from __future__ import annotations

import math
import mmap
import os
import secrets
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ga3_nodes.standin import limnode_types as types
from ga3_nodes.standin.limnode import Layout, Ticket, arrays_on, map_block
from ga3_nodes.standin.limnode_types import Array, Definition, TableData
from ga3_nodes.standin.nis import Input, shape_of

ALIGNMENT = 64


@dataclass(frozen=True)
class Slot:
    """The place of one input or output: pixels in the shared memory, or a table in the message."""

    definition: Definition
    layout: Layout | None = None
    pixels: Array | None = None

    def fill(self, item: Input | None) -> None:
        """Copy an input's pixels in; None makes an output's all zero."""
        if self.pixels is not None:
            self.pixels[...] = 0 if item is None else item.image

    def message(self, columns: Mapping[str, Sequence[Any]]) -> tuple[str, Any]:
        """Return what the child needs to find or build its data object."""
        if isinstance(self.definition, types.TableDefinition):
            rows = {title: np.asarray(values).tolist() for title, values in columns.items()}
            return "table", (self.definition.columns, rows)
        return "image", self.layout

    def take(self, rows: Mapping[str, Any] | None) -> Array | TableData:
        """Return the output as the host's own; `rows` is the child's answer for a table."""
        if isinstance(self.definition, types.TableDefinition):
            return TableData(self.definition.columns, rows)
        assert self.pixels is not None
        return self.pixels.copy()


class SharedMemory:
    """One block that grows. Nothing of it has a name in a file system, so a kill leaves nothing.

    Not `multiprocessing.shared_memory`: before 3.13 a child that attaches to such a segment has its
    own resource tracker unlink it. On Linux it is an inherited file descriptor, on Windows a
    mapping that is named after this process and gone with its last handle.
    """

    def __init__(self) -> None:
        self.inherited: tuple[int, ...] = ()
        self._ticket: Ticket | None = None
        self._block: mmap.mmap | None = None
        if sys.platform != "win32":
            self.inherited = (_anonymous_file(),)

    @property
    def ticket(self) -> Ticket | None:
        """What the child needs to map the block as it is now."""
        return self._ticket

    def slots(self, definitions: Sequence[Definition]) -> list[Slot]:
        """Return a place for each definition; these from the call before are no longer valid."""
        layouts: list[Layout | None] = []
        size = 0
        for definition in definitions:
            if isinstance(definition, types.TableDefinition):
                layouts.append(None)
                continue
            shape, dtype = shape_of(definition), types.dtype_of(definition)
            layouts.append((shape, dtype, size))
            used = math.prod(shape) * np.dtype(dtype).itemsize
            size += -(-used // ALIGNMENT) * ALIGNMENT
        block = self._reserve(max(size, 1))
        return [
            Slot(d, layout, None if layout is None else arrays_on(block, [layout])[0])
            for d, layout in zip(definitions, layouts, strict=True)
        ]

    def close(self) -> None:
        """Let go of the memory; pages are freed when the last view of them is."""
        self._block = self._ticket = None
        for descriptor in self.inherited:
            os.close(descriptor)
        self.inherited = ()

    def _reserve(self, size: int) -> mmap.mmap:
        if self._block is None or len(self._block) < size:
            if self.inherited:
                os.ftruncate(self.inherited[0], size)
                self._ticket = ("fd", self.inherited[0], size)
            else:
                name = f"ga3-standin-{os.getpid()}-{secrets.token_hex(8)}"
                self._ticket = ("tag", name, size)
            self._block = map_block(self._ticket)
        return self._block


def _anonymous_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("ga3-standin")
    with tempfile.TemporaryFile() as file:  # macOS: unlinked already
        return os.dup(file.fileno())
