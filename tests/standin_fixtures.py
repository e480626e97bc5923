"""Fixtures that open the stand-in for NIS, in either mode."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from ga3_nodes.standin.embedded import EmbeddedNis
from ga3_nodes.standin.out_of_process import OutOfProcessNis, prepare_site
from tests.support import PROJECT


@pytest.fixture(scope="session")
def python():
    """An interpreter that NIS would accept: on Windows that of a full Python folder."""
    if sys.platform == "win32":
        return Path(sys.base_prefix) / "python.exe"
    return Path(sys.executable)


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """The child's current folder; on Windows it holds the numpy that the base Python lacks."""
    folder = prepare_site(tmp_path_factory.mktemp("site") / "node")
    if sys.platform == "win32":
        packages = Path(np.__file__).parents[1]
        for part in ("numpy", "numpy.libs"):
            if (packages / part).is_dir():
                shutil.copytree(packages / part, folder / part, copy_function=_link_or_copy)
    return folder


def _link_or_copy(source, target):
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


@pytest.fixture
def out_of_process(python, site):
    """Open an out-of-process host that is closed, and has to close cleanly, after the test."""
    with ExitStack() as stack:

        def open_host(script, version=6, **options):
            host = OutOfProcessNis(script, version, python=python, site=site, **options)
            return stack.enter_context(host)

        yield open_host


@pytest.fixture(params=["embedded", "out_of_process"])
def open_nis(request):
    """Open either host."""
    if request.param == "embedded":
        return EmbeddedNis
    return request.getfixturevalue("out_of_process")


@pytest.fixture
def image():
    """A frame (1, 5, 7, 1) whose pixels all differ, so that a swapped axis shows."""
    return np.arange(35, dtype=np.uint16).reshape(1, 5, 7, 1)


def _run_uv(*arguments):
    binary = PROJECT / "external" / "UV" / "uv"
    uv = str(binary) if binary.exists() else shutil.which("uv")
    assert uv, "no uv in external/UV or on PATH"
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    pyenv = sorted(root.glob("versions/*/bin"))  # its shims answer for one version
    path = os.pathsep.join([*map(str, pyenv), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "UV_PYTHON_DOWNLOADS": "never"}
    environment.pop("VIRTUAL_ENV", None)
    return subprocess.run(
        [uv, *map(str, arguments)], env=environment, capture_output=True, text=True, timeout=300
    )


@pytest.fixture(scope="session", params=["3.10", "3.11", "3.12", "3.13", "3.14"])
def interpreter(request, tmp_path_factory):
    """A venv without packages and a folder with limnode and numpy: (python, site)."""
    if sys.platform == "win32":
        pytest.skip("the bench has one Python")
    found = _run_uv("python", "find", "--system", request.param)
    if found.returncode != 0:
        pytest.skip(f"no Python {request.param} on this machine")
    folder = tmp_path_factory.mktemp("python")
    python = folder / "venv" / "bin" / "python"
    site = prepare_site(folder / "site")
    made = _run_uv("venv", "--python", found.stdout.strip(), folder / "venv")
    assert made.returncode == 0, made.stderr
    installed = _run_uv("pip", "install", "--python", python, "--target", site, "numpy")
    assert installed.returncode == 0, installed.stderr
    return request.param, python, site
