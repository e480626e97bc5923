"""A data folder with uv beside it, apart from the machine's own places."""

from __future__ import annotations

import hashlib
import sysconfig

import pytest

from envmanager.data.paths import DataFolder, uv_binary
from envmanager.doctor import computer


@pytest.fixture(autouse=True)
def own_places(tmp_path, monkeypatch):
    """Keep the machine's own places out of the tests."""
    for name in ("LIM_PYTHON_ENVS_PREFIX", "LIM_MAMBA_ROOT", "UV_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PROGRAMDATA", str(tmp_path / "ProgramData"))
    monkeypatch.setenv("PROGRAMFILES", str(tmp_path / "Program Files"))


@pytest.fixture
def tools(tmp_path, monkeypatch):
    """Name the uv at hand as the pinned one, in a file of our own."""
    path = tmp_path / "tools.toml"
    platform = sysconfig.get_platform().replace("win-amd64", "windows-x86_64")
    digest = hashlib.sha256(uv_binary().read_bytes()).hexdigest()
    text = f'[uv]\nversion = "1"\n[uv.{platform}]\nbinary_sha256 = ["{digest}"]\n'
    path.write_text(text, "utf-8")
    monkeypatch.setattr(computer, "TOOLS", path)
    return path


@pytest.fixture
def data(data_folder, tools):
    return DataFolder(data_folder)
