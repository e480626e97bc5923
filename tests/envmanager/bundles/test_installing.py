"""Bundles are installed without any network: the same published generation, and a life after it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace

import pytest

from envmanager.bundles import installing, making
from envmanager.bundles.making import Wanted
from envmanager.bundles.target import Target, here, own_python
from envmanager.data.paths import DataFolder
from envmanager.data.settings import Settings
from envmanager.environments.generations import read_manifest
from envmanager.environments.lifecycle import Environments
from envmanager.errors import BadInput, Cancelled, GA3EnvError, InstallFailed
from envmanager.events import CancelToken, Progress, Stage
from envmanager.machine import nis
from envmanager.modules import catalog
from envmanager.packages import lockfile
from envmanager.uv.program import Uv
from envmanager.weights import importing
from envmanager.weights.store import Store
from ga3_nodes import client
from tests import programs
from tests.envmanager.bundles.conftest import WEIGHTS, forged, left_in
from tests.envmanager.disk.test_full_disk import small_disk  # noqa: F401
from tests.faults import mini
from tests.support import PROJECT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not here(), reason="bundles are for 64-bit Windows and Linux PCs"),
]


def _cut_off(*words: object) -> subprocess.CompletedProcess[str]:
    """Run a command where there is no network at all, not even that of this computer."""
    unshare = shutil.which("unshare")
    if not unshare or subprocess.run([unshare, "-rn", "true"], capture_output=True).returncode:
        pytest.skip("this system lets nobody cut a program off from the network")
    command = [unshare, "-rn", sys.executable, "-m", "envmanager", *map(str, words)]
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=300)


def _site_file(engine, generation):
    return next(engine.data.generation("mini", generation).rglob("mini_core/block.bin"))


def test_the_life_of_a_bundle_without_a_network(bundle, engine):
    """Install, compute, verify, repair, roll back; the index of the settings does not exist."""
    (done,) = installing.install(engine, bundle)
    assert (done.name, done.generation, done.new) == ("mini", 1, True)
    assert client.call("mini", "segment", {"image": mini.IMAGE})["labels"].tolist() == mini.mask(1)
    manifest = read_manifest(done.folder)
    assert manifest["selftest"] == "passed"
    assert all(w.url.startswith("http://127.0.0.1") for w in _wheels(done.folder))
    assert not engine.data.downloads.exists()
    assert engine.verify("mini") == []
    store = Store(engine.data, catalog.find("mini", engine.data))
    assert (store.folder / "small.bin").read_bytes() == WEIGHTS
    assert sorted(store.entries()) == ["mine", "small"]
    assert [store.damage(entry) for entry in store.entries().values()] == ["", ""]
    (again,) = installing.install(engine, bundle)
    assert (again.generation, again.new) == (1, False)
    _site_file(engine, 1).unlink()
    repaired = Environments(engine.data, replace(engine.settings, offline=True)).repair("mini")
    assert (repaired.generation, repaired.new) == (2, True)
    assert engine.verify("mini") == []
    assert _wheels(engine.data.generation("mini", 2)) == _wheels(done.folder)
    with pytest.raises(InstallFailed):  # the damage is still there: nothing is restored by it
        engine.rollback("mini")


def _wheels(folder):
    return lockfile.wheels(folder / "pylock.toml")


def test_the_progress_of_each_stage_grows_to_its_end(bundle, engine, shop, tmp_path):
    told = []
    wanted = Wanted(["mini"], Target(here(), own_python()))
    making.create(shop.data, shop.settings, wanted, tmp_path / "b.ga3bundle", report=told.append)
    installing.install(engine, bundle, report=told.append)
    stages: dict[str, list[Progress]] = {}
    name = ""
    for event in told:
        if isinstance(event, Stage):
            name = event.name if event.name != "copy" or "packages" in event.title else ""
        elif isinstance(event, Progress):
            stages.setdefault(name, []).append(event)
    for name in ("write", "check-file", "copy"):
        done = [event.done for event in stages[name]]
        assert done == sorted(done)
        assert len(done) > 3  # within a file too
        assert {event.total for event in stages[name]} == {done[-1]}
    assert stages["download"][0].total == stages["copy"][-1].total


def test_the_commands_where_no_network_is(bundle, engine):
    done = _cut_off("bundle", "install", bundle)
    assert done.returncode == 0, done.stderr
    assert "mini 1.0.0 is ready (generation 1" in done.stdout
    told = _cut_off("bundle", "info", bundle, "--verify")
    assert told.returncode == 0, told.stderr
    assert "weights small: 21.0 kB, CC-BY-4.0" in told.stdout
    assert "Every byte is as stated." in told.stdout
    verified = _cut_off("verify", "mini")
    assert verified.returncode == 0, verified.stdout + verified.stderr


def test_a_bundle_of_real_modules(data, shared_uv_cache, monkeypatch, tmp_path):
    """Fetched from the registry, installed where there is none: for a worker, and for NIS."""
    if Uv(data, Settings()).find_python(nis.PYTHON) is None:
        pytest.skip(f"no Python {nis.PYTHON} was found")
    bundle = tmp_path / "real.ga3bundle"
    words = ["bundle", "create", "classic", "texture", "--python", nis.PYTHON, "-o", str(bundle)]
    command = [sys.executable, "-m", "envmanager", *words]
    made = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=300)
    assert made.returncode == 0, made.stderr
    monkeypatch.setenv("GA3ENV_HOME", str(tmp_path / "there"))
    done = _cut_off("bundle", "install", bundle)
    assert done.returncode == 0, done.stderr
    there = Environments(DataFolder(tmp_path / "there"), Settings())
    for name in ("classic", "texture"):
        assert there.verify(name, quick=True) == []
    assert not there.data.user_modules.exists()  # they are those that come with the app
    overlay = there.data.generation("texture", 1) / "overlay"
    assert [p.name.partition("-")[0] for p in overlay.glob("*.dist-info")] == ["mahotas"]


# ---- what was there before ----------------------------------------------------------------------


def _failing(values, members):
    members["modules/mini/test_worker.py"] = b"def test_labels():\n    assert False\n"


def test_a_module_that_fails_its_test_leaves_nothing(bundle, engine, tmp_path):
    with pytest.raises(InstallFailed) as caught:
        installing.install(engine, forged(bundle, tmp_path, _failing))
    assert "self-test" in caught.value.message
    assert left_in(engine.data) == []
    assert not engine.data.downloads.exists()
    assert not (engine.data.root / "weights").exists()
    assert not engine.data.user_modules.exists()


def test_a_cancelled_install_leaves_nothing(bundle, engine):
    cancel = CancelToken()

    def report(event):
        if isinstance(event, Stage) and event.name == "copy" and "packages" in event.title:
            cancel.cancel()

    with pytest.raises(Cancelled):
        installing.install(engine, bundle, report=report, cancel=cancel)
    assert left_in(engine.data) == []


def test_a_killed_install_goes_on_and_leaves_nothing_half(bundle, engine, data_folder):
    words = ("bundle", "install", bundle)
    process = programs.command(*words)
    place = engine.data.generation("mini", 1)
    programs.until(lambda: (place / "pylock.toml").exists())
    programs.end(process)
    assert read_manifest(place) is None
    code, found = programs.answer(programs.command(*words))
    assert code == 0, found
    assert found["modules"][0]["generation"] == 2  # no number is used again at once
    assert not place.exists()
    assert not engine.data.downloads.exists()
    assert not list(engine.data.root.glob("weights/mini/custom/*.tmp"))
    assert not list((engine.data.root / "trash").glob("*"))
    assert engine.verify("mini") == []


def test_a_full_disk_is_told_and_leaves_nothing(bundle, small_disk):  # noqa: F811
    """It fills up only once all was checked."""
    shutil.rmtree(small_disk.seen / "home")
    small_disk.fill(leave=2 * bundle.stat().st_size + 2_000_000)
    answer, told = small_disk.run("bundle", "install", str(bundle))
    assert answer["error"]["code"] == "disk_full"
    assert "Copying the packages" in told
    assert left_in(DataFolder(small_disk.seen / "home")) == []


def test_another_module_of_that_name_is_replaced_only_if_asked(bundle, engine, wheels, tmp_path):
    own = wheels.write_module(engine.data.user_modules, 2)
    before = {path.name: path.read_bytes() for path in own.iterdir()}
    with pytest.raises(BadInput) as caught:
        installing.install(engine, bundle)
    assert caught.value.code == "module_differs"
    with pytest.raises(GA3EnvError):
        installing.install(engine, forged(bundle, tmp_path, _failing), replace_modules=True)
    assert {path.name: path.read_bytes() for path in own.iterdir()} == before
    (done,) = installing.install(engine, bundle, replace_modules=True)
    assert done.version == "1.0.0"
    assert catalog.find("mini", engine.data).version == "1.0.0"


def test_other_weights_of_that_name_stay(light, engine, shop, tmp_path):
    shutil.copytree(shop.data.user_modules / "mini", engine.data.user_modules / "mini")
    other = tmp_path / "other.bin"
    other.write_bytes(b"the only copy")
    store = Store(engine.data, catalog.find("mini", engine.data))
    importing.add(store, other, "mine")
    with pytest.raises(BadInput) as caught:
        installing.install(engine, light, replace_modules=True)
    assert caught.value.code == "weights_exist"
    assert (store.folder / "custom" / "mine" / "other.bin").read_bytes() == b"the only copy"
