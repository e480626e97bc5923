"""What is said of a program that has no console: only where it ended by an error, and which."""

from __future__ import annotations

import os
import sys

import pytest

from external import windowless

pytestmark = pytest.mark.windows


def _run(code):
    """Run Python code; give why it ended, and the log."""
    exit_code, said, early = windowless.run([sys.executable, "-c", code], dict(os.environ))
    assert early
    return windowless.reason(exit_code, said), windowless.log_file().read_text("utf-8")


def test_an_error_at_the_import_is_told_by_its_last_line(data_folder):
    why, log = _run("raise ImportError('no package in Jörgs Ordner')")
    assert why == "ImportError: no package in Jörgs Ordner"
    assert windowless.log_file().parent == data_folder / "logs"
    assert "Traceback (most recent call last)" in log


def test_a_refusal_of_the_app_is_told(data_folder):
    why, _ = _run("import sys; sys.exit('error: There is no screen.\\nhint: Connect one.')")
    assert why == "error: There is no screen."


@pytest.mark.parametrize(
    "code",
    [
        "raise SystemExit(0)",
        "import sys; print('a warning', file=sys.stderr)",
        "import os; os._exit(1)",  # as the task manager ends a program
        "import traceback, sys\ntry: 1 / 0\nexcept Exception: traceback.print_exc()",  # went on
    ],
)
def test_nothing_is_told_of_what_ended_well_or_was_ended(code, data_folder):
    assert _run(code)[0] == ""


@pytest.mark.skipif(sys.platform != "win32", reason="exit codes of Windows")
def test_a_crash_is_told(data_folder):
    assert "access violation" in _run("import faulthandler as f; f.enable(); f._read_null()")[0]
    assert "Segmentation fault" in _run("import faulthandler as f; f.enable(); f._sigsegv()")[0]
    assert "0xc0000005" in _run("import os; os._exit(0xC0000005 - 2**32)")[0]


def test_a_large_log_begins_anew(data_folder):
    log = windowless.log_file()
    log.parent.mkdir(parents=True)
    log.write_bytes(b"x" * (windowless.LARGEST_LOG + 1))
    assert len(_run("pass")[1]) < 1000


def test_no_log_keeps_nothing_from_running(data_folder, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("GA3ENV_HOME", str(tmp_path / "file"))
    code, said, _ = windowless.run(
        [sys.executable, "-c", "import sys; sys.exit(3)"], {**os.environ}
    )
    assert (code, said) == (3, "")
