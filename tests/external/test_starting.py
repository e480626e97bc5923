"""`run` and `run.cmd`: which Python they take, and what is started how."""

import ast
import json
import os
import shutil
import sys
from pathlib import Path

import pytest

from tests.external.project_copy import BASE_PYTHON, UV, UV_NAME, VERSION, WINDOWS, posix_only
from tests.support import PROJECT


@pytest.mark.windows
def test_fresh_copy_sets_itself_up_then_is_silent(copy):
    odd = ["a b", 'say "x"', "é", "", "*", "--flag=1 2"]
    seen, said = copy.works(*odd)
    assert seen["args"] == odd
    assert Path(seen["cwd"]) == copy.home
    assert Path(seen["tiny"]).is_relative_to(copy.root / ".venv")
    assert f"Getting uv {VERSION} ..." in said
    assert "Setting up the app (1 package) ..." in said
    assert copy.left() == [".lock", UV_NAME]

    seen, said = copy.works("x")
    assert (seen["args"], said) == (["x"], "")


@pytest.mark.windows
@pytest.mark.parametrize(
    ("words", "program", "left"),
    [
        ((), "app.__main__", []),
        (("app", "a.tif"), "app.__main__", ["a.tif"]),
        (("screenshots", "out"), "app.screenshots", ["out"]),
        (("list",), "envmanager.__main__", ["list"]),
    ],
)
def test_the_first_word_says_which_program(ready, words, program, left):
    seen, _ = ready.works(*words)
    assert (seen["program"], seen["args"]) == (program, left)


def test_what_nis_and_conda_set_does_not_matter(ready, tmp_path):
    (tmp_path / "poison").mkdir()
    for name in ("json", "encodings", "tiny", "envmanager"):
        (tmp_path / "poison" / f"{name}.py").write_text("raise SystemExit('poisoned')")
    poison = str(tmp_path / "poison")
    names = {"PYTHONHOME", "PYTHONPATH", "PYTHONSTARTUP", "VIRTUAL_ENV", "CONDA_PREFIX"}
    shutil.rmtree(ready.root / ".venv")
    env = dict.fromkeys(names, poison)
    for _ in range(2):  # while it is set up, and after
        seen, _ = ready.works(cwd=tmp_path / "poison", MINE="1", **env)
        assert not names & set(seen["env"])
        assert seen["env"]["MINE"] == "1"
        assert not {poison, ""} & set(seen["path"])


@posix_only
def test_start_through_a_link_and_by_relative_paths(ready, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(os.path.relpath(ready.root / "run", tmp_path))
    assert ready.works(command=[str(link)])[1] == ""
    assert ready.works(command=["bash", "run"], cwd=ready.root)[1] == ""
    assert ready.works(command=["./run"], cwd=ready.root)[1] == ""


@pytest.mark.windows
def test_python_of_last_time_is_found_without_a_search(ready, tmp_path):
    kept = os.environ["PATH"] if WINDOWS else str(tmp_path)
    command = None if WINDOWS else [shutil.which("bash"), str(ready.root / "run")]
    assert ready.works(GA3ENV_PYTHON=None, PATH=kept, command=command)[1] == ""


@pytest.mark.windows
def test_no_python(copy, tmp_path):
    path = os.environ["SYSTEMROOT"] + r"\system32" if WINDOWS else str(tmp_path)
    command = None if WINDOWS else [shutil.which("bash"), str(copy.root / "run"), "--json"]
    done = copy.run("--json", GA3ENV_PYTHON=None, PATH=path, command=command)
    assert done.returncode == 1
    assert "No 64-bit Python 3.11 or newer was found" in done.stderr
    assert json.loads(done.stdout)["error"]["code"] == "python_missing"


@pytest.mark.windows
def test_what_is_not_a_python(copy):
    itself = [] if WINDOWS else [copy.root / "run"]  # would start itself without end
    for path in (UV, copy.root / "nowhere", *itself):
        done = copy.run("--json", GA3ENV_PYTHON=str(path))
        assert done.returncode == 1
        assert "GA3ENV_PYTHON is set" in done.stderr
        assert json.loads(done.stdout)["error"]["code"] == "python_unsuitable"


def test_what_runs_before_an_environment_needs_the_standard_library_only():
    found = {
        name.partition(".")[0]
        for path in (PROJECT / "external").glob("*.py")
        if path.name != "remove_data.py"  # runs in the app's environment
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        for name in _imported(node)
    }
    assert found <= {"external", *sys.stdlib_module_names}


def _imported(node):
    if isinstance(node, ast.ImportFrom):
        return [node.module]
    return [alias.name for alias in node.names] if isinstance(node, ast.Import) else []


def test_a_start_with_nothing_to_do_imports_nothing_of_the_set_up(ready):
    words = [BASE_PYTHON, "-IS", "-X", "importtime", ready.root / "external/bootstrap.py", "set-up"]
    told = ready.run(command=words).stderr
    assert "external.stamps" in told
    assert "external.setting_up" not in told
    (ready.root / ".venv" / "ga3env-app.stamp").unlink()
    told = ready.run(command=words).stderr
    assert "external.setting_up" in told


def test_run_cmd_has_windows_line_ends():
    data = (PROJECT / "run.cmd").read_bytes()
    assert data.count(b"\n") == data.count(b"\r\n") > 20


def test_copy_without_tests(ready):
    (ready.root / "requirements-test.lock").unlink()
    ready.fails("no_tests", "test")
    plain = ready.run("test")
    assert (plain.returncode, plain.stdout) == (1, "")


def test_a_copy_without_the_folder_builds_no_releases(ready):
    ready.fails("no_release_tools", "build-windows")
