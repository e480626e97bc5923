"""Our own small `limnode`: the module that NIS-Elements gives to a GA3 Python node.

It serves both ways of running a node. Embedded, the host calls `Node` in its own process. Out of
process, the script ends with `child_main(run, output, build)`, which answers the host's requests.
There it and `limnode_types` are lone top-level modules in the current folder.

Images are arrays of rank 4, **(z, y, x, component)**, also for 2-D (z = 1). Channels are uint8,
uint16 or float32, binaries uint8 or int32.
"""

from __future__ import annotations

import builtins
import mmap
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING or __package__:
    from ga3_nodes.standin.limnode_types import (
        Array,
        Context,
        ImageData,
        Program,
        ReduceProgram,
        TableData,
        TwoPassProgram,
        Wire,
        from_wire,
        to_wire,
    )
else:
    from limnode_types import (
        Array,
        Context,
        ImageData,
        Program,
        ReduceProgram,
        TableData,
        TwoPassProgram,
        Wire,
        from_wire,
        to_wire,
    )

__all__ = [
    "ReduceProgram",
    "TwoPassProgram",
    "child_main",
    "print",
    "separateLabeledImage",
    "separateLabeledImage3d",
]

Layout = tuple[tuple[int, ...], str, int]  # shape, dtype, offset in the shared memory
Ticket = tuple[str, "int | str", int]  # "fd" or "tag", its number or name, size in bytes

# ---------------------------------------------------------------- functions for scripts


def separateLabeledImage(labels: Array) -> Array:
    """Return a copy of a 2-D label image in which touching objects are kept apart by background.

    Every pixel whose 3x3 neighbourhood holds a larger label becomes 0, so the result can be cast to
    a uint8 binary (`labels > 0`). Raises TypeError for an array of another rank.
    """
    return _separated(labels, 2)


def separateLabeledImage3d(labels: Array) -> Array:
    """Do as `separateLabeledImage` for a (z, y, x) array and its 3x3x3 neighbourhood."""
    return _separated(labels, 3)


def _separated(labels: Array, rank: int) -> Array:
    if not isinstance(labels, np.ndarray) or labels.ndim != rank:
        raise TypeError(f"expected an array of rank {rank}")
    largest = labels.copy()
    for axis in range(rank):  # the maximum over a box is separable: one axis after the other
        before = np.moveaxis(largest.copy(), axis, 0)
        after = np.moveaxis(largest, axis, 0)
        np.maximum(after[1:], before[:-1], out=after[1:])
        np.maximum(after[:-1], before[1:], out=after[:-1])
    return np.where(largest > labels, labels.dtype.type(0), labels)


def print(*values: object, sep: str = " ", end: str = "\n") -> None:
    """Write to the log that NIS keeps of this node."""
    builtins.print(*values, sep=sep, end=end, flush=True)


# ---------------------------------------------------------------- the three functions of a node


class Parameters:
    """What 7.x passes as `par`: opaque, for how a value is read from it is not public."""

    __slots__ = ()


class Node:
    """A script's three functions, called with the signatures of one version of NIS (6 or 7)."""

    def __init__(
        self,
        version: int,
        run: Callable[..., Any],
        output: Callable[..., Any],
        build: Callable[..., Any],
    ) -> None:
        self._run, self._output, self._build = run, output, build
        self._par = (Parameters(),) if version >= 7 else ()

    def output(self, inputs: Sequence[Wire], outputs: Sequence[Wire]) -> list[Wire]:
        """Call `output`; the definitions arrive and leave as plain data."""
        inp, out = [[from_wire(wire) for wire in wires] for wires in (inputs, outputs)]
        self._output(inp, out, *self._par)
        return [to_wire(definition) for definition in out]

    def build(self, loops: Any) -> tuple[str, tuple[str, ...]] | None:
        """Call `build`; a program leaves as its kind and its loops. Raises TypeError for others."""
        program = self._build(*self._par, loops)
        if program is None:
            return None
        if not isinstance(program, Program):
            raise TypeError(f"build returned {program!r}, not a program or None")
        return type(program).__name__, program.over

    def run(self, inp: Sequence[Any], out: Sequence[Any], ctx: Context) -> None:
        """Call `run`, which writes into `out`."""
        self._run(inp, out, *self._par, ctx)


# ---------------------------------------------------------------- out of process: the child


def map_block(ticket: Ticket) -> mmap.mmap:
    """Map the host's shared memory: an inherited file descriptor, or a name on Windows."""
    kind, where, size = ticket
    if kind == "tag":
        return mmap.mmap(-1, size, tagname=str(where))  # type: ignore[call-arg,unused-ignore]
    os.set_inheritable(int(where), False)  # it came through Popen, but is not for grandchildren
    return mmap.mmap(int(where), size)


def arrays_on(block: mmap.mmap, layouts: Sequence[Layout]) -> list[Array]:
    """Return arrays that lie on the shared memory; they are overwritten by the next call."""
    return [
        np.frombuffer(block, dtype, int(np.prod(shape)), offset).reshape(shape)
        for shape, dtype, offset in layouts
    ]


def child_main(
    run: Callable[..., Any], output: Callable[..., Any], build: Callable[..., Any]
) -> None:
    """Answer the host's requests until it closes the connection.

    The last argument of the command line is the pipe's handle. An exception in a function is
    answered as text; SystemExit and the like end the child, as they would in NIS.
    """
    child = _Child(run, output, build)
    connection = _connect(int(sys.argv[1]))
    connection.send(("ready", os.getpid()))
    with connection:
        while True:
            try:
                request = connection.recv()
            except (EOFError, OSError):
                return
            try:
                answer = ("done", child.answer(request))
            except Exception as error:
                answer = ("failed", (type(error).__name__, str(error), traceback.format_exc()))
            connection.send(answer)


def _connect(handle: int) -> Any:
    if sys.platform == "win32":
        from multiprocessing import reduction
        from multiprocessing.connection import PipeConnection

        # The handle is one of the host's. A launcher (a venv's python.exe) as parent makes this
        # fail, in NIS as here.
        return PipeConnection(reduction.steal_handle(os.getppid(), handle))
    os.set_inheritable(handle, False)
    return Connection(handle)


class _Child:
    """What the child keeps between requests."""

    def __init__(self, *functions: Callable[..., Any]) -> None:
        self._functions = functions
        self._ticket: Ticket | None = None
        self._block: mmap.mmap | None = None

    def answer(self, request: dict[str, Any]) -> Any:
        node = Node(request["version"], *self._functions)
        if request["function"] == "output":
            return node.output(request["inputs"], request["outputs"])
        if request["function"] == "build":
            return node.build(request["loops"])
        return self._run(node, request)

    def _run(self, node: Node, request: dict[str, Any]) -> list[Any]:
        if self._block is None or request["ticket"] != self._ticket:
            self._ticket, self._block = request["ticket"], map_block(request["ticket"])
        inp, out = [
            [self._data(item) for item in items]
            for items in (request["inputs"], request["outputs"])
        ]
        node.run(inp, out, Context(**request["context"]))
        return [_rows(data) for data in out]

    def _data(self, item: tuple[str, Any]) -> ImageData | TableData:
        assert self._block is not None
        if item[0] == "image":
            return ImageData(arrays_on(self._block, [item[1]])[0])
        return TableData(*item[1])


def _rows(data: ImageData | TableData) -> dict[str, Any] | None:
    """Return a table's rows as lists: a pickled array needs the same numpy on both sides."""
    if isinstance(data, ImageData):
        return None
    return {title: rows.tolist() for title, rows in data.values.items()}
