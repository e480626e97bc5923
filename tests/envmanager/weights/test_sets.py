"""Sets of weights: downloaded, imported, checked and removed."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import stat
import tempfile
import threading
import time
import zipfile
from pathlib import Path

import pytest

from envmanager.data.settings import Settings
from envmanager.errors import (
    BadInput,
    Cancelled,
    ConfigError,
    DownloadFailed,
    ModuleInUse,
)
from envmanager.events import CancelToken, Progress, Stage
from envmanager.fetching.download import Patience
from envmanager.weights import importing, upkeep
from envmanager.weights.getting import Getter
from ga3_nodes import weights
from tests import programs
from tests.envmanager.weights.conftest import CYTO, NUCLEI, SIZE
from tests.file_server import Fault


def get(store, *names, **options):
    return Getter(store, Settings(), patience=Patience((0.05,)), **options).get(names)


def state(store, name):
    return next(found for found in store.states() if found.name == name)


# ---- known sets ---------------------------------------------------------------------------------


def test_a_set_is_downloaded_flat_and_listed(cells, file_server):
    assert cells.missing() == ["cyto3"]
    before = state(cells, "cyto3")
    assert (before.present, before.size, before.default) == (False, 0, True)
    told = []
    (got,) = get(cells, "cyto3", report=told.append)
    assert (got.new, got.size) == (True, len(CYTO) + len(SIZE))
    assert (cells.folder / "cyto3").read_bytes() == CYTO
    assert (cells.folder / "size.npy").read_bytes() == SIZE
    assert state(cells, "cyto3").present
    assert cells.missing() == []
    assert [one.title for one in told if isinstance(one, Stage)] == [
        "Downloading cyto3 (1 of 2)",
        "Downloading cyto3 (2 of 2)",
    ]
    assert [one for one in told if isinstance(one, Progress)][-1].done == len(SIZE)
    listing = json.loads((cells.folder / "weights.json").read_text("utf-8"))
    assert listing["sets"]["cyto3"]["path"] == "cyto3"
    assert listing["sets"]["cyto3"]["files"]["cyto3"]["size"] == len(CYTO)
    (again,) = get(cells, "cyto3")
    assert not again.new
    assert len(file_server.asked) == 2
    assert not cells.data.module("cells").exists()  # nothing was installed


def test_a_file_that_two_sets_share_is_downloaded_once_and_stays_for_the_other(cells, file_server):
    get(cells, "cyto3", "nuclei")
    assert file_server.sent("size.npy") == [len(SIZE)]
    assert upkeep.remove(cells, "cyto3") == len(CYTO)
    assert state(cells, "nuclei").present
    assert upkeep.verify(cells, ["nuclei"], full=True) == []
    assert upkeep.remove(cells, "nuclei") == len(NUCLEI) + len(SIZE)
    assert sorted(path.name for path in cells.folder.iterdir()) == ["weights.json"]


def test_a_file_that_is_another_than_at_first_is_refused_also_after_a_removal(cells, file_server):
    get(cells, "nuclei")
    upkeep.remove(cells, "nuclei")
    other = os.urandom(len(NUCLEI))
    file_server.put("nuclei", other)
    with pytest.raises(DownloadFailed, match="when they were first downloaded") as caught:
        get(cells, "nuclei")
    assert caught.value.code == "weights_changed"
    assert not (cells.folder / "nuclei").exists()
    get(cells, "nuclei", accept_changed=True)
    assert (cells.folder / "nuclei").read_bytes() == other
    upkeep.remove(cells, "nuclei")
    get(cells, "nuclei")  # it is the trusted one now


def test_a_shared_file_that_has_changed_counts_for_both_sets(cells, file_server):
    get(cells, "cyto3", "nuclei")
    file_server.put("size.npy", b"published anew")
    get(cells, "nuclei", accept_changed=True)
    assert upkeep.verify(cells, full=True) == []


def test_an_unknown_name_is_told_before_any_download(cells, file_server):
    with pytest.raises(BadInput, match="nothing/such") as caught:
        get(cells, "cyto3", "nothing/such")
    assert "nuclei" in caught.value.hint
    assert file_server.asked == []


def test_a_set_of_the_collection_is_downloaded_by_its_id(cells, file_server):
    file_server.put("zoo/happy-bee", b"a model package")
    (got,) = get(cells, "happy-bee")
    assert got.path == str(cells.folder / "happy-bee.zip")
    found = state(cells, "happy-bee")
    assert (found.present, found.custom) == (True, False)
    assert found.source == "https://example.org/happy-bee"
    upkeep.remove(cells, "happy-bee")
    assert "happy-bee" not in cells.entries()


def test_a_broken_off_download_goes_on_and_can_be_removed(cells, file_server):
    file_server.put("cyto3", CYTO, *[Fault(drop_after=100_000), Fault(status=404)] * 2)
    for _ in range(2):
        with pytest.raises(DownloadFailed):
            get(cells, "cyto3")
    assert not state(cells, "cyto3").present
    assert upkeep.remove(cells, "cyto3") > 200_000 - 1
    assert list(cells.folder.glob("cyto3*")) == []
    get(cells, "cyto3")
    assert upkeep.verify(cells, full=True) == []


def test_a_cancel_leaves_the_rest_for_the_next_time(cells, file_server):
    file_server.put("cyto3", CYTO, Fault(stall_after=100_000))
    cancel = CancelToken()
    threading.Timer(0.3, cancel.cancel).start()
    with pytest.raises(Cancelled):
        get(cells, "cyto3", cancel=cancel)
    get(cells, "cyto3")
    assert [asked.range for asked in file_server.asked[:2]] == ["", "bytes=100000-"]


def test_two_commands_at_once_download_a_set_once(cells, file_server):
    file_server.put("cyto3", CYTO, Fault(bytes_per_s=600_000))
    both = [programs.command("weights", "cells", "get", "cyto3") for _ in range(2)]
    told = [programs.answer(program) for program in both]
    assert [code for code, _ in told] == [0, 0]
    assert sorted(data["sets"][0]["new"] for _, data in told) == [False, True]
    assert file_server.sent("cyto3") == [len(CYTO)]


@pytest.mark.skipif(os.name == "nt", reason="sends SIGINT")
def test_ctrl_c_ends_a_download_at_once(cells, file_server):
    file_server.put("cyto3", CYTO, Fault(stall_after=100_000))
    program = programs.command("weights", "cells", "get", "cyto3")
    part = cells.folder / "cyto3.part"
    programs.until(lambda: part.exists() and part.stat().st_size == 100_000)
    program.send_signal(signal.SIGINT)
    started = time.monotonic()
    code, error = programs.answer(program)
    assert time.monotonic() - started < 2
    assert (code, error["code"]) == (130, "cancelled")
    get(cells, "cyto3")
    assert file_server.sent("cyto3")[-1] == len(CYTO) - 100_000


OTHER_ACCOUNT = """
import os, sys
from pathlib import Path
from envmanager.data.paths import DataFolder
from envmanager.data.settings import Settings
from envmanager.errors import GA3EnvError
from envmanager.modules import catalog
from envmanager.weights import upkeep
from envmanager.weights.getting import Getter
from envmanager.weights.store import Store
root = Path(sys.argv[1])
store = Store(DataFolder(root), catalog.load(root / "modules" / "cells"))
os.seteuid(65534)
print(Getter(store, Settings()).get(["cyto3"])[0].new)
for action in (lambda: Getter(store, Settings()).get(["nuclei"]),
               lambda: upkeep.remove(store, "cyto3")):
    try:
        action()
    except GA3EnvError as error:
        print(error.code)
