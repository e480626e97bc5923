"""The installer and the uninstaller around a handful of files, under Wine: what they may touch."""

from __future__ import annotations

import shutil
import sys

import pytest

from release import contents, installer, pictures
from release.building import DRAWING

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="releases are built on Linux"),
]
KEY = r"HKCU\Software\Microsoft\Windows\CurrentVersion\Uninstall\GA3EnvManager"
REFUSED = 4
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
    folder = user.profile / "Meine Programme" / "GA3 'ä' & $x"
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
    user.run(user.seen(folder / "Uninstall.exe"), "/S", "/REMOVEDATA")
    user.wait_for(lambda: not _registered(user))
    user.wait_for(lambda: not (folder / "Uninstall.exe").exists())
    assert sorted(p for p in folder.rglob("*") if p.is_file()) == sorted(own)
    assert all(path.read_text() == "mine" for path in own)
    assert not data.exists()


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


def _registered(user):
    """Return the entry in the list of installed apps: pairs of a name and a value."""
    lines = user.run("cmd", "/c", f"reg query {KEY} & exit /b 0")[0].splitlines()
    entries = [line.split(None, 2) for line in lines if line.startswith("    ")]
    return {(entry[0], entry[2]) for entry in entries if len(entry) == 3}


def _as_printed(text):
    """Replace what `reg` prints in a code page of its own."""
    return "".join(letter if letter.isascii() else "\N{REPLACEMENT CHARACTER}" for letter in text)
