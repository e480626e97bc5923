"""The checklist: what it asks the computer and its programs."""

from __future__ import annotations

import hashlib
import http.server
import os
import shutil
import sys
import threading
import time
import zipfile
from functools import partial
from pathlib import Path

import pytest

from envmanager import doctor
from envmanager.data.paths import DataFolder, base_python, uv_binary
from envmanager.data.settings import Settings
from envmanager.doctor import computer
from envmanager.doctor.line import Patient
from envmanager.errors import Cancelled
from envmanager.events import CancelToken
from envmanager.machine import windows
from tests.envmanager.doctor.support import OFFLINE, bad, complete, only, run

pytestmark = pytest.mark.windows


def test_a_fresh_folder_is_healthy(data):
    found = run(data)
    assert not bad(found)
    assert {"uv", "python", "data_folder", "index", "config", "module:classic"} <= found.keys()
    assert list(found)[:3] == ["uv", "data_folder", "python"]


def test_a_data_folder_that_does_not_exist_yet_is_made(data, monkeypatch):
    data.root.rmdir()
    assert not bad(run(data))
    assert data.root.is_dir()


def test_an_installed_module_is_healthy(data):
    complete(data)
    found = run(data)
    assert not bad(found)
    assert "echo" in found["config"].message
    assert str(data.clients) in found["client"].message
    assert found["module:echo"].status == "ok"


def test_each_line_comes_as_soon_as_it_is_known(data):
    seen = []
    done = doctor.checks(data, OFFLINE, seen.append)
    assert seen == done
    assert all(check.message and check.id for check in done)
    assert all(check.hint for check in done if check.status != "ok")
    assert done[0].as_dict().keys() == {"id", "status", "message", "hint", "fixable"}


def test_a_check_that_raises_is_a_line_and_the_list_goes_on(data, monkeypatch):
    def broken(patient):
        raise RuntimeError("surprise")

    monkeypatch.setattr(computer, "python", broken)
    found = run(data)
    assert found["python"].status == "error"
    assert "surprise" in found["python"].message
    assert list(found).index("config") > list(found).index("python")


def test_a_cancel_ends_the_list(data):
    cancel, seen = CancelToken(), []

    def on_check(check):
        seen.append(check.id)
        if check.id == "data_folder":
            cancel.cancel()

    with pytest.raises(Cancelled):
        doctor.checks(data, OFFLINE, on_check, cancel)
    assert seen[-1] == "data_folder"


def test_a_check_that_takes_too_long_is_a_line(data, monkeypatch):
    def slow(patient):
        with patient.uv() as uv:
            while True:
                uv.cancel.check()

    monkeypatch.setattr("envmanager.doctor.line.TOOL_LIMIT_S", 0.1)
    monkeypatch.setattr(computer, "gpu", slow)
    only(monkeypatch, "gpu", "config")
    found = run(data)
    assert found["gpu"].status == "error"
    assert found["config"].status == "ok"


# ---- programs -----------------------------------------------------------------------------------


def test_another_uv_than_the_pinned_one_is_told(data, tools, monkeypatch):
    only(monkeypatch, "uv")
    text = tools.read_text("utf-8")
    tools.write_text(text.replace('256 = ["', '256 = ["0'), "utf-8")
    monkeypatch.setenv("GA3ENV_UV", str(uv_binary()))
    assert run(data)["uv"].status == "warning"
    own = uv_binary()
    monkeypatch.delenv("GA3ENV_UV")
    monkeypatch.setattr(computer, "uv_binary", lambda: own)
    assert run(data)["uv"].status == "error"
    assert "sha256" in run(data)["uv"].message


def test_a_uv_that_is_missing_or_no_program_is_told(data, tmp_path, monkeypatch):
    only(monkeypatch, "uv")
    fake = tmp_path / "uv.exe"
    monkeypatch.setenv("GA3ENV_UV", str(fake))
    assert "missing" in run(data)["uv"].message
    fake.write_bytes(b"no program")
    fake.chmod(0o755)
    check = run(data)["uv"]
    assert check.status == "error"
    assert "started" in check.message


def test_a_python_that_is_nowhere_is_told(data, monkeypatch):
    only(monkeypatch, "python")
    assert run(data, Settings(python="3.99"))["python"].status == "warning"
    assert run(data, Settings(python="3.99", offline=True))["python"].status == "error"


def test_an_index_that_cannot_be_reached_is_told_soon(data, monkeypatch):
    only(monkeypatch, "index")
    started = time.monotonic()
    check = run(data, Settings(index_url="http://127.0.0.1:9/"))["index"]
    assert check.status == "error"
    assert "127.0.0.1:9" in check.message
    assert time.monotonic() - started < 30


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


