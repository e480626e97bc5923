"""Modules that run inside NIS: built, tested and called in a real Python of NIS's version."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest

from envmanager import nodes
from envmanager.data.paths import DataFolder, uv_binary, venv_packages, venv_python
from envmanager.data.settings import Settings
from envmanager.environments import planning
from envmanager.environments.building import Wish
from envmanager.environments.lifecycle import Environments
from envmanager.errors import BadInput, CatalogError, InstallFailed, ModuleInUse, ToolFailed
from envmanager.machine import nodehost
from envmanager.modules import catalog
from envmanager.uv.program import Uv
from ga3_nodes import client, home, records
from ga3_nodes.standin.embedded import EmbeddedNis
from ga3_nodes.standin.out_of_process import OutOfProcessNis
from tests.conftest import end_workers
from tests.envmanager.conftest import PYPROJECT, TEST, TOML, WORKER, write_module
from tests.support import PROJECT
from tests.wheels import make_wheel, requirement

HOST_TOML = TOML.replace('["numpy"]', '["numpy", "light"]\nruntime = "host"')
LIGHT = {"light/__init__.py": "NUMBER = 1\n"}
HOST_WORKER = WORKER.replace("import numpy as np", "import light\nimport numpy as np")
OLD_NUMPY = "1.26.4"
HERE = re.sub(r"[-.]", "_", sysconfig.get_platform())  # as in the tags of wheels


# ---- the declaration ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("toml", "wrong"),
    [
        (HOST_TOML.replace('"host"', '"elsewhere"'), "environment.runtime is 'elsewhere'"),
        (HOST_TOML + '[worker]\nenv = { A = "1" }\n', "worker.env cannot be set"),
    ],
)
def test_a_wrong_declaration_is_refused(data_folder, toml, wrong):
    write_module(data_folder / "modules" / "tiny", "", toml=toml)
    with pytest.raises(CatalogError, match=wrong):
        catalog.find("tiny", DataFolder(data_folder))


def test_a_module_runs_in_a_worker_unless_it_says_otherwise(data_folder):
    write_module(data_folder / "modules" / "tiny", "")
    assert catalog.find("tiny", DataFolder(data_folder)).runtime == "worker"


# ---- the module `texture`, for real --------------------------------------------------------------


@pytest.fixture(scope="module")
def made(tmp_path_factory, shared_uv_cache):
    """Install `texture` and make a Python as NIS has it, once for all tests of this file."""
    root = tmp_path_factory.mktemp("im NIS é")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GA3ENV_HOME", str(root))
        patch.setenv("UV_CACHE_DIR", str(shared_uv_cache))
        engine = Environments(DataFolder(root), Settings())
        engine.install("texture")
        host = nodehost.prepare(engine.data, Uv(engine.data, engine.settings))
    if not host.version.startswith("3.12."):
        pytest.skip("no Python 3.12 was found")
    return engine, host


@pytest.fixture
def texture(made, monkeypatch, shared_uv_cache):
    """Return the engine with `texture` and the node host; no worker lives before or after."""
    engine, host = made
    monkeypatch.setenv("GA3ENV_HOME", str(engine.data.root))
    monkeypatch.setenv("UV_CACHE_DIR", str(shared_uv_cache))
    end_workers(engine.data.root)
    yield engine, host
    end_workers(engine.data.root)


@pytest.fixture
def dish():
    """A smooth image with two grainy regions, as a GA3 channel (z, y, x, component)."""
    random = np.random.default_rng(1)
    image = 1000 + random.normal(0, 10, (1, 120, 160, 1))
    for part in (np.s_[:, 10:50, 10:60], np.s_[:, 70:110, 90:150]):
        image[part] += random.normal(0, 300, image[part].shape)
    return image.astype(np.uint16)


def labels_of_a_worker(image):
    """Return what the worker gives, for this Python is another one than NIS's."""
    assert sys.version_info[:2] != (3, 12)
    result = client.call("texture", "segment", {"image": image[0, ..., 0]}, {"scale": 2.5})
    assert result.worker_pid in [r.pid for _, r in records.live(home.published("texture").root)]
    return result["labels"]


def node(engine, nis=6):
    return nodes.script(catalog.find("texture", engine.data), {"scale": 2.5}, nis=nis)


@pytest.mark.slow
def test_what_nis_ships_is_not_in_the_overlay(texture):
    engine, _ = texture
    entry = home.published("texture")
    assert entry.python_tag == "cpython-312"
    assert entry.overlay == entry.folder / "overlay"
    assert {p.name for p in entry.overlay.glob("*.dist-info")} == {"mahotas-1.4.19.dist-info"}
    assert not (entry.overlay / "numpy").exists()
    site = venv_packages(entry.folder / ".venv")
    assert (site / "numpy").is_dir()
    assert not (site / "mahotas").exists()
    code = "import json, sys; print(json.dumps(sys.path))"
    told = subprocess.run([entry.python, "-s", "-c", code], capture_output=True, check=True)
    path = [Path(p) for p in json.loads(told.stdout) if p]
    assert path.index(entry.overlay) > path.index(site)
    assert engine.verify("texture") == []
    config = json.loads(engine.data.config.read_text("utf-8"))
    assert config["modules"]["texture"]["overlay"] == "envs/texture/1/overlay"  # a root can move
    assert engine.install("texture").new is False


