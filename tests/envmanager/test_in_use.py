"""Who uses a module, and who changes it: told with the time, and true as soon as somebody dies."""

from __future__ import annotations

import os
import re
import sys
import threading
import time

import numpy as np
import psutil
import pytest

from envmanager import workers
from envmanager.data import writers
from envmanager.data.paths import DataFolder
from envmanager.data.users import user_text
from envmanager.environments import inventory
from envmanager.errors import Cancelled, ModuleInUse
from envmanager.events import CancelToken, Stage
from ga3_nodes import client, leases, locks, records
from tests import programs
from tests.envmanager.conftest import TEST, TOML, WORKER, write_module
from tests.support import ECHO_DECLARATION, ECHO_WORKER, publish

windows = pytest.mark.windows
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="suspends processes, other homes")
WRITER = """
import sys
from pathlib import Path
from envmanager.data import writers
from envmanager.events import Stage, ignore
from envmanager.data.paths import DataFolder
with writers.waiting(DataFolder(Path(sys.argv[1])), "echo", "update", ignore) as report:
    report(Stage("resolve", "Resolving"))
    report(Stage("install", "Installing"))
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def data(echo) -> DataFolder:
    return DataFolder(echo)


@pytest.fixture
def start():
    """Start programs with the functions of `programs`; they are killed at the end."""
    started = []

    def begin(process):
        started.append(process)
        return process

    yield begin
    for process in started:
        programs.end(process)


@pytest.fixture
def writer(data, start):
    process = start(programs.python(WRITER, data.root))
    assert process.stdout.readline().strip() == "held"
    return process


def _busy(data):
    return [user for user in workers.users(data, "echo") if user["busy"]]


# ---- the users of workers -----------------------------------------------------------------------


@windows
def test_status_says_who_uses_a_module_since_when(data, start):
    before = time.time()
    process = start(programs.caller("segment", mode="sleep"))
    programs.until(lambda: _busy(data))
    code, told = programs.answer(programs.command("status", "echo"))
    (user,) = told["in_use_by"]
    assert code == 0
    assert user["busy"] is True
    assert user["pid"] in [one.pid for one in programs.family(process)]
    assert before <= user["since"] <= time.time()
    text = rf"python.* \(PID {user['pid']}, since \d\d:\d\d\)"
    assert re.fullmatch(text, user_text(user))


@windows
def test_only_the_programs_whose_calls_wait_are_busy(data, start):
    client.start("echo")
    start(programs.caller("segment", mode="sleep"))
    programs.until(lambda: _busy(data))
    states = {user["pid"] == os.getpid(): user["busy"] for user in workers.users(data, "echo")}
    assert states == {True: False, False: True}


@windows
def test_a_program_with_two_connections_is_one_user(data):
    image = np.zeros((4, 4), np.uint16)
    client.call("echo", "segment", {"image": image})
    before = time.time()
    batch = client.call_many("echo", "segment", [{"image": image}] * 2)
    next(batch)  # it has a connection of its own
    (worker,) = workers.live(data)
    (record,) = (record for _, record in records.live(data.root))
    mine = [told for told in client.status(record)["clients"] if told["pid"] == os.getpid()]
    batch.close()
    assert len([told for told in mine if told["program"] != client.MANAGER]) == 2
    (user,) = worker.clients
    assert user["pid"] == os.getpid()
    assert user["since"] <= before  # since the first of them


def test_a_time_before_today_has_its_date():
    text = user_text({"program": "x", "pid": 7, "since": 86_400.0 * 365, "user": "ann"})
    assert re.fullmatch(r"x \(PID 7, since 19\d\d-\d\d-\d\d \d\d:\d\d, user ann\)", text)
    assert user_text({"program": "", "pid": 0, "since": None}) == "a program"


@linux_only
def test_a_suspended_worker_cannot_hide_its_users(data, start):
    pid = client.start("echo")
    process = start(programs.caller("segment", mode="sleep"))
    programs.until(lambda: any(c["busy"] for c in leases.held(data.root)[0].clients))
    psutil.Process(pid).suspend()
    try:
        found = {user["pid"]: user for user in workers.users(data, "echo")}
    finally:
        psutil.Process(pid).resume()
    assert set(found) == {process.pid, pid, os.getpid()}
    assert found[pid]["program"] == "its worker"
    assert all(user["since"] for user in found.values())


@pytest.fixture
def other_account(data, tmp_path):
    """Give the environment of another account: its run folder is private, so ours is elsewhere."""
    (data.root / "run").mkdir(mode=0o755)
    return {"XDG_DATA_HOME": str(tmp_path / "home of ann"), "LOGNAME": "ann"}


@pytest.fixture
def own_account(other_account, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "own home"))


@linux_only
@pytest.mark.usefixtures("own_account")
def test_a_call_of_another_account_is_seen_and_protects_the_environment(data, start, other_account):
    process = start(programs.caller("segment", env=other_account, mode="sleep"))
    (user,) = programs.until(lambda: _busy(data))
    assert (user["pid"], user["user"]) == (process.pid, "ann")
    assert workers.live(data) == []
    assert workers.serves(data, "echo", 1)
    code, error = programs.answer(programs.command("remove", "echo"))
    assert (code, error["code"]) == (1, "module_in_use")
    assert f"(PID {process.pid}, since " in error["message"]
    assert "user ann" in error["message"]


@linux_only
@pytest.mark.usefixtures("own_account")
def test_an_idle_worker_of_another_account_makes_way(data, start, other_account):
    process = start(programs.caller("segment", env=other_account))
    assert process.wait(60) == 0
    assert workers.serves(data, "echo", 1)
    code, _ = programs.answer(programs.command("remove", "echo"))
    assert code == 0
    assert leases.held(data.root) == []


# ---- ending them --------------------------------------------------------------------------------

WITH_CHILD = """
import subprocess, sys
def measure(image, other):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
    print("child", child.pid, flush=True)
    time.sleep(300)
