"""Checks a module's folder before anything is built from it; errors name the file and the place.

Nothing of it is run or imported: the module's packages are not here, and the folder may come from
somebody else.
"""

from __future__ import annotations

import ast
import tomllib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from envmanager.errors import CatalogError
from envmanager.modules import catalog
from envmanager.modules.catalog import Module
from envmanager.packages import lockfile, torch_family
from envmanager.uv import pythons
from ga3_nodes.running import OFFERED

_Function = ast.FunctionDef | ast.AsyncFunctionDef
_HELP = "See docs/howto-module.md."
_ALWAYS_GIVEN = ("axes", *OFFERED)  # what a call gives beside the declared parameters


def check(folder: Path, *, locked: bool = True) -> Module:
    """Check all files of a module; the folder may have another name than the module.

    Parameters
    ----------
    locked : bool
        Whether ``requirements.lock`` shall be there and fit ``pyproject.toml``.

    Raises
    ------
    CatalogError
        The first thing that is wrong, with the file and the place.
    """
    if not (folder / "module.toml").is_file():
        raise CatalogError(
            f"{folder} holds no module.toml, so it is no module.",
            "Give the folder of a module. A new one is made by: ./run new-module NAME",
            code="no_module",
        )
    module = catalog.load(folder, _declared_name(folder / "module.toml"))
    check_project(folder)
    _check_worker(folder / "worker.py", module.functions)
    _check_tests(folder / "test_worker.py")
    if locked:
        check_lock(folder)
    return module


def _declared_name(path: Path) -> str | None:
    """Return the name that a ``module.toml`` gives, where it can be read."""
    try:
        name = tomllib.loads(path.read_text("utf-8")).get("name")
    except (OSError, ValueError):
        return None  # `catalog.load` tells it better
    return name if isinstance(name, str) else None


def _wrong(path: Path, problem: str, hint: str = _HELP, line: int = 0) -> CatalogError:
    place = f"{path}, line {line}" if line else str(path)
    return CatalogError(f"{place}: {problem}.", hint, code="module_invalid")


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8-sig")  # Python itself takes Notepad's mark at the beginning
    except FileNotFoundError as error:
        raise _wrong(path, "the file is missing") from error
    except (OSError, ValueError) as error:
        raise _wrong(path, f"cannot be read: {error}", "Save it as text in UTF-8.") from error


# ---- pyproject.toml and requirements.lock -------------------------------------------------------


def check_project(folder: Path) -> list[Requirement]:
    """Check ``pyproject.toml``; return the packages that it asks for.

    Raises
    ------
    CatalogError
        The file is broken, or asks for what an environment cannot hold.
    """
    path = folder / "pyproject.toml"
    try:
        project = tomllib.loads(_read(path))["project"]
        texts = [str(text) for text in project.get("dependencies", [])]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _wrong(path, f"the table [project] cannot be read ({error!r})") from error
    pythons.oldest(path)
    wanted = [_requirement(path, text) for text in texts]
    if "numpy" not in [canonicalize_name(requirement.name) for requirement in wanted]:
        raise _wrong(
            path,
            "project.dependencies lacks numpy, which every module needs",
            'Add "numpy" to the list, then make the lock anew.',
        )
    return wanted


def _requirement(path: Path, text: str) -> Requirement:
    try:
        requirement = Requirement(text)
    except InvalidRequirement as error:
        problem = str(error).splitlines()[0]
        raise _wrong(path, f"project.dependencies holds {text!r}: {problem}") from error
    if requirement.url:
        raise _wrong(
            path,
            f"project.dependencies holds {text!r}: packages come from a package index only",
            "Name a released version. A wheel of your own can lie in a folder of the setting "
            "find_links.",
        )
    return requirement


def check_lock(folder: Path) -> None:
    """Check that ``requirements.lock`` pins what ``pyproject.toml`` asks for, with hashes.

    Raises
    ------
    CatalogError
        It is missing, was not made by `uv`, or is older than a change of ``pyproject.toml``.
    """
    for path in (folder / "requirements.lock", *sorted(folder.glob("requirements-*.lock"))):
        _check_pins(path)
    path = folder / "requirements.lock"
    _refuse_one_build_of_torch(path)
    pins = list(lockfile.locked_hashes(path))
    for wanted in check_project(folder):
        versions = [version for name, version in pins if name == canonicalize_name(wanted.name)]
        if not versions and wanted.marker and not wanted.marker.evaluate():
            continue
        if not any(wanted.specifier.contains(version, prereleases=True) for version in versions):
            has = f"has {', '.join(versions)}" if versions else "lacks it"
            raise _stale(
                path, f"does not fit pyproject.toml: that asks for {wanted}, the lock {has}"
            )


def _check_pins(path: Path) -> None:
    """Refuse lines that are no pins: an address would let in what no hash vouches for."""
    for number, line in enumerate(_read(path).splitlines(), 1):
        if line.strip() and not line.startswith((" ", "#")) and not lockfile.is_pin(line):
            raise _stale(path, f"line {number} is no pinned version: {line[:60]!r}")
    for (name, version), hashes in lockfile.locked_hashes(path).items():
        if not hashes:
            raise _stale(path, f"has no sha256 for {name} {version}")


