"""New modules, added ones, and their locks: with real uv, whole or not at all, whatever happens."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tifffile

from envmanager.data import settings
from envmanager.errors import BadInput, CatalogError, ConfigError, ModuleInUse, ToolFailed
from envmanager.modules import catalog, placing
from envmanager.modules import checking as module_check
from envmanager.modules.own import OwnModules
from envmanager.packages import lockfile
from envmanager.uv import pythons
from tests.envmanager.conftest import LOCK, PYPROJECT, TOML, write_module
from tests.local_index import LocalIndex
from tests.programs import answer, command, until
from tests.wheels import make_wheel

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="links, pipes and signals of POSIX")


@pytest.fixture
def index(tmp_path, monkeypatch, data):
    """An index with small packages under the names that the template asks for."""
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    made = tmp_path / "wheels"
    wheels = [make_wheel(made, name, "2.0", {f"{name}.py": ""}) for name in ("numpy", "scipy")]
    wheels.append(make_wheel(made, "backport", "1.0", {"backport.py": ""}))
    with LocalIndex(wheels) as server:
        settings.change(data.settings, "index_url", [server.url])
        yield server


def _names(place: Path) -> list[str]:
    return sorted(path.name for path in place.iterdir()) if place.is_dir() else []


def _contents(place: Path) -> dict[str, bytes]:
    return {
        path.relative_to(place).as_posix(): path.read_bytes()
        for path in place.rglob("*")
        if path.is_file()
    }


# ---- new-module ---------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_new_module_installs_segments_and_runs_in_a_node(data, environments, open_nis, tmp_path):
    code, made = answer(command("new-module", "my_cells", "--title", 'Zellen "ü" \\ x'))
    assert code == 0
    assert made["next"] == "./run install my_cells"
    folder = Path(made["folder"])
    assert folder == data.user_modules / "my_cells"
    assert _names(folder) == [
        "module.toml", "pyproject.toml", "requirements.lock", "test_worker.py", "worker.py",
    ]  # fmt: skip
    assert answer(command("install", "my_cells"))[0] == 0
    image = np.full((60, 90), 100, np.uint16)
    image[10:20, 10:20], image[40:50, 60:80], image[5, 60:63] = 900, 800, 900
    frames = {"yx": image, "yxc": np.stack([image // 4] * 3, -1).astype(np.uint8)}
    for axes, pixels in frames.items():
        path = tmp_path / f"{axes}.tif"
        tifffile.imwrite(path, pixels, photometric="rgb" if axes == "yxc" else "minisblack")
        code, done = answer(command("segment", "my_cells", path, "-o", tmp_path / f"m-{axes}.tif"))
        assert (code, done["failed"]) == (0, [])
        assert done["outputs"][0]["objects"] == 2
    script = tmp_path / "node.py"
    assert answer(command("node", "my_cells", "-o", script, "-p", "min_area=150"))[0] == 0
    with open_nis(script.read_text("utf-8")) as host:
        (mask,) = host.run([np.stack([image] * 4)[..., None]])
    assert mask.shape == (4, 60, 90, 1)
    assert np.unique(mask).tolist() == [0, 1, 2]  # as volumes both are large enough
    code, done = answer(command("lock-module", "my_cells"))
    assert (code, done["changes"], done["next"]) == (0, [], "./run update my_cells")
    (listed,) = [m for m in answer(command("list"))[1]["modules"] if m["name"] == "my_cells"]
    assert (listed["title"], listed["state"]) == ('Zellen "ü" \\ x', "ready")


@pytest.mark.parametrize("name", ["a", "class", "ends_", "a__b", "x" * 40])
def test_every_valid_name_makes_a_whole_module(own, index, data, name):
    done = OwnModules(data, settings.load(data.settings)).new(name)
    assert done.folder == data.user_modules / name
    module = module_check.check(done.folder)
    assert module.title == name.replace("_", " ").capitalize()
    assert catalog.find(name, data).folder == done.folder
    assert {name for name, _ in lockfile.locked_hashes(module.lock)} == {"numpy", "scipy"}
    assert b"\r" not in (done.folder / "worker.py").read_bytes()
    assert _names(data.user_modules) == [name]


@pytest.mark.parametrize("name", ["", "Cells", "2d", "a-b", "../x", "ä", "x" * 41, "con", "com1"])
def test_a_name_that_cannot_be_is_refused(own, data, name):
    with pytest.raises(BadInput, match="cannot be the name") as caught:
        own.new(name)
    assert caught.value.code == "bad_name"
    assert _names(data.root) == []


def test_a_title_is_one_line(own, data):
    with pytest.raises(BadInput, match="title"):
        own.new("cells", "two\nlines")
    assert _names(data.root) == []


def test_a_name_that_is_taken_is_refused_with_the_way_out(own, index, data):
    own = OwnModules(data, settings.load(data.settings))
    with pytest.raises(BadInput, match="comes with the app") as caught:
        own.new("classic")
    assert "--replace-shipped" in caught.value.hint
    assert _names(data.user_modules) == []
    mine = own.new("classic", replace_shipped=True).folder
    assert catalog.find("classic", data).folder == mine
    before = _contents(mine)
    with pytest.raises(BadInput, match="already") as caught:
        own.new("classic", replace_shipped=True)
    assert caught.value.code == "module_exists"
    assert _contents(mine) == before


def test_without_a_network_nothing_is_left(data, monkeypatch, tmp_path):
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "empty cache"))
    settings.change(data.settings, "offline", ["true"])
    code, error = answer(command("new-module", "cells"))
    assert (code, error["code"]) == (1, "lock_failed")
    assert "network" in error["message"] + error["hint"]
    assert _names(data.user_modules) == []
    assert "cells" not in [m["name"] for m in answer(command("list"))[1]["modules"]]


def test_a_folder_that_cannot_be_written_is_named(own, data, folder):
    data.user_modules.write_text("in the way", "utf-8")
    for action in (lambda: own.new("cells"), lambda: own.add(folder)):
        with pytest.raises(ConfigError, match="cannot be written") as caught:
            action()
        assert caught.value.code == "modules_not_writable"
        assert str(data.user_modules) in caught.value.message


@posix_only
def test_ctrl_c_while_the_packages_are_looked_up_leaves_nothing(index, data):
    index.fail("*numpy*", stall_after=0)
    process = command("new-module", "cells")
    index.wait_for("*numpy*")
    process.send_signal(signal.SIGINT)
    code, error = answer(process)
    assert (code, error["code"]) == (130, "cancelled")
    assert _names(data.user_modules) == []
    index.mend()
    assert answer(command("new-module", "cells"))[0] == 0


def test_a_kill_while_the_packages_are_looked_up_is_mended_by_the_next_command(index, data):
    index.fail("*numpy*", stall_after=0)
    process = command("new-module", "cells")
    index.wait_for("*numpy*")
    assert _names(data.user_modules) == [".cells.new"]
    process.kill()
    process.communicate()
    assert "cells" not in [m["name"] for m in answer(command("list"))[1]["modules"]]
    assert _names(data.user_modules) == []


# ---- add-module ---------------------------------------------------------------------------------


def test_a_folder_is_copied_under_its_modules_name(folder, data):
    for name in (".venv/lib/x.py", "__pycache__/worker.pyc", ".git/config", "docs/__pycache__/a"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("no", "utf-8")
    (folder / "uv.lock").write_text("no", "utf-8")
    (folder / "docs" / "read me ü.md").write_text("yes", "utf-8")
    before = _contents(folder)
    code, done = answer(command("add-module", folder))
    assert (code, done["name"], done["replaced"]) == (0, "tiny", False)
    assert done["next"] == "./run install tiny"
    place = data.user_modules / "tiny"
    assert done["folder"] == str(place)
    assert sorted(_contents(place)) == [
        "docs/read me ü.md", "module.toml", "pyproject.toml", "requirements.lock",
        "test_worker.py", "worker.py",
    ]  # fmt: skip
    assert _contents(folder) == before
    shutil.rmtree(folder)
    assert catalog.find("tiny", data).title == "Tiny threshold"


def test_an_update_replaces_the_whole_folder(own, folder, data):
    (folder / "old.txt").write_text("old", "utf-8")
    place = own.add(folder).folder
    (folder / "old.txt").unlink()
    write_module(folder, LOCK, toml=TOML.replace("1.0.0", "2.0.0"))
    before = _contents(place)
    with pytest.raises(BadInput, match="already") as caught:
        own.add(folder)
    assert "--update" in caught.value.hint
    assert _contents(place) == before
    done = own.add(folder, update=True)
    assert (done.version, done.replaced) == ("2.0.0", True)
    assert _contents(place) == _contents(folder)
    assert _names(data.user_modules) == ["tiny"]


def test_a_broken_update_leaves_the_module_as_it_was(own, folder, data):
    place = own.add(folder).folder
    before = _contents(place)
    (folder / "worker.py").write_text("def segment(image)", "utf-8")
    with pytest.raises(CatalogError, match=r"worker\.py, line 1"):
        own.add(folder, update=True)
    assert _contents(place) == before


def test_a_shipped_name_needs_a_clear_word(own, folder, data):
    write_module(folder, LOCK, toml=TOML.replace('"tiny"', '"classic"'))
    with pytest.raises(BadInput, match="comes with the app"):
        own.add(folder)
    assert own.add(folder, replace_shipped=True).name == "classic"
    assert catalog.find("classic", data).title == "Tiny threshold"


def test_folders_of_the_data_folder_are_not_added(own, folder, data):
    place = own.add(folder).folder
    with pytest.raises(BadInput, match="yours already"):
        own.add(place, update=True)
    write_module(data.root, LOCK)
    with pytest.raises(BadInput, match="holds the data folder"):
        own.add(data.root)


def test_what_is_no_module_is_told(own, tmp_path):
    for place in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(CatalogError, match=r"no module\.toml") as caught:
            own.add(place)
        assert "new-module" in caught.value.hint


@posix_only
def test_links_and_pipes_never_get_into_the_copy(own, folder, data, tmp_path):
    (tmp_path / "elsewhere.txt").write_text("text", "utf-8")
    (folder / "file.txt").symlink_to(tmp_path / "elsewhere.txt")
    place = own.add(folder).folder
    assert (place / "file.txt").read_text("utf-8") == "text"
    assert not (place / "file.txt").is_symlink()
    (folder / "circle").symlink_to(folder)
    with pytest.raises(BadInput, match="link to another folder"):
        own.add(folder, update=True)
    (folder / "circle").unlink()
    (folder / "lost").symlink_to(tmp_path / "not there")
    with pytest.raises(BadInput, match="lost cannot be read"):
        own.add(folder, update=True)
    (folder / "lost").unlink()
    os.mkfifo(folder / "pipe")
    with pytest.raises(BadInput, match="no ordinary file"):
        own.add(folder, update=True)
    assert _names(data.user_modules) == ["tiny"]


def test_a_lock_is_made_for_the_copy_alone(index, folder, data):
    (folder / "requirements.lock").unlink()
    code, error = answer(command("add-module", folder))
    assert (code, error["code"]) == (1, "module_invalid")
    assert "requirements.lock" in error["message"]
    code, done = answer(command("add-module", folder, "--lock"))
    assert code == 0
    assert lockfile.locked_hashes(Path(done["folder"]) / "requirements.lock").keys() == {
        ("numpy", "2.0")
    }
    assert not (folder / "requirements.lock").exists()


# ---- locks --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("allowed", "expected"),
    [(">=3.10,<3.15", "3.10"), ("==3.12.*", "3.12"), (">=3.11.4", "3.11"), ("~=3.13", "3.13")],
)
def test_the_oldest_python(tmp_path, allowed, expected):
    path = tmp_path / "pyproject.toml"
    path.write_text(f'[project]\nname = "a"\nrequires-python = "{allowed}"\n', "utf-8")
    assert pythons.oldest(path) == expected


def test_a_lock_serves_every_python_that_the_module_allows(index, folder, data):
    """The app's own Python is newer than 3.10: what only 3.10 needs must be there all the same."""
    text = PYPROJECT.replace('"numpy"', '"numpy", "backport ; python_full_version < \'3.11\'"')
    (folder / "pyproject.toml").write_text(text, "utf-8")
    place = Path(answer(command("add-module", folder, "--lock"))[1]["folder"])
    assert ("backport", "1.0") in lockfile.locked_hashes(place / "requirements.lock")


