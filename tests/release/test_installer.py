"""The installer and the uninstaller around a handful of files, under Wine: what they may touch."""

from __future__ import annotations

import shutil
import sys

import pytest

from release import contents, installer, pictures
from release.building import DRAWING
from tests.release.windows_user import CANCEL, DIALOG, NO, OK, YES

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="releases are built on Linux"),
]
KEY = r"HKCU\Software\Microsoft\Windows\CurrentVersion\Uninstall\GA3EnvManager"
TITLE = "GA3 Environment Manager"
ANOTHER_INSTALLER = r"""
import ctypes
ctypes.windll.kernel32.CreateMutexW(None, False, "Local\GA3EnvManager-setup")
"""
CANCELLED, BROKEN_OFF, AT_WORK, REFUSED, NOT_SET_UP, NOT_ALL = 1, 2, 3, 4, 5, 6
FILES = ("app/__main__.py", "docs/read.md", "external/bootstrap.py", "modules/m/worker.py")


@pytest.fixture(scope="module")
def setups(tmp_path_factory, bench):
    """Make installers of two versions; a file of the older one is not in the newer."""
    with pytest.MonkeyPatch.context() as patch:
        return {
            version: _setup(tmp_path_factory.mktemp("setup"), version, names, patch)
            for version, names in (("0.1.0", (*FILES, "app/old/gone.py")), ("0.2.0", FILES))
        }


def _setup(work, version, names, patch):
    patch.setattr(installer, "__version__", version)
    stage, icon, banner = work / "stage", work / "app.ico", work / "banner.bmp"
    for name in names:
        (stage / name).parent.mkdir(parents=True, exist_ok=True)
        (stage / name).write_text(version)
    (stage / "release.json").write_text("{}")
    pictures.write_icon(DRAWING, icon)
    pictures.write_banner(DRAWING, banner)
    release = contents.Release(1_700_000_000, "c0ffee", False, None, quick=True)
    installer.compile_starter(stage / installer.STARTER, icon, release)
    installer.compile_installer(work / "made-setup.exe", stage, icon, banner, release)
    return work / "made-setup.exe"


def test_an_upgrade_a_downgrade_and_an_uninstallation_leave_what_is_not_theirs(setups, user):
    folder = user.other_disk / "Mess & Labor ^(ö)!" / "GA3 'ä' $x"
    user.run_in(folder, setups["0.1.0"], "/S", "/NOSETUP")
    assert (folder / "app" / "old" / "gone.py").is_file()
    own = [folder / name for name in ("app/own.txt", "docs/mine/a.md", "own/x.tif", "python/x.py")]
    for path in own:
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
    (folder / "app" / "__pycache__").mkdir()
    (folder / "app" / "__pycache__" / "a.pyc").touch()

    user.run(setups["0.2.0"], "/S", "/NOSETUP")  # knows where the older one lies
    assert (folder / "app" / "__main__.py").read_text() == "0.2.0"
    assert not (folder / "app" / "old").exists()
    seen = _as_printed(user.seen(folder))
    assert _registered(user) >= {
        ("DisplayName", "GA3 Environment Manager"),
        ("DisplayVersion", "0.2.0"),
        ("Publisher", "GA3 Environment Manager"),
        ("InstallLocation", seen),
        ("UninstallString", f'"{seen}\\Uninstall.exe"'),
        ("QuietUninstallString", f'"{seen}\\Uninstall.exe" /S'),
        ("NoModify", "0x1"),
        ("NoRepair", "0x1"),
    }
    (size,) = (int(value, 16) for name, value in _registered(user) if name == "EstimatedSize")
    assert 300_000 < size < 500_000  # KB, with the environment that the first start makes

    user.run(setups["0.1.0"], "/S", "/NOSETUP")
    assert ("DisplayVersion", "0.1.0") in _registered(user)

    data = user.profile / "AppData" / "Local" / "GA3EnvManager"
    (data / "weights").mkdir(parents=True)
    said = user.run_in(folder, folder / "Uninstall.exe", "/S", "/REMOVEDATA", code=NOT_ALL)
    assert "nobody could tell who uses the environments" in said  # there is no .venv that could
    assert (data / "weights").is_dir()
    assert not _registered(user)
    left = {p for p in folder.rglob("*") if p.is_file()}
    assert left == {folder / "Uninstall.exe", *own}
    assert all(path.read_text() == "mine" for path in own)


def test_folders_that_it_does_not_take(setups, user):
    documents = user.profile / "Documents"
    code, other = documents / "code", documents / "data"
    (code / "python").mkdir(parents=True)
    (code / "python" / "mine.py").touch()
    other.mkdir()
    (other / "release.json").write_text("{}")
    data = user.profile / "AppData" / "Local" / "GA3EnvManager"
    long = documents / ("l" * 60) / ("x" * 60)
    before = user.files()
    for folder, why in [
        (user.profile / "Desktop", "your own files"),
        (user.profile, "your own files"),
        (code, "other files"),
        (other, "other files"),
        (data, "Environments and weights"),
        (data / "app", "Environments and weights"),
        (long, "too long"),
        (r"D:\100%\GA3", "for a variable"),
        (r"E:\GA3", "No file can be made in"),
        (r"\\?\C:\GA3", "network folder"),
        (r"Q:\GA3", "on a disk that is there"),  # for these NSIS would take the usual one
        ("D:\\", "below its top"),
        ("GA3", "a full path"),
        (r'"D:\GA3"', "without quotes"),
    ]:
        said = user.run_in(folder, setups["0.2.0"], "/S", code=REFUSED)
        assert why in said, (folder, said)
    assert user.files() == before
    assert not _registered(user)


