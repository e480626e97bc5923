"""The rules of the design, held by reading the code: who may import and do what."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent
STDLIB = set(sys.stdlib_module_names)
PACKAGES = ("ga3_nodes", "envmanager", "app")
# Where a question to the name of the operating system is right, and why.
ASKS_FOR_THE_SYSTEM = {
    "ga3_nodes/home.py": "the places of data folders, and Windows's logon sessions",
    "ga3_nodes/shm.py": "named mappings on Windows, anonymous files on Linux",
    "ga3_nodes/devices.py": "a folder in which all accounts may make files",
    "ga3_nodes/spawn.py": "creation flags, sessions and kills",
    "ga3_nodes/host.py": "the address: a named pipe or a socket",
    "ga3_nodes/standin/out_of_process.py": "how NIS hands over its pipe",
    "ga3_nodes/standin/shared_memory.py": "named mappings on Windows",
    "ga3_nodes/standin/limnode.py": "how the child takes over the pipe",
    "ga3_nodes/standin/embedded.py": "the path of NIS",
    "envmanager/data/paths.py": "folders of a virtual environment, names of programs",
    "envmanager/processes/tree.py": "job objects on Windows; a mark and a guard elsewhere",
    "envmanager/data/config.py": "run or run.cmd",
    "envmanager/machine/windows.py": "registry, volumes and program versions of Windows",
    "envmanager/machine/acl.py": "the permissions of Windows",
    "ga3_nodes/owners.py": "whose a folder is: a SID on Windows, elsewhere a number and a mode",
    "envmanager/machine/hardware.py": "where nvidia-smi lies, and which driver numbers apply",
    "app/application.py": "a screen that may be missing on Linux",
    "envmanager/machine/nodehost.py": "a node's interpreter is a full Python folder on Windows",
}
STARTS_PROCESSES = {
    "ga3_nodes/spawn.py",  # workers
    "ga3_nodes/link.py",  # the type of a worker's process
    "envmanager/processes/tree.py",  # everything else
    "ga3_nodes/standin/out_of_process.py",  # the node's process, as NIS does
}
# The engine from its ground up: each part may import those before it.
LAYERS = """
    errors events units processes data reading writing fetching workers uv machine packages modules
    weights disk environments moving doctor images contours exporting presets sharing bundles
    segmentation trials nodes connection demo samples applog failures support pipelines console
    commands cli __main__
""".split()
LONG_FILE, LONG_FUNCTION = 500, 40


def _sources(*packages: str) -> list[Path]:
    return [path for package in packages for path in sorted((PROJECT / package).rglob("*.py"))]


def _name(path: Path) -> str:
    return path.relative_to(PROJECT).as_posix()


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


def _imports(tree: ast.AST) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            found.add(node.module or "")
    return found


def _top(names: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in names}


def test_node_code_imports_the_standard_library_and_numpy_only():
    for path in _sources("ga3_nodes"):
        allowed = STDLIB | {"numpy", "ga3_nodes"}
        if path.parent.name == "standin":
            allowed |= {"limnode", "limnode_types"}  # they stand alone beside a script
        assert _top(_imports(_tree(path))) <= allowed, _name(path)


def test_the_engine_knows_nothing_of_the_app_or_qt():
    for path in _sources("envmanager"):
        assert not _top(_imports(_tree(path))) & {"app", "PySide6", "qtpy"}, _name(path)


def test_the_app_owns_threads_in_one_file():
    making = {"threading", "concurrent", "multiprocessing", "asyncio"}
    for path in _sources("app"):
        names = _imports(_tree(path))
        qt = {name for name in ("QThread", "QThreadPool", "QRunnable") if name in path.read_text()}
        if path.name != "background.py":
            assert not _top(names) & making, _name(path)
            assert not qt, _name(path)


def test_a_client_does_not_load_the_host_and_a_worker_does_not_load_the_client():
    client = _imports(_tree(PROJECT / "ga3_nodes" / "client.py"))
    assert "ga3_nodes.host" not in client
    host = _tree(PROJECT / "ga3_nodes" / "host.py")
    names = {
        alias.name
        for node in ast.walk(host)
        if isinstance(node, ast.ImportFrom) and node.module == "ga3_nodes"
        for alias in node.names
    }
    assert "client" not in names


def test_the_engine_is_built_in_layers():
    for path in _sources("envmanager"):
        here = path.relative_to(PROJECT / "envmanager").parts[0].removesuffix(".py")
        if here == "__init__":
            continue
        for part in _parts_of_the_engine(_tree(path)):
            assert LAYERS.index(part) <= LAYERS.index(here), f"{_name(path)} imports {part}"


def _parts_of_the_engine(tree: ast.AST) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "envmanager":
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("envmanager."):
            found.add(str(node.module).split(".")[1])
    return found


def test_modules_import_their_own_dependencies_only():
    for path in (PROJECT / "modules").glob("*/worker.py"):
        assert not _top(_imports(_tree(path))) & {"ga3_nodes", "envmanager", "app"}, _name(path)


def test_processes_are_started_in_few_places():
    found = {_name(p) for p in _sources(*PACKAGES) if "subprocess" in _imports(_tree(p))}
    assert found <= STARTS_PROCESSES


def test_nothing_is_unpickled_from_our_wire():
    for path in _sources("ga3_nodes", "envmanager"):
        if "standin" in path.parts:
            continue  # follows the vendor's protocol
        text = path.read_text("utf-8")
        assert "pickle" not in _top(_imports(_tree(path))), _name(path)
        assert not re.search(r"\b(recv\(\)|\.send\(|eval\(|exec\()", _without_wire(text)), path


def _without_wire(text: str) -> str:
    """Leave out the functions of `wire` and the host's own, which send JSON."""
    return re.sub(r"\b(wire|peer|self|def)[ .]send\(", "", text)


