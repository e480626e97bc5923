"""The checklist: each kind of damage is told and, where it can be, mended."""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import shutil
import sys
import sysconfig
import threading
import time
import zipfile
from functools import partial
from pathlib import Path

import pytest

from envmanager import doctor
from envmanager.data import config
from envmanager.data.paths import DataFolder, base_python, uv_binary
from envmanager.data.settings import Settings
from envmanager.doctor import checklist, computer
from envmanager.doctor import data as doctor_data
from envmanager.doctor.line import Patient
from envmanager.environments import inventory
from envmanager.errors import Cancelled, NotInstalled
from envmanager.events import CancelToken
from envmanager.machine import windows
from ga3_nodes import home, locks, records
from tests.support import ECHO_DECLARATION, ECHO_WORKER, publish

pytestmark = pytest.mark.windows
OFFLINE = Settings(offline=True)
DEAD = 99_999_999  # no process has this id
# What a build machine or a Wine prefix may lack without being broken.
ABOUT_THE_COMPUTER = {"vc_runtime", "long_paths", "gpu", "disk_space", "data_place"}


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


def _run(data, settings=OFFLINE):
    return {check.id: check for check in doctor.checks(data, settings)}


def _fix(data):
    found = doctor.checks(data, OFFLINE)
    return {check.id: check for check in doctor.fix(data, OFFLINE, found)}


def _only(monkeypatch, *names):
    """Leave a few checks of the list, so that a test is quick."""
    whole = checklist._examinations

    def some(patient):
        return ((name, examine) for name, examine in whole(patient) if name in names)

    monkeypatch.setattr(checklist, "_examinations", some)


def _complete(data, number=1):
    """Publish the echo module with a manifest, as an install does, by the engine."""
    folder = publish(data.root, ECHO_DECLARATION, ECHO_WORKER, generation=number)
    entry = home.read_config(data.root)["modules"]["echo"]
    manifest = {"entry": entry, "disk": {"own": 1, "shared": 0}, "backend": "cpu"}
    (folder / "manifest.json").write_text(json.dumps(manifest), "utf-8")
    config.change(data, lambda modules: None)
    return folder


def _bad(found):
    return {
        name: check
        for name, check in found.items()
        if check.status != "ok" and name not in ABOUT_THE_COMPUTER
    }


def test_a_fresh_folder_is_healthy(data):
    found = _run(data)
    assert not _bad(found)
    assert {"uv", "python", "data_folder", "index", "config", "module:classic"} <= found.keys()
    assert list(found)[:3] == ["uv", "data_folder", "python"]


def test_a_data_folder_that_does_not_exist_yet_is_made(data, monkeypatch):
    data.root.rmdir()
    assert not _bad(_run(data))
    assert data.root.is_dir()


def test_an_installed_module_is_healthy(data):
    _complete(data)
    found = _run(data)
    assert not _bad(found)
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
    found = _run(data)
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
    _only(monkeypatch, "gpu", "config")
    found = _run(data)
    assert found["gpu"].status == "error"
    assert found["config"].status == "ok"


# ---- programs -----------------------------------------------------------------------------------


def test_another_uv_than_the_pinned_one_is_told(data, tools, monkeypatch):
    _only(monkeypatch, "uv")
    text = tools.read_text("utf-8")
    tools.write_text(text.replace('256 = ["', '256 = ["0'), "utf-8")
    monkeypatch.setenv("GA3ENV_UV", str(uv_binary()))
    assert _run(data)["uv"].status == "warning"
    own = uv_binary()
    monkeypatch.delenv("GA3ENV_UV")
    monkeypatch.setattr(computer, "uv_binary", lambda: own)
    assert _run(data)["uv"].status == "error"
    assert "sha256" in _run(data)["uv"].message


def test_a_uv_that_is_missing_or_no_program_is_told(data, tmp_path, monkeypatch):
    _only(monkeypatch, "uv")
    fake = tmp_path / "uv.exe"
    monkeypatch.setenv("GA3ENV_UV", str(fake))
    assert "missing" in _run(data)["uv"].message
    fake.write_bytes(b"no program")
    fake.chmod(0o755)
    check = _run(data)["uv"]
    assert check.status == "error"
    assert "started" in check.message


def test_a_python_that_is_nowhere_is_told(data, monkeypatch):
    _only(monkeypatch, "python")
    assert _run(data, Settings(python="3.99"))["python"].status == "warning"
    assert _run(data, Settings(python="3.99", offline=True))["python"].status == "error"


def test_an_index_that_cannot_be_reached_is_told_soon(data, monkeypatch):
    _only(monkeypatch, "index")
    started = time.monotonic()
    check = _run(data, Settings(index_url="http://127.0.0.1:9/"))["index"]
    assert check.status == "error"
    assert "127.0.0.1:9" in check.message
    assert time.monotonic() - started < 30


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


def test_an_index_that_answers(data, tmp_path, monkeypatch):
    _only(monkeypatch, "index")
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
        check = _run(data, Settings(index_url=url))["index"]
        server.shutdown()
    assert check.status == "ok", check.message
    assert url in check.message


