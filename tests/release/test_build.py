"""What a release for Windows holds, that two builds are the same, and what a build refuses."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
import tarfile
import zipfile

import pytest
from PySide6.QtGui import QImage

from envmanager.errors import GA3EnvError
from external.pinned_uv import Pin
from external.places import sha256
from external.telling import SetupError
from release import contents, installer, pictures, portable, pythons, wheels
from release.building import DRAWING, Wish
from release.errors import ReleaseError
from tests.carried_python import PE, WINDOWS, tar_of, zip_of
from tests.support import PROJECT
from tests.wheels import make_wheel, requirement

LOCK = (PROJECT / "requirements.lock").read_text("utf-8")
needs_nsis = pytest.mark.skipif(not shutil.which("makensis"), reason="there is no makensis")
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="releases are built on Linux")
EPOCH = 1_700_000_000
LIKE_A_PYTHON = WINDOWS | {
    "python/pythonw.exe": PE,
    "python/python312.dll": PE + "FileVersion\0\0003.12.11\0".encode("utf-16-le"),
    "python/Lib/test/big.py": b"x",
}


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
    return zip_of(tmp_path / "python.zip", LIKE_A_PYTHON)


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


def test_a_release_says_where_it_is_not_what_was_committed(tmp_path, monkeypatch):
    def git(*words):
        subprocess.run(["git", *words], cwd=tmp_path, check=True, capture_output=True)

    git("init")
    git("-c", "user.name=x", "-c", "user.email=x@y", "commit", "--allow-empty", "-m", "first")
    monkeypatch.setattr(contents, "ROOT", tmp_path)
    (tmp_path / "notes.txt").touch()  # is not shipped
    found, _ = contents.commit()
    assert found.isalnum()
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "new.py").touch()
    assert contents.commit()[0] == f"{found}-dirty"


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
def test_two_installers_of_the_same_files_are_the_same_bytes(tmp_path, archive, monkeypatch):
    made = []
    for name, locale in (("one", "C.UTF-8"), ("ein anderer für später", "C")):
        monkeypatch.setenv("LC_ALL", locale)
        work = tmp_path / name
        stage = work / "stage"
        python = pythons.unpack(archive, sha256(archive), stage / "python")
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
    python = pythons.unpack(archive, sha256(archive).upper(), tmp_path / "out")
    assert (python.version, python.minor) == ("3.12.11", "3.12")
    assert python.folder == f"3.12.11-{sha256(archive)[:8]}"
    names = contents.listed(tmp_path / "out")
    assert f"{python.folder}/Lib/os.py" in names
    assert not [name for name in names if "big.py" in name]


def test_a_python_with_another_hash_is_refused_before_it_is_opened(tmp_path, archive):
    with pytest.raises(ReleaseError) as caught:
        pythons.unpack(archive, "0" * 64, tmp_path / "out")
    assert caught.value.code == "hash_mismatch"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"python/python.exe": b"no program"}, "holds no Python 3.11 or newer for Windows"),
        ({"python/python312.dll": None}, "holds no Python 3.11 or newer for Windows"),
        ({"python/python312.dll": PE}, r"holds no whole Python 3.12: .* version \(none\)"),
        ({"python/pythonw.exe": None}, "there is no pythonw.exe"),
        ({"../../evil.txt": b"x"}, "leads out of its folder"),
        ({"C:/evil.txt": b"x"}, "is a full path"),
        ({"python/lib/OS.py": b"x"}, "it holds 'python/Lib/os.py' and 'python/lib/OS.py'"),
    ],
)
def test_an_archive_that_holds_anything_else_is_refused(changed, why, tmp_path):
    files = {name: content for name, content in (LIKE_A_PYTHON | changed).items() if content}
    for path in zip_of(tmp_path / "x.zip", files), tar_of(tmp_path / "x.tar.gz", files):
        with pytest.raises(GA3EnvError, match=why) as caught:
            pythons.unpack(path, sha256(path), tmp_path / "out" / path.suffix)
        assert caught.value.hint
    assert not list(tmp_path.rglob("evil.txt"))


def test_a_damaged_archive_is_refused(tmp_path):
    path = tar_of(tmp_path / "x.tar.gz", LIKE_A_PYTHON | {"python/big": os.urandom(100_000)})
    path.write_bytes(path.read_bytes()[:50_000])
    with pytest.raises(GA3EnvError, match=r"x.tar.gz cannot be unpacked: .* ended") as caught:
        pythons.unpack(path, sha256(path), tmp_path / "out")
    assert caught.value.code == "python_archive"


def test_a_link_in_an_archive_is_left_out(tmp_path):
    link = tarfile.TarInfo("python/DLLs")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc"
    path = tar_of(tmp_path / "x.tar.gz", LIKE_A_PYTHON, link)
    python = pythons.unpack(path, sha256(path), tmp_path / "out")
    assert not os.path.lexists(tmp_path / "out" / python.folder / "DLLs")
    assert python.version == "3.12.11"


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
    version = Pin(wheels.PLATFORM).version
    path = f"uv-{version}.data/scripts/uv.exe"
    make_wheel(local_index, "uv", version, {path: "MZ"}, tag="py3-none-win_amd64")
    with pytest.raises(SetupError) as caught:
        wheels.fetch_uv(tmp_path / "UV")
    assert caught.value.code == "hash_mismatch"
    assert not (tmp_path / "UV").exists()
