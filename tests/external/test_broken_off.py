"""A set-up that is killed or interrupted, and several at once."""

import json
import os
import signal
import sys
import time

import pytest

from tests.external.project_copy import end, posix_only

MOMENTS = {
    "first moment": "external/UV/.lock",
    "while pip fetches": "external/UV/.setup-*/uv.txt",
    "uv unpacked": "external/UV/.setup-*/uv",
    "uv there": "external/UV/uv",
    "empty environment": ".venv/pyvenv.cfg",
    "half installed": ".venv/lib/*/site-packages/tiny*",
}


@posix_only
@pytest.mark.parametrize("everything", [True, False], ids=["with children", "bootstrap alone"])
@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_at_any_moment_it_succeeds_the_next_time(copy, moment, everything):
    if ".venv" in MOMENTS[moment]:
        copy.give_uv()  # faster
    process = copy.start()
    while not any(copy.root.glob(MOMENTS[moment])) and process.poll() is None:
        time.sleep(0.001)
    if everything:
        end(process)
    else:
        process.kill()
    assert copy.works("x")[0]["args"] == ["x"]
    assert copy.left() == [".lock", "uv"]
    assert copy.works()[1] == ""
    process.communicate()


@posix_only
def test_interrupted_by_the_user(copy):
    process = copy.start("--json")
    while not any(copy.root.glob("external/UV/.setup-*/uv.txt")):
        time.sleep(0.001)
    time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert json.loads(out)["error"]["code"] == "cancelled"
    assert "Traceback" not in err
    assert copy.left() == [".lock"]


@posix_only
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_signal_ends_a_set_up_with_its_child_as_ctrl_c_does(copy, name):
    child = "import os, pathlib, time; pathlib.Path('pid.new').write_text(str(os.getpid())); "
    child += "os.rename('pid.new', 'pid'); time.sleep(60)"
    code = (
        f"import sys; sys.path.append({str(copy.root)!r})\n"
        "from external import bootstrap, setting_up, tools\n"
        "setting_up.set_up = lambda level: tools.run_tool("
        f"[sys.executable, '-c', {child!r}], bootstrap.ROOT)\n"
        "sys.exit(bootstrap.main(['list', '--json']))"
    )
    process = copy.start(command=[sys.executable, "-IS", "-c", code])
    try:
        deadline = time.monotonic() + 30
        while not (copy.root / "pid").exists():
            assert time.monotonic() < deadline
            assert process.poll() is None, process.communicate()
            time.sleep(0.02)
        process.send_signal(getattr(signal, name))
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 130, err
    assert json.loads(out)["error"]["code"] == "cancelled"
    assert "Traceback" not in err
    with pytest.raises(ProcessLookupError):
        os.kill(int((copy.root / "pid").read_text()), 0)


@pytest.mark.windows
def test_two_starts_at_once(copy):
    copy.give_uv()
    processes = [copy.start(str(number)) for number in range(4)]
    outcomes = [process.communicate(timeout=240) for process in processes]
    assert [process.returncode for process in processes] == [7] * 4, outcomes
    assert sum("Setting up" in err for _, err in outcomes) == 1
    assert all("anew" not in err for _, err in outcomes)


@posix_only
def test_second_start_says_that_it_waits(copy):
    import fcntl

    copy.give_uv()
    with (copy.root / "external/UV/.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        process = copy.start()
        assert "waiting for it" in process.stderr.readline()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 7, err
