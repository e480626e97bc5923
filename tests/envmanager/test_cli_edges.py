"""The command line where things end badly: lost output, signals at any moment, odd words."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tifffile

from envmanager import cli
from tests.envmanager.test_cli import IMAGE
from tests.support import PROJECT

windows = pytest.mark.windows
posix_only = pytest.mark.skipif(sys.platform == "win32", reason="POSIX: signals, /dev/full")
FULL = pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")


@pytest.fixture
def start(tmp_path):
    """Start the CLI as a process of its own."""
    started = []

    def call(*words, before=PROJECT, **options):
        env = os.environ | {"PYTHONPATH": os.pathsep.join([str(before), str(PROJECT)])}
        env |= options.pop("env", {})
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
        command = [sys.executable, "-m", "envmanager", *map(str, words)]
        started.append(subprocess.Popen(command, cwd=tmp_path, env=env, **options))
        return started[-1]

    yield call
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def run(start):
    """Run the CLI to its end; return exit code, stdout and stderr."""

    def call(*words, **options):
        process = start(*words, **options)
        out, err = process.communicate(timeout=120)
        told = (text or b"" for text in (out, err))
        return process.returncode, *(text.decode(errors="replace") for text in told)

    return call


WORDS = [["list"], ["list", "--json"], ["--version"], ["doctor"], ["node", "classic"]]


@FULL
@pytest.mark.parametrize("words", WORDS, ids=" ".join)
def test_a_full_disk_behind_stdout_ends_quietly(run, words):
    with Path("/dev/full").open("wb") as full:
        code, _, err = run(*words, stdout=full)
    assert (code, err) == (1, "")


@posix_only
@pytest.mark.parametrize("words", WORDS, ids=" ".join)
def test_a_reader_that_is_gone_ends_quietly(run, words):
    reader, writer = os.pipe()
    os.close(reader)
    code, _, err = run(*words, stdout=writer)
    os.close(writer)
    assert (code, err) == (1, "")


@FULL
@pytest.mark.parametrize(("words", "expected"), [(["list"], 0), (["status", "ech"], 1), (["x"], 2)])
def test_a_full_disk_behind_stderr_changes_nothing(run, words, expected):
    with Path("/dev/full").open("wb") as full:
        assert run(*words, stderr=full)[0] == expected


@windows
@pytest.mark.parametrize("as_json", [False, True])
def test_a_name_outside_the_encoding_of_stdout(echo, run, tmp_path, as_json):
    name = "細胞 ü.tif"
    tifffile.imwrite(tmp_path / name, IMAGE)
    words = ["segment", "echo", name, "-o", "m.tif", *(["--json"] if as_json else [])]
    env = {"PYTHONIOENCODING": "cp1252", "PYTHONUTF8": "0"}
    code, out, err = run(*words, env=env)
    assert (code, "Traceback" in err) == (0, False)
    if as_json:
        assert json.loads(out)["data"]["outputs"][0]["input"] == name
    else:
        assert "\\u7d30\\u80de" in out


@pytest.mark.skipif(sys.platform != "linux", reason="names that are no text exist on Linux only")
def test_a_name_that_is_no_text(echo, run):
    code, out, _ = run("segment", "echo", b"\xff.tif".decode("utf-8", "surrogateescape"),
                       "-o", "m.tif", "--json")  # fmt: skip
    assert code == 1
    assert "\udcff.tif" in json.loads(out)["error"]["message"]
    log = next(echo.parent.rglob("app.log"))
    assert "udcff" in log.read_text("utf-8")


@windows
@pytest.mark.parametrize("as_json", [False, True])
def test_interrupt_while_the_app_is_imported(run, tmp_path, as_json):
    early = tmp_path / "early"
    early.mkdir()
    (early / "psutil.py").write_text("raise KeyboardInterrupt\n")
    code, out, err = run("list", *(["--json"] if as_json else []), before=early)
    assert code == 130
    if as_json:
        answer = json.loads(out)
        assert (answer["ok"], answer["command"], answer["error"]["code"]) == (
            False, "list", "cancelled"
        )  # fmt: skip
        assert err == ""
    else:
        assert err.splitlines()[0] == "error: Cancelled."
        assert "Traceback" not in err


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
@pytest.mark.parametrize("words", [["list"], ["demo"], ["install", "classic"]], ids=" ".join)
def test_no_place_for_a_log(run, words):
    nowhere = {"GA3ENV_HOME": "/proc/x", "HOME": "/proc/y", "XDG_STATE_HOME": "/proc/z"}
    nowhere |= {"TMPDIR": "/proc/t", "XDG_RUNTIME_DIR": "/proc/r"}
    code, out, err = run(*words, "--json", env=nowhere)
    assert (code, err) == (1, "")
    assert json.loads(out)["error"]["code"]


def test_an_unexpected_error_without_a_log_is_told_all_the_same(monkeypatch, capsys):
    def refuse(data):
        raise cli.GA3EnvError("No log.")

    monkeypatch.setattr(cli.failures.applog, "path", refuse)
    error = cli.failures.as_error(ValueError("x"))
    assert error.code == "internal"
    assert cli._failed(error, "list", True) == 1
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "internal"


@windows
@pytest.mark.parametrize(
    ("words", "command", "text"),
    [
        (["--help", "--json"], "help", "usage: ./run "),
        (["demo", "--json", "-h"], "help", "usage: ./run demo"),
        (["--version", "--json"], "version", cli.__version__),
        (["--json", "--version"], "version", cli.__version__),
    ],
)
def test_help_and_version_are_one_object(run, words, command, text):
    code, out, err = run(*words)
    answer = json.loads(out)
    assert (code, err, answer["ok"], answer["command"]) == (0, "", True, command)
    assert answer["data"]["text"].startswith(text)


@windows
def test_json_may_stand_before_the_command_and_is_never_abbreviated(run):
    code, out, _ = run("--json", "list")
    assert (code, json.loads(out)["command"]) == (0, "list")
    for words in (["list", "--js"], ["--js", "list"], ["update", "classic", "--dry"]):
        code, out, err = run(*words)
        assert (code, out) == (2, "")
        assert "nrecognized" in err or "nvalid" in err
    assert run("--json", "doctor")[1].count("\n") == 1


def test_after_two_dashes_json_is_a_name():
    assert cli._without_json(["segment", "--json", "--", "--json"]) == (
        ["segment", "--", "--json"], True
    )  # fmt: skip
    assert cli._without_json(["segment", "--", "--json"])[1] is False


def start_blocked(start, tmp_path, *words, **options):
    """Start a command that waits in a module it imports late."""
    early = tmp_path / "early"
    early.mkdir()
    (early / "sitecustomize.py").write_text(
        "import importlib.abc, sys\n"
        "class Late(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name == 'envmanager.doctor':\n"
        "            import pathlib, time\n"
        "            pathlib.Path('started').touch()\n"
        "            time.sleep(60)\n"
        "sys.meta_path.insert(0, Late())\n"
    )
    process = start(*words, before=early, **options)
    deadline = time.monotonic() + 60
    while not (tmp_path / "started").exists():
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    return process


@posix_only
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGINT"])
def test_signals_end_a_command_as_ctrl_c_does(start, tmp_path, name):
    process = start_blocked(start, tmp_path, "doctor", "--json")
    process.send_signal(getattr(signal, name))
    out, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (130, b"")
    error = json.loads(out)["error"]
    assert (error["code"], error["hint"]) == ("cancelled", "Nothing more was done.")


@posix_only
def test_nohup_still_holds(start, tmp_path):
    process = start_blocked(
        start, tmp_path, "doctor",
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    )  # fmt: skip
    process.send_signal(signal.SIGHUP)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.5)


@pytest.mark.skipif(sys.platform != "win32", reason="SIGBREAK")
@windows
def test_ctrl_break_is_heeded(monkeypatch):
    before = signal.getsignal(signal.SIGBREAK)
    try:
        cli._heed_signals()
        assert signal.getsignal(signal.SIGBREAK) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGBREAK, before)


@windows
def test_a_relative_data_folder_is_made_absolute(tmp_path):
    text = "import os\nfrom envmanager import cli\ncli.main(['--version'])\n"
    done = subprocess.run(
        [sys.executable, "-c", text + "print(ascii(os.environ['GA3ENV_HOME']))"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(PROJECT), "GA3ENV_HOME": "data"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == ascii(str(tmp_path / "data"))


@pytest.mark.parametrize(
    ("command", "kept"),
    [("install", True), ("update", True), ("repair", True), ("segment", False), ("remove", False)],
)
def test_cancelled_promises_only_what_holds(command, kept):
    hint = cli._cancelled(command).hint
    assert hint == ("What was installed before is as it was." if kept else "Nothing more was done.")