"""


def test_a_busy_worker_is_told_by_stop_and_killed_by_force(data_folder, start):
    publish(data_folder, ECHO_DECLARATION, ECHO_WORKER + WITH_CHILD)
    log = data_folder / "logs" / "worker-echo.log"
    start(programs.caller("measure"))
    found = programs.until(lambda: log.is_file() and re.search(r"child (\d+)", log.read_text()))
    ((_, record),) = records.live(data_folder)
    code, told = programs.answer(programs.command("workers", "stop"))
    assert code == 1
    assert told["workers"] == []
    assert [worker["pid"] for worker in told["still_running"]] == [record.pid]
    code, told = programs.answer(programs.command("workers", "stop", "--force"))
    assert code == 0
    assert told["still_running"] == []
    assert [worker["pid"] for worker in told["workers"]] == [record.pid]
    for pid in (record.pid, int(found[1])):
        assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    assert records.live(data_folder) == []
    assert list((data_folder / "leases").iterdir()) == []


# ---- the one writer -----------------------------------------------------------------------------


@windows
def test_the_writer_is_named_with_its_stage_and_the_time(data, writer):
    found = writers.present(data, "echo")
    pids = [one.pid for one in programs.family(writer)]
    assert (found.what, found.stage) == ("update", "install")
    assert found.pid in pids
    assert 0 <= time.time() - found.since < 60
    code, told = programs.answer(programs.command("status", "echo"))
    assert code == 0
    assert told["busy"] == found.as_dict()
    with (
        pytest.raises(ModuleInUse, match=rf"update \(PID {found.pid}, since \d\d:\d\d\)"),
        writers.sole(data, "echo", "remove"),
    ):
        pass


@windows
def test_what_is_not_installed_yet_is_installing(data_folder, start):
    process = start(programs.python(WRITER.replace("echo", "classic"), data_folder))
    assert process.stdout.readline().strip() == "held"
    assert inventory.status(DataFolder(data_folder), "classic").state == "installing"
    process.communicate()
    assert inventory.status(DataFolder(data_folder), "classic").state == "not_installed"


@windows
def test_waiting_for_a_writer_says_for_whom_and_can_be_cancelled(data, writer):
    cancel, events, outcome = CancelToken(), [], []

    def wait():
        try:
            with writers.waiting(data, "echo", "install", events.append, cancel):
                outcome.append("held")
        except Cancelled:
            outcome.append("cancelled")

    thread = threading.Thread(target=wait)
    thread.start()
    programs.until(lambda: events)
    pid = writers.present(data, "echo").pid
    cancel.cancel()
    thread.join(30)
    assert outcome == ["cancelled"]
    (stage,) = events
    assert stage.name == "wait"
    assert re.search(rf"^Waiting for \S+ update \(PID {pid}, since \d\d:\d\d\)$", stage.title)


@windows
def test_a_killed_writer_holds_nothing(data, writer):
    programs.end(writer)
    assert writers.present(data, "echo") is None
    assert not writers.lock_path(data, "echo").exists()
    with writers.sole(data, "echo", "remove"):
        assert writers.present(data, "echo").what == "remove"


def test_a_note_that_says_nothing_is_a_writer_all_the_same(data):
    with locks.FileLock(writers.lock_path(data, "echo")) as lock:
        lock.write_note({"pid": "4242", "what": 7, "since": "soon"})
        assert writers.present(data, "echo") == writers.Writer()


# ---- with real environments ---------------------------------------------------------------------


@pytest.mark.slow
def test_of_two_installs_at_once_one_waits_and_finds_it_done(environments, tiny):
    first = programs.command("install", "tiny")
    programs.until(lambda: (w := writers.present(environments.data, "tiny")) and w.pid)
    second = programs.command("install", "tiny")
    out, told = second.communicate(timeout=300)
    assert '"new": false' in out
    assert re.search(r"Waiting for \S+ install \(PID \d+, since \d\d:\d\d\)", told)
    code, done = programs.answer(first)
    assert (code, second.returncode, done["new"], done["generation"]) == (0, 0, True, 1)
    assert inventory.numbers(environments.data, "tiny") == [1]


CALL_TINY = """
import sys
import numpy as np
from ga3_nodes import client
result = client.call("tiny", "segment", {"image": np.array([[1, 250]], np.uint16)})
print(result["labels"].tolist())
"""


@windows
@pytest.mark.slow
def test_an_update_under_a_call_lets_it_end_and_is_tidied_up_later(
    environments, tiny, tiny_lock, data_folder, start
):
    go = data_folder / "go"
    waits = (
        f"import os, time\n    while not os.path.exists({str(go)!r}):\n        time.sleep(0.05)\n"
    )
    slow = WORKER.replace("    return", f"    {waits}    return")
    write_module(tiny, tiny_lock, worker=slow, test="def test_nothing():\n    pass\n")
    environments.install("tiny")
    process = start(programs.python(CALL_TINY))
    programs.until(lambda: any(user["busy"] for user in workers.users(environments.data, "tiny")))
    for number in (2, 3):
        changed = {"toml": TOML.replace("1.0.0", f"{number}.0.0"), "test": TEST}
        write_module(tiny, tiny_lock, **changed)
        assert environments.update("tiny").generation == number
    assert inventory.numbers(environments.data, "tiny") == [1, 2, 3]  # one older one, and the busy
    go.touch()
    out, told = process.communicate(timeout=60)
    assert out.strip() == "[[0, 1]]", told
    programs.until(lambda: not workers.serves(environments.data, "tiny", 1))
    assert environments.install("tiny").new is False
    assert inventory.numbers(environments.data, "tiny") == [2, 3]


def test_the_stages_of_the_work_are_still_reported(data):
    events = []
    with writers.waiting(data, "echo", "install", events.append) as report:
        report(Stage("resolve", "Resolving"))
        assert writers.present(data, "echo").stage == "resolve"
    assert events == [Stage("resolve", "Resolving")]
    assert writers.present(data, "echo") is None