def test_an_index_that_answers(data, tmp_path, monkeypatch):
    only(monkeypatch, "index")
    page = tmp_path / "index" / "packaging"
    page.mkdir(parents=True)
    wheel = page / "packaging-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        text = "Metadata-Version: 2.1\nName: packaging\nVersion: 1.0\n"
        archive.writestr("packaging-1.0.dist-info/METADATA", text)
        archive.writestr("packaging-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr("packaging-1.0.dist-info/RECORD", "")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    link = f'<!DOCTYPE html><a href="{wheel.name}#sha256={digest}">{wheel.name}</a>'
    (page / "index.html").write_text(link, "utf-8")
    handler = partial(_Quiet, directory=str(page.parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/"
        check = run(data, Settings(index_url=url))["index"]
        server.shutdown()
    assert check.status == "ok", check.message
    assert url in check.message


def test_settings_that_are_no_settings_are_told_and_the_defaults_used(data, monkeypatch):
    only(monkeypatch, "settings")
    data.settings.write_text("ofline = true", "utf-8")
    assert doctor.usable_settings(data) == Settings()
    check = run(data)["settings"]
    assert check.status == "error"
    assert "ofline" in check.message


# ---- the place of the data folder ---------------------------------------------------------------


def test_a_data_folder_that_cannot_be_written_is_told(tools, tmp_path, monkeypatch):
    root = tmp_path / "a file"
    root.write_text("", "utf-8")
    found = run(DataFolder(root))
    assert bad(found).keys() == {"data_folder"}
    assert str(root) in found["data_folder"].message
    assert "config" not in found


def test_little_space_is_told(data, monkeypatch):
    only(monkeypatch, "disk_space")
    for free, status in ((10e9, "ok"), (4e9, "warning"), (1e8, "error")):
        usage = shutil.disk_usage(data.root)._replace(free=int(free))
        monkeypatch.setattr(shutil, "disk_usage", lambda path, usage=usage: usage)
        assert run(data)["disk_space"].status == status


def test_clouds_network_drives_and_fat_are_told(data, monkeypatch):
    only(monkeypatch, "data_place", "hard_links")
    assert run(data)["data_place"].status == "ok"
    monkeypatch.setattr(computer, "_volume", lambda root: ("nfs4", True))
    assert "network" in run(data)["data_place"].message
    monkeypatch.setenv("OneDriveCommercial", str(data.root.parent.resolve()))
    assert "cloud" in run(data)["data_place"].message
    with monkeypatch.context() as patched:

        def refuse(source, target):
            raise OSError(1, "no hard links here")

        patched.setattr(os, "link", refuse)
        check = run(data)["hard_links"]
    assert check.status == "warning"
    assert "full size" in check.message
    assert not list(data.root.rglob("doctor.*"))


def test_the_vendors_environments_are_measured(data, tmp_path, monkeypatch):
    only(monkeypatch, "vendor_environments")
    prefix, cache = tmp_path / "prefix", tmp_path / "mamba"
    place = prefix / "Laboratory Imaging" / "NIS-Elements" / "PythonEnvs" / "v7.10"
    for folder in (place / "System" / "torch", place / "Users" / "lab" / "mine", cache):
        folder.mkdir(parents=True)
        (folder / "file").write_bytes(b"0" * 2_000_000)
    os.link(cache / "file", place / "System" / "torch" / "linked")
    monkeypatch.setenv("LIM_PYTHON_ENVS_PREFIX", str(prefix))
    monkeypatch.setenv("LIM_MAMBA_ROOT", str(cache))
    message = run(data)["vendor_environments"].message
    assert "torch 4.0 MB" in message
    assert "mine 2.0 MB" in message
    assert "mamba 0.0 MB" in message  # its only file is counted above


# ---- Windows ------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform != "win32", reason="asks Windows")
def test_windows_answers(data, tmp_path):
    found = run(data)
    assert {"long_paths", "vc_runtime"} <= found.keys()
    assert windows.volume(data.root)[1] is False
    assert windows._registry(r"SOFTWARE\Nowhere", "Nothing") is None


@pytest.mark.skipif(sys.platform != "win32", reason="reads a program's resources")
def test_nis_is_found_with_its_version(data, tmp_path, monkeypatch):
    only(monkeypatch, "nis")
    folder = tmp_path / "Program Files" / "NIS-Elements AR"
    (folder / "Python").mkdir(parents=True)
    library = f"python3{sys.version_info[1]}.dll"  # a file with a version in its resources
    shutil.copy(base_python().parent / library, folder / "nis_ar.exe")
    message = run(data)["nis"].message
    assert f"version {sys.version_info[0]}.{sys.version_info[1]}." in message
    assert "with a Python" in message


def test_paths_and_the_vc_runtime_as_windows_tells_them(data, monkeypatch):
    only(monkeypatch, "long_paths", "vc_runtime")
    monkeypatch.setattr(windows, "IS_WINDOWS", True)
    short = DataFolder(Path("C:/GA3"))
    patient = Patient(short, OFFLINE, CancelToken())
    deep = Patient(DataFolder(Path("C:/" + "a" * 80)), OFFLINE, CancelToken())
    monkeypatch.setattr(windows, "long_paths_enabled", lambda: False)
    assert computer.long_paths(patient).status == "ok"
    assert computer.long_paths(deep).status == "warning"
    monkeypatch.setattr(windows, "long_paths_enabled", lambda: True)
    assert computer.long_paths(deep).status == "ok"
    for found, status in (((14, 44), "ok"), ((14, 28), "warning"), (None, "warning")):
        monkeypatch.setattr(windows, "vc_runtime", lambda found=found: found)
        assert computer.vc_runtime(patient).status == status
