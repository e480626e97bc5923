"""Damage of every kind is found, named, and mended; older generations come back."""

from __future__ import annotations

import shutil
import time

import numpy as np
import pytest

from envmanager.data.paths import venv_packages
from envmanager.environments import inventory
from envmanager.environments.generations import read_manifest
from envmanager.errors import InstallFailed, NotInstalled
from envmanager.events import CancelToken
from ga3_nodes import client
from tests.envmanager.conftest import TEST, TOML, WORKER, write_module

pytestmark = pytest.mark.slow
windows = pytest.mark.windows  # for a few: an environment takes many seconds under Wine
IMAGE = np.array([[0, 50], [150, 250]], np.uint16)


def _mask():
    return client.call("tiny", "segment", {"image": IMAGE})["labels"].tolist()


@pytest.fixture
def folder(installed):
    return installed.data.generation("tiny", 1)


@pytest.fixture
def folder_with_cache(environments, tiny, monkeypatch):
    """Install with a cache of its own, which the test damages."""
    monkeypatch.delenv("UV_CACHE_DIR")
    return environments.install("tiny").folder


def _numpy_file(folder, name="__init__.py"):
    return venv_packages(folder / ".venv") / "numpy" / name


def _replace(path, data):
    """Change a file without changing what shares its bytes through hard links."""
    path.unlink()
    path.write_bytes(data)


def _delete_file(folder):
    _numpy_file(folder).unlink()


