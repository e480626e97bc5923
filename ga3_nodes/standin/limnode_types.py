# ruff: noqa: N802 (the vendor's names)
"""What a GA3 node's functions are handed: definitions, images, tables, the context, programs.

The second half of our `limnode`; scripts import `limnode` alone. The vendor's API is public only in
part: what a script should not rely on raises here, rather than being guessed generously.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Wire = tuple[str, dict[str, Any]]  # a definition as it travels: kind and plain attributes

# ---------------------------------------------------------------- definitions: what `output` gets


class Definition:
    """What binaries, channels and tables have in common.

    Attributes
    ----------
    name : str
    size : tuple of int
        (x, y, z) in pixels: not the order of the array's axes.
    calibration : tuple of float
        µm per pixel along x, y, z; zero or less means none.
    units : tuple of str
        One per axis of `calibration`.
    componentCount, bitsPerComponent : int
    """

    kind = ""

    def __init__(self) -> None:
        self.name = ""
        self.made = False
        self.componentCount = 1
        self.bitsPerComponent = 8
        self.size: tuple[int, int, int] = (0, 0, 0)
        self.calibration: tuple[float, float, float] = (0.0, 0.0, 0.0)
        self.units: tuple[str, str, str] = ("", "", "")

    def _make(self: D, name: str) -> D:
        if not isinstance(name, str) or not name:
            raise ValueError(f"the name of an output must be a text, not {name!r}")
        self.name, self.made = name, True
        return self

    def assign(self: D, other: Definition) -> D:
        """Take over all of another definition of the same kind."""
        if other.kind != self.kind:
            raise TypeError(f"cannot assign a {other.kind} to a {self.kind}")
        vars(self).update(from_wire(to_wire(other)).__dict__)
        self.made = True
        return self


D = TypeVar("D", bound=Definition)
C = TypeVar("C", bound="BinaryDefinition | ChannelDefinition")


def _coloured(definition: C, color: object) -> C:
    """Keep a colour: `(r, g, b)`, `"#RRGGBB"` or an int; anything else is a ValueError."""
    if isinstance(color, str):
        good = re.fullmatch("#[0-9a-fA-F]{6}", color) is not None
    elif isinstance(color, (tuple, list)):
        good = len(color) == 3 and all(isinstance(c, int) and 0 <= c <= 255 for c in color)
        color = tuple(color)
    else:
        good = isinstance(color, int)
    if not good:
        raise ValueError(f"a colour is (r, g, b), '#RRGGBB' or an int, not {color!r}")
    definition.color = color
    return definition


class BinaryDefinition(Definition):
    """A binary layer: uint8 (0 background, else object) or int32 (the value is the object's id)."""

    kind = "binary"

    def __init__(self) -> None:
        super().__init__()
        self.color: object = (255, 255, 255)

    def makeNew(self, name: str, color: object) -> BinaryDefinition:
        """Define a new binary; uint8 until `makeInt32`."""
        return _coloured(self._make(name), color)

    def makeUInt8(self) -> BinaryDefinition:
        """Pixels become uint8."""
        self.bitsPerComponent = 8
        return self

    def makeInt32(self) -> BinaryDefinition:
        """Pixels become int32 object ids."""
        self.bitsPerComponent = 32
        return self


class ChannelDefinition(Definition):
    """A channel: uint8, uint16 or float32 with one (mono) or three (RGB) components."""

    kind = "channel"

    def __init__(self) -> None:
        super().__init__()
        self.bitsPerComponent = 16
        self.color: object = (255, 255, 255)

    def makeNewMono(self, name: str, color: object) -> ChannelDefinition:
        """Define a new channel with one component."""
        self.componentCount = 1
        return _coloured(self._make(name), color)

    def makeNewRgb(self, name: str) -> ChannelDefinition:
        """Define a new channel with three components."""
        self.componentCount = 3
        return self._make(name)

    def makeUInt8(self) -> ChannelDefinition:
        """Pixels become uint8."""
        self.bitsPerComponent = 8
        return self

    def makeUInt16(self) -> ChannelDefinition:
        """Pixels become uint16."""
        self.bitsPerComponent = 16
        return self

    def makeFloat(self) -> ChannelDefinition:
        """Pixels become float32."""
        self.bitsPerComponent = 32
        return self


class TableDefinition(Definition):
    """A table; `columns` holds a dict per column: title, type, unit, feature, id."""

    kind = "table"

    def __init__(self) -> None:
        super().__init__()
        self.columns: list[dict[str, Any]] = []

    def makeEmpty(self, name: str) -> TableDefinition:
        """Define a table without columns."""
        self.columns = []
        return self._make(name)

    def makeNew(self, name: str) -> TableDefinition:
        """Define a new table; columns come with the `with...` methods."""
        return self.makeEmpty(name)

    def withLoopCols(self) -> TableDefinition:
        """Add the columns that say which frame a row belongs to."""
        return self.withIntCol("Frame", id="_Frame")

    def withObjectCols(self) -> TableDefinition:
        """Add the columns that say which object a row belongs to."""
        return self.withStringCol("Entity", id="_Entity").withIntCol("ObjectId", id="_ObjId")

    def withIntCol(
        self, title: str, unit: str | None = None, feature: str | None = None, id: str | None = None
    ) -> TableDefinition:
        """Add a column of whole numbers."""
        return self._with("int", title, unit, feature, id)

    def withFloatCol(
        self, title: str, unit: str | None = None, feature: str | None = None, id: str | None = None
    ) -> TableDefinition:
        """Add a column of numbers."""
        return self._with("float", title, unit, feature, id)

    def withStringCol(
        self, title: str, unit: str | None = None, feature: str | None = None, id: str | None = None
    ) -> TableDefinition:
        """Add a column of texts."""
        return self._with("string", title, unit, feature, id)

    def _with(self, type: str, title: str, *rest: str | None) -> TableDefinition:
        if any(c["title"] == title for c in self.columns):
            raise ValueError(f"the table has a column {title!r} already")
        unit, feature, id = rest
        self.columns.append(
            {"title": title, "type": type, "unit": unit, "feature": feature, "id": id}
        )
        return self


KINDS: dict[str, type[Definition]] = {
    c.kind: c for c in (BinaryDefinition, ChannelDefinition, TableDefinition)
}


def to_wire(definition: Definition) -> Wire:
    """Return a definition as plain data: host and child may hold different classes of it."""
    plain = dict(vars(definition))
    if "columns" in plain:
        plain["columns"] = [dict(column) for column in plain["columns"]]
    return definition.kind, plain


def from_wire(wire: Wire) -> Definition:
    """Return the definition that `to_wire` took apart."""
    definition = KINDS[wire[0]]()
    vars(definition).update(wire[1])
    return definition


def dtype_of(definition: Definition) -> str:
    """Return the numpy dtype of an image's pixels."""
    if definition.bitsPerComponent <= 8:
        return "uint8"
    if definition.bitsPerComponent <= 16:
        return "uint16"
    return "int32" if definition.kind == "binary" else "float32"


# ---------------------------------------------------------------- data: what `run` gets


class ImageData:
    """A channel or binary during one call: `data` has the axes (z, y, x, component)."""

    def __init__(self, data: Array) -> None:
        self._data = data

    @property
    def data(self) -> Array:
        """The pixels; an output's are zero at first and are written in place.

        It cannot be replaced: `out[0].data = mask` would never reach the host.
        """
        return self._data


class TableData:
    """The rows of a table: one 1-D array per column, all of one length.

    Parameters
    ----------
    columns : sequence of dict
        As in `TableDefinition.columns`.
    values : mapping of str to sequence, optional
        Rows by column title.
    """

    def __init__(
        self, columns: Sequence[Mapping[str, Any]], values: Mapping[str, Any] | None = None
    ) -> None:
        self.columns = [dict(column) for column in columns]
        self.values: dict[str, Array] = {}
        for title, rows in (values or {}).items():
            self.withColData(title, rows)

    @property
    def rowCount(self) -> int:
        """The number of rows of the longest column."""
        return max((len(rows) for rows in self.values.values()), default=0)

    def withColData(self, cols: Any, data: Any) -> TableData:
        """Fill one column (`cols` a title, id or index) or several (a list of these).

        For several, `data` holds one 1-D sequence **per column**. Raises KeyError for an unknown
        column and ValueError for data of another shape.
        """
        if isinstance(cols, (str, int)):
            cols, data = [cols], [data]
        if len(cols) != len(data):
            raise ValueError(f"{len(cols)} columns, but data for {len(data)}")
        for col, rows in zip(cols, data, strict=True):
            column = self._find(col)
            dtype = {"int": np.int64, "float": np.float64, "string": np.str_}[column["type"]]
            array: Array = np.array(rows, dtype=dtype)
            if array.ndim != 1:
                raise ValueError(f"column {column['title']!r} takes 1-D data, got {array.shape}")
            self.values[column["title"]] = array
        return self

    def colArray(self, cols: Any) -> Array:
        """Return one column as a 1-D array, or several as a (row, column) array."""
        if isinstance(cols, (str, int)):
            return self.values.get(self._find(cols)["title"], np.zeros(0)).copy()
        return np.stack([self.colArray(col) for col in cols], axis=1)

    def _find(self, col: str | int) -> dict[str, Any]:
        if isinstance(col, int):
            return self.columns[col]
        for column in self.columns:
            if col in (column["title"], column["id"]):
                return column
        raise KeyError(f"no column {col!r}; there are {[c['title'] for c in self.columns]}")


class Context:
    """The `ctx` of a call.

    Attributes
    ----------
    inpFilename, outFilename : str
    inpParameterCoordinates, outCoordinates : tuple of int
    finalCall : bool
    programPass : int
        Only there when the node has a program, as in NIS: give it as a field.
    """

    FIELDS = (
        "inpFilename",
        "outFilename",
        "inpParameterCoordinates",
        "outCoordinates",
        "finalCall",
        "programPass",
    )

    def __init__(self, abort: Callable[[], bool] | None = None, **fields: Any) -> None:
        if unknown := set(fields) - set(self.FIELDS):
            raise TypeError(f"the context has no {sorted(unknown)}")
        self.inpFilename = self.outFilename = ""
        self.inpParameterCoordinates: tuple[int, ...] = (0,)
        self.outCoordinates: tuple[int, ...] = (0,)
        self.finalCall = True
        vars(self).update(fields)
        self._abort = abort
        self._aborted = False

    @property
    def shouldAbort(self) -> bool:
        """True once the user pressed Abort; always False out of process."""
        if self._abort is not None and not self._aborted:
            self._aborted = bool(self._abort())
        return self._aborted


# ---------------------------------------------------------------- programs: what `build` returns


class Program:
    """The loops over which a node collects frames; the two kinds differ in their passes."""

    def __init__(self, loops: Any) -> None:
        self.loops = loops
        self.over: tuple[str, ...] = ()

    def overZStack(self: P) -> P:
        """Run over all planes of a z stack."""
        return self._over("ZStack")

    def overTimeLapse(self: P) -> P:
        """Run over all frames of a time lapse."""
        return self._over("TimeLapse")

    def overMultiPoint(self: P) -> P:
        """Run over all points of a multi-point experiment."""
        return self._over("MultiPoint")

    def _over(self: P, loop: str) -> P:
        self.over = (*self.over, loop)
        return self


P = TypeVar("P", bound=Program)


class ReduceProgram(Program):
    """`run` sees every frame of the loop; the result is taken at `ctx.finalCall`."""


class TwoPassProgram(Program):
    """`run` sees every frame twice; `ctx.programPass` says which pass it is."""


PROGRAMS: dict[str, type[Program]] = {c.__name__: c for c in (ReduceProgram, TwoPassProgram)}
