"""A module as one file: out on one computer, in on another, whole or not at all."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from envmanager.data import settings
from envmanager.data.paths import DataFolder
from envmanager.data.settings import Settings
from envmanager.errors import BadInput, Cancelled, CatalogError, GA3EnvError, UnknownModule
from envmanager.events import CancelToken, Stage
from envmanager.modules import catalog, placing
from envmanager.sharing import adding, packing, sealed
from envmanager.weights import importing, upkeep
from envmanager.weights.store import Store
from tests.envmanager.conftest import LOCK, TOML, write_module
from tests.programs import answer, command
from tests.support import PROJECT

AUTHOR = "Ada Lovelace, Lab für Bäckerhefe"
WEIGHTS = """
[weights.small]
title = "Small"
license = "CC0"
files = [{ name = "small.bin", url = "http://127.0.0.1:9/small.bin" }]
"""


@pytest.fixture
def lab(tmp_path) -> DataFolder:
    """Return the data folder of a lab with a module, a guide, private images, and weights."""
    made = DataFolder(tmp_path / "lab")
    folder = write_module(made.user_modules / "tiny", LOCK, toml=TOML + WEIGHTS)
    (folder / "README.md").write_text("How to use it", "utf-8")
    (folder / "LICENSE").write_text("MIT", "utf-8")
    (folder / "patient 7.tif").write_bytes(b"private")
    (folder / "__pycache__").mkdir()
    mine = tmp_path / "mine.pt"
    mine.write_bytes(os.urandom(300_000))
    importing.add(_store(made), mine, "mine", note="trained on yeast")
    small = _store(made).folder / "small.bin"
    small.write_bytes(b"small weights")
    entry = {"path": "small.bin", "custom": False, "note": "", "added": ""}
    found = packing.hash_of(b"small weights")
    _store(made).put("small", {**entry, "files": {"small.bin": vars(found)}})
    return made


@pytest.fixture
def file(lab, tmp_path) -> Path:
    """Return the module's file with all weights."""
    target = tmp_path / "tiny.ga3module"
    return packing.export(lab, "tiny", target, author=AUTHOR, weights=["all"]).path


def _store(data: DataFolder) -> Store:
    return Store(data, catalog.find("tiny", data))


def _contents(place: Path) -> dict[str, bytes]:
    return {
        p.relative_to(place).as_posix(): p.read_bytes() for p in place.rglob("*") if p.is_file()
    }


def _meaning(place: Path) -> dict[str, object]:
    """Return contents; of the listing of weights what it says, in whatever order."""
    found = {name: content for name, content in _contents(place).items() if name != "reserve"}
    listed = [name for name in found if name.endswith("weights.json")]
    return {**found, **{name: json.loads(found[name]) for name in listed}}


def _nothing_in(data: DataFolder) -> bool:
    """Tell whether nothing is left: of folders only those that hold nothing."""
    return not [name for name in _contents(data.root) if not name.startswith(("reserve", "logs"))]


def _add(data: DataFolder, path: Path, **options) -> Path:
    return adding.add(data, Settings(), path, **options).folder


# ---- out and in ---------------------------------------------------------------------------------


def test_a_module_travels_with_its_weights_and_nothing_private(lab, file, data):
    shown = adding.look(data, file)
    assert _nothing_in(data)
    assert (shown.module, shown.author, shown.replaces, shown.shipped) == (
        "tiny",
        AUTHOR,
        "",
        False,
    )
    assert "will run on this computer" in shown.warning
    assert {one["name"]: one["license"] for one in shown.weights} == {"mine": "", "small": "CC0"}
    place = _add(data, file, checksum=shown.checksum)
    sent = _contents(lab.user_modules / "tiny")
    assert _contents(place) == {n: c for n, c in sent.items() if n != "patient 7.tif"}
    here, there = _store(data), _store(lab)
    assert here.entries().keys() == {"mine", "small"}
    assert here.entries()["mine"]["note"] == "trained on yeast"
    assert upkeep.verify(here, full=True) == []
    assert _contents(here.folder / "custom") == _contents(there.folder / "custom")
    again = adding.look(data, file)
    assert again.replaces == "1.0.0"
    assert all(one["present"] for one in again.weights)


