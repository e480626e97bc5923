"""A bundle brings the Python along that the other computer lacks."""

from __future__ import annotations

import gzip
import json
import platform
import tarfile
from dataclasses import replace

import pytest

from envmanager.bundles import installing, interpreter, making, reading
from envmanager.bundles.making import Wanted
from envmanager.bundles.target import Target, here, own_python
from envmanager.data.paths import venv_base
from envmanager.data.settings import Settings
from envmanager.environments.lifecycle import Environments
from envmanager.errors import BadInput, Cancelled, GA3EnvError, InstallFailed, UsageError
from envmanager.events import CancelToken, Progress, Stage
from envmanager.fetching.hashing import hash_of
from envmanager.uv.program import Uv
from ga3_nodes import client
from tests import carried_python
from tests.carried_python import ELF, LINUX, PE, WINDOWS, tar_of, zip_of
from tests.envmanager.bundles.conftest import forged, left_in
from tests.faults import mini

pytestmark = pytest.mark.skipif(not here(), reason="bundles are for 64-bit Windows and Linux PCs")

FOR_LINUX, FOR_WINDOWS = Target("linux", "3.12"), Target("windows", "3.12")


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """Return the Python of the tests as an archive, and its sha256."""
    return carried_python.pack(tmp_path_factory.mktemp("packed python"))


@pytest.fixture(scope="module")
def whole(shop, packed, tmp_path_factory):
    """Return a bundle that brings its Python along."""
    path, sha256 = packed
    target = tmp_path_factory.mktemp("whole") / "mini.ga3bundle"
    own = {"python_archive": path, "python_sha256": sha256}
    return shop.make(target, weights=["small"], **own).path


