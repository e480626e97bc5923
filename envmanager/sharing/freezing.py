"""What computed a result, to the byte: the record that a methods section and a supplement need."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from packaging.utils import canonicalize_name

from envmanager.data.paths import DataFolder
from envmanager.environments import generations, health, inventory
from envmanager.environments.generations import is_pinned, pin_of
from envmanager.errors import BadInput, InstallFailed
from envmanager.events import CancelToken, Report, Stage, ignore
from envmanager.fetching.hashing import hashed
from envmanager.modules import catalog, checking
from envmanager.modules.catalog import Module
from envmanager.packages import lockfile
from envmanager.weights.store import Store
from ga3_nodes import __version__, home, params
from ga3_nodes.weights import WEIGHTS, is_path

KIND, SCHEMA = "ga3-methods", 1


@dataclass(frozen=True)
class Record:
    """What computed; `values` are plain and become JSON, `notes` are what its reader must know."""

    values: dict[str, Any]
    notes: tuple[str, ...] = ()


def freeze(
    data: DataFolder,
    name: str,
    *,
    generation: int | None = None,
    function: str = "segment",
    parameters: Mapping[str, Any] | None = None,
    report: Report = ignore,
    cancel: CancelToken | None = None,
) -> Record:
    """Record what a function of an installed module computes with; files are hashed anew.

    Parameters
    ----------
    generation : int, optional
        By default the published one.
    parameters : mapping, optional
        Those that are not the defaults.

    Raises
    ------
    NotInstalled
        There is no such environment.
    BadInput
        There is no such function or parameter, or weights have other bytes than when they came.
    InstallFailed
        The generation was altered since its install: a record of it would not be true.
    """
    published, _ = inventory.installed(data, name)
    number = published.generation if generation is None else generation
    manifest, folder = inventory.manifest_of(data, name, number), data.generation(name, number)
    _refuse_altered(folder, name, number, manifest)
    module = catalog.load(folder, name)
    spec = _function(module, function)
    values = params.complete(spec["parameters"], parameters or {})
    if any(found["type"] == WEIGHTS for found in spec["parameters"].values()):
        report(Stage("hash", "Hashing the weights"))
    weights, notes = _weights(data, module, spec, values, cancel or CancelToken())
    return Record(
        {
            "kind": KIND,
            "schema": SCHEMA,
            "date": date.today().isoformat(),
            "app": {"version": __version__, "built_with": manifest.get("app_version", "")},
            "system": platform.platform(),
            "module": _module(module),
            "environment": _environment(folder, number, manifest),
            "function": {"name": function, "title": spec["title"]},
            "parameters": _parameters(spec["parameters"], values),
            "weights": weights,
            "packages": _packages(folder, manifest),
        },
        tuple(notes),
    )


def declared(
    data: DataFolder, name: str, generation: int | None, function: str
) -> params.Declarations:
    """Return the parameters of a function as a generation declares them.

    Raises
    ------
    NotInstalled, BadInput
        There is no such generation or function.
    """
    published, _ = inventory.installed(data, name)
    number = published.generation if generation is None else generation
    inventory.manifest_of(data, name, number)
    found: params.Declarations = _function(
        catalog.load(data.generation(name, number), name), function
    )["parameters"]
    return found


def _refuse_altered(folder: Path, name: str, number: int, manifest: dict[str, Any]) -> None:
    problem = next(health.copies(folder, manifest), None)
    if problem or not (folder / "pylock.toml").is_file():
        raise InstallFailed(
            f"Generation {number} of {name} is not as it was installed: "
            f"{problem.message if problem else 'its pylock.toml is missing.'}",
            f"Mend it first: ./run repair {name}",
            code="generation_altered",
        )


def _function(module: Module, function: str) -> dict[str, Any]:
    if function not in module.functions:
        raise BadInput(
            f"{module.name} has no function {function!r}.",
            f"It has {', '.join(module.functions)}.",
            code="unknown_function",
        )
    return dict(module.functions[function])


def _module(module: Module) -> dict[str, Any]:
    return {
        "name": module.name,
        "title": module.title,
        "version": module.version,
        "license": module.license,
        "homepage": module.homepage,
        "citation": module.citation,
    }


def _environment(folder: Path, number: int, manifest: dict[str, Any]) -> dict[str, Any]:
    finished = manifest.get("finished")
    kernel = manifest.get("kernel") or {}
    return {
        "generation": number,
        "note": pin_of(folder).note if is_pinned(folder) else "",
        "built": datetime.fromtimestamp(finished, UTC).isoformat("T", "seconds")
        if finished
        else "",
        "python": manifest.get("python", ""),
        "uv": manifest.get("uv", ""),
        "backend": manifest.get("backend") or "",
        "device": manifest.get("device") or "cpu",
        "device_name": str(kernel.get("name") or ""),
        "lock_sha256": generations.sha256(folder / "requirements.lock"),
        "worker_sha256": generations.sha256(folder / "worker.py"),
        "source_sha256": manifest.get("source_sha256", ""),
    }


def _parameters(declared: params.Declarations, values: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "label": spec["label"],
            "value": _without_folder(spec, values[name]),
            "unit": spec.get("unit", ""),
            "default": values[name] == spec["default"],
        }
        for name, spec in declared.items()
    ]


def _without_folder(spec: Mapping[str, Any], value: Any) -> Any:
    """Return a value for others: the folder of a file on this computer is none of theirs."""
    return Path(value).name if spec["type"] == WEIGHTS and is_path(value) else value


# ---- packages -----------------------------------------------------------------------------------


def _packages(folder: Path, manifest: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what is installed, with the files that it came from; `direct`: asked for by name."""
    direct = {canonicalize_name(wanted.name) for wanted in checking.check_project(folder)}
    trusted = manifest.get("trusted") or {}
    return [
        {
            "name": wheel.package,
            "version": wheel.version,
            "direct": wheel.package in direct,
            # Sources that are listed beside a wheel are never installed.
            "files": [_file(a, digest, trusted) for a, digest in wheel.files if ".whl" in a],
        }
        for wheel in sorted(lockfile.wheels(folder / "pylock.toml"), key=lambda w: w.package)
    ]