def test_a_changed_pyproject_gets_a_new_lock(index, data):
    assert answer(command("new-module", "cells"))[0] == 0
    place = data.user_modules / "cells"
    project = place / "pyproject.toml"
    project.write_text(project.read_text("utf-8").replace("scipy>=1.13", "backport"), "utf-8")
    with pytest.raises(CatalogError, match="the lock lacks it"):
        module_check.check(place)
    code, done = answer(command("lock-module", "cells"))
    assert (code, done["packages"]) == (0, 2)
    assert done["changes"] == [
        {"package": "backport", "old": None, "new": "1.0"},
        {"package": "scipy", "old": "2.0", "new": None},
    ]
    module_check.check(place)
    assert sorted(_names(place)) == [
        "module.toml", "pyproject.toml", "requirements.lock", "test_worker.py", "worker.py",
    ]  # fmt: skip
    assert "constraints.txt" not in _names(place)


def test_a_lock_that_cannot_be_made_leaves_the_old_one(index, folder, data):
    own = OwnModules(data, settings.load(data.settings))
    place = own.add(folder).folder
    text = PYPROJECT.replace('"numpy"', '"numpy", "mispelt"')
    (place / "pyproject.toml").write_text(text, "utf-8")
    before = _contents(place)
    with pytest.raises(ToolFailed, match="mispelt") as caught:
        own.lock("tiny")
    assert caught.value.code == "lock_failed"
    assert _contents(place) == before
    assert _names(data.user_modules) == ["tiny"]


