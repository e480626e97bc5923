"""The sizes of NIS-Elements' own environments."""

from __future__ import annotations

import os

import pytest

from envmanager import disk
from envmanager.errors import Cancelled
from envmanager.events import CancelToken

pytestmark = pytest.mark.windows


@pytest.fixture
def base(tmp_path, monkeypatch):
    for name in ("PROGRAMDATA", "PROGRAMFILES", "LIM_MAMBA_ROOT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LIM_PYTHON_ENVS_PREFIX", str(tmp_path))
    return tmp_path / "Laboratory Imaging" / "NIS-Elements" / "PythonEnvs" / "v1" / "System"


def test_each_environment_has_its_size_and_shared_files_are_told(base):
    for name in ("a", "b"):
        (base / name).mkdir(parents=True)
    (base / "a" / "own.bin").write_bytes(b"1" * 100_000)
    (base / "a" / "both.bin").write_bytes(b"1" * 400_000)
    os.link(base / "a" / "both.bin", base / "b" / "both.bin")
    first, second = disk.vendor()
    assert (first.path, second.path) == (base / "a", base / "b")
    assert first.usage.own >= 100_000
    assert first.usage.shared == second.usage.shared >= 400_000
    assert second.usage.own < 100_000


def test_without_nis_there_is_none(base):
    assert disk.vendor() == []


def test_it_can_be_cancelled(base):
    (base / "a").mkdir(parents=True)
    (base / "a" / "file").touch()
    token = CancelToken()
    token.cancel()
    with pytest.raises(Cancelled):
        disk.vendor(cancel=token)