def _truncate_file(folder):
    data = _numpy_file(folder).read_bytes()
    _replace(_numpy_file(folder), data[: len(data) // 2])


def _change_a_byte(folder):
    path = _numpy_file(folder, "version.py")
    data = bytearray(path.read_bytes())
    data[-1:] = b" "
    _replace(path, bytes(data))


def _delete_package(folder):
    shutil.rmtree(_numpy_file(folder).parent)
    for info in venv_packages(folder / ".venv").glob("numpy-*.dist-info"):
        shutil.rmtree(info)


def _add_package(folder):
    info = venv_packages(folder / ".venv") / "surprise-1.0.dist-info"
    info.mkdir()
    (info / "RECORD").write_text("", "utf-8")


def _other_version(folder):
    (info,) = venv_packages(folder / ".venv").glob("numpy-*.dist-info")
    info.rename(info.with_name("numpy-0.1.dist-info"))


def _lose_base_python(folder):
    path = folder / ".venv" / "pyvenv.cfg"
    lines = path.read_text("utf-8").splitlines()
    changed = ["home = /no/such/python" if line.startswith("home") else line for line in lines]
    path.write_text("\n".join(changed), "utf-8")


def _change_worker(folder):
    (folder / "worker.py").write_text(WORKER + "\n# edited\n", "utf-8")


def _change_lock(folder):
    with (folder / "requirements.lock").open("a", encoding="utf-8") as file:
        file.write("# edited\n")


def _break_import(folder):
    (venv_packages(folder / ".venv") / "sitecustomize.py").write_text(
        "import sys\nsys.modules['numpy'] = None\n", "utf-8"
    )


DAMAGE = [
    pytest.param(_delete_file, "file_missing", "numpy", id="deleted-file", marks=windows),
    pytest.param(_truncate_file, "file_changed", "numpy", id="truncated-file"),
    pytest.param(_change_a_byte, "file_changed", "numpy", id="changed-byte"),
    pytest.param(_delete_package, "package_missing", "numpy", id="missing-package"),
    pytest.param(_add_package, "package_extra", "surprise", id="extra-package"),
    pytest.param(_other_version, "package_version", "numpy", id="wrong-version"),
    pytest.param(_lose_base_python, "python_missing", "", id="base-python-gone", marks=windows),
    pytest.param(_change_worker, "copy_changed", "", id="worker-edited"),
    pytest.param(_change_lock, "copy_changed", "", id="lock-edited"),
    pytest.param(_break_import, "import_failed", "numpy", id="import-fails"),
]


def test_what_is_whole_has_no_problems(environments, folder):
    assert environments.verify("tiny") == []


@pytest.mark.parametrize(("damage", "kind", "package"), DAMAGE)
def test_damage_is_found_and_mended(environments, folder, damage, kind, package):
    damage(folder)
    problems = environments.verify("tiny")
    assert (kind, package) in [(problem.kind, problem.package) for problem in problems]
    assert all(problem.message.endswith((".", ":", "'")) or problem.message for problem in problems)
    done = environments.repair("tiny")
    assert done.new
    assert done.generation == 2
    assert environments.verify("tiny") == []
    assert inventory.status(environments.data, "tiny").state == "ready"
    assert _mask() == [[0, 0], [1, 1]]


def test_a_quick_check_sees_sizes_and_runs_nothing(environments, folder):
    _change_a_byte(folder)
    assert environments.verify("tiny", quick=True) == []
    _truncate_file(folder)
    (problem,) = environments.verify("tiny", quick=True)
    assert problem.kind == "file_changed"
    assert problem.message.startswith("numpy: the file numpy/__init__.py has ")


@windows
def test_an_altered_file_that_damages_the_cache_too_is_mended(environments, folder_with_cache):
    """Hard links: editing a file in place edits uv's cache and every environment that shares it."""
    path = _numpy_file(folder_with_cache, "version.py")
    assert path.stat().st_nlink > 1, "uv did not link, so this test shows nothing"
    with path.open("ab") as file:
        file.write(b"# edited in place\n")
    problems = environments.verify("tiny")
    assert [(p.kind, p.package) for p in problems] == [("file_changed", "numpy")]
    environments.repair("tiny")
    assert environments.verify("tiny") == []
    new = environments.data.generation("tiny", 2)
    assert b"edited in place" not in _numpy_file(new, "version.py").read_bytes()
    assert _mask() == [[0, 0], [1, 1]]


def test_an_install_from_a_damaged_cache_is_whole(environments, folder_with_cache):
    with _numpy_file(folder_with_cache, "version.py").open("ab") as file:
        file.write(b"# edited in place\n")
    environments.remove("tiny")
    environments.install("tiny")
    assert environments.verify("tiny") == []


def test_a_repair_of_what_is_whole_changes_nothing(environments, folder):
    done = environments.repair("tiny")
    assert (done.new, done.generation, done.problems) == (False, 1, [])


def test_a_repair_keeps_the_version_where_the_modules_folder_is_newer(
    environments, folder, tiny, tiny_lock
):
    write_module(tiny, tiny_lock, toml=TOML.replace("1.0.0", "2.0.0"))
    _delete_file(folder)
    environments.repair("tiny")
    status = inventory.status(environments.data, "tiny")
    assert (status.installed_version, status.state) == ("1.0.0", "update_available")


def test_update_shows_then_does(environments, folder, tiny, tiny_lock):
    plan = environments.plan_update("tiny")
    assert (plan.needed, plan.changes, plan.download_bytes) == (False, [], 0)
    assert not environments.update("tiny").new
    (line,) = [line for line in tiny_lock.splitlines() if line.startswith("numpy==")][:1]
    version = line.split("==")[1].split()[0]
    write_module(tiny, tiny_lock, toml=TOML.replace("1.0.0", "2.0.0"))
    plan = environments.plan_update("tiny")
    assert (plan.needed, plan.old_version, plan.new_version) == (True, "1.0.0", "2.0.0")
    assert plan.changes == []
    assert [path.name for path in (environments.data.root / "envs" / "tiny").iterdir()] == ["1"]
    done = environments.update("tiny")
    assert (done.generation, done.version, done.new) == (2, "2.0.0", True)
    manifest = read_manifest(done.folder)
    assert version in manifest["packages"]["numpy"] or manifest["packages"]["numpy"]


def test_a_fresh_resolve_takes_what_the_pyproject_allows(environments, folder):
    done = environments.update("tiny", fresh=True)
    assert done.generation == 2
    assert environments.verify("tiny") == []
    assert inventory.status(environments.data, "tiny").state == "ready"


@windows
def test_rollback_restores_the_code_too(environments, folder, tiny, tiny_lock):
    sevens = WORKER.replace("astype(np.int32)", "astype(np.int32) * 7")
    write_module(tiny, tiny_lock, worker=sevens, test=TEST.replace("[0, 1]", "[0, 7]"))
    environments.update("tiny")
    assert _mask() == [[0, 0], [7, 7]]
    done = environments.rollback("tiny")
    assert done.generation == 1
    assert _mask() == [[0, 0], [1, 1]]
    assert environments.rollback("tiny", 2).generation == 2
    assert _mask() == [[0, 0], [7, 7]]


def test_rollback_refuses_a_damaged_target(environments, folder, tiny, tiny_lock):
    write_module(tiny, tiny_lock, toml=TOML.replace("1.0.0", "2.0.0"))
    environments.update("tiny")
    _delete_file(folder)
    with pytest.raises(InstallFailed, match="Generation 1 of tiny is damaged"):
        environments.rollback("tiny")
    assert inventory.status(environments.data, "tiny").generation == 2


def test_rollback_without_an_older_generation(environments, folder):
    with pytest.raises(NotInstalled) as caught:
        environments.rollback("tiny")
    assert caught.value.code == "no_generation"
    with pytest.raises(NotInstalled, match="generation 9"):
        environments.rollback("tiny", 9)


@pytest.mark.parametrize("act", ["update", "repair", "rollback", "verify", "selftest"])
def test_what_is_not_installed_is_told(environments, tiny, act):
    with pytest.raises(NotInstalled, match="not installed"):
        getattr(environments, act)("tiny")


def test_the_selftest_shows_its_output(environments, folder):
    finished = environments.selftest("tiny")
    assert finished.exit_code == 0
    assert "test_threshold" in finished.stdout


def test_a_check_can_be_cancelled(environments, folder):
    cancel = CancelToken()
    cancel.cancel()
    started = time.monotonic()
    with pytest.raises(Exception, match="cancelled"):
        environments.verify("tiny", cancel=cancel)
    assert time.monotonic() - started < 20


def test_a_lost_environment_is_a_problem(environments, folder):
    shutil.rmtree(folder)
    (problem,) = environments.verify("tiny")
    assert problem.kind == "environment_missing"
    environments.repair("tiny")
    assert environments.verify("tiny") == []