def _refuse_one_build_of_torch(lock: Path) -> None:
    """Refuse a lock that was made beside a folder of torch's wheels: it fits one backend only."""
    for name, version in torch_family.pinned(lock).items():
        if "+" in version:
            raise CatalogError(
                f"{lock}: pins {name} {version}, which is its build for one kind of computer.",
                "Take the folder with torch's wheels out of the setting find_links for as long as "
                "you make the lock: ./run settings find_links --unset",
                code="lock_of_one_backend",
            )


def _stale(path: Path, problem: str) -> CatalogError:
    hint = (
        "Make it anew: ./run lock-module NAME for a module of yours, or ./run add-module FOLDER "
        "--lock for one that you add."
    )
    return CatalogError(f"{path}: {problem}.", hint, code="lock_stale")


# ---- worker.py and test_worker.py ---------------------------------------------------------------


def _check_worker(path: Path, declared: dict[str, Any]) -> None:
    tree = _parsed(path)
    functions = {node.name: node for node in _top_level(tree) if isinstance(node, _Function)}
    others = _other_names(tree)
    for name, spec in declared.items():
        if name in functions:
            _check_function(path, functions[name], spec)
        elif name not in others:
            raise _wrong(path, f"has no function {name!r}, which module.toml declares")


def _check_function(path: Path, function: _Function, spec: dict[str, Any]) -> None:
    """Compare a function's arguments with its declaration."""

    def wrong(problem: str) -> CatalogError:
        return _wrong(path, f"{function.name}() {problem}", line=function.lineno)

    if isinstance(function, ast.AsyncFunctionDef):
        raise wrong("must be a plain function: def, not async def")
    arguments, inputs = function.args, list(spec["inputs"])
    positional = [arg.arg for arg in (*arguments.posonlyargs, *arguments.args)]
    if len(positional) < len(inputs) and not arguments.vararg:
        raise wrong(f"must take {len(inputs)} image(s) first: {', '.join(inputs)}")
    by_keyword = {
        arg.arg for arg in arguments.args[max(0, len(inputs) - len(arguments.posonlyargs)) :]
    }
    by_keyword |= {arg.arg for arg in arguments.kwonlyargs}
    for name in spec["parameters"]:
        if name not in by_keyword and not arguments.kwarg:
            raise wrong(f"lacks the parameter {name!r}, which module.toml declares")
    for name in _without_default(arguments)[len(inputs) :]:
        if name not in (*_ALWAYS_GIVEN, *spec["parameters"]):
            raise wrong(f"needs {name!r}, which module.toml does not declare")


def _without_default(arguments: ast.arguments) -> list[str]:
    """Return the arguments that a call must give, the positional ones first."""
    positional = [arg.arg for arg in (*arguments.posonlyargs, *arguments.args)]
    pairs = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    required = [arg.arg for arg, default in pairs if default is None]
    return positional[: len(positional) - len(arguments.defaults)] + required


def _check_tests(path: Path) -> None:
    tree = _parsed(path)
    tests = [
        node
        for node in _top_level(tree)
        if isinstance(node, _Function) and node.name.startswith("test_")
    ]
    if not tests:
        raise _wrong(path, "holds no test: a function whose name begins with test_")
    for test in tests:
        if _without_default(test.args):
            raise _wrong(path, f"{test.name}() must take no arguments", line=test.lineno)


def _parsed(path: Path) -> ast.Module:
    """Parse a Python file; it must not import its neighbours, which no environment gets."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd, but allowed code
            tree = ast.parse(_read(path))
            compile(tree, str(path), "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", 0) or 0
        problem = getattr(error, "msg", "") or str(error)
        raise _wrong(path, f"is no Python: {problem}", "Correct the line.", line) from error
    for line, name in _imports(tree):
        beside = (path.parent / f"{name}.py").is_file() or (path.parent / name).is_dir()
        if beside and not (name == "worker" and path.name == "test_worker.py"):
            raise _wrong(
                path,
                f"imports {name!r} from the module's folder, but only worker.py and test_worker.py "
                "get into an environment",
                "Move the code into worker.py, or make a package of it.",
                line,
            )
    return tree


def _imports(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name.partition(".")[0]
        elif isinstance(node, ast.ImportFrom):
            first = (node.module or node.names[0].name).partition(".")[0]
            yield node.lineno, first


def _top_level(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield the statements that an import runs, also those below an ``if`` or a ``try``."""
    for node in ast.iter_child_nodes(tree):
        yield node
        if not isinstance(node, _Function | ast.ClassDef | ast.Lambda):
            yield from _top_level(node)


def _other_names(tree: ast.Module) -> set[str]:
    """Return the names that an import or an assignment makes: what they hold is not known here."""
    found: set[str] = set()
    for node in _top_level(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            found |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
    return found