"""


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can be two")
def test_an_account_that_may_not_write_is_told_so_in_one_sentence(cells):
    get(cells, "cyto3")
    root = Path(tempfile.mkdtemp(prefix="ga3-all-users-"))  # pytest's folders are one account's
    try:
        shutil.copytree(cells.data.root, root, dirs_exist_ok=True)
        root.chmod(0o755)
        told, error = programs.python(OTHER_ACCOUNT, root).communicate(timeout=60)
    finally:
        shutil.rmtree(root)
    assert told.split() == ["False", "not_writable", "not_writable"], error


# ---- zips ---------------------------------------------------------------------------------------


def zipped(files, **options):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = options.get("mode", stat.S_IFREG | 0o644) << 16
            archive.writestr(info, content)
    return packed.getvalue()


def test_a_zip_becomes_a_folder(cells, file_server):
    file_server.put("zipped.zip", zipped({"config.json": b"{}", "deep/weights.h5": CYTO}))
    (got,) = get(cells, "zipped")
    assert got.path == str(cells.folder / "zipped")
    assert (cells.folder / "zipped" / "deep" / "weights.h5").read_bytes() == CYTO
    assert not list(cells.folder.glob("*zip.*"))
    (cells.folder / "zipped" / "config.json").write_bytes(b"[]")
    assert upkeep.verify(cells) == []
    assert "config.json" in upkeep.verify(cells, ["zipped"], full=True)[0].message
    upkeep.remove(cells, "zipped")
    assert not (cells.folder / "zipped").exists()


BAD_ZIPS = {
    "traversal": zipped({"fine": b"1", "../../outside": b"2"}),
    "absolute": zipped({"/etc/outside": b"2"}),
    "drive": zipped({"c:/outside": b"2"}),
    "backslash": zipped({"..\\outside": b"2"}),
    "device": zipped({"deep/con.txt": b"2"}),
    "link": zipped({"inside": b"/etc/passwd"}, mode=stat.S_IFLNK | 0o777),
    "bomb": zipped({f"{number}": bytes(60 << 20) for number in range(2)}),
    "twice": zipped({"a": b"1", "A": b"2"}),
    "empty": zipped({}),
    "damaged": zipped({"a": CYTO})[:-200_000],
}


@pytest.mark.parametrize("kind", BAD_ZIPS)
def test_a_zip_that_is_up_to_no_good_is_refused_whole(cells, file_server, kind):
    file_server.put("zipped.zip", BAD_ZIPS[kind])
    with pytest.raises(DownloadFailed) as caught:
        get(cells, "zipped")
    assert caught.value.code == "zip_refused"
    assert not list(cells.data.root.rglob("outside*"))
    assert not (cells.folder / "zipped").exists()
    assert not list(cells.folder.glob("*.tmp"))
    assert not cells.data.trash.exists()


# ---- a user's own -------------------------------------------------------------------------------


def test_a_file_is_imported_with_name_and_note(cells, tmp_path):
    source = tmp_path / "CP 2026 é"
    source.write_bytes(NUCLEI)
    got = importing.add(cells, source, "lab-nuclei", note="Trained\nby Anna")
    assert got.path == str(cells.folder / "custom" / "lab-nuclei" / "CP 2026 é")
    found = state(cells, "lab-nuclei")
    assert (found.present, found.custom, found.note) == (True, True, "Trained by Anna")
    assert upkeep.verify(cells, full=True) == []
    with pytest.raises(BadInput) as caught:
        importing.add(cells, source, "lab-nuclei")
    assert caught.value.code == "weights_exist"
    source.write_bytes(CYTO)
    importing.add(cells, source, "lab-nuclei", replace=True)
    assert state(cells, "lab-nuclei").size == len(CYTO)
    assert upkeep.remove(cells, "lab-nuclei") == len(CYTO)
    assert list((cells.folder / "custom").iterdir()) == []


def test_a_folder_is_imported_with_all_that_is_in_it(cells, tmp_path):
    (tmp_path / "model" / "deep").mkdir(parents=True)
    (tmp_path / "model" / "config.json").write_text("{}")
    (tmp_path / "model" / "deep" / "weights.h5").write_bytes(CYTO)
    got = importing.add(cells, tmp_path / "model", "lab")
    assert got.path == str(cells.folder / "custom" / "lab" / "model")
    assert got.size == len(CYTO) + 2
    assert (cells.folder / "custom/lab/model/deep/weights.h5").read_bytes() == CYTO


@pytest.mark.parametrize("name", ["", "a b", "../a", "a/b", "-a", "a.", "con", "custom", "CYTO3"])
def test_names_that_cannot_be_are_refused(cells, tmp_path, name):
    (tmp_path / "w").write_bytes(b"1")
    with pytest.raises(BadInput) as caught:
        importing.add(cells, tmp_path / "w", name)
    assert caught.value.code == "weights_name"
    assert not cells.folder.exists()


def test_nothing_is_no_weights(cells, tmp_path):
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    for source, code in [
        ("empty", "weights_empty"),
        ("folder", "weights_not_found"),
        ("missing", "weights_not_found"),
    ]:
        with pytest.raises(BadInput) as caught:
            importing.add(cells, tmp_path / source, "lab")
        assert caught.value.code == code
    assert not cells.folder.exists()


def test_a_cancelled_import_leaves_nothing(cells, tmp_path):
    (tmp_path / "w").write_bytes(CYTO)
    cancel = CancelToken()
    cancel.cancel()
    with pytest.raises(Cancelled):
        importing.add(cells, tmp_path / "w", "lab", cancel=cancel)
    assert not list(cells.data.root.rglob("w"))


# ---- damage and removal -------------------------------------------------------------------------


def test_damage_is_found_told_and_mended(cells, file_server):
    get(cells, "cyto3")
    (cells.folder / "cyto3").write_bytes(CYTO[:-1])
    found = state(cells, "cyto3")
    assert not found.present
    assert "299,999 bytes and not 300,000" in found.problem
    assert cells.missing() == ["cyto3"]
    (problem,) = upkeep.verify(cells)
    assert problem.set == "cyto3"
    get(cells, "cyto3")
    assert upkeep.verify(cells, full=True) == []
    (cells.folder / "cyto3").write_bytes(CYTO[::-1])
    assert upkeep.verify(cells) == []
    assert "other bytes" in upkeep.verify(cells, full=True)[0].message


def test_what_is_not_there_cannot_be_removed(cells):
    get(cells, "cyto3")
    for name, code in (("nuclei", "weights_missing"), ("nonsense", "weights_unknown")):
        with pytest.raises(BadInput) as caught:
            upkeep.remove(cells, name)
        assert caught.value.code == code
        assert "cyto3" in caught.value.hint


def test_a_file_that_cannot_be_taken_away_leaves_the_set_whole(cells, monkeypatch):
    """As on Windows, where a program has it open."""
    get(cells, "cyto3")
    real = type(cells.folder).rename

    def rename(path, target):
        if path.name == "size.npy" and path.parent == cells.folder:
            raise PermissionError(13, "in use")
        return real(path, target)

    monkeypatch.setattr(type(cells.folder), "rename", rename)
    with pytest.raises(ModuleInUse, match=r"size.npy is in use"):
        upkeep.remove(cells, "cyto3")
    assert upkeep.verify(cells, full=True) == []


@pytest.mark.parametrize(
    "text", ["{", '{"schema": 2}', '{"schema": 1, "sets": {"a": {"path": "../x", "files": {}}}}']
)
def test_a_damaged_list_is_told_and_not_overwritten(cells, text):
    cells.folder.mkdir(parents=True)
    (cells.folder / weights.LISTING).write_text(text)
    with pytest.raises(ConfigError) as caught:
        get(cells, "cyto3")
    assert caught.value.code == "weights_damaged"
    assert (cells.folder / weights.LISTING).read_text() == text