def test_questions_about_the_system_stay_in_few_files():
    asking = set()
    for path in _sources(*PACKAGES):
        for node in ast.walk(_tree(path)):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                asked = f"{node.value.id}.{node.attr}"
                if asked in ("sys.platform", "os.name", "platform.system"):
                    asking.add(_name(path))
    assert asking <= set(ASKS_FOR_THE_SYSTEM)


def test_files_and_functions_stay_short():
    for path in _sources(*PACKAGES, "modules"):
        assert len(path.read_text("utf-8").splitlines()) <= LONG_FILE, _name(path)
        for node in ast.walk(_tree(path)):
            if isinstance(node, ast.FunctionDef):
                length = (node.end_lineno or 0) - _first_statement(node).lineno + 1
                assert length <= LONG_FUNCTION, f"{_name(path)}: {node.name} has {length} lines"


def _first_statement(function: ast.FunctionDef) -> ast.stmt:
    """Skip the signature and the docstring: they may be as long as the reader needs."""
    documented = ast.get_docstring(function) is not None and len(function.body) > 1
    return function.body[1 if documented else 0]


@pytest.mark.parametrize("module", ["ga3_nodes.client", "envmanager.cli"])
def test_an_import_does_no_work(module, tmp_path):
    """No file, no process, no thread, and none of the heavy libraries."""
    code = (
        f"import sys, threading; sys.path.insert(0, {str(PROJECT)!r})\n"
        f"import {module}\n"
        "heavy = {'tifffile', 'nd2', 'PIL', 'PySide6', 'dask'} & set(sys.modules)\n"
        "print(threading.active_count(), sorted(heavy))\n"
    )
    environment = {"GA3ENV_HOME": str(tmp_path / "home"), "SYSTEMROOT": "C:\\windows"}
    done = subprocess.run(
        [sys.executable, "-B", "-c", code], capture_output=True, text=True, env=environment
    )
    assert done.stdout.split(maxsplit=1) == ["1", "[]\n"], done.stderr
    assert not (tmp_path / "home").exists()


def test_versions_agree():
    import tomllib

    from ga3_nodes import __version__

    project = tomllib.loads((PROJECT / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["version"] == __version__


def _tracked() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
    )
    if listed.returncode:
        pytest.skip("this is no git checkout")
    return [PROJECT / name for name in listed.stdout.split("\0") if (PROJECT / name).is_file()]


def test_the_repository_holds_no_addresses_of_registries_and_no_binaries():
    hosts = ["py" + "pi.org", "python" + "hosted.org", "registry.npm" + "js", "deb.deb" + "ian.org"]
    for path in _tracked():
        if path.suffix == ".png":
            continue
        assert path.suffix not in (".exe", ".dll", ".whl", ".so", ".nd2", ".pyd"), path
        assert path.name not in ("uv.lock", "pylock.toml"), path
        text = path.read_text("utf-8")
        assert not [host for host in hosts if host in text], path
