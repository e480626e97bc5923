"""The catalog: each module's ``module.toml``, read strictly. Errors name the file and the key."""

from __future__ import annotations

import keyword
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from envmanager.data.paths import SHIPPED_MODULES, DataFolder
from envmanager.errors import CatalogError, UnknownModule
from ga3_nodes import params, records
from ga3_nodes.errors import BadInput
from ga3_nodes.running import OFFERED

SCHEMA = 1
AXES = ("yx", "yxc", "zyx", "zyxc")
IMAGE, LABELS = "image", "labels"
INPUT_KINDS = (IMAGE, LABELS)
KINDS = (LABELS, IMAGE, "table")
TYPES = ("float", "int", "bool", "choice", "text")
COLUMN_TYPES = ("int", "float", "string")
WORKER, HOST = "worker", "host"  # where a module's code runs
_REQUIRED: Any = object()


@dataclass(frozen=True)
class Module:
    """A module as its ``module.toml`` declares it.

    `functions` maps a function's name to its ``title``, ``summary``, ``inputs``, ``outputs`` and
    ``parameters``, with every default filled in; it is what the CLI, the app's form and the node
    script are made from. `runtime` is `WORKER`, or `HOST` where the functions run inside NIS.
    """

    name: str
    title: str
    version: str
    summary: str
    license: str
    homepage: str
    citation: str
    folder: Path
    imports: tuple[str, ...]
    idle_timeout_s: float
    env: dict[str, str]
    functions: dict[str, Any]
    runtime: str = WORKER

    @property
    def lock(self) -> Path:
        """The lock file: every version pinned, every file's sha256, no addresses."""
        return self.folder / "requirements.lock"

    def declaration(self) -> dict[str, Any]:
        """Return what a worker needs to know; a generation keeps it as ``module.json``."""
        return {
            "name": self.name,
            "title": self.title,
            "version": self.version,
            "imports": list(self.imports),
            "functions": self.functions,
        }


def find(name: str, data: DataFolder) -> Module:
    """Return one module of the catalog; the user's own wins over a shipped one.

    Raises
    ------
    UnknownModule
        There is none of that name.
    CatalogError
        Its ``module.toml`` is broken.
    """
    for place in (data.user_modules, SHIPPED_MODULES):
        if records.valid_name(name) and (place / name / "module.toml").is_file():
            return load(place / name)
    raise UnknownModule(
        f"There is no module {name!r}.", f"Known modules: {', '.join(names(data)) or 'none'}."
    )


def names(data: DataFolder) -> list[str]:
    """Return the names of all modules, shipped and the user's own, also of broken ones."""
    found = set()
    for place in (data.user_modules, SHIPPED_MODULES):
        found |= {path.parent.name for path in place.glob("*/module.toml") if path.is_file()}
    return sorted(name for name in found if records.valid_name(name))


def load(folder: Path, name: str | None = None) -> Module:
    """Read and check the ``module.toml`` of a module's folder.

    Parameters
    ----------
    name : str, optional
        The module's name, where it is not the folder's: a generation's folder is a number.

    Raises
    ------
    CatalogError
        The message names the file and the key.
    """
    path = folder / "module.toml"
    try:
        raw = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise CatalogError(f"{path} cannot be read: {error}.", "Correct the file.") from error
    top = _Table(path, "", raw)
    top.one_of("schema", (SCHEMA,))
    expected, name = name or folder.name, top.text("name")
    if name != expected or not records.valid_name(name):
        raise top.error("name", "must be the folder's name: small letters, digits and _")
    environment, worker = top.table("environment"), top.table("worker", {})
    module = Module(
        name=name,
        title=top.text("title"),
        version=top.text("version"),
        summary=top.text("summary"),
        license=top.text("license", ""),
        homepage=top.text("homepage", ""),
        citation=top.text("citation", ""),
        folder=folder,
        imports=_imports(environment),
        idle_timeout_s=_idle_timeout(worker),
        env=_env(worker.table("env", {})),
        functions={key: _function(table) for key, table in top.tables("functions")},
        runtime=environment.one_of("runtime", (WORKER, HOST), WORKER),
    )
    if module.runtime == HOST and module.env:
        raise worker.error("env", "cannot be set where the functions run inside NIS")
    for table in (top, environment, worker):
        table.finish()
    return module


def _idle_timeout(worker: _Table) -> float:
    seconds = float(worker.number("idle_timeout_s", 600))
    if seconds < 1:
        raise worker.error("idle_timeout_s", "must be at least 1")
    return seconds


def _env(table: _Table) -> dict[str, str]:
    for name in table.keys():
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise table.error(name, "cannot be the name of an environment variable")
    return {name: table.text(name) for name in table.keys()}


def _imports(environment: _Table) -> tuple[str, ...]:
    names = environment.texts("imports")
    for name in names:
        if not all(part.isidentifier() for part in name.split(".")):
            raise environment.error("imports", f"holds {name!r}, which is no module's name")
    return tuple(names)


def _function(table: _Table) -> dict[str, Any]:
    function: dict[str, Any] = {
        "title": table.text("title"),
        "summary": table.text("summary", ""),
        "inputs": {key: _input(entry) for key, entry in table.tables("inputs")},
        "outputs": {key: _output(entry) for key, entry in table.tables("outputs")},
        "parameters": {
            key: _parameter(key, entry) for key, entry in table.tables("parameters", {})
        },
    }
    if table.flag("slice_by_slice"):
        if any(output["kind"] == "table" for output in function["outputs"].values()):
            raise table.error("slice_by_slice", "cannot be set beside an output that is a table")
        function["slice_by_slice"] = True
    for name in {"axes", *OFFERED, *function["inputs"]} & function["parameters"].keys():
        raise table.error(f"parameters.{name}", "has the name of an input, or of what a call gives")
    table.finish()
    return function