@pytest.fixture
def bare(engine, monkeypatch):
    """Return the engine of a computer that has no Python but uv's own, and no network."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")  # where bundles are made
    return Environments(engine.data, replace(engine.settings, python_source="managed"))


def _found(engine):
    engine.data.root.mkdir(parents=True, exist_ok=True)
    return Uv(engine.data, engine.settings).find_python(own_python())


def _pythons(engine):
    return [path.name for path in engine.data.python.glob("*") if not path.name.startswith(".lock")]


# ---- for real -----------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.windows
def test_it_is_installed_where_there_is_none(whole, bare):
    assert _found(bare) is None
    left = bare.data.python / ".bundle-999999999"  # of an install that was killed
    left.mkdir(parents=True)
    (done,) = installing.install(bare, whole)
    (name,) = _pythons(bare)
    assert name.startswith(f"cpython-{own_python()}.")
    place = bare.data.python / name
    base = venv_base(done.folder / ".venv")
    assert place in (base, *base.parents)
    assert _found(bare).is_relative_to(place)
    assert not (place / "include").exists()
    assert not (place / "bin" / "python3").is_symlink()
    labels = client.call("mini", "segment", {"image": mini.IMAGE})["labels"]
    assert labels.tolist() == mini.mask(1)
    assert bare.verify("mini") == []
    assert installing.install(bare, whole)[0].new is False
    assert _pythons(bare) == [name]


def _failing(values, members):
    members["modules/mini/test_worker.py"] = b"def test_labels():\n    assert False\n"


@pytest.mark.slow
def test_an_install_that_fails_leaves_no_python(whole, bare, tmp_path):
    with pytest.raises(InstallFailed, match="self-test"):
        installing.install(bare, forged(whole, tmp_path, _failing))
    assert _pythons(bare) == []
    assert left_in(bare.data) == []


def test_a_cancel_while_it_is_unpacked_leaves_nothing(whole, bare):
    cancel, stages = CancelToken(), []

    def report(event):
        stages.extend([event.name] if isinstance(event, Stage) else [])
        if stages[-1:] == ["python"] and isinstance(event, Progress):
            cancel.cancel()

    with pytest.raises(Cancelled):
        installing.install(bare, whole, report=report, cancel=cancel)
    assert _pythons(bare) == []
    assert left_in(bare.data) == []


def test_a_python_that_does_not_run_is_refused(whole, bare, tmp_path):
    """Its archive looks well, and so does its sha256."""
    layout, (major, minor) = WINDOWS if here() == "windows" else LINUX, own_python().split(".")
    renamed = {"3.12": own_python(), "312": f"{major}{minor}"}
    files = dict(layout)
    for old, new in renamed.items():
        files = {name.replace(old, new): content for name, content in files.items()}
    fake = zip_of(tmp_path / "python.zip", files).read_bytes()

    def edit(values, members):
        (old,) = [name for name in members if name.startswith("python/")]
        del members[old]
        members["python/python.zip"] = fake

    with pytest.raises(BadInput, match="does not run here as Python") as caught:
        installing.install(bare, forged(whole, tmp_path, edit))
    assert caught.value.code == "python_archive"
    assert _pythons(bare) == []
    assert left_in(bare.data) == []


def test_two_pythons_are_refused(whole, bare, tmp_path):
    def edit(values, members):
        members["python/another.zip"] = b"x"

    with pytest.raises(BadInput) as caught:
        reading.look(forged(whole, tmp_path, edit))
    assert caught.value.code == "file_damaged"


def test_a_setting_against_it_is_told_before_anything_is_unpacked(whole, bare, monkeypatch):
    monkeypatch.setenv("PATH", "")
    system = Environments(bare.data, replace(bare.settings, python_source="system"))
    target = reading.look(whole).target
    monkeypatch.setattr(Uv, "find_python", lambda self, request: None)
    with pytest.raises(InstallFailed, match="python_source") as caught:
        installing.install(system, whole)
    assert caught.value.code == "python_missing"
    assert target.python in caught.value.hint
    assert _pythons(bare) == []


@pytest.mark.slow
@pytest.mark.skipif(here() != "linux", reason="the list of Pythons is written for Linux here")
def test_uv_fetches_it_for_the_bundle(shop, packed, bare, tmp_path, monkeypatch):
    """From a list of Pythons as an organisation may have its own; uv compares the sha256."""
    path, sha256 = packed
    version = platform.python_version()
    listed = tmp_path / "pythons.json"
    monkeypatch.setenv("UV_PYTHON_DOWNLOADS_JSON_URL", str(listed))
    served = tmp_path / f"cpython-{version}+20260101-x86_64-unknown-linux-gnu-install_only.tar.gz"
    served.write_bytes(path.read_bytes())
    listed.write_text(json.dumps(_list_of_pythons(version, served, "0" * 64)), "utf-8")
    with pytest.raises(GA3EnvError) as caught:
        shop.make(tmp_path / "wrong.ga3bundle", with_python=True)
    assert caught.value.code == "python_not_fetched"
    assert "ash mismatch" in str(caught.value.details)
    assert "--python-archive" in caught.value.hint
    assert not list(shop.data.downloads.glob("*"))  # a damaged one would be found there again
    listed.write_text(json.dumps(_list_of_pythons(version, served, sha256)), "utf-8")
    made = shop.make(tmp_path / "b.ga3bundle", with_python=True)
    assert made.manifest.files[made.manifest.interpreter] == hash_of(served.read_bytes())
    assert not shop.data.downloads.exists()
    installing.install(bare, made.path)
    assert _pythons(bare) == [f"cpython-{version}-linux-x86_64-gnu"]


@pytest.mark.parametrize("target", [FOR_LINUX, FOR_WINDOWS], ids=["linux", "windows"])
def test_uv_fetches_one_for_another_system(data, tmp_path, monkeypatch, target):
    system, libc = ("windows", "none") if target == FOR_WINDOWS else ("linux", "gnu")
    layout = WINDOWS if target == FOR_WINDOWS else {**LINUX, **_SYSCONFIG}
    served = tar_of(tmp_path / f"cpython-3.12.9+20260101-{system}-install_only.tar.gz", layout)
    listed = tmp_path / "pythons.json"
    sha256 = hash_of(served.read_bytes()).sha256
    found = _list_of_pythons("3.12.9", served, sha256, system, libc)
    listed.write_text(json.dumps(found), "utf-8")
    monkeypatch.setenv("UV_PYTHON_DOWNLOADS_JSON_URL", str(listed))
    path = interpreter.fetched(Uv(data, Settings()), target, data.downloads / "python")
    assert path.read_bytes() == served.read_bytes()


_SYSCONFIG = {  # uv writes its own paths into it
    "python/lib/python3.12/_sysconfigdata__linux_x86_64-linux-gnu.py": (
        b"# system configuration generated and used by the sysconfig module\nbuild_time_vars = {}\n"
    )
}


def _list_of_pythons(version, path, sha256, system="linux", libc="gnu"):
    major, minor, patch = map(int, version.split("."))
    key = f"cpython-{version}-{system}-x86_64-{libc}"
    entry = {"name": "cpython", "arch": {"family": "x86_64", "variant": None}, "os": system}
    entry |= {"libc": libc, "major": major, "minor": minor, "patch": patch, "prerelease": ""}
    entry |= {"url": path.as_uri(), "sha256": sha256, "variant": None, "build": "20260101"}
    return {key: entry}


# ---- given by the user --------------------------------------------------------------------------


@pytest.mark.parametrize(("sha256", "code"), [("", "sha256_missing"), ("0" * 64, "hash_mismatch")])
def test_an_archive_needs_its_sha256(shop, tmp_path, sha256, code):
    archive = tar_of(tmp_path / "p.tar.gz", LINUX)
    with pytest.raises(BadInput) as caught:
        shop.make(tmp_path / "b.ga3bundle", python_archive=archive, python_sha256=sha256)
    assert caught.value.code == code
    assert not (tmp_path / "b.ga3bundle").exists()


def test_a_sha256_needs_its_archive(shop, tmp_path):
    wanted = Wanted(["mini"], Target(here(), own_python()), python_sha256="0" * 64)
    with pytest.raises(UsageError):
        making.plan(shop.data, shop.settings, wanted)


def test_an_archive_that_is_not_there(tmp_path):
    with pytest.raises(BadInput) as caught:
        interpreter.given(tmp_path / "no.tar.gz", "0" * 64, FOR_LINUX, CancelToken())
    assert caught.value.code == "file_unreadable"


@pytest.mark.parametrize("target", [FOR_LINUX, FOR_WINDOWS], ids=["linux", "windows"])
@pytest.mark.parametrize("pack", [tar_of, zip_of], ids=["tar", "zip"])
@pytest.mark.parametrize("top", ["", "python/", "Python 3.12 ü/"])
def test_the_python_is_found_in_its_archive(tmp_path, target, pack, top):
    layout = WINDOWS if target == FOR_WINDOWS else LINUX
    files = {name.replace("python/", top, 1): content for name, content in layout.items()}
    archive = pack(
        tmp_path / "p", {**files, f"{top}share/terminfo/e/E": b"", f"{top}share/terminfo/E/e": b""}
    )
    found = interpreter.look(archive, target)
    assert (found.top, found.size) == (top, sum(map(len, files.values())))
    place = tmp_path / "unpacked"
    program = interpreter.unpack(archive, target, place, CancelToken())
    assert program == place / target.program
    assert program.read_bytes() in (ELF, PE)
    assert {p.relative_to(place).as_posix() for p in place.rglob("*") if p.is_file()} == {
        name.removeprefix(top) for name in files
    }
    if here() == "linux":
        assert program.stat().st_mode & 0o111


ARM = ELF[:18] + b"\xb7\0" + ELF[20:]
NO_PYTHON = {
    "another version": ({n.replace("3.12", "3.11"): c for n, c in LINUX.items()}, FOR_LINUX),
    "another system": (WINDOWS, FOR_LINUX),
    "another processor": ({**LINUX, "python/bin/python3.12": ARM}, FOR_LINUX),
    "a script": ({**LINUX, "python/bin/python3.12": b"#!/bin/sh"}, FOR_LINUX),
    "no library": ({"python/python.exe": PE}, FOR_WINDOWS),
    "too deep": ({f"a/{name}": content for name, content in LINUX.items()}, FOR_LINUX),
    "nothing": ({}, FOR_LINUX),
}


@pytest.mark.parametrize(("files", "target"), NO_PYTHON.values(), ids=NO_PYTHON.keys())
def test_an_archive_without_that_python(tmp_path, files, target):
    with pytest.raises(BadInput, match=r"holds no Python 3\.12 for") as caught:
        interpreter.look(tar_of(tmp_path / "p.tar.gz", files), target)
    assert caught.value.code == "python_archive"
    assert "python-build-standalone" in caught.value.hint


# ---- what must not be unpacked ------------------------------------------------------------------


ELSEWHERE = ["/etc/cron.d/x", "../x", "python/../../x", "C:/x.dll", "c:x", "python\\..\\..\\x"]
ODD = ["python/NUL", "python/nul .txt", "python/x.", "python/a\u202eb"]


@pytest.mark.parametrize("name", [*ELSEWHERE, *ODD])
@pytest.mark.parametrize("pack", [tar_of, zip_of], ids=["tar", "zip"])
def test_a_name_that_leads_elsewhere(tmp_path, pack, name):
    if pack is zip_of and "\\" in name and here() == "windows":
        pytest.skip("zipfile turns it there as it writes")
    archive = pack(tmp_path / "p", {**LINUX, name: b"x"})
    with pytest.raises(BadInput) as caught:
        interpreter.unpack(archive, FOR_LINUX, tmp_path / "unpacked", CancelToken())
    assert caught.value.code == "file_unsafe"
    assert not (tmp_path / "unpacked").exists()


def test_names_that_are_one_on_windows(tmp_path):
    archive = tar_of(tmp_path / "p", {**WINDOWS, "python/lib/OS.py": b"# another"})
    with pytest.raises(BadInput) as caught:
        interpreter.look(archive, FOR_WINDOWS)
    assert caught.value.code == "file_unsafe"


def _member(name, kind, link=""):
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, link
    return member


def test_links_and_devices_are_left_out(tmp_path):
    more = [
        _member("python/lib/out", tarfile.SYMTYPE, "/etc"),
        _member("python/lib/hard", tarfile.LNKTYPE, "python/bin/python3.12"),
        _member("python/lib/pipe", tarfile.FIFOTYPE),
        _member("python/lib/disk", tarfile.BLKTYPE),
    ]
    place = tmp_path / "unpacked"
    archive = tar_of(tmp_path / "p", LINUX, *more)
    interpreter.unpack(archive, FOR_LINUX, place, CancelToken())
    assert [p.name for p in (place / "lib").iterdir()] == ["python3.12"]


def test_a_file_behind_a_link_does_not_follow_it(tmp_path):
    """The link is not made, so its name becomes a folder of ours."""
    outside = tmp_path / "outside"
    outside.mkdir()
    with tarfile.open(tmp_path / "p", "w:gz") as tar:
        tar.addfile(_member("python/out", tarfile.SYMTYPE, str(outside)))
    content = gzip.decompress(tar_of(tmp_path / "q", {**LINUX, "python/out/x": b"x"}).read_bytes())
    link = gzip.decompress((tmp_path / "p").read_bytes())[:512]
    (tmp_path / "p").write_bytes(gzip.compress(link + content))
    interpreter.unpack(tmp_path / "p", FOR_LINUX, tmp_path / "unpacked", CancelToken())
    assert list(outside.iterdir()) == []
    assert (tmp_path / "unpacked" / "out" / "x").read_bytes() == b"x"


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path):
    huge = tarfile.TarInfo("python/lib/zeros")
    huge.size = 2 << 30
    head = gzip.decompress(tar_of(tmp_path / "p", LINUX).read_bytes()).rstrip(b"\0")
    whole = head + bytes(-len(head) % 512) + huge.tobuf()
    (tmp_path / "p").write_bytes(gzip.compress(whole))
    with pytest.raises(BadInput, match="larger than any Python") as caught:
        interpreter.look(tmp_path / "p", FOR_LINUX)
    assert caught.value.code == "file_unsafe"


def test_a_header_of_many_bytes_is_not_read_into_memory(tmp_path):
    header = tarfile.TarInfo("x")
    header.type, header.size = tarfile.XHDTYPE, 1 << 30
    (tmp_path / "p").write_bytes(gzip.compress(header.tobuf() + bytes(5 << 20)))
    with pytest.raises(BadInput, match="header in it is too long"):
        interpreter.look(tmp_path / "p", FOR_LINUX)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.95])
@pytest.mark.parametrize("pack", [tar_of, zip_of], ids=["tar", "zip"])
def test_a_truncated_archive(tmp_path, pack, share):
    whole = pack(tmp_path / "p", {**LINUX, "python/lib/x": bytes(range(256)) * 400}).read_bytes()
    (tmp_path / "p").write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(BadInput) as caught:
        interpreter.look(tmp_path / "p", FOR_LINUX)
    assert caught.value.code == "python_archive"