def test_only_the_users_own_modules_are_locked(own):
    for name, hint in (("classic", "update classic --fresh"), ("nix", "new-module"), ("../x", "")):
        with pytest.raises(catalog.UnknownModule) as caught:
            own.lock(name)
        assert hint in caught.value.hint


# ---- kills and others ---------------------------------------------------------------------------


def test_two_commands_for_one_module_do_not_mix(own, folder, data):
    place = own.add(folder).folder
    with (
        placing.staging(data, "tiny", "add-module", lambda event: None),
        pytest.raises(ModuleInUse, match="is changing tiny"),
    ):
        own.add(folder, update=True)
    assert place.is_dir()
    own.add(folder, update=True)


@pytest.mark.parametrize("state", ["between", "after", "before"])
def test_the_next_command_mends_what_a_kill_left(own, folder, data, state):
    """The three states that a kill can leave behind, and any command at all afterwards."""
    place = own.add(folder).folder
    new, old = data.user_modules / ".tiny.new", data.user_modules / ".tiny.old"
    if state == "between":
        place.rename(old)
        shutil.copytree(folder, new)
    elif state == "after":
        shutil.copytree(folder, old)
    else:
        new.mkdir()
        (new / "module.toml").write_text("half", "utf-8")
    listed = answer(command("list"))[1]["modules"]
    assert "tiny" in [module["name"] for module in listed]
    assert _names(data.user_modules) == ["tiny"]
    assert _contents(place) == _contents(folder)