def test_equal_contents_make_equal_bytes(lab, tmp_path):
    made = [
        packing.export(lab, "tiny", tmp_path / name, author=AUTHOR, date=date, weights=["mine"])
        for name, date in (("a", "2026-01-02"), ("b", "2026-01-02"), ("c", "2026-01-03"))
    ]
    first, second, third = (done.path.read_bytes() for done in made)
    assert first == second != third
    assert made[0].manifest.checksum == made[1].manifest.checksum != made[2].manifest.checksum
    assert made[0].left_out == ("__pycache__", "patient 7.tif")
    assert packing.export(lab, "tiny", tmp_path, author="A").path.name == "tiny-1.0.0.ga3module"


def test_what_cannot_be_exported_says_why(lab, data, tmp_path):
    target = tmp_path / "x.ga3module"
    for author in ("", "  ", "two\nlines", "x" * 300):
        with pytest.raises(BadInput) as caught:
            packing.export(lab, "tiny", target, author=author)
        assert caught.value.code == "no_author"
    with pytest.raises(UnknownModule, match="comes with the app"):
        packing.export(data, "classic", target, author="A")
    with pytest.raises(BadInput, match="no weights 'absent'"):
        packing.export(lab, "tiny", target, author="A", weights=["absent"])
    place = Path(_store(lab).states()[-1].path)
    place.write_bytes(place.read_bytes()[::-1])  # the same size
    with pytest.raises(BadInput, match="other bytes than when it came"):
        packing.export(lab, "tiny", target, author="A", weights=["mine"])
    (lab.user_modules / "tiny" / "worker.py").write_text("def segment(", "utf-8")
    with pytest.raises(CatalogError, match=r"worker\.py"):
        packing.export(lab, "tiny", target, author="A")
    assert not target.exists()


def test_an_update_replaces_the_whole_module_and_keeps_the_weights(lab, file, data):
    place = _add(data, file)
    (place / "old.txt").write_text("old", "utf-8")
    with pytest.raises(BadInput, match="already") as caught:
        _add(data, file)
    assert caught.value.code == "module_exists"
    write_module(lab.user_modules / "tiny", LOCK, toml=TOML.replace("1.0.0", "2.0.0"))
    newer = packing.export(lab, "tiny", file.with_name("2.ga3module"), author=AUTHOR).path
    assert adding.add(data, Settings(), newer, update=True).version == "2.0.0"
    assert not (place / "old.txt").exists()
    assert "mine" in _store(data).entries()


# ---- what is not taken --------------------------------------------------------------------------


def _repacked(file: Path, edit) -> Path:
    """Write the file again with other members; `edit` changes a dict of them by name."""
    with zipfile.ZipFile(file) as opened:
        members = {name: opened.read(name) for name in opened.namelist()}
    members = edit(members) or members
    changed = file.with_name("changed.ga3module")
    with zipfile.ZipFile(changed, "w", zipfile.ZIP_STORED) as made:
        for name, content in members.items():
            made.writestr(name, content)
    return changed


def _forged(file: Path, edit) -> Path:
    """Write the file again with another manifest whose checksum fits: who forges can hash too."""

    def change(members):
        values = json.loads(members[sealed.MANIFEST])
        edit(values, members)
        for name in values["files"]:
            if name in members:
                values["files"][name] = vars(packing.hash_of(members[name]))
        values.pop("checksum", None)
        values["checksum"] = sealed.checksum(values)
        members[sealed.MANIFEST] = json.dumps(values).encode()

    return _repacked(file, change)


ALTERED = {
    "a file changed": lambda m: m.update({"module/worker.py": m["module/worker.py"] + b"#"}),
    "same size": lambda m: m.update({"module/LICENSE": b"GPL"}),
    "a file put in": lambda m: m.update({"module/sitecustomize.py": b"import os"}),
    "a file taken out": lambda m: {n: c for n, c in m.items() if n != "module/LICENSE"},
    "weights changed": lambda m: m.update({"weights/small.bin": b"other weights"}),
    "the author changed": lambda m: m.update(
        {"manifest.json": m["manifest.json"].replace(b"Ada", b"Eve")}
    ),
}


@pytest.mark.parametrize("edit", ALTERED.values(), ids=ALTERED.keys())
def test_an_altered_file_is_refused(file, data, edit):
    changed = _repacked(file, edit)
    for attempt in (adding.look, _add):
        with pytest.raises(BadInput, match="altered") as caught:
            attempt(data, changed)
        assert caught.value.code == "file_altered"
        assert changed.name in caught.value.message
    assert _nothing_in(data)


def _weights_under_another_name(values, members):
    values["weights"]["cyto9"] = {**values["weights"]["small"]}
    del values["weights"]["small"]


