"""What the two hosts share: their interface, errors, inputs and the check of the script."""

from __future__ import annotations

import ast
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from ga3_nodes.standin import limnode_types as types
from ga3_nodes.standin.limnode_types import Array, Definition, Program, TableData

DTYPES = {"binary": ("uint8", "int32"), "channel": ("uint8", "uint16", "float32")}


class StandinError(Exception):
    """The base of all that a host raises on purpose."""


class ScriptRefused(StandinError):
    """The text of the script is not what NIS requires of a node."""


class NodeFailed(StandinError):
    """One of the script's functions, or its module level, raised.

    Attributes
    ----------
    kind : str
        Name of the exception's class.
    remote_traceback : str
        The traceback as text, as it was where the script ran.
    """

    def __init__(self, where: str, kind: str, text: str, remote_traceback: str) -> None:
        super().__init__(f"{where}: {kind}: {text}\n{remote_traceback}")
        self.kind = kind
        self.remote_traceback = remote_traceback


class Aborted(StandinError):
    """The user pressed Abort during a run."""


class ChildDied(StandinError, EOFError):
    """The child ended without an answer; the user of NIS sees a bare EOFError.

    Attributes
    ----------
    exit_code : int
    output : str
        Its stdout and stderr.
    """

    def __init__(self, exit_code: int, output: str) -> None:
        super().__init__(f"the node's process ended with exit code {exit_code}\n{output}")
        self.exit_code = exit_code
        self.output = output


class ChildHangs(StandinError, TimeoutError):
    """The child did not answer or did not end in time, and was killed."""


class PipesKeptOpen(StandinError):
    """The child is dead, but a process that it started holds its stdout or stderr.

    NIS then waits for that process when it closes the child, and after an abort takes the dead
    child for alive: the script must give its processes DEVNULL or files.
    """


@dataclass(frozen=True)
class Input:
    """One input of a node: an image or a table, with its definition.

    Use `channel`, `binary` and `table` to make one.
    """

    definition: Definition
    image: Array | None = None
    columns: Mapping[str, Sequence[Any]] = field(default_factory=dict)


Inputs = Sequence["Input | Array"]


def channel(
    image: Array,
    name: str = "",
    *,
    calibration: tuple[float, float, float] = (0.0, 0.0, 0.0),
    units: tuple[str, str, str] = ("µm", "µm", "µm"),
) -> Input:
    """Return an input channel; `image` is uint8, uint16 or float32, (z, y, x, component)."""
    return _image_input("channel", image, name, calibration, units)


def binary(
    image: Array,
    name: str = "",
    *,
    calibration: tuple[float, float, float] = (0.0, 0.0, 0.0),
    units: tuple[str, str, str] = ("µm", "µm", "µm"),
) -> Input:
    """Return an input binary; `image` is uint8 or int32, (z, y, x, 1)."""
    return _image_input("binary", image, name, calibration, units)


def table(name: str, columns: Mapping[str, Sequence[Any]]) -> Input:
    """Return an input table; `columns` maps titles to 1-D data of int, float or text."""
    definition = types.TableDefinition().makeNew(name)
    for title, rows in columns.items():
        kind = np.asarray(rows).dtype.kind
        add = {"i": definition.withIntCol, "u": definition.withIntCol, "f": definition.withFloatCol}
        add.get(kind, definition.withStringCol)(title)
    return Input(definition, None, columns)


def _image_input(
    kind: str,
    image: Array,
    name: str,
    calibration: tuple[float, float, float],
    units: tuple[str, str, str],
) -> Input:
    if image.ndim != 4 or image.size == 0:
        raise ValueError(f"an image has the axes (z, y, x, component), not the shape {image.shape}")
    if image.dtype.name not in DTYPES[kind]:
        raise ValueError(f"a {kind} is one of {', '.join(DTYPES[kind])}, not {image.dtype}")
    definition = types.KINDS[kind]()
    z, y, x, definition.componentCount = image.shape
    definition.size, definition.calibration, definition.units = (x, y, z), calibration, units
    definition.bitsPerComponent = image.dtype.itemsize * 8
    definition.name, definition.made = name or kind, True
    return Input(definition, image)


def as_inputs(inputs: Inputs) -> list[Input]:
    """Return inputs with definitions; a bare int32 array is a binary, any other a channel."""
    return [
        item
        if isinstance(item, Input)
        else binary(item)
        if item.dtype == np.int32
        else channel(item)
        for item in inputs
    ]


def blank_outputs(kinds: Sequence[str], inputs: Sequence[Input]) -> list[types.Wire]:
    """Return the definitions that `output` receives: the first image's geometry, nothing made."""
    blank = []
    for kind in kinds:
        definition = types.KINDS[kind]()
        for image in (i.definition for i in inputs if i.image is not None):
            definition.size, definition.calibration = image.size, image.calibration
            definition.units = image.units
            break
        blank.append(types.to_wire(definition))
    return blank


def shape_of(definition: Definition) -> tuple[int, int, int, int]:
    """Return the shape (z, y, x, component) of an image's array."""
    x, y, z = definition.size
    return z, y, x, definition.componentCount


