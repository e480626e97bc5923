"""The GUI thread stays free: no long stall, and no call of the engine."""

from __future__ import annotations

import sys
import threading
import time
import traceback
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PySide6.QtCore import QObject, Qt, QTimer

from app.background import RUNS
from app.pages.modules import steps
from app.window import ABOUT, PAGES
from envmanager import disk
from envmanager.data.paths import data_folder as present_data_folder
from ga3_nodes import client
from tests.app.conftest import PATIENCE_MS
from tests.app.test_modules import _can_click, _click
from tests.support import ECHO_DECLARATION, ECHO_WORKER, PROJECT, publish

BEAT_MS = 5
GOAL_S, FAIL_S = 0.1, 0.5  # of the GUI thread's own processor time without a beat
WALL_S = 10.0  # generous: the machine may be loaded
ENGINE = (str(PROJECT / "envmanager"), str(PROJECT / "ga3_nodes"))
# What the GUI thread may call: it reads no file, starts nothing and waits for nothing.
ALLOWED = (
    "envmanager/units.py: ",  # sizes and times in words
    "envmanager/data/users.py: ",  # a user in words
    "envmanager/events.py: ",  # a cancel token is made and set
    "envmanager/errors.py: ",  # errors are made
    "ga3_nodes/errors.py: ",
    "envmanager/data/redaction.py: without_passwords",  # of a text
    "envmanager/data/settings.py: kind",  # what the declaration of a setting says
    "envmanager/data/settings.py: help_text",
    "ga3_nodes/params.py: describe",  # a parameter's declaration in words
    "envmanager/nodes.py: output_kinds",  # what a module's declaration offers
    "envmanager/nodes.py: ports",
)


class Heartbeat(QObject):
    """Beats in the GUI thread; a thread watches, and notes where the GUI is when it does not."""

    def __init__(self) -> None:
        super().__init__()
        self.longest, self.longest_wall = 0.0, 0.0
        self.where = ""
        self._main = threading.get_ident()
        self._last = (time.perf_counter(), time.thread_time())
        self._stack = ""
        self._frames: dict[int, object] = {}  # those of all threads when the GUI was late
        self._seen = False
        self._over = threading.Event()
        self._timer = QTimer(self)
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(self._beat)
        self._timer.start(BEAT_MS)
        self._watcher = threading.Thread(target=self._watch)
        self._watcher.start()

    def _beat(self) -> None:
        wall, own = time.perf_counter(), time.thread_time()
        before = self._last
        self._last = wall, own
        self.longest_wall = max(self.longest_wall, wall - before[0])
        if own - before[1] > self.longest:
            self.longest, self.where = own - before[1], self._stack
        if self._seen:
            self._stack, self._frames, self._seen = "", {}, False

    def _watch(self) -> None:
        while not self._over.wait(BEAT_MS / 1000):
            late = time.perf_counter() - self._last[0] > GOAL_S
            if late and not self._seen:
                # They are let go by a beat: with the last of a frame, widgets in it would end here.
                self._frames = sys._current_frames()
                self._stack = "".join(traceback.format_stack(self._frames[self._main])[-6:])
                self._seen = True

    def end(self) -> None:
        """Beat no more."""
        self._timer.stop()
        self._over.set()
        self._watcher.join()
        self._frames = {}


@pytest.fixture
def heartbeat():
    found = Heartbeat()
    yield found
    found.end()


def _there():
    """Return the keys of the pages that can be shown."""
    return [entry.key for entry in (*PAGES, ABOUT) if find_spec(entry.place[0])]