def _weights_elsewhere(values, members):
    values["weights"]["mine"]["files"] = ["small.bin"]
    values["weights"]["mine"]["path"] = "small.bin"


def _climbing_weights(values, members):
    values["weights"]["mine"]["path"] = "custom/mine/../../../x"


def _another_module(values, members):
    values["module"] = "other"


def _broken_module(values, members):
    members["module/worker.py"] = b"def segment("


def _trap(values, members):
    members["module/worker.py"] = b"x = " + b"-" * 200_000 + b"1"


def _deep_declaration(values, members):
    members["module/module.toml"] = b"x = " + b"[" * 20_000


def _newer(values, members):
    values["schema"] = 2


def _other_format(values, members):
    values["format"] = "ga3-bundle"


@pytest.mark.parametrize(
    ("edit", "code", "why"),
    [
        (_weights_under_another_name, "file_altered", "none of tiny's"),
        (_weights_elsewhere, "file_damaged", "manifest.json"),
        (_climbing_weights, "file_damaged", "manifest.json"),
        (_another_module, "file_altered", "another module"),
        (_broken_module, "module_invalid", "changed.ga3module: tiny/worker.py, line 1"),
        (_trap, "file_unsafe", "nested too deeply"),
        (_deep_declaration, "file_unsafe", "nested too deeply"),
        (_newer, "file_too_new", "newer than this app knows"),
        (_other_format, "file_refused", "ga3-bundle"),
        (lambda values, _: values.pop("author"), "file_damaged", "author"),
        (lambda values, _: values.update(files=[]), "file_damaged", "manifest.json"),
        (lambda values, _: values.update(author="a\nb"), "file_damaged", "manifest.json"),
    ],
)
def test_a_forged_file_is_refused(file, data, edit, code, why):
    changed = _forged(file, edit)
    for attempt in (adding.look, _add):
        with pytest.raises(GA3EnvError) as caught:
            attempt(data, changed)
        assert (caught.value.code, why in caught.value.message) == (code, True), caught.value
        assert caught.value.hint
    assert _nothing_in(data)


def test_a_zip_that_is_no_module_says_what_to_do(data, tmp_path):
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as made:
        made.writestr("a.png", b"1")
    with pytest.raises(BadInput, match="no file of a module") as caught:
        adding.look(data, tmp_path / "photos.zip")
    assert "export-module" in caught.value.hint


@hypothesis_settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(chosen=st.data())
def test_one_wrong_byte_or_a_cut_is_refused_or_harmless(file, data, chosen):
    whole = file.read_bytes()
    content = bytearray(whole)
    if chosen.draw(st.booleans()):
        # Half of the places in the directory at the end, where each byte means something.
        place = chosen.draw(st.integers(0, 900) | st.integers(0, len(content) - 1))
        content[len(content) - 1 - place] ^= chosen.draw(st.integers(1, 255))
    else:
        del content[chosen.draw(st.integers(0, len(content) - 1)) :]
    changed = file.with_name("changed.ga3module")
    changed.write_bytes(content)
    with contextlib.suppress(BadInput):
        assert adding.look(data, changed).checksum == adding.look(data, file).checksum
    assert _nothing_in(data)


def test_another_file_than_was_shown_is_refused(file, lab, data):
    shown = adding.look(data, file)
    packing.export(lab, "tiny", file, author="Eve")
    with pytest.raises(BadInput, match="another one than was shown"):
        _add(data, file, checksum=shown.checksum)
    assert _nothing_in(data)


# ---- weights that are in the way, and failures half-way -----------------------------------------


def test_other_weights_of_the_same_name_stay(file, data, tmp_path):
    write_module(data.user_modules / "tiny", LOCK, toml=TOML + WEIGHTS)
    own = tmp_path / "own.pt"
    own.write_bytes(b"the only copy")
    importing.add(_store(data), own, "Mine")
    before = _contents(data.root)
    with pytest.raises(BadInput, match="other weights 'Mine'") as caught:
        _add(data, file, update=True)
    assert caught.value.code == "weights_exist"
    assert _contents(data.root) == before