def _file(address: str, digest: str, trusted: Mapping[str, str]) -> dict[str, str]:
    name = unquote(urlsplit(address).path).replace("\\", "/").rpartition("/")[2]
    return {"name": name, "sha256": digest or trusted.get(name, "")}


# ---- weights ------------------------------------------------------------------------------------


def _weights(
    data: DataFolder,
    module: Module,
    spec: dict[str, Any],
    values: dict[str, Any],
    cancel: CancelToken,
) -> tuple[list[dict[str, Any]], list[str]]:
    """Return what the parameters name, and what is missing of it."""
    found, notes = [], []
    for name, declared in spec["parameters"].items():
        value = values[name]
        if declared["type"] != WEIGHTS or not value:
            continue
        set_of = _of_path(value, cancel) if is_path(value) else _of_set(data, module, value, cancel)
        if not set_of["files"]:
            notes.append(
                f"The weights {value!r} are not on this computer, so the record lacks their hashes."
            )
        found.append({"parameter": name, **set_of})
    return found, notes


def _of_path(value: str, cancel: CancelToken) -> dict[str, Any]:
    path = Path(value)
    inside = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    files = {p.relative_to(path.parent).as_posix(): p for p in inside if p.is_file()}
    return {
        "name": path.name,
        "title": "",
        "license": "",
        "source": "",
        "files": {n: vars(hashed(p, cancel)) for n, p in files.items()},
    }


def _of_set(data: DataFolder, module: Module, name: str, cancel: CancelToken) -> dict[str, Any]:
    described = Store(data, module).described(name)
    files: dict[str, Any] = {}
    for store in _stores(data, module):
        if store.is_present(name):
            described = store.described(name)
            recorded = store.entries()[name]["files"]
            files = {n: vars(hashed(store.folder / n, cancel)) for n in recorded}
            _refuse_changed(module, name, files, recorded)
            break
    return {
        "name": name,
        "title": described.title,
        "license": described.license,
        "source": described.source,
        "files": files,
    }


def _stores(data: DataFolder, module: Module) -> Iterator[Store]:
    """Yield where calls look for weights, the best place first."""
    for root in home.roots(data.root):
        yield Store(DataFolder(root), module)


def _refuse_changed(
    module: Module, name: str, files: Mapping[str, Any], recorded: Mapping[str, Any]
) -> None:
    if json.dumps(files, sort_keys=True) != json.dumps(dict(recorded), sort_keys=True):
        raise BadInput(
            f"The weights {name!r} of {module.title} have other bytes than when they came.",
            f"See which: ./run weights {module.name} verify {name} --full",
            code="weights_damaged",
        )
