"""The catalog: each module's ``module.toml``, read strictly. Errors name the file and the key."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from envmanager.data import access
from envmanager.data.paths import SHIPPED_MODULES, DataFolder
from envmanager.errors import CatalogError, UnknownModule
from envmanager.modules import declared_weights
from envmanager.modules.declared_weights import Collection, WeightsSet
from envmanager.modules.tables import Table
from ga3_nodes import params, records
from ga3_nodes.errors import BadInput
from ga3_nodes.running import OFFERED
from ga3_nodes.weights import WEIGHTS

SCHEMA = 1
AXES = ("yx", "yxc", "zyx", "zyxc")
IMAGE, LABELS = "image", "labels"
INPUT_KINDS = (IMAGE, LABELS)
KINDS = (LABELS, IMAGE, "table")
TYPES = ("float", "int", "bool", "choice", "text", WEIGHTS)
COLUMN_TYPES = ("int", "float", "string")
WORKER, HOST = "worker", "host"  # where a module's code runs


@dataclass(frozen=True)
class Module:
    """A module as its ``module.toml`` declares it.

    `functions` maps a function's name to its ``title``, ``summary``, ``inputs``, ``outputs`` and
    ``parameters``, with every default filled in; it is what the CLI, the app's form and the node
    script are made from. `runtime` is `WORKER`, or `HOST` where the functions run inside NIS.
    `weights` are the known sets by name; of a `collection` any other set can be had by its id.
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
    weights: dict[str, WeightsSet] = field(default_factory=dict)
    collection: Collection | None = None

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
    """Return one module of the catalog.

    The user's own wins over one that the computer's administrator added, and that over a shipped
    one.

    Raises
    ------
    UnknownModule
        There is none of that name.
    CatalogError
        Its ``module.toml`` is broken.
    """
    for place in _places(data):
        if records.valid_name(name) and (place / name / "module.toml").is_file():
            return load(place / name)
    raise UnknownModule(
        f"There is no module {name!r}.", f"Known modules: {', '.join(names(data)) or 'none'}."
    )


def names(data: DataFolder) -> list[str]:
    """Return the names of all modules, shipped or added by somebody, also of broken ones."""
    found = set()
    for place in _places(data):
        found |= {path.parent.name for path in place.glob("*/module.toml") if path.is_file()}
    return sorted(name for name in found if records.valid_name(name))


def _places(data: DataFolder) -> list[Path]:
    """Return the folders that modules lie in, the best first."""
    shared = access.shared_folder()
    others = [shared.user_modules] if shared and shared.root != data.root else []
    return [data.user_modules, *others, SHIPPED_MODULES]


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
    top = Table(path, "", raw)
    top.one_of("schema", (SCHEMA,))
    expected, name = name or folder.name, top.text("name")
    if name != expected or not records.valid_name(name):
        raise top.error("name", "must be the folder's name: small letters, digits and _")
    environment, worker = top.table("environment"), top.table("worker", {})
    weights = declared_weights.sets(top)
    collection = declared_weights.collection(top)
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
        weights=weights,
        collection=collection,
    )
    if module.runtime == HOST and module.env:
        raise worker.error("env", "cannot be set where the functions run inside NIS")
    declared_weights.complete(top, module.functions, weights, collection)
    for table in (top, environment, worker):
        table.finish()
    return module


def _idle_timeout(worker: Table) -> float:
    seconds = float(worker.number("idle_timeout_s", 600))
    if seconds < 1:
        raise worker.error("idle_timeout_s", "must be at least 1")
    return seconds


def _env(table: Table) -> dict[str, str]:
    for name in table.keys():
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise table.error(name, "cannot be the name of an environment variable")
    return {name: table.text(name) for name in table.keys()}


def _imports(environment: Table) -> tuple[str, ...]:
    names = environment.texts("imports")
    for name in names:
        if not all(part.isidentifier() for part in name.split(".")):
            raise environment.error("imports", f"holds {name!r}, which is no module's name")
    return tuple(names)


def _function(table: Table) -> dict[str, Any]:
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
    _check_aliases(table, function)
    table.finish()
    return function


def _check_aliases(table: Table, function: dict[str, Any]) -> None:
    """Refuse another name of a parameter that is none, or that means something already."""
    taken = {"axes", *OFFERED, *function["inputs"], *function["parameters"]}
    for name, spec in function["parameters"].items():
        for alias in spec.get("aliases", ()):
            if alias in taken or not alias.isidentifier():
                why = "is taken" if alias in taken else "is no name"
                raise table.error(f"parameters.{name}.aliases", f"holds {alias!r}, which {why}")
            taken.add(alias)


def _input(table: Table) -> dict[str, Any]:
    axes = table.texts("axes")
    for value in axes:
        if value not in AXES:
            raise table.error("axes", f"holds {value!r}; known are {', '.join(AXES)}")
    kind = table.one_of("kind", INPUT_KINDS, IMAGE)
    table.finish()
    return {"axes": axes, "kind": kind}


def _output(table: Table) -> dict[str, Any]:
    output: dict[str, Any] = {"kind": table.one_of("kind", KINDS)}
    if output["kind"] == "table" and table.has("columns"):
        output["columns"] = [_column(entry) for entry in table.list_of_tables("columns")]
        titles = [column["name"] for column in output["columns"]]
        if len(set(titles)) < len(titles):
            raise table.error("columns", "holds a name twice")
    table.finish()
    return output


def _column(table: Table) -> dict[str, str]:
    column = {
        "name": table.text("name"),
        "type": table.one_of("type", COLUMN_TYPES),
        "unit": table.text("unit", ""),
    }
    table.finish()
    return column


def _parameter(name: str, table: Table) -> dict[str, Any]:
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
    if table.has("aliases"):
        spec["aliases"] = table.texts("aliases")
    table.finish()
    try:
        spec["default"] = params.check(name, spec, spec["default"])
    except BadInput as error:
        raise table.error("default", f"does not fit: it takes {params.describe(spec)}") from error
    return spec


def _choice(table: Table) -> dict[str, str]:
    value = table.text("value")
    choice = {"value": value, "label": table.text("label", value)}
    table.finish()
    return choice