@pytest.mark.slow
@posix_only
def test_kills_at_any_moment_leave_the_old_module_or_the_new_one(folder, data):
    kills, late, replaced, usual = 15, 0, 0, 0.0
    moments, place = random.Random(7), data.user_modules / "tiny"
    for number in range(150):
        (folder / f"extra {number}.txt").write_text("1.0.0", "utf-8")
    assert answer(command("add-module", folder))[0] == 0
    for number in range(kills + 1):
        write_module(folder, LOCK, toml=TOML.replace("1.0.0", f"{number + 2}.0.0"))
        before, after = _contents(place), _contents(folder)
        process = command("add-module", folder, "--update")
        while not (data.user_modules / ".tiny.new").exists():
            assert process.poll() is None
            time.sleep(0.002)
        started = time.monotonic()
        if number == 0:  # this one may finish, and tells how long that takes
            until(lambda: not (data.user_modules / ".tiny.new").exists())
            usual = time.monotonic() - started
        else:
            time.sleep(usual * moments.uniform(0, 1.2))
            late += process.poll() is not None
        process.kill()
        process.communicate()
        assert answer(command("status", "tiny"))[0] == 0
        assert _contents(place) in (before, after)
        replaced += _contents(place) == after
        assert _names(data.user_modules) == ["tiny"]
    print(f"{kills} kills, {late} came too late, {replaced} times the new module was in place")
    assert late < kills