@pytest.mark.slow
@pytest.mark.parametrize("nis", [6, 7])
def test_a_node_in_nis_python_needs_no_worker(texture, dish, nis):
    engine, host = texture
    with OutOfProcessNis(node(engine, nis), nis, python=host.python, site=host.site) as process:
        mask = process.run([dish])[0]
        again = process.run([dish])[0]
    assert records.live(engine.data.root) == []
    assert mask.max() == 2
    assert np.array_equal(mask, again)
    assert np.array_equal(mask[0, ..., 0], labels_of_a_worker(dish))


@pytest.mark.slow
def test_a_node_embedded_in_nis_python_needs_no_worker(texture, dish, tmp_path):
    engine, host = texture
    np.save(tmp_path / "in.npy", dish)
    (tmp_path / "node.py").write_text(node(engine), "utf-8")
    arguments = ["--script", tmp_path / "node.py", "--input", tmp_path / "in.npy"]
    arguments += ["--output-dir", tmp_path / "out", "--json"]
    done = subprocess.run(
        [host.python, PROJECT / "ga3_nodes" / "standin", *arguments],
        env={"GA3ENV_HOME": str(engine.data.root), "PYTHONPATH": str(host.site)},
        capture_output=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert records.live(engine.data.root) == []
    (saved,) = (tmp_path / "out").glob("*.npy")
    assert np.array_equal(np.load(saved)[0, ..., 0], labels_of_a_worker(dish))


@pytest.mark.slow
def test_a_node_in_another_python_gets_a_worker(texture, dish):
    engine, _ = texture
    with EmbeddedNis(node(engine)) as nis:
        mask = nis.run([dish])[0]
    assert [r.module for _, r in records.live(engine.data.root)] == ["texture"]
    assert "mahotas" not in sys.modules
    assert np.array_equal(mask[0, ..., 0], labels_of_a_worker(dish))


@pytest.mark.slow
def test_measures_come_as_a_table(texture, dish):
    labels = labels_of_a_worker(dish)
    arrays = {"image": dish[0, ..., 0], "labels": labels}
    table = client.call("texture", "measure", arrays)["objects"]
    assert table["id"] == [1, 2]
    assert table["area"] == [(labels == 1).sum(), (labels == 2).sum()]


@pytest.mark.slow
def test_damage_is_found_repaired_and_the_node_goes_on(texture, dish, tmp_path):
    """In one NIS that stays open: repair, rollback and removal while it has the code loaded."""
    engine, host = texture
    shutil.copytree(engine.data.root, tmp_path / "copy", symlinks=True)
    copy = Environments(DataFolder(tmp_path / "copy"), engine.settings)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GA3ENV_HOME", str(copy.data.root))
        with OutOfProcessNis(node(copy), python=host.python, site=host.site) as process:
            expected = process.run([dish])[0]
            overlay = home.published("texture").overlay
            (overlay / "mahotas" / "thresholding.py").unlink()
            shutil.copytree(overlay / "mahotas-1.4.19.dist-info", overlay / "numpy-9.9.dist-info")
            found = {(p.kind, p.package) for p in copy.verify("texture", quick=True)}
            assert ("file_missing", "mahotas") in found
            assert ("package_extra", "numpy") in found
            assert copy.repair("texture").generation == 2
            assert copy.verify("texture") == []
            assert np.array_equal(process.run([dish])[0], expected)
            assert records.live(copy.data.root) == []
            with pytest.raises(InstallFailed, match="damaged"):
                copy.rollback("texture")
            with pytest.raises(ModuleInUse, match=f"PID {process.pid}"):
                copy.remove("texture")
        copy.remove("texture")
        assert not copy.data.module("texture").exists()


# ---- what does not fit ---------------------------------------------------------------------------


@pytest.fixture
def light(environments, tiny_lock, tmp_path):
    """Return a function that writes a module for the host with wheels; returns the engine."""

    def write(*wheels: Path, **settings):
        lock = tiny_lock + requirement(*wheels)
        names = [requirement(wheel).partition("==")[0] for wheel in wheels]
        modules = environments.data.user_modules
        write_module(modules / "tiny", lock, toml=HOST_TOML, worker=HOST_WORKER, test=TEST)
        asked = "".join(f', "{name}"' for name in names)
        pyproject = PYPROJECT.replace('"numpy"', f'"numpy"{asked}')
        (modules / "tiny" / "pyproject.toml").write_text(pyproject, "utf-8")
        chosen = Settings(find_links=(str(tmp_path / "wheels"),), **settings)
        return dataclasses.replace(environments, settings=chosen)

    return write


@pytest.fixture
def wheels(tmp_path):
    return tmp_path / "wheels"


def nothing_is_left(engine):
    assert (
        json.loads(
            engine.data.config.read_text("utf-8") if engine.data.config.exists() else "{}"
        ).get("modules", {})
        == {}
    )
    assert not any(engine.data.module("tiny").glob("[0-9]*"))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["numpy", "matplotlib", "json", "limnode"])
