"""A ``pylock.toml`` whose wheels lie on this computer: real uv installs them and asks nobody."""

from __future__ import annotations

import shutil
import tomllib

import pytest

from envmanager.data.paths import DataFolder, venv_packages, venv_python
from envmanager.data.settings import Settings
from envmanager.environments import health
from envmanager.errors import ToolFailed
from envmanager.packages import lockfile, wheelhouse
from envmanager.packages.lockfile import Wheel
from envmanager.uv.program import Uv
from tests.local_index import LocalIndex
from tests.wheels import make_wheel, noise, requirement

windows = pytest.mark.windows
DEAD = "http://127.0.0.1:9"  # nobody listens there


@pytest.fixture
def made(tmp_path):
    """Return two wheels in a folder, of names that addresses and TOML spell in another way."""
    folder = tmp_path / "von Kollegin ü"
    return [
        make_wheel(folder, "big-one", "1.0+cpu", {"big_one/data.bin": noise(300_000)}),
        make_wheel(folder, "other", "2.0", {"other.py": "x = 1\n"}, requires=["big-one"]),
    ]


@pytest.fixture
def uv(data_folder, monkeypatch) -> Uv:
    monkeypatch.delenv("UV_CACHE_DIR", raising=False)
    return Uv(DataFolder(data_folder), Settings())


@pytest.fixture
def pylock(uv, made):
    """Return what is resolved from an index that is there no more, and nothing in the cache."""
    lock = uv.data.root / "requirements.lock"
    lock.write_text(requirement(*made), "utf-8")
    uv.make_venv(uv.data.root / "venv", "")
    with LocalIndex(made, metadata=True, sizes=True) as index:
        online = Uv(uv.data, Settings(index_url=index.url))
        python = venv_python(uv.data.root / "venv")
        online.resolve(lock, python, uv.data.root / "pylock.toml")
        assert not any(path.endswith(".whl") for path in index.requests)
    shutil.rmtree(uv.data.uv_cache)
    return uv.data.root / "pylock.toml"


def _sync(uv, local, monkeypatch):
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, DEAD)
    monkeypatch.delenv("NO_PROXY", raising=False)
    venv = uv.data.root / "venv"
    shutil.rmtree(venv)
    uv.make_venv(venv, "")
    lines = []
    uv.sync(local, venv_python(venv), lines.append, lambda: None)
    return venv_packages(venv), lines


@windows
def test_uv_installs_from_a_folder_without_a_network(uv, pylock, made, monkeypatch):
    resolved, text = lockfile.wheels(pylock), pylock.read_text("utf-8")
    here = wheelhouse.in_folder(resolved, made[0].parent)
    local = pylock.with_name("pylock.local.toml")
    wheelhouse.write(pylock, here, local)
    site, _ = _sync(uv, local, monkeypatch)
    assert health.packages_in(site, {w.package: w.version for w in resolved}) == []
    assert (site / "big_one" / "data.bin").stat().st_nlink == 2
    assert pylock.read_text("utf-8") == text
    sums = {w.package: wheelhouse.digest(w) for w in lockfile.wheels(local)}
    assert sums == {w.package: wheelhouse.digest(w) for w in resolved}
    before = site / "big_one" / "data.bin"
    inode = before.stat().st_ino
    shutil.rmtree(made[0].parent)  # the cache has it all the same
    assert uv.linked_from_cache(local, venv_python(uv.data.root / "venv")) == set()  # installed
    site, lines = _sync(uv, local, monkeypatch)
    assert (site / "big_one" / "data.bin").stat().st_ino == inode
    assert sum("already cached" in line for line in lines) == 2


@windows
def test_a_file_with_other_bytes_is_refused(uv, pylock, made, monkeypatch):
    here = wheelhouse.in_folder(lockfile.wheels(pylock), made[0].parent)
    make_wheel(made[0].parent, "other", "2.0", {"other.py": "x = 666\n"})
    wheelhouse.write(pylock, here, pylock.with_name("pylock.local.toml"))
    with pytest.raises(ToolFailed, match="Hash mismatch"):
        _sync(uv, pylock.with_name("pylock.local.toml"), monkeypatch)


def test_what_is_not_at_hand_keeps_its_address(pylock, made):
    made[1].unlink()
    here = wheelhouse.in_folder(lockfile.wheels(pylock), made[0].parent)
    assert list(here.values()) == [made[0]]
    wheelhouse.write(pylock, here, pylock.with_name("pylock.local.toml"))
    before, after = (
        {p["name"]: p for p in tomllib.loads(path.read_text("utf-8"))["packages"]}
        for path in (pylock, pylock.with_name("pylock.local.toml"))
    )
    assert after["other"] == before["other"]
    assert after["big-one"]["wheels"][0]["path"] == made[0].as_posix()


SHA = "a" * 64


@pytest.mark.parametrize(
    ("url", "sha256", "remote"),
    [
        ("https://h/p/x-1%2Bcpu-py3-none-any.whl#sha256=1", SHA, True),
        ("http://h/x-1-py3-none-any.whl?signature=1", SHA, True),
        ("https://u:p@h/x-1-py3-none-any.whl", SHA, False),
        ("file:///d/x-1-py3-none-any.whl", SHA, False),
        ("/d/x-1-py3-none-any.whl", SHA, False),
        ("https://h/x-1.tar.gz", SHA, False),
        ("https://h/x-1-py3-none-any.whl", "", False),
    ],
)
def test_which_wheels_can_be_fetched_by_their_address(url, sha256, remote):
    assert wheelhouse.is_remote(Wheel("x", "1", 1, ((url, sha256),))) == remote


@pytest.mark.parametrize("end", ["..%2F..%2Fx-1-py3-none-any.whl", "..%5Cx.whl", "C%3Ax.whl"])
def test_an_address_that_hides_a_folder_in_the_name_is_none_of_ours(end):
    assert wheelhouse.file_name(Wheel("x", "1", 1, ((f"https://index/{end}", "0" * 64),))) == ""
