"""Generations that are pinned, compared and frozen: with real environments of the tiny module."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from envmanager import presets
from envmanager.data import writers
from envmanager.data.settings import Settings
from envmanager.doctor import data as doctor_data
from envmanager.environments import comparing, inventory, pins, removal
from envmanager.environments.generations import PIN
from envmanager.errors import BadInput, GA3EnvError, InstallFailed, NotInstalled, UsageError
from envmanager.fetching.hashing import hash_of
from envmanager.modules import catalog
from envmanager.presets import Preset
from envmanager.sharing import freezing, methods
from envmanager.weights import importing
from envmanager.weights.store import Store
from tests.envmanager.conftest import TOML, WORKER, write_module
from tests.programs import answer, command

pytestmark = pytest.mark.slow
MODEL = """
[functions.segment.parameters.model]
type = "weights"
default = ""
label = "Model"
"""


@pytest.fixture
def engine(installed):
    """Return the engine that keeps no older generations."""
    return replace(installed, settings=Settings(generations_kept=0))


def _numbers(engine) -> list[int]:
    return inventory.status(engine.data, "tiny").generations


def _next(engine, tiny_lock, worker: str) -> int:
    """Publish another generation, with another worker."""
    write_module(engine.data.user_modules / "tiny", tiny_lock, worker=f"{WORKER}\n# {worker}\n")
    return engine.update("tiny").generation


def _copy_generation(engine, number: int) -> Path:
    """Add a complete generation by hand: its content is of no interest."""
    folder = engine.data.generation("tiny", number)
    shutil.copytree(
        engine.data.generation("tiny", 1), folder, ignore=shutil.ignore_patterns(".venv", PIN)
    )
    return folder


def test_a_pinned_generation_outlives_updates_until_it_is_unpinned(engine, tiny_lock):
    data = engine.data
    made = pins.pin(data, "tiny", note="  paper\n 2026 ")
    assert (made.text, made.generation) == ("1 (paper 2026)", 1)
    assert _next(engine, tiny_lock, "two") == 2
    _copy_generation(engine, 3)
    (data.generation("tiny", 3) / "manifest.json").unlink()  # incomplete, yet pinned
    (data.generation("tiny", 3) / PIN).write_text("damaged", "utf-8")
    assert list(doctor_data._dead_folders(data)) == []
    assert _next(engine, tiny_lock, "four") == 4
    assert _numbers(engine) == [1, 3, 4]
    status = inventory.status(data, "tiny")
    assert [(pin.generation, pin.note) for pin in status.pins] == [(1, "paper 2026"), (3, "")]
    assert status.as_dict()["pins"][0]["note"] == "paper 2026"
    assert engine.rollback("tiny", 1).generation == 1
    with pytest.raises(BadInput, match="Several") as caught:
        pins.unpin(data, "tiny")
    assert "1 (paper 2026), 3" in caught.value.hint
    pins.unpin(data, "tiny", 3)
    pins.unpin(data, "tiny")
    engine.rollback("tiny", 4)
    engine.update("tiny")
    assert _numbers(engine) == [4]


def test_remove_refuses_pins_unless_it_is_forced(engine):
    data = engine.data
    pins.pin(data, "tiny", note="paper 2026")
    for remove in (engine.remove, engine.remove_when_free):
        with pytest.raises(BadInput, match=r"pinned generations: 1 \(paper 2026\)") as caught:
            remove("tiny")
        assert caught.value.code == "pinned"
        assert "--force" in caught.value.hint
    assert not writers.removal_mark(data, "tiny").exists()
    # One that waits without force never takes what was pinned since.
    writers.removal_mark(data, "tiny").write_text("0\n", "utf-8")
    assert removal.sweep(data) == []
    with pytest.raises(BadInput, match="about to be removed"):
        pins.pin(data, "tiny")
    removal.keep(data, "tiny")
    assert _numbers(engine) == [1]
    code, error = answer(command("remove", "tiny"))
    assert (code, error["code"]) == (1, "pinned")
    code, done = answer(command("remove", "tiny", "--force"))
    assert (code, done["deferred"]) == (0, False)
    assert inventory.numbers(data, "tiny") == []


def test_what_cannot_be_pinned_says_why(engine):
    data = engine.data
    with pytest.raises(NotInstalled, match="no generation 7") as caught:
        pins.pin(data, "tiny", 7)
    assert "1" in caught.value.hint
    for note in ("x" * 201, "a\x00b"):
        with pytest.raises(BadInput, match="one line"):
            pins.pin(data, "tiny", note=note)
    with pytest.raises(NotInstalled, match=r"No generation of tiny is pinned"):
        pins.unpin(data, "tiny")
    with pytest.raises(NotInstalled, match="not installed"):
        pins.unpin(data, "classic")
    pins.pin(data, "tiny", note="old note")
    assert answer(command("pin", "tiny", "1", "--note", "new"))[1]["pins"][0]["note"] == "new"
    with pytest.raises(NotInstalled, match="Generation 2 of tiny is not pinned"):
        pins.unpin(data, "tiny", 2)
    shown = answer(command("list"))[1]
    assert [m["pins"][0]["note"] for m in shown["modules"] if m["pins"]] == ["new"]


def test_a_comparison_tells_packages_versions_and_files(engine):
    data, folder = engine.data, _copy_generation(engine, 2)
    assert comparing.compare(data, "tiny", 2).same
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    numpy = manifest["packages"]["numpy"]
    manifest["packages"] = {"numpy": "0.1", "scipy": "1.0"}
    manifest |= {"version": "0.9", "python": "3.9.1", "backend": "cu126"}
    manifest["files"]["worker.py"] = manifest["files"]["requirements.lock"] = "0" * 64
    manifest["files"]["requirements-cu126.lock"] = "0" * 64
    manifest["files"]["pylock.toml"] = "0" * 64
    (folder / "manifest.json").write_text(json.dumps(manifest), "utf-8")
    found = comparing.compare(data, "tiny", 2)
    assert {one["fact"]: (one["old"], one["new"] != "") for one in found.facts} == {
        "version": ("0.9", True),
        "Python": ("3.9.1", True),
        "backend": ("cu126", True),
    }
    assert found.packages == [
        {"package": "numpy", "old": "0.1", "new": numpy},
        {"package": "scipy", "old": "1.0", "new": None},
    ]
    assert found.files == [
        {"file": "requirements-cu126.lock", "change": "removed"},
        {"file": "requirements.lock", "change": "changed"},
        {"file": "worker.py", "change": "changed"},
    ]
    assert found.worker_changed
    assert found.lock_changed
    assert found.rebuilt == []
    pylock = folder / "pylock.toml"
    text = pylock.read_text("utf-8")
    digest = text.partition("wheels")[2].partition('sha256 = "')[2][:64]
    pylock.write_text(text.replace(digest, "0" * 64), "utf-8")
    assert comparing.compare(data, "tiny", 1, 2).rebuilt == ["numpy"]
    code, shown = answer(command("diff", "tiny", "2", "1"))
    assert (code, shown["worker_changed"], len(shown["packages"])) == (0, True, 2)
    code, error = answer(command("diff", "tiny", "1", "9"))
    assert (code, error["code"]) == (1, "no_generation")


# ---- freeze -------------------------------------------------------------------------------------


@pytest.fixture
def with_model(installed, tiny_lock, tmp_path):
    """Publish a generation whose function takes weights, which are there."""
    toml = TOML.replace('summary = "', 'license = "MIT"\ncitation = "Me (2026)."\nsummary = "')
    worker = WORKER.replace("threshold=100.0", 'threshold=100.0, model=""')
    folder = installed.data.user_modules / "tiny"
    write_module(folder, tiny_lock, toml=toml + MODEL, worker=worker)
    installed.update("tiny")
    mine = tmp_path / "my cells.pt"
    mine.write_bytes(b"weights")
    importing.add(Store(installed.data, catalog.find("tiny", installed.data)), mine, "mine")
    return installed.data


def test_a_record_holds_what_computed_to_the_hash(with_model, tmp_path):
    data, own = with_model, tmp_path / "my cells.pt"
    presets.save(data, Preset("yeast", "tiny", "segment", {"threshold": 42.5, "model": "mine"}))
    pins.pin(data, "tiny", note="paper | 2026")
    target = tmp_path / "methods.json"
    code, done = answer(command("freeze", "tiny", "--preset", "yeast", "-o", target))
    assert (code, done["path"]) == (0, str(target))
    record = json.loads(target.read_text("utf-8"))
    assert record["kind"] == "ga3-methods"
    assert {p["name"]: p["value"] for p in record["parameters"]} == {
        "threshold": 42.5,
        "model": "mine",
    }
    (numpy,) = record["packages"]
    lock = (data.generation("tiny", 2) / "requirements.lock").read_text("utf-8")
    assert numpy["direct"]
    assert all(f"sha256:{file['sha256']}" in lock for file in numpy["files"])
    assert [file["name"].endswith(".whl") for file in numpy["files"]] == [True]
    (weights,) = record["weights"]
    assert list(weights["files"].values()) == [vars(hash_of(own.read_bytes()))]
    assert record["environment"]["note"] == "paper | 2026"
    assert "Please cite: Me (2026)." in record["text"]
    assert "42.5" in record["text"]
    assert str(tmp_path) not in target.read_text("utf-8")

    found = freezing.freeze(data, "tiny", parameters={"model": str(own)})
    assert [one["name"] for one in found.values["weights"]] == ["my cells.pt"]
    for name in ("m.md", "m.txt"):
        methods.save(found, tmp_path / name)
        text = (tmp_path / name).read_text("utf-8")
        assert numpy["files"][0]["sha256"] in text
        values = json.loads(text[text.index("\n{") : text.rindex("}") + 1])
        assert values == found.values
    with pytest.raises(UsageError, match="suffix"):
        methods.save(found, tmp_path / "m.docx")
    assert freezing.freeze(data, "tiny", generation=1).values["environment"]["generation"] == 1


def test_a_record_is_refused_where_it_would_not_be_true(with_model):
    data = with_model
    for words, code in (
        (["-p", "threshold=x"], "bad_parameter"),
        (["--function", "absent"], "unknown_function"),
        (["--preset", "absent"], "unknown_preset"),
        (["--generation", "9"], "no_generation"),
    ):
        assert answer(command("freeze", "tiny", *words))[1]["code"] == code
    found = freezing.freeze(data, "tiny", parameters={"model": "absent"})
    assert "not on this computer" in found.notes[0]
    place = next((data.root / "weights" / "tiny").rglob("*.pt"))
    place.write_bytes(b"weightz")  # the same size
    with pytest.raises(BadInput, match="other bytes"):
        freezing.freeze(data, "tiny", parameters={"model": "mine"})
    worker = data.generation("tiny", 2) / "worker.py"
    worker.write_text(worker.read_text("utf-8") + "#", "utf-8")
    with pytest.raises(InstallFailed, match=r"worker\.py has changed") as caught:
        freezing.freeze(data, "tiny")
    assert "repair" in caught.value.hint
    with pytest.raises(GA3EnvError, match="not installed"):
        freezing.freeze(data, "classic")