def _input(table: _Table) -> dict[str, Any]:
    axes = table.texts("axes")
    for value in axes:
        if value not in AXES:
            raise table.error("axes", f"holds {value!r}; known are {', '.join(AXES)}")
    kind = table.one_of("kind", INPUT_KINDS, IMAGE)
    table.finish()
    return {"axes": axes, "kind": kind}


def _output(table: _Table) -> dict[str, Any]:
    output: dict[str, Any] = {"kind": table.one_of("kind", KINDS)}
    if output["kind"] == "table" and table.has("columns"):
        output["columns"] = [_column(entry) for entry in table.list_of_tables("columns")]
        titles = [column["name"] for column in output["columns"]]
        if len(set(titles)) < len(titles):
            raise table.error("columns", "holds a name twice")
    table.finish()
    return output


def _column(table: _Table) -> dict[str, str]:
    column = {
        "name": table.text("name"),
        "type": table.one_of("type", COLUMN_TYPES),
        "unit": table.text("unit", ""),
    }
    table.finish()
    return column


def _parameter(name: str, table: _Table) -> dict[str, Any]:
    spec: dict[str, Any] = {
        "type": table.one_of("type", TYPES),
        "default": table.take("default"),
        "label": table.text("label"),
        "help": table.text("help", ""),
        "unit": table.text("unit", ""),
    }
    if spec["type"] == "choice":
        spec["choices"] = [_choice(entry) for entry in table.list_of_tables("choices")]
    for limit in ("min", "max"):
        if spec["type"] in ("int", "float") and table.has(limit):
            spec[limit] = table.number(limit)
    if table.flag("only_3d"):
        spec["only_3d"] = True
    table.finish()
    try:
        spec["default"] = params.check(name, spec, spec["default"])
    except BadInput as error:
        raise table.error("default", f"does not fit: it takes {params.describe(spec)}") from error
    return spec


def _choice(table: _Table) -> dict[str, str]:
    value = table.text("value")
    choice = {"value": value, "label": table.text("label", value)}
    table.finish()
    return choice


class _Table:
    """A TOML table that remembers where it is and which of its keys were asked for."""

    def __init__(self, path: Path, place: str, values: dict[str, Any]) -> None:
        self._path = path
        self._place = place
        self._values = values
        self._taken: set[str] = set()

    def error(self, key: str, problem: str) -> CatalogError:
        return CatalogError(
            f"{self._path}: {self._at(key)} {problem}.", "See docs/modules.md for the keys."
        )

    def _at(self, key: str) -> str:
        return f"{self._place}.{key}" if self._place else key

    def keys(self) -> list[str]:
        return list(self._values)

    def has(self, key: str) -> bool:
        return key in self._values

    def take(self, key: str, default: Any = _REQUIRED) -> Any:
        self._taken.add(key)
        if key in self._values:
            return self._values[key]
        if default is _REQUIRED:
            raise self.error(key, "is missing")
        return default

    def text(self, key: str, default: Any = _REQUIRED) -> str:
        value = self.take(key, default)
        if not isinstance(value, str) or (not value and default is _REQUIRED):
            raise self.error(key, "must be a text")
        if not value.isprintable():  # it becomes a line of a node script
            raise self.error(key, "must be one line of plain text")
        return value

    def flag(self, key: str) -> bool:
        value = self.take(key, False)
        if not isinstance(value, bool):
            raise self.error(key, "must be true or false")
        return value

    def number(self, key: str, default: Any = _REQUIRED) -> int | float:
        value = self.take(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or value - value != 0:
            raise self.error(key, "must be a finite number")
        return value

    def texts(self, key: str) -> list[str]:
        value = self.take(key)
        if not isinstance(value, list) or not value or not all(isinstance(v, str) for v in value):
            raise self.error(key, "must be a list of texts")
        return value

    def one_of(self, key: str, known: tuple[Any, ...], default: Any = _REQUIRED) -> Any:
        value = self.take(key, default)
        if value not in known:
            raise self.error(key, f"is {value!r}; known: {', '.join(map(str, known))}")
        return value

    def table(self, key: str, default: Any = _REQUIRED) -> _Table:
        value = self.take(key, default)
        if not isinstance(value, dict):
            raise self.error(key, "must be a table")
        return _Table(self._path, self._at(key), value)

    def tables(self, key: str, default: Any = _REQUIRED) -> list[tuple[str, _Table]]:
        """Return the tables inside of a table, each under a name that is an identifier."""
        outer = self.table(key, default)
        if not outer.keys() and default is _REQUIRED:
            raise self.error(key, "is empty")
        for name in outer.keys():
            if not name.isidentifier() or keyword.iskeyword(name):
                raise outer.error(name, "must be a name made of letters, digits and _")
        return [(name, outer.table(name)) for name in outer.keys()]

    def list_of_tables(self, key: str) -> list[_Table]:
        value = self.take(key)
        if not isinstance(value, list) or not value or not all(isinstance(v, dict) for v in value):
            raise self.error(key, "must be a list of tables")
        return [_Table(self._path, f"{self._at(key)}[{i}]", v) for i, v in enumerate(value)]

    def finish(self) -> None:
        """Refuse what nobody asked for: most often a misspelt key."""
        for key in self._values:
            if key not in self._taken:
                raise self.error(key, f"is not known; known: {', '.join(sorted(self._taken))}")
