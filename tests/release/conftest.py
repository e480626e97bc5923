"""The bench, a user of it, and what a release for it is made of."""

from __future__ import annotations

import os
import shutil
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests import windows_bench
from tests.release.windows_user import WindowsUser
from tests.support import PROJECT


@pytest.fixture(scope="session")
def bench():
    """Build the bench where its scripts are, unless the Windows tests already have."""
    if not shutil.which("makensis"):
        pytest.skip("there is no makensis")
    place = os.environ.get("GA3ENV_WINDOWS_BENCH")
    scripts = Path(place) if place else PROJECT.parent / "shared" / "windows-bench"
    if not (scripts / "setup.sh").is_file():
        pytest.skip(f"there is no Windows bench: no {scripts} (GA3ENV_WINDOWS_BENCH names it)")
    windows_bench.prepare(scripts)
    return windows_bench.BENCH


@pytest.fixture
def user(bench):
    """Give a Windows with a user of its own."""
    made = WindowsUser()
    yield made
    made.close()


@pytest.fixture(scope="session")
def python_files(bench):
    """List the bench's Python: its files, and their names below the folder ``python``."""
    (python,) = (bench / "prefix" / "drive_c").glob("Python3*")
    files = sorted(p for p in python.rglob("*") if not p.is_dir())
    wanted = [path for path in files if not {"__pycache__", "test", "tests"} & {*path.parts}]
    return [(path, f"python/{path.relative_to(python).as_posix()}") for path in wanted]


@pytest.fixture(scope="session")
def python_zip(python_files, tmp_path_factory):
    """Pack the bench's Python as a release carries it."""
    archive = tmp_path_factory.mktemp("python") / "python.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        for path, name in python_files:
            packed.write(path, name)
    return archive


@pytest.fixture(scope="session")
def python_tar(python_files, tmp_path_factory):
    """Pack the bench's Python as uv fetches one."""
    archive = tmp_path_factory.mktemp("python") / "python.tar.gz"
    with tarfile.open(archive, "w:gz", compresslevel=1) as packed:
        for path, name in python_files:
            packed.add(path, name)
    return archive