@pytest.mark.slow
def test_the_window_answers_while_everything_works(
    app, qtbot, tiny, environments, data_folder, heartbeat
):
    publish(data_folder, ECHO_DECLARATION, ECHO_WORKER)
    app.show()
    qtbot.waitUntil(lambda: app.store.snapshot is not None, timeout=PATIENCE_MS)
    page = app.window._pages["modules"]
    page.do("tiny", steps.INSTALL)
    qtbot.waitUntil(lambda: _can_click(page.side, "Install"), timeout=PATIENCE_MS)
    _click(qtbot, page.side, "Install")
    image = np.random.default_rng(0).random((2048, 2048), np.float32)

    def segment(report, cancel):
        for _ in range(3):
            client.call("echo", "segment", {"image": image}, {})

    def scan(report, cancel):
        disk.scan(PROJECT / ".venv")

    app.background.start("Segment", segment, lane=RUNS)
    app.background.start("Count the disk space", scan, lane="scan")
    visits = 0
    while app.background.under_way() or visits < 2 * len(_there()):
        app.window.show_page(_there()[visits % len(_there())])
        app.window.resize(1200 + 40 * (visits % 4), 760)
        qtbot.wait(60)
        visits += 1
    heartbeat.end()
    print(
        f"longest stall {1000 * heartbeat.longest:.0f} ms of the GUI thread's own time, "
        f"{1000 * heartbeat.longest_wall:.0f} ms by the clock, {visits} visits\n{heartbeat.where}"
    )
    assert page.cards["tiny"].status.generation == 1 or not app.background.under_way()
    assert [task.error for task in app.background.tasks] == [None] * len(app.background.tasks)
    assert heartbeat.longest < FAIL_S, heartbeat.where
    assert heartbeat.longest_wall < WALL_S


class Calls:
    """Records which functions of the engine the GUI thread calls from outside of the engine."""

    def __init__(self) -> None:
        self.found: Counter[str] = Counter()

    def __call__(self, frame, event, argument) -> None:
        """Take a call; `sys.setprofile` calls this."""
        code = frame.f_code
        if event != "call" or not code.co_filename.startswith(ENGINE) or code.co_name[0] == "<":
            return
        caller = frame.f_back
        if caller is not None and caller.f_code.co_filename.startswith(ENGINE):
            return  # the engine calls itself, such as while it is imported
        place = Path(code.co_filename).relative_to(PROJECT).as_posix()
        called = f"{place}: {code.co_qualname}"
        if not called.startswith(ALLOWED):
            asking = f"{caller.f_code.co_filename}:{caller.f_lineno}" if caller else "nobody"
            self.found[f"{called} from {asking}"] += 1


def test_the_gui_thread_does_not_call_the_engine(app, qtbot, data_folder):
    publish(data_folder, ECHO_DECLARATION, ECHO_WORKER)
    app.show()
    qtbot.waitUntil(lambda: app.store.snapshot is not None, timeout=PATIENCE_MS)
    page = app.window._pages["modules"]
    calls = Calls()
    assert present_data_folder().root == data_folder
    sys.setprofile(calls)
    try:
        for key in _there():
            app.window.show_page(key)
            qtbot.wait(200)
        app.window.show_page("modules")
        for name in ("cellpose", "echo"):
            for step in (steps.WEIGHTS, steps.REMOVE, steps.LOG):
                page.do(name, step)
                qtbot.wait(50)
        page.make_new()
        page.offer(PROJECT / "modules" / "classic")
        task = app.background.start("Scan", lambda report, cancel: disk.scan(data_folder))
        qtbot.waitUntil(lambda: task.is_over, timeout=PATIENCE_MS)
        app.store.refresh()
        qtbot.wait(300)
    finally:
        sys.setprofile(None)
    assert not calls.found, "\n".join(calls.found)


def test_a_call_of_the_engine_would_be_found(data_folder):
    calls = Calls()
    sys.setprofile(calls)
    try:
        present_data_folder()
    finally:
        sys.setprofile(None)
    assert next(iter(calls.found)).startswith("envmanager/data/paths.py: data_folder")


def test_a_stall_would_be_found(qtbot, heartbeat):
    qtbot.wait(50)
    end = time.thread_time() + 0.2
    while time.thread_time() < end:
        pass
    qtbot.wait(50)
    assert heartbeat.longest >= 0.2
    assert "test_a_stall_would_be_found" in heartbeat.where
