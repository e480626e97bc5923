"""One window per user, and a picture of the data folder that others change."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from tests import programs
from tests.app.conftest import PATIENCE_MS
from tests.support import PROJECT

# The app as `python -m app` starts it; it tells what a later start asks of it, and ends then.
FIRST = """
import sys
from app import application
class Telling(application.Application):
    def show(self):
        super().show()
        print("shown", flush=True)
    def come_forward(self, arguments):
        super().come_forward(arguments)
        print(self.window.page, *arguments, flush=True)
        self.window.close()
application.Application = Telling
sys.exit(application.run([]))
"""


@pytest.fixture
def start(data_folder):
    """Start the app in a process of its own."""
    processes = []

    def begin(*arguments):
        environment = {"QT_QPA_PLATFORM": "offscreen", "XDG_CONFIG_HOME": str(data_folder)}
        process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=PROJECT,
            env=os.environ | environment,
            stdout=subprocess.PIPE,
            encoding="utf-8",
        )
        processes.append(process)
        return process

    yield begin
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate()


def test_a_second_start_hands_over_what_it_was_given(start):
    first = start("-c", FIRST)
    assert first.stdout.readline().strip() == "shown"
    folder = PROJECT / "modules" / "classic"
    second = start("-m", "app", str(folder))
    assert second.wait(60) == 0
    assert first.stdout.readline().strip() == f"modules {folder}"
    assert first.wait(60) == 0


def test_an_app_that_was_killed_keeps_nobody_out(start):
    first = start("-c", FIRST)
    assert first.stdout.readline().strip() == "shown"
    first.kill()
    first.wait(60)
    out, _ = start("-m", "app", "--time").communicate(timeout=60)
    assert re.search("first paint", out)


@pytest.mark.slow
def test_an_install_by_the_command_line_shows_without_a_click(app, qtbot, tiny, environments):
    app.show()
    qtbot.waitUntil(lambda: app.store.snapshot is not None, timeout=PATIENCE_MS)
    card = app.window._pages["modules"].cards["tiny"]
    assert card.told == "Not installed"
    process = programs.command("install", "tiny")
    try:
        qtbot.waitUntil(lambda: card.told.startswith("Being installed by"), timeout=PATIENCE_MS)
        assert f"PID {process.pid}" in card.told
        qtbot.waitUntil(lambda: card.told == "Ready", timeout=PATIENCE_MS)
        assert programs.answer(process)[0] == 0
    finally:
        programs.end(process) if process.poll() is None else None