def test_an_uninstaller_elsewhere_removes_nothing(setups, user):
    user.run(setups["0.2.0"], "/S", "/NOSETUP")
    desktop = user.profile / "Desktop"
    shutil.copy(user.programs / "Uninstall.exe", desktop)
    (desktop / ".venv").mkdir()
    (desktop / ".venv" / "mine.txt").touch()
    before = user.files()
    said = user.run_in(desktop, desktop / "Uninstall.exe", "/S", code=REFUSED)
    assert "Nothing was removed" in said
    assert user.files() == before

    said = user.run_in(user.other_disk / "GA3", setups["0.2.0"], "/S", code=REFUSED)
    assert f"is installed in {_as_printed(user.seen(user.programs))} already" in said


def test_an_older_version_asks_first(setups, user):
    user.run(setups["0.2.0"], "/S", "/NOSETUP")
    before = user.files()
    process = user.start(setups["0.1.0"])
    user.wait_for_window(DIALOG, TITLE, "Replace it by the older 0.1.0?", NO)
    assert user.code_of(process) == CANCELLED

    process = user.start(setups["0.1.0"])
    user.wait_for_window(DIALOG, TITLE, "Replace it by the older 0.1.0?", YES)
    user.wait_for_window(DIALOG, TITLE, "installed for you alone", CANCEL)
    user.wait_for_window(DIALOG, TITLE, "Are you sure", YES)
    assert user.code_of(process) == CANCELLED
    assert user.files() == before
    assert ("DisplayVersion", "0.2.0") in _registered(user)


def test_what_the_starter_says_where_it_cannot_start_the_app(setups, user):
    user.run(setups["0.2.0"], "/S", "/NOSETUP")
    starter = user.seen(user.programs / installer.STARTER)
    process = user.start(starter, "C:\\" + "x" * 1000)
    user.wait_for_window(DIALOG, TITLE, "too many files", OK)
    user.wait_for_window(
        DIALOG, TITLE, "The app is not set up yet: its Python", OK
    )  # it has no uv.exe
    user.wait_for_window(DIALOG, TITLE, "The set-up did not end", CANCEL)
    assert user.code_of(process) == NOT_SET_UP

    (user.programs / "external" / "bootstrap.py").unlink()
    process = user.start(starter)
    assert user.seen(user.programs) in user.wait_for_window(DIALOG, TITLE, "is not whole", OK)
    assert user.code_of(process) == 1


def test_an_upgrade_that_breaks_off_starts_nothing_and_is_done_again(setups, user):
    user.run(setups["0.1.0"], "/S", "/NOSETUP")
    holding = user.start_and_wait(ANOTHER_INSTALLER)
    assert "at work" in user.run(setups["0.2.0"], "/S", code=AT_WORK)[1]
    holding.kill()
    holding.wait()
    worker = user.programs / "modules" / "m" / "worker.py"
    holding = user.start_and_wait(f"held = open({user.seen(worker)!r}, 'r+b')")
    assert "could not be written" in user.run(setups["0.2.0"], "/S", "/NOSETUP", code=BROKEN_OFF)[1]
    starter = user.start(user.seen(user.programs / installer.STARTER))
    user.wait_for_window(DIALOG, TITLE, "an installation of it has not ended", OK)
    assert user.code_of(starter) == 1
    holding.kill()
    holding.wait()

    user.run(setups["0.2.0"], "/S", "/NOSETUP")
    assert worker.read_text() == "0.2.0"
    assert not (user.programs / "app" / "old").exists()
    assert not (user.programs / "unfinished").exists()


def test_a_python_that_somebody_runs_stays(setups, user):
    """Also where the environments that run with it lie elsewhere."""
    user.run(setups["0.2.0"], "/S", "/NOSETUP")
    folder = user.programs / "python" / "3.12.1-c0ffee"
    folder.mkdir(parents=True)
    folder.with_name("3.12.1-c0ffee.complete").touch()
    (folder / "os.py").touch()
    shutil.copy(user.programs / installer.STARTER, folder / "python.exe")
    user.start(user.seen(folder / "python.exe"))  # a program: it shows a message
    user.wait_for_window(DIALOG, TITLE, "is not whole")
    said = user.run_in(user.programs, user.programs / "Uninstall.exe", "/S", code=NOT_ALL)
    assert "A program runs with the Python in" in said
    assert (folder / "os.py").exists()
    assert not (user.programs / "app").exists()

    user.press(DIALOG, TITLE, OK)
    user.run(setups["0.2.0"], "/S", "/NOSETUP")  # what was left is no foreign file
    user.run(user.seen(user.programs / "Uninstall.exe"), "/S")
    user.wait_for(lambda: not user.programs.exists())


def _registered(user):
    """Return the entry in the list of installed apps: pairs of a name and a value."""
    lines = user.run("cmd", "/c", f"reg query {KEY} & exit /b 0")[0].splitlines()
    entries = [line.split(None, 2) for line in lines if line.startswith("    ")]
    return {(entry[0], entry[2]) for entry in entries if len(entry) == 3}


def _as_printed(text):
    """Replace what `reg` prints in a code page of its own."""
    return "".join(letter if letter.isascii() else "\N{REPLACEMENT CHARACTER}" for letter in text)
