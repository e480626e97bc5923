"""Installing, listing and removing environments with real uv, real venvs and real workers."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest

from envmanager import workers
from envmanager.data.paths import DataFolder
from envmanager.data.settings import Settings
from envmanager.environments import inventory
from envmanager.environments.lifecycle import Environments
from envmanager.errors import (
    Cancelled,
    ConfigError,
    GA3EnvError,
    InstallFailed,
    ModuleInUse,
    NotInstalled,
    ToolFailed,
    UnknownModule,
)
from envmanager.events import CancelToken, Progress, Stage
from ga3_nodes import client
from tests.envmanager.conftest import TEST, TOML, WORKER, write_module

pytestmark = pytest.mark.slow
windows = pytest.mark.windows  # where the system matters: an environment takes long under Wine
IMAGE = np.array([[0, 50], [150, 250]], np.uint16)


def _mask(**parameters):
    return client.call("tiny", "segment", {"image": IMAGE}, parameters)["labels"].tolist()


def _left_in(root: Path) -> list[str]:
    """Return what an install that failed must not leave."""
    places = ["envs", "trash", "config.lock", "envs/tiny.lock"]
    found = [place for place in places[1:] if (root / place).exists()]
    return found + [path.name for path in root.glob("envs/*/*")]


@windows
def test_install_publishes_a_tested_environment(environments, tiny, data_folder):
    events = []
    done = environments.install("tiny", report=events.append)
    assert (done.name, done.generation, done.new) == ("tiny", 1, True)
    assert _mask() == [[0, 0], [1, 1]]
    stages = [event.name for event in events if isinstance(event, Stage)]
    assert stages == "prepare resolve download install check warm-up self-test publish".split()
    last = [event for event in events if isinstance(event, Progress)][-1]
    assert last.done == last.total > 1_000_000
    assert not list(data_folder.glob("**/*.tmp"))
    assert not (data_folder / "trash").exists()
    assert not list(data_folder.glob("envs/*.lock"))


@windows
def test_config_is_relative_so_that_a_moved_root_keeps_working(installed, data_folder, monkeypatch):
    config = json.loads((data_folder / "config.json").read_text("utf-8"))
    entry = config["modules"]["tiny"]
    assert entry["dir"] == "envs/tiny/1"
    assert not Path(entry["python"]).is_absolute()
    assert str(data_folder) not in json.dumps(config["modules"], ensure_ascii=False)
    moved = data_folder.with_name("moved ö")
    data_folder.rename(moved)
    monkeypatch.setenv("GA3ENV_HOME", str(moved))
    try:
        assert _mask() == [[0, 0], [1, 1]]
    finally:
        client.close()
        workers.stop(Environments(DataFolder(moved), Settings()).data)
        moved.rename(data_folder)


def test_a_second_install_changes_nothing(installed, data_folder):
    before = (data_folder / "config.json").stat().st_mtime_ns
    again = installed.install("tiny")
    assert (again.new, again.generation) == (False, 1)
    assert (data_folder / "config.json").stat().st_mtime_ns == before


@windows
def test_a_changed_module_becomes_the_next_generation(installed, tiny, tiny_lock):
    assert _mask() == [[0, 0], [1, 1]]
    sevens = WORKER.replace("astype(np.int32)", "astype(np.int32) * 7")
    write_module(tiny, tiny_lock, worker=sevens, test=TEST.replace("[0, 1]", "[0, 7]"))
    assert inventory.status(installed.data, "tiny").state == "update_available"
    assert installed.install("tiny").generation == 2
    assert inventory.status(installed.data, "tiny").generations == [1, 2]
    assert _mask() == [[0, 0], [7, 7]]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"test": "def test_x():\n    assert False, 'unlucky'\n"}, "self-test"),
        ({"test": "x = 1\n"}, "self-test"),
        ({"worker": "import no_such_package\n"}, "self-test"),
        ({"toml": TOML.replace('["numpy"]', '["numpy", "no_such_package"]')}, "import"),
    ],
)
def test_a_failing_test_publishes_nothing(
    environments, tiny, tiny_lock, data_folder, changed, message
):
    write_module(tiny, tiny_lock, **changed)
    with pytest.raises(InstallFailed, match=message) as caught:
        environments.install("tiny")
    assert caught.value.details["log_tail"]
    assert not (data_folder / "config.json").exists()
    assert _left_in(data_folder) == []
    assert inventory.status(environments.data, "tiny").state == "not_installed"


@windows
def test_a_failed_update_leaves_the_published_one(installed, tiny, tiny_lock):
    write_module(tiny, tiny_lock, worker="raise RuntimeError('new defect')\n")
    with pytest.raises(InstallFailed):
        installed.install("tiny")
    assert inventory.status(installed.data, "tiny").generations == [1]
    assert _mask() == [[0, 0], [1, 1]]


def test_a_tampered_lock_is_refused(environments, tiny, tiny_lock, data_folder):
    every = [part[:64] for part in tiny_lock.split("sha256:")[1:]]
    tampered = tiny_lock
    for digest in every:
        tampered = tampered.replace(digest, ("0" if digest[0] != "0" else "1") + digest[1:])
    write_module(tiny, tampered)
    with pytest.raises(GA3EnvError) as caught:
        environments.install("tiny")
    assert caught.value.code in ("hash_mismatch", "tool_failed")
    assert _left_in(data_folder) == []


def test_an_index_that_does_not_answer_is_named(tiny, data_folder):
    environments = Environments(DataFolder(data_folder), Settings(index_url="http://127.0.0.1:9/"))
    with pytest.raises(ToolFailed, match="could not resolve") as caught:
        environments.install("tiny")
    assert "network" in caught.value.hint
    assert _left_in(data_folder) == []


@pytest.mark.parametrize("python", ["3.99", "2.7", "no such program", "missing/python", "."])
def test_a_python_that_is_none_is_no_fault_of_the_network(environments, tiny, tmp_path, python):
    name = str(tmp_path / python) if python[-1] in "n." else python
    with pytest.raises(ToolFailed) as caught:
        environments.install("tiny", python=name)
    assert caught.value.code == "no_such_python"
    assert "3.12" in caught.value.hint
    assert "network" not in caught.value.hint
    assert _left_in(environments.data.root) == []


def test_offline_with_a_filled_cache_works(environments, tiny, data_folder):
    environments.install("tiny")
    environments.remove("tiny")
    offline = Environments(environments.data, Settings(offline=True))
    assert offline.install("tiny").new


def test_a_python_that_is_not_there(environments, tiny, data_folder):
    with pytest.raises(ToolFailed, match="make the environment"):
        environments.install("tiny", python=str(data_folder / "no python"))
    assert _left_in(data_folder) == []


@windows
def test_cancel_ends_soon_and_leaves_nothing(environments, tiny, data_folder):
    cancel = CancelToken()

    def report(event):
        if isinstance(event, Stage) and event.name == "download":
            threading.Timer(0.05, cancel.cancel).start()

    started = time.monotonic()
    with pytest.raises(Cancelled):
        environments.install("tiny", report=report, cancel=cancel)
    assert time.monotonic() - started < 60
    assert _left_in(data_folder) == []
    names = [p.name() for p in psutil.Process().children(recursive=True)]
    assert not [name for name in names if name.startswith("uv")]
    assert environments.install("tiny").new


def test_what_a_killed_install_left_is_swept(environments, tiny, data_folder):
    half = data_folder / "envs" / "tiny" / "1"
    (half / ".venv").mkdir(parents=True)
    (half / "worker.py").write_text("half", "utf-8")
    (data_folder / "trash" / "old").mkdir(parents=True)
    done = environments.install("tiny")
    assert done.generation == 2  # a number is not used again: the killed one may still write there
    assert inventory.status(environments.data, "tiny").generations == [2]
    assert not (data_folder / "trash").exists()


@windows
def test_two_installs_at_once(environments, tiny):
    with ThreadPoolExecutor(2) as pool:
        running = [pool.submit(environments.install, "tiny") for _ in range(2)]
        outcomes = [future.result(300) for future in running]  # raises what an install raised
    assert sorted(outcome.new for outcome in outcomes) == [False, True]
    assert {outcome.generation for outcome in outcomes} == {1}


@windows
def test_remove_ends_an_idle_worker_and_frees_the_disk(installed, data_folder):
    _mask()
    assert len(workers.live(installed.data)) == 1
    assert installed.remove("tiny") > 0
    assert workers.live(installed.data) == []
    assert _left_in(data_folder) == []
    with pytest.raises(NotInstalled):
        _mask()
    with pytest.raises(NotInstalled):
        installed.remove("tiny")


@windows
def test_remove_refuses_while_a_call_runs(environments, tiny, tiny_lock, tmp_path):
    end = tmp_path / "end"
    wait = f"import os, time\n    while not os.path.exists({str(end)!r}): time.sleep(0.05)\n    "
    slow = WORKER.replace("return", f"{wait}return")
    write_module(tiny, tiny_lock, worker=slow, test="def test_nothing():\n    pass\n")
    environments.install("tiny")
    thread = threading.Thread(target=_mask, kwargs={"threshold": 3.0})
    thread.start()
    deadline = time.monotonic() + 60
    while not any(user["busy"] for user in workers.users(environments.data, "tiny")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    with pytest.raises(ModuleInUse, match=f"PID {os.getpid()}"):
        environments.remove("tiny")
    end.touch()
    thread.join(60)
    assert inventory.status(environments.data, "tiny").state == "ready"
    assert _mask(threshold=1.0) == [[0, 1], [1, 1]]


def test_a_damaged_config_is_never_overwritten(environments, tiny, data_folder):
    config = data_folder / "config.json"
    for text, code in (("{", "config_invalid"), ('{"schema": 9}', "config_too_new")):
        config.write_text(text, "utf-8")
        with pytest.raises(ConfigError) as caught:
            environments.install("tiny")
        assert caught.value.code == code
        assert config.read_text("utf-8") == text
    config.unlink()


def test_a_lost_environment_is_seen_and_installed_anew(installed, data_folder):
    shutil.rmtree(data_folder / "envs" / "tiny" / "1" / ".venv")
    status = inventory.status(installed.data, "tiny")
    assert status.state == "broken"
    assert status.problems
    assert installed.install("tiny").generation == 2
    assert _mask() == [[0, 0], [1, 1]]


def test_older_generations_are_pruned(environments, tiny, tiny_lock):
    for number in range(1, 4):
        write_module(tiny, tiny_lock, toml=TOML.replace("1.0.0", f"1.{number}.0"))
        environments.install("tiny")
    assert inventory.status(environments.data, "tiny").generations == [2, 3]


def test_as_many_older_generations_stay_as_are_wanted(environments, tiny, tiny_lock):
    keeps = Environments(environments.data, Settings(generations_kept=3))
    for number in range(1, 6):
        write_module(tiny, tiny_lock, toml=TOML.replace("1.0.0", f"1.{number}.0"))
        keeps.install("tiny")
        assert inventory.numbers(keeps.data, "tiny") == list(range(max(1, number - 3), number + 1))


@windows
@pytest.mark.parametrize("name", ["..", ".", "", "/tmp/x", "a/b", "C:\\x"])
def test_no_name_leads_out_of_the_data_folder(environments, data_folder, name):
    (data_folder / "envs").mkdir()
    for act in ("install", "remove", "update", "repair", "verify", "rollback", "selftest"):
        with pytest.raises(UnknownModule):
            getattr(environments, act)(name)
    assert (data_folder / "envs").is_dir()


def test_a_lost_config_costs_no_environment(installed, tiny, tiny_lock, data_folder):
    write_module(tiny, tiny_lock, toml=TOML.replace("1.0.0", "2.0.0"))
    installed.install("tiny")
    (data_folder / "config.json").unlink()
    done = installed.install("tiny")
    assert (done.generation, done.new) == (2, False)
    assert inventory.numbers(installed.data, "tiny") == [1, 2]
    assert _mask() == [[0, 0], [1, 1]]


def test_a_damaged_entry_harms_only_its_own_module(installed, data_folder):
    path = data_folder / "config.json"
    config = json.loads(path.read_text("utf-8"))
    config["modules"]["tiny"]["generation"] = "x"
    path.write_text(json.dumps(config), "utf-8")
    states = {s.name: s.state for s in inventory.statuses(installed.data)}
    assert states.pop("tiny") == "broken"
    assert set(states.values()) == {"not_installed"}  # the shipped ones
    installed.install("tiny")
    assert _mask() == [[0, 0], [1, 1]]


@pytest.mark.skipif(os.name == "nt", reason="a process cannot be stopped there")
def test_a_worker_that_does_not_answer_is_not_taken_for_dead(installed):
    pid = client.call("tiny", "segment", {"image": IMAGE}).worker_pid
    process = psutil.Process(pid)
    process.suspend()
    try:
        (worker,) = workers.live(installed.data)
        assert (worker.pid, worker.responding) == (pid, False)
        with pytest.raises(ModuleInUse, match=f"PID {pid}"):
            installed.remove("tiny")
    finally:
        process.resume()
    assert _mask() == [[0, 0], [1, 1]]


def test_a_selftest_that_leaves_a_process_does_not_hang(environments, tiny, tiny_lock):
    code = "import subprocess, sys\n" + TEST
    code += "    subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(77)'])\n"
    write_module(tiny, tiny_lock, test=code)
    started = time.monotonic()
    environments.install("tiny")
    assert time.monotonic() - started < 60


def test_the_list_shows_modules_that_are_not_installed(environments, tiny):
    states = {status.name: status.state for status in inventory.statuses(environments.data)}
    assert {"tiny", "classic", "texture"} <= set(states)
    assert set(states.values()) == {"not_installed"}
    with pytest.raises(UnknownModule, match="celpose"):
        inventory.status(environments.data, "celpose")
