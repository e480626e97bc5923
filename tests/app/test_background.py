"""Work in the background: order, news in the GUI thread, cancel, errors, and the end."""

from __future__ import annotations

import threading
import time

import pytest
from PySide6.QtCore import QObject

from app import background
from app.background import Background
from envmanager.errors import GA3EnvError
from envmanager.events import Notice, Progress, Stage

PATIENCE_MS = 20_000


@pytest.fixture
def runner(qtbot):
    made = Background()
    yield made
    made.shut_down()


def test_an_answer_comes_in_the_gui_thread(qtbot, runner):
    seen = []
    runner.ask(threading.get_ident, lambda answer: seen.append((answer, threading.get_ident())))
    qtbot.waitUntil(lambda: bool(seen), timeout=PATIENCE_MS)
    ((asked_in, told_in),) = seen
    assert told_in == threading.get_ident() != asked_in


def test_an_error_of_a_question_is_one_of_our_family(qtbot, runner):
    errors = []
    runner.ask(lambda: 1 / 0, pytest.fail, errors.append)
    qtbot.waitUntil(lambda: bool(errors), timeout=PATIENCE_MS)
    assert errors[0].code == "internal"
    assert "ZeroDivisionError" in errors[0].details["traceback"]


def test_nobody_is_told_whose_owner_is_gone(qtbot, runner):
    owner, go, told = QObject(), threading.Event(), []
    runner.ask(go.wait, told.append, owner=owner)
    owner.deleteLater()
    del owner
    qtbot.wait(20)
    go.set()
    runner.ask(lambda: 2, told.append)
    qtbot.waitUntil(lambda: bool(told), timeout=PATIENCE_MS)
    qtbot.wait(50)
    assert told == [2]


def test_only_the_latest_answer_counts(qtbot, runner):
    go, told = threading.Event(), []
    for number in range(3):
        runner.ask(lambda n=number: (go.wait(), n)[1], told.append, only_latest="x")
    go.set()
    qtbot.waitUntil(lambda: bool(told), timeout=PATIENCE_MS)
    qtbot.wait(50)
    assert told == [2]


def test_a_task_tells_its_news_in_the_gui_thread(qtbot, runner):
    def work(report, cancel):
        report(Stage("download", "Downloading"))
        for done in range(1000):
            report(Progress(done, 1000))
        report(Notice("look"))
        return "result"

    task = runner.start("Install", work, module="tiny")
    threads, notices = set(), []
    task.changed.connect(lambda: threads.add(threading.get_ident()))
    task.noticed.connect(notices.append)
    with qtbot.waitSignal(task.ended, timeout=PATIENCE_MS):
        pass
    assert (task.state, task.result) == (background.DONE, "result")
    assert (task.stage.title, task.progress.done) == ("Downloading", 999)
    assert (threads, notices) == ({threading.get_ident()}, ["look"])


def test_tasks_of_a_lane_run_one_after_the_other(qtbot, runner):
    running, most = [], []

    def work(report, cancel):
        running.append(1)
        most.append(len(running))
        time.sleep(0.02)
        running.pop()

    tasks = [runner.start(f"task {n}", work) for n in range(5)]
    beside = runner.start("beside", lambda report, cancel: "free", lane=background.RUNS)
    qtbot.waitUntil(lambda: all(t.is_over for t in [*tasks, beside]), timeout=PATIENCE_MS)
    assert max(most) == 1
    assert beside.result == "free"


def test_cancel_ends_a_running_and_a_waiting_task(qtbot, runner):
    def work(report, cancel):
        while True:
            cancel.check()
            time.sleep(0.01)

    first, second = runner.start("first", work), runner.start("second", work)
    qtbot.waitUntil(lambda: first.state == background.RUNNING, timeout=PATIENCE_MS)
    second.cancel()
    assert second.state == background.CANCELLED, "it ends at once"
    first.cancel()
    qtbot.waitUntil(lambda: first.is_over and second.is_over, timeout=PATIENCE_MS)
    assert {first.state, second.state} == {background.CANCELLED}
    assert runner.under_way() == []
    runner.forget(first)
    assert runner.tasks == [second]


def test_a_task_that_fails_keeps_its_error(qtbot, runner):
    def work(report, cancel):
        raise GA3EnvError("No.", "Try this.")

    task = runner.start("fails", work)
    with qtbot.waitSignal(task.failed, timeout=PATIENCE_MS) as caught:
        pass
    assert caught.args[0].hint == "Try this."
    assert task.state == background.FAILED


def test_the_end_cancels_what_runs(qtbot):
    runner, ended = Background(), threading.Event()

    def work(report, cancel):
        while not cancel.cancelled:
            time.sleep(0.01)
        ended.set()

    task = runner.start("endless", work)
    qtbot.waitUntil(lambda: task.state == background.RUNNING, timeout=PATIENCE_MS)
    runner.shut_down()
    assert ended.is_set()


def test_what_is_no_event_is_told_as_it_is(qtbot, runner):
    told = []

    def work(report, cancel):
        for number in range(3):
            report(("line", number))

    task = runner.start("Check", work)
    task.told.connect(told.append)
    with qtbot.waitSignal(task.ended, timeout=PATIENCE_MS):
        pass
    assert told == [("line", 0), ("line", 1), ("line", 2)]