def test_a_package_that_shadows_what_nis_has_is_refused(light, wheels, name):
    files = {**LIGHT, f"{name}/__init__.py": ""}
    engine = light(make_wheel(wheels, "light", "1.0", files))
    with pytest.raises(InstallFailed, match=rf"its own {name},") as caught:
        engine.install("tiny")
    assert caught.value.code == "shadows_nis"
    nothing_is_left(engine)


@pytest.mark.slow
def test_compiled_code_for_another_python_is_refused(light, wheels):
    engine = light(make_wheel(wheels, "light", "1.0", LIGHT, tag=f"cp313-cp313-{HERE}"))
    with pytest.raises(ToolFailed, match="cp313"):
        engine.install("tiny")
    nothing_is_left(engine)


@pytest.mark.slow
def test_compiled_code_for_the_stable_abi_is_taken(light, wheels):
    engine = light(make_wheel(wheels, "light", "1.0", LIGHT, tag=f"cp310-abi3-{HERE}"))
    assert engine.install("tiny").new
    assert engine.verify("tiny") == []


@pytest.mark.slow
def test_the_python_cannot_be_chosen(light, wheels):
    engine = light(make_wheel(wheels, "light", "1.0", LIGHT))
    with pytest.raises(BadInput, match="that of NIS"):
        engine.install("tiny", python="3.11")
    with pytest.raises(BadInput, match="that of NIS"):
        planning.install(engine.data, engine.settings, "tiny", wish=Wish("3.11"))
    plan = planning.install(engine.data, engine.settings, "tiny")
    assert "3.12" in plan.python
    assert {p["package"] for p in plan.packages} == {"light", "numpy"}


# ---- where NIS lies here -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def nis_python(tmp_path_factory, shared_uv_cache):
    """A real Python 3.12 with an older numpy than any lock has, in the place of NIS's own."""
    base = tmp_path_factory.mktemp("NIS Elements")
    python = Uv(DataFolder(base), Settings()).find_python("3.12")
    if python is None:
        pytest.skip("no Python 3.12 was found")
    folder = base / "Python"
    for words in (
        ["venv", "--python", python, folder],
        ["pip", "install", "--python", venv_python(folder), f"numpy=={OLD_NUMPY}"],
    ):
        command = [uv_binary(), *words, "--cache-dir", shared_uv_cache, "-q"]
        subprocess.run(command, check=True)
    return folder


def state(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        digest.update(str(path).encode() + (path.read_bytes() if path.is_file() else b""))
    return digest.hexdigest()


@pytest.mark.slow
def test_it_is_tested_in_the_python_of_nis_which_stays_as_it_is(light, wheels, nis_python):
    wheel = make_wheel(wheels, "light", "1.0", LIGHT, requires=["numpy>=1.20"])
    engine = light(wheel, nis_python=str(nis_python))
    before = state(nis_python)
    engine.install("tiny")
    assert state(nis_python) == before
    found = json.loads((home.published("tiny").folder / "manifest.json").read_text("utf-8"))["nis"]
    assert found["version"].startswith("3.12.")
    assert Path(found["python"]).is_relative_to(nis_python)


@pytest.mark.slow
def test_what_needs_a_newer_numpy_than_that_of_nis_is_refused(light, wheels, nis_python):
    wheel = make_wheel(wheels, "light", "1.0", LIGHT, requires=["numpy>=2"])
    engine = light(wheel, nis_python=str(nis_python))
    with pytest.raises(InstallFailed, match=rf"numpy.*{OLD_NUMPY}") as caught:
        engine.install("tiny")
    assert caught.value.code == "does_not_fit_nis"
    nothing_is_left(engine)


@pytest.mark.slow
def test_what_fails_in_the_python_of_nis_only_is_refused(light, wheels, nis_python):
    files = {"light.py": "import numpy\nassert numpy.__version__ != '1.26.4', 'old numpy'\n"}
    engine = light(make_wheel(wheels, "light", "1.0", files), nis_python=str(nis_python))
    with pytest.raises(InstallFailed, match="does not work in the Python of NIS") as caught:
        engine.install("tiny")
    assert "old numpy" in caught.value.details["log_tail"]
    nothing_is_left(engine)


@pytest.mark.slow
def test_a_wrong_folder_in_the_settings_is_told(light, wheels, tmp_path):
    engine = light(make_wheel(wheels, "light", "1.0", LIGHT), nis_python=str(tmp_path))
    with pytest.raises(ToolFailed, match="no Python that runs"):
        engine.install("tiny")