def test_settings_that_are_no_settings_are_told_and_the_defaults_used(data, monkeypatch):
    _only(monkeypatch, "settings")
    data.settings.write_text("ofline = true", "utf-8")
    assert doctor.usable_settings(data) == Settings()
    check = _run(data)["settings"]
    assert check.status == "error"
    assert "ofline" in check.message


# ---- the data folder ----------------------------------------------------------------------------


def test_a_data_folder_that_cannot_be_written_is_told(tools, tmp_path, monkeypatch):
    root = tmp_path / "a file"
    root.write_text("", "utf-8")
    found = _run(DataFolder(root))
    assert _bad(found).keys() == {"data_folder"}
    assert str(root) in found["data_folder"].message
    assert "config" not in found


def test_little_space_is_told(data, monkeypatch):
    _only(monkeypatch, "disk_space")
    for free, status in ((10e9, "ok"), (4e9, "warning"), (1e8, "error")):
        usage = shutil.disk_usage(data.root)._replace(free=int(free))
        monkeypatch.setattr(shutil, "disk_usage", lambda path, usage=usage: usage)
        assert _run(data)["disk_space"].status == status


def test_clouds_network_drives_and_fat_are_told(data, monkeypatch):
    _only(monkeypatch, "data_place", "hard_links")
    assert _run(data)["data_place"].status == "ok"
    monkeypatch.setattr(computer, "_volume", lambda root: ("nfs4", True))
    assert "network" in _run(data)["data_place"].message
    monkeypatch.setenv("OneDriveCommercial", str(data.root.parent.resolve()))
    assert "cloud" in _run(data)["data_place"].message
    with monkeypatch.context() as patched:

        def refuse(source, target):
            raise OSError(1, "no hard links here")

        patched.setattr(os, "link", refuse)
        check = _run(data)["hard_links"]
    assert check.status == "warning"
    assert "full size" in check.message
    assert not list(data.root.rglob("doctor.*"))


def test_the_vendors_environments_are_measured(data, tmp_path, monkeypatch):
    _only(monkeypatch, "vendor_environments")
    prefix, cache = tmp_path / "prefix", tmp_path / "mamba"
    place = prefix / "Laboratory Imaging" / "NIS-Elements" / "PythonEnvs" / "v7.10"
    for folder in (place / "System" / "torch", place / "Users" / "lab" / "mine", cache):
        folder.mkdir(parents=True)
        (folder / "file").write_bytes(b"0" * 2_000_000)
    os.link(cache / "file", place / "System" / "torch" / "linked")
    monkeypatch.setenv("LIM_PYTHON_ENVS_PREFIX", str(prefix))
    monkeypatch.setenv("LIM_MAMBA_ROOT", str(cache))
    message = _run(data)["vendor_environments"].message
    assert "torch 4.0 MB" in message
    assert "mine 2.0 MB" in message
    assert "mamba 0.0 MB" in message  # its only file is counted above


# ---- what nodes read ----------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": 1, "modules": []}'])
def test_a_damaged_config_is_set_aside_and_written_anew(data, text, monkeypatch):
    _only(monkeypatch, "config", "client", "module:echo")
    _complete(data, 1)
    folder = _complete(data, 2)
    incomplete = data.generation("echo", 3)
    incomplete.mkdir()
    data.config.write_text(text, "utf-8")
    found = _run(data)
    assert found["config"].status == "error"
    assert found["config"].fixable
    assert "module:echo" not in found
    found = _fix(data)
    assert not _bad(found)
    assert home.published("echo").folder == folder
    (kept,) = data.root.glob("config.damaged-*.json")
    assert kept.read_text("utf-8") == text


def test_a_config_of_a_newer_schema_is_told_and_never_touched(data):
    _complete(data)
    text = json.dumps({"schema": 99, "modules": {}})
    data.config.write_text(text, "utf-8")
    found = _fix(data)
    assert found["config"].status == "error"
    assert not found["config"].fixable
    assert "newer" in found["config"].message
    assert data.config.read_text("utf-8") == text
    everything = [doctor.Check(name, "error", "", "", True) for name in doctor_data.FIXES]
    found = {check.id: check for check in doctor.fix(data, OFFLINE, everything)}
    assert {"fix:config", "fix:client"} <= found.keys()
    assert data.config.read_text("utf-8") == text
    assert not list(data.root.glob("config.damaged*"))


def test_a_damaged_entry_is_taken_from_the_manifest(data, monkeypatch):
    _only(monkeypatch, "config")
    _complete(data)
    config.change(data, lambda modules: modules["echo"].pop("python"))
    with pytest.raises(home.ConfigError):
        home.published("echo")
    assert not _bad(_fix(data))
    assert home.published("echo").generation == 1


def test_a_module_that_was_removed_does_not_come_back(data, monkeypatch):
    _only(monkeypatch, "config")
    _complete(data)
    config.change(data, lambda modules: modules.pop("echo") and None)
    everything = [doctor.Check("config", "error", "", "", True)]
    doctor.fix(data, OFFLINE, everything)
    with pytest.raises(NotInstalled):
        home.published("echo")