def check_script(script: str, version: int) -> None:
    """Raise ScriptRefused unless the script imports limnode as NIS requires.

    The line is ``import limnode``, in exactly that form, at module level; ``from limnode ...`` and
    ``as`` are refused, but for 7.x's ``from limnode import print`` within the main guard.
    """
    try:
        tree = ast.parse(script)
    except SyntaxError as error:
        raise ScriptRefused(f"the script is not valid Python: {error}") from error
    guarded = {id(node) for top in tree.body if isinstance(top, ast.If) for node in ast.walk(top)}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            bad = node.module == "limnode"
            if bad and version >= 7 and id(node) in guarded:
                bad = ast.unparse(node) != "from limnode import print"
        elif isinstance(node, ast.Import):
            bad = any(alias.name == "limnode" and alias.asname for alias in node.names)
        else:
            continue
        if bad:
            form = ast.unparse(node)
            raise ScriptRefused(f"line {node.lineno}: {form!r}: NIS wants 'import limnode' alone")
    lines = script.splitlines()
    imports = (lines[node.lineno - 1] for node in tree.body if isinstance(node, ast.Import))
    if not any(re.fullmatch(r"import limnode\s*", line) for line in imports):
        raise ScriptRefused("the script lacks the line 'import limnode' at module level")


T = TypeVar("T", bound="Nis")


class Nis(ABC):
    """A host that runs one GA3 node script; a context manager.

    Parameters
    ----------
    script : str
        The node's text. NIS never sees a file.
    version : int
        6 or 7: chooses the signatures of the three functions.
    outputs : sequence of str
        The node's outputs as set up in its dialog: "binary", "channel" or "table".
    """

    def __init__(self, script: str, version: int, outputs: Sequence[str]) -> None:
        if version not in (6, 7):
            raise ValueError(f"NIS-Elements 6 and 7 are known, not {version}")
        check_script(script, version)
        self._script, self._version, self._kinds = script, version, tuple(outputs)
        self._asked: list[types.Wire] | None = None
        self._defined: list[Definition] = []

    def __enter__(self: T) -> T:
        """Return the host itself."""
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Close the host."""
        self.close()

    def output(self, inputs: Inputs) -> list[Definition]:
        """Ask the script what it gives for these inputs.

        Returns
        -------
        list of Definition
            One per output. Raises NodeFailed where the script raises or defines no output.
        """
        given = as_inputs(inputs)
        wires = self._output(
            [types.to_wire(i.definition) for i in given], blank_outputs(self._kinds, given)
        )
        definitions = [types.from_wire(wire) for wire in wires]
        for index, definition in enumerate(definitions):
            if not definition.made:
                text = f"out[{index}] was neither made new nor assigned"
                raise NodeFailed("output", "NotDefined", text, "")
        return definitions

    def build(self, loops: Any = ()) -> Program | None:
        """Ask the script for its program; `loops` is passed on as it is. None: every frame."""
        answer = self._build(loops)
        if answer is None:
            return None
        program = types.PROGRAMS[answer[0]](loops)
        program.over = answer[1]
        return program

    def run(
        self,
        inputs: Inputs,
        abort: Callable[[], bool] | None = None,
        *,
        context: Mapping[str, Any] | None = None,
    ) -> list[Array | TableData]:
        """Run the node on one frame or volume.

        Parameters
        ----------
        inputs : sequence of ndarray or Input
            Images with the axes (z, y, x, component), see `channel`, `binary` and `table`. They are
            copied: the script can't change them.
        abort : callable, optional
            True means that the user pressed Abort.
        context : mapping, optional
            Fields of `limnode_types.Context`. A node with a program is called by the caller once
            per frame and pass, with `finalCall` and `programPass` set here.

        Returns
        -------
        list of ndarray or TableData
            One per output, arrays (z, y, x, component) of the dtype that `output` chose.

        Raises
        ------
        NodeFailed, Aborted, ChildDied, ChildHangs
        """
        types.Context(**(context or {}))  # a wrong field is the caller's error, not the script's
        given = as_inputs(inputs)
        asked = [types.to_wire(i.definition) for i in given]
        if asked != self._asked:  # as NIS does: before the first run, not before each
            self._defined, self._asked = self.output(given), asked
        return self._run(given, self._defined, abort, dict(context or {}))

    @property
    @abstractmethod
    def log(self) -> str:
        """What the script printed, as far as NIS would have read it by now."""

    @abstractmethod
    def close(self) -> None:
        """End the node. Raises PipesKeptOpen or ChildHangs where NIS would have to wait."""

    @abstractmethod
    def _output(
        self, inputs: Sequence[types.Wire], outputs: Sequence[types.Wire]
    ) -> list[types.Wire]: ...

    @abstractmethod
    def _build(self, loops: Any) -> tuple[str, tuple[str, ...]] | None: ...

    @abstractmethod
    def _run(
        self,
        inputs: Sequence[Input],
        outputs: Sequence[Definition],
        abort: Callable[[], bool] | None,
        context: dict[str, Any],
    ) -> list[Array | TableData]: ...
