"""Paths and open files as Windows has them: length, case, other spellings, sharing violations."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from envmanager.data import files
from envmanager.data.paths import DataFolder
from envmanager.environments import removal
from envmanager.errors import FilesInUse
from ga3_nodes import client, home
from ga3_nodes.errors import ConfigError, GA3EnvError, NotInstalled, WorkerStartFailed
from tests.conftest import end_workers
from tests.support import ECHO_DECLARATION, ECHO_WORKER, publish

pytestmark = pytest.mark.windows
windows_only = pytest.mark.skipif(sys.platform != "win32", reason="as Windows has them")
IMAGE = np.arange(12, dtype=np.uint16).reshape(3, 4)


def _call():
    return client.call("echo", "segment", {"image": IMAGE})


@contextmanager
def _alone(path):
    """Hold a file that nobody else may open, as a scanner or a backup does."""
    kernel = ctypes.WinDLL("kernel32", use_last_error=True)
    kernel.CreateFileW.restype = ctypes.c_void_p
    generic_read, share_nothing, existing = 0x80000000, 0, 3
    handle = kernel.CreateFileW(str(path), generic_read, share_nothing, None, existing, 0, None)
    assert handle != ctypes.c_void_p(-1).value, ctypes.get_last_error()
    try:
        yield
    finally:
        kernel.CloseHandle(ctypes.c_void_p(handle))


@contextmanager
def _for_a_while(holding, seconds=0.5):
    """Let another thread hold something while the body runs, and let it go after that time."""
    held = threading.Event()

    def hold():
        with holding:
            held.set()
            time.sleep(seconds)

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(10)
    yield
    thread.join()


# ---- open files ----------------------------------------------------------------------------------


@windows_only
def test_a_config_that_somebody_reads_alone_is_waited_for(echo):
    with _for_a_while(_alone(echo / "config.json")):
        assert home.read_config(echo)["modules"]


@windows_only
def test_a_config_that_nobody_lets_go_is_told(echo):
    with _alone(echo / "config.json"), pytest.raises(ConfigError, match="cannot be read"):
        home.read_config(echo)


@windows_only
def test_a_file_that_somebody_reads_is_replaced_as_soon_as_he_is_done(tmp_path):
    path = tmp_path / "config.json"
    path.write_text("old", "utf-8")
    with _for_a_while(path.open()):
        with pytest.raises(PermissionError):
            shutil.copy(path, tmp_path / "other").replace(path)
        files.write_text(path, "new")
    assert path.read_text("utf-8") == "new"
    assert sorted(p.name for p in tmp_path.glob("config*")) == ["config.json"]


@windows_only
def test_an_environment_with_an_open_file_is_gone_for_nodes_and_later_from_the_disk(echo):
    data = DataFolder(echo)
    with (data.generation("echo", 1) / "worker.py").open():
        removal.remove(data, "echo")
        assert not data.module("echo").exists()
        with pytest.raises(NotInstalled):
            _call()
        assert [path.name for path in data.trash.rglob("*.py")] == ["worker.py"]
    files.empty_trash(data.trash)
    assert not data.trash.exists()


def test_a_folder_that_windows_does_not_let_go_is_told_and_left_whole(
    echo, monkeypatch, data_folder
):
    """Wine renames a folder with an open file in it; Windows refuses, as is done here."""
    data = DataFolder(echo)
    before = sorted(data.generation("echo", 1).rglob("*"))

    rename = Path.rename

    def refuse(path, target):
        if path == data.generation("echo", 1):
            raise PermissionError(13, "The process cannot access the file", str(path))
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refuse)
    monkeypatch.setattr(files, "_PATIENCE_S", 0.2)
    with pytest.raises(FilesInUse, match="another program has a file in it open") as caught:
        removal.remove(data, "echo")
    assert "Explorer" in caught.value.hint
    assert sorted(data.generation("echo", 1).rglob("*")) == before
    files.discard_if_free(data.generation("echo", 1), data.trash)  # an update is not spoilt by it
    assert sorted(data.generation("echo", 1).rglob("*")) == before
    monkeypatch.undo()
    removal.remove(data, "echo")
    assert not data.module("echo").exists()


# ---- names ---------------------------------------------------------------------------------------


@pytest.fixture
def deep(tmp_path, monkeypatch):
    """Make a data folder so that the folder of a generation has a length; return that folder."""
    made = []

    def make(length):
        inside = len(str(Path("envs", "echo", "1"))) + 1
        root = tmp_path / "d" / ("x" * 90)
        root /= "y" * (length - inside - len(str(root)) - 1)
        root.mkdir(parents=True)
        monkeypatch.setenv("GA3ENV_HOME", str(root))
        made.append(root)
        folder = publish(root, ECHO_DECLARATION, ECHO_WORKER)
        assert len(str(folder)) == length
        return folder

    yield make
    for root in made:
        end_workers(root)


def test_a_module_may_have_files_beyond_260_characters(deep):
    folder = deep(200)
    package = folder / ("p" * 40) / ("q" * 40)
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("", "utf-8")
    (package / "deep.py").write_text("FACTOR = 3\n", "utf-8")
    assert len(str(package / "deep.py")) > 260
    text = f"""