def test_an_environment_that_is_gone_is_told(data, monkeypatch):
    _only(monkeypatch, "config", "module:echo")
    shutil.rmtree(_complete(data))
    found = _fix(data)
    assert found["config"].status == "error"
    assert "./run install echo" in found["config"].hint
    assert found["module:echo"].status == "error"
    assert "echo" in found["module:echo"].hint


@pytest.mark.parametrize("damage", ["folder", "file", "empty", "half"])
def test_a_client_that_is_missing_or_damaged_is_copied_again(data, damage, monkeypatch):
    _only(monkeypatch, "config", "client")
    _complete(data)
    client = data.root / home.read_config(data.root)["client_dir"] / "ga3_nodes" / "client.py"
    text = client.read_text("utf-8")
    if damage == "folder":
        shutil.rmtree(data.clients)
    elif damage == "file":
        client.unlink()
    else:
        client.write_text("" if damage == "empty" else "def f(", "utf-8")
    found = _run(data)
    assert found["client"].status == "error"
    assert found["client"].fixable
    assert not _bad(_fix(data))
    assert client.read_text("utf-8") == text


def test_a_broken_module_toml_is_told(data, monkeypatch):
    _only(monkeypatch, "module:mine", "python")
    folder = data.user_modules / "mine"
    folder.mkdir(parents=True)
    (folder / "module.toml").write_text("schema = ", "utf-8")
    found = _run(data)
    assert found["module:mine"].status == "error"
    assert "module.toml" in found["module:mine"].message
    assert found["python"].status != "error"


# ---- processes and what they left ---------------------------------------------------------------


def test_the_record_of_a_dead_worker_is_swept_and_a_live_one_is_kept(data, monkeypatch):
    _only(monkeypatch, "workers")
    dead, live = (records.stem(data.root, "echo", number) for number in (1, 2))
    for stem in (dead, live):
        records.write(stem, records.WorkerRecord("echo", 1, DEAD, 0.0, "\\\\nowhere", "00", ""))
    with locks.FileLock(records.lease_path(live)):
        check = _run(data)["workers"]
        assert check.status == "warning"
        assert check.fixable
        found = _fix(data)
        assert not _bad(found)
        assert str(DEAD) in found["workers"].message
        assert records.read(live)
        assert not records.read(dead)
    records.sweep(live)


def test_leftovers_of_killed_commands_are_swept(data, monkeypatch):
    _only(monkeypatch, "leftovers")
    published = _complete(data, 2)
    gone = [data.trash / "1-abc", data.clients / "0.tmp", data.module("echo") / "plan-x"]
    gone += [data.generation("echo", 1), data.generation("echo", 3)]
    young = data.generation("echo", 4)
    for folder in (*gone, young):
        folder.mkdir(parents=True)
    old = time.time() - 7200
    for folder in gone:
        os.utime(folder, (old, old))
    mine = data.root / f"config.json.{os.getpid()}.tmp"
    other = data.root / f"config.json.{DEAD}.tmp"
    mine.touch()
    other.touch()
    (published / "manifest.json").unlink()  # broken, but it may still serve
    os.utime(published, (old, old))
    assert _run(data)["leftovers"].fixable
    assert not _bad(_fix(data))
    assert not [path for path in (*gone, other) if path.exists()]
    assert young.is_dir()
    assert published.is_dir()
    assert mine.exists()


def test_what_another_command_works_on_is_left_alone(data, monkeypatch):
    _only(monkeypatch, "leftovers", "locks")
    half = data.generation("echo", 1)
    half.mkdir(parents=True)
    os.utime(half, (0, 0))
    with locks.FileLock(data.root / "envs" / "echo.lock") as lock:
        lock.write_note({"pid": 4242})
        found = _run(data)
        assert found["leftovers"].status == "ok"
        assert found["locks"].status == "warning"
        assert "echo: another program (PID 4242)" in found["locks"].message
    assert _run(data)["leftovers"].status == "warning"
    assert inventory.numbers(data, "echo") == [1]


# ---- Windows ------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform != "win32", reason="asks Windows")
def test_windows_answers(data, tmp_path):
    found = _run(data)
    assert {"long_paths", "vc_runtime"} <= found.keys()
    assert windows.volume(data.root)[1] is False
    assert windows._registry(r"SOFTWARE\Nowhere", "Nothing") is None


@pytest.mark.skipif(sys.platform != "win32", reason="reads a program's resources")
def test_nis_is_found_with_its_version(data, tmp_path, monkeypatch):
    _only(monkeypatch, "nis")
    folder = tmp_path / "Program Files" / "NIS-Elements AR"
    (folder / "Python").mkdir(parents=True)
    library = f"python3{sys.version_info[1]}.dll"  # a file with a version in its resources
    shutil.copy(base_python().parent / library, folder / "nis_ar.exe")
    message = _run(data)["nis"].message
    assert f"version {sys.version_info[0]}.{sys.version_info[1]}." in message
    assert "with a Python" in message


def test_paths_and_the_vc_runtime_as_windows_tells_them(data, monkeypatch):
    _only(monkeypatch, "long_paths", "vc_runtime")
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
