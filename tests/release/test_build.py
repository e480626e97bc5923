"""What a release for Windows holds, that two builds are the same, and what a build refuses."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
import zipfile

import pytest
from PySide6.QtGui import QImage

from external.bootstrap import SetupError
from release import contents, installer, pictures, portable, pythons, wheels
from release.building import DRAWING, Wish
from release.errors import ReleaseError
from tests.support import PROJECT
from tests.wheels import make_wheel, requirement

LOCK = (PROJECT / "requirements.lock").read_text("utf-8")
needs_nsis = pytest.mark.skipif(not shutil.which("makensis"), reason="there is no makensis")
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="releases are built on Linux")
EPOCH = 1_700_000_000


@pytest.fixture
def local_index(tmp_path, monkeypatch):
    """Give pip a folder of wheels in the place of a registry."""
    folder = tmp_path / "index"
    folder.mkdir()
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.fixture
def archive(tmp_path):
    """Pack something that looks like a Python for Windows."""
    version = "FileVersion\0\0" + "3.12.11\0"
    path = tmp_path / "python.zip"
    with zipfile.ZipFile(path, "w") as packed:
        for name in ("python.exe", "pythonw.exe", "Lib/os.py", "Lib/test/big.py"):
            packed.writestr(f"python/{name}", "x")
        packed.writestr("python/python312.dll", b"MZ" + version.encode("utf-16-le"))
    return path


def test_the_app_is_in_it_and_its_tests_and_tools_are_not():
    names = contents.files()
    for name in ("app/__main__.py", "envmanager/cli.py", "ga3_nodes/host.py", "run.cmd"):
        assert name in names
    assert {"external/bootstrap.py", "external/tools.toml", "requirements.lock"} <= set(names)
    assert {"external/windowless.py", "external/remove_data.py"} <= set(names)
    assert "modules/classic/worker.py" in names
    tops = {name.partition("/")[0] for name in names}
    assert tops <= {*contents.FOLDERS, *contents.FILES}
    assert not [name for name in names if "__pycache__" in name or name.startswith("external/UV")]


def test_all_packages_that_the_program_imports_are_in_it():
    ours = {path.parent.name for path in PROJECT.glob("*/__init__.py")}
    assert ours - {"tests", "release", "benchmarks"} <= set(contents.FOLDERS)


def test_two_zips_of_the_same_files_are_the_same_bytes(tmp_path):
    made = [_zip(tmp_path / name, order) for name, order in (("a", 1), ("b", -1))]
    assert made[0] == made[1]


def _zip(folder, order):
    stage = folder / "stage"
    for name in ["z.txt", "a/ä.py", "a b/$x.whl"][::order]:
        (stage / name).parent.mkdir(parents=True, exist_ok=True)
        (stage / name).write_text(name)
    contents.set_times(stage, EPOCH)
    portable.write(stage, folder / "made.zip", EPOCH)
    with zipfile.ZipFile(folder / "made.zip") as packed:
        assert packed.namelist() == [
            f"GA3EnvManager/{n}" for n in ("a b/$x.whl", "a/ä.py", "z.txt")
        ]
    return (folder / "made.zip").read_bytes()


@needs_nsis
def test_two_installers_of_the_same_files_are_the_same_bytes(tmp_path, archive):
    made = []
    for name in ("one", "another folder"):
        work = tmp_path / name
        stage = work / "stage"
        python = pythons.unpack(archive, _sha256(archive), stage / "python")
        release = contents.Release(EPOCH, "c0ffee", True, python, quick=True)
        pictures.write_icon(DRAWING, work / "app.ico")
        pictures.write_banner(DRAWING, work / "banner.bmp")
        (stage / "release.json").write_text(release.describe())
        (stage / "wheels").mkdir()
        (stage / "wheels" / "odd 'ä'.whl").write_text("x")
        installer.compile_starter(stage / installer.STARTER, work / "app.ico", release)
        contents.set_times(work, EPOCH)
        target, pair = work / "made-setup.exe", (work / "app.ico", work / "banner.bmp")
        installer.compile_installer(target, stage, *pair, release)
        made.append((work / "made-setup.exe").read_bytes())
    assert made[0] == made[1]
    assert made[0][:2] == b"MZ"


def test_the_icon_has_all_sizes(tmp_path):
    path = tmp_path / "app.ico"
    pictures.write_icon(DRAWING, path)
    content = path.read_bytes()
    count = struct.unpack_from("<H", content, 4)[0]
    entries = [struct.unpack_from("<BBBBHHII", content, 6 + 16 * n) for n in range(count)]
    for entry, size in zip(entries, pictures.SIZES, strict=True):
        image = QImage.fromData(content[entry[7] : entry[7] + entry[6]])
        assert (image.width(), entry[0]) == (size, size % 256)
        assert image.pixelColor(size // 2, size // 2).alpha() == 255


def test_a_python_is_unpacked_without_its_tests(tmp_path, archive):
    python = pythons.unpack(archive, _sha256(archive).upper(), tmp_path / "out")
    assert (python.version, python.minor) == ("3.12.11", "3.12")
    assert python.folder == f"3.12.11-{_sha256(archive)[:8]}"
    names = contents.listed(tmp_path / "out")
    assert f"{python.folder}/Lib/os.py" in names
    assert not [name for name in names if "big.py" in name]


def test_a_python_with_another_hash_is_refused_before_it_is_opened(tmp_path, archive):
    with pytest.raises(ReleaseError) as caught:
        pythons.unpack(archive, "0" * 64, tmp_path / "out")
    assert caught.value.code == "hash_mismatch"
    assert not (tmp_path / "out").exists()


def test_an_archive_without_a_python_is_refused(tmp_path):
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr("bin/python3", "x")
    with pytest.raises(ReleaseError, match="holds no Python for Windows"):
        pythons.unpack(path, _sha256(path), tmp_path / "out")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--offline"], "python_missing"),
        (["--python-archive", "python.zip"], "sha256_missing"),
    ],
)
def test_the_command_says_what_it_needs(arguments, code, tmp_path):
    done = subprocess.run(
        [sys.executable, PROJECT / "external/bootstrap.py", "build-windows", "--json", *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert json.loads(done.stdout)["error"]["code"] == code
    assert "hint: " in done.stderr
    assert not (tmp_path / "dist").exists()


def test_offline_needs_a_python():
    with pytest.raises(ReleaseError, match="needs a Python"):
        Wish(offline=True).check()


@pytest.mark.parametrize(("python", "numpy"), [("3.11.9", "2.4."), ("3.12.11", "2.5.")])
def test_the_lock_is_read_for_the_python_of_the_release(python, numpy):
    lines = list(wheels.requirements(LOCK, python))
    names = [line.partition("==")[0] for line in lines]
    assert len(names) == len(set(names))
    assert next(line for line in lines if line.startswith("numpy==")).startswith(f"numpy=={numpy}")
    assert all(" --hash=sha256:" in line and ";" not in line for line in lines)


def test_wheels_for_windows_are_fetched_and_checked(local_index, tmp_path):
    right = make_wheel(local_index, "tiny", "1.0", {"tiny.pyd": "x"}, tag="cp312-abi3-win_amd64")
    make_wheel(local_index, "tiny", "1.0", {"tiny.so": "x"}, tag="cp312-abi3-manylinux_2_17_x86_64")
    lock = tmp_path / "requirements.lock"
    lock.write_text(requirement(right) + "\nother==1 ; sys_platform == 'linux'\n")
    wheels.fetch_wheels(lock, "3.12.11", tmp_path / "got")
    assert [path.name for path in (tmp_path / "got").iterdir()] == [right.name]

    lock.write_text("tiny==1.0 --hash=sha256:" + "0" * 64 + "\n")
    with pytest.raises(SetupError) as caught:
        wheels.fetch_wheels(lock, "3.12.11", tmp_path / "wrong")
    assert caught.value.code == "hash_mismatch"
    assert not list((tmp_path / "wrong").iterdir())


def test_another_uv_than_the_pinned_is_refused(local_index, tmp_path):
    version = wheels.bootstrap.Pin(wheels.PLATFORM).version
    path = f"uv-{version}.data/scripts/uv.exe"
    make_wheel(local_index, "uv", version, {path: "MZ"}, tag="py3-none-win_amd64")
    with pytest.raises(SetupError) as caught:
        wheels.fetch_uv(tmp_path / "UV")
    assert caught.value.code == "hash_mismatch"
    assert not (tmp_path / "UV").exists()


def _sha256(path):
    return wheels.bootstrap.sha256(path)