import {package.parent.name}.{package.name}.deep as deep

def segment(image, *, axes="", threshold=0.5, mode="plain"):
    return image.astype("int32") * deep.FACTOR

def measure(image, other):
    raise NotImplementedError
"""
    (folder / "worker.py").write_text(text, "utf-8")
    np.testing.assert_array_equal(_call()["labels"], IMAGE * 3)


@windows_only
def test_a_folder_that_is_too_deep_for_a_process_is_told(deep):
    deep(270)
    with pytest.raises(WorkerStartFailed, match="more than 258 characters") as caught:
        _call()
    assert "shorter path" in caught.value.hint


@windows_only
def test_other_spellings_of_the_data_folder_find_the_same_worker(echo, monkeypatch):
    pid = _call().worker_pid
    for spelling in (str(echo).upper(), str(echo).lower(), str(echo).replace("\\", "/")):
        monkeypatch.setenv("GA3ENV_HOME", spelling)
        assert _call().worker_pid == pid


@windows_only
def test_a_verbatim_path_of_the_data_folder_works(echo, monkeypatch):
    verbatim = Path(f"\\\\?\\{echo}")
    monkeypatch.setenv("GA3ENV_HOME", str(verbatim))
    assert _call()["labels"].any()
    end_workers(verbatim)


@windows_only
@pytest.mark.parametrize("place", [r"\\server.invalid\share\ga3", "Q:\\ga3", "Q:ga3"])
def test_a_share_or_a_drive_that_is_away_is_told(place, monkeypatch):
    monkeypatch.setenv("GA3ENV_HOME", place)
    with pytest.raises(GA3EnvError) as caught:
        _call()
    assert caught.value.code in ("not_installed", "config_invalid"), caught.value


@windows_only
def test_a_data_folder_moves_to_another_drive(echo, data_folder, tmp_path, monkeypatch):
    from envmanager.moving import relocation

    pid = _call().worker_pid
    client.close()
    target = Path("Z:/tmp") / f"ga3env {os.getpid()} é"  # the bench's second drive
    if not target.parent.is_dir() or target.drive == data_folder.drive:
        pytest.skip("there is no second drive")
    try:
        moved = relocation.move(target)
        assert (moved.target, moved.old_deleted) == (target, True)
        location = json.loads((data_folder / home.LOCATION).read_text("utf-8"))
        assert Path(location["root"]) == target
        again = _call()
        assert again["labels"].any()
        assert again.worker_pid != pid
        end_workers(target)
    finally:
        shutil.rmtree(target, ignore_errors=True)