@pytest.mark.parametrize("had_weights", [False, True])
def test_a_failure_at_the_very_end_undoes_all_of_it(file, data, tmp_path, monkeypatch, had_weights):
    if had_weights:
        write_module(data.user_modules / "tiny", LOCK, toml=TOML + WEIGHTS)
        other = tmp_path / "other.pt"
        other.write_bytes(b"other")
        importing.add(_store(data), other, "other")
    before = _meaning(data.root)

    def fail(*_):
        raise PermissionError("a program has it open")

    monkeypatch.setattr(placing, "put", fail)
    with pytest.raises(PermissionError):
        _add(data, file, update=True)
    assert _meaning(data.root) == before
    monkeypatch.undo()
    _add(data, file, update=True)
    assert {"mine", "small"} <= _store(data).entries().keys()


def test_known_weights_that_were_other_ones_when_they_were_downloaded_are_refused(file, data):
    """They are here no more, but what was trusted once is remembered."""
    write_module(data.user_modules / "tiny", LOCK, toml=TOML + WEIGHTS)
    store = _store(data)
    store.folder.mkdir(parents=True)
    store.trust(store.module.weights["small"].files[0].url, "0" * 64)
    before = _contents(data.root)
    with pytest.raises(BadInput, match="'small' in the file are not those") as caught:
        _add(data, file, update=True)
    assert caught.value.code == "weights_changed"
    assert _contents(data.root) == before


def test_what_a_kill_has_left_of_weights_goes_with_the_next_one(file, data):
    half = data.root / "weights" / "tiny" / "custom" / "mine.12345.tmp" / "custom" / "mine"
    half.mkdir(parents=True)
    (half / "w.pt").write_bytes(b"half of it")
    _add(data, file)
    assert not list((data.root / "weights" / "tiny" / "custom").glob("*.tmp"))


@pytest.mark.parametrize("stage", ["check-file", "copy"])
def test_a_cancel_leaves_nothing(file, data, stage):
    cancel = CancelToken()

    def report(event):
        if isinstance(event, Stage) and event.name == stage:
            cancel.cancel()

    with pytest.raises(Cancelled):
        _add(data, file, report=report, cancel=cancel)
    assert _nothing_in(data)


def test_what_a_kill_has_left_is_swept(file, data):
    left = [data.user_modules / ".tiny.new", data.root / "weights/tiny/custom/mine.999.tmp"]
    for folder in left:
        folder.mkdir(parents=True)
        (folder / "half").write_bytes(b"half")
    _add(data, file)
    assert [folder for folder in left if folder.exists()] == []
    assert upkeep.verify(_store(data), full=True) == []


# ---- the commands -------------------------------------------------------------------------------


def test_the_commands_show_ask_and_remember_the_author(data, tmp_path):
    write_module(data.user_modules / "tiny", LOCK)
    target = tmp_path / "t.ga3module"
    code, error = answer(command("export-module", "tiny", "-o", target))
    assert (code, error["code"]) == (1, "no_author")
    assert "--author" in error["hint"]
    code, made = answer(command("export-module", "tiny", "-o", target, "--author", f" {AUTHOR} "))
    assert (code, made["author"], made["path"]) == (0, AUTHOR, str(target))
    assert settings.author(data.settings) == AUTHOR
    code, made = answer(command("export-module", "tiny", "-o", target, "--weights", "none"))
    assert (code, made["author"]) == (0, AUTHOR)
    shutil.rmtree(data.user_modules)
    code, error = answer(command("add-module", target))
    assert (code, error["code"]) == (2, "usage")
    code, shown = answer(command("add-module", target, "--show"))
    assert (code, shown["checksum"], shown["author"]) == (0, made["checksum"], AUTHOR)
    assert not data.user_modules.exists()
    code, done = answer(command("add-module", target, "--yes"))
    assert (code, done["name"], done["next"]) == (0, "tiny", "./run install tiny")
    code, error = answer(command("add-module", target, "--lock"))
    assert (code, error["code"]) == (2, "usage")


@pytest.mark.skipif(sys.platform == "win32", reason="a terminal of POSIX")
@pytest.mark.parametrize(("typed", "code"), [(b"\n", 130), (b"y\n", 0)])
def test_in_a_terminal_only_a_clear_yes_adds_it(lab, data, tmp_path, typed, code):
    import pty
    import subprocess

    made = packing.export(lab, "tiny", tmp_path / "t.ga3module", author=AUTHOR)
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "envmanager", "add-module", made.path],
        cwd=PROJECT,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    said = b""
    try:
        while b"[y/N]" not in said:  # ends with an OSError where the program ends before
            said += os.read(ours, 4096)
        assert b"will run on this computer" in said
        os.write(ours, typed)
        assert process.wait(60) == code
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    assert (data.user_modules / "tiny").exists() == (code == 0)
