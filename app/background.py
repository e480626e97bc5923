"""The one file that owns threads: engine work runs here, and its news arrive in the GUI thread.

The engine is never called from the GUI thread. A *question* reads something and answers soon; a
*task* is long work that tells its progress and can be cancelled. Tasks of one lane run one after
the other, in the order in which they were asked for.
"""

from __future__ import annotations

import itertools
import queue
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, Generic, TypeVar

from PySide6.QtCore import QObject, Qt, Signal
from shiboken6 import isValid

from envmanager.errors import Cancelled, GA3EnvError
from envmanager.events import CancelToken, Items, LogLine, Notice, Progress, Stage

T = TypeVar("T")
Tell = Callable[[object], None]  # a `Report` that takes any other news as well: see `Task.told`
Work = Callable[[Tell, CancelToken], T]

ENGINE, RUNS = "engine", "runs"  # the lanes: environments are changed; images are computed
WAITING, RUNNING, DONE, FAILED, CANCELLED = "waiting", "running", "done", "failed", "cancelled"
_QUESTIONS = 4  # threads for questions
_SHUT_DOWN_S = 5.0


class Task(QObject, Generic[T]):
    """Long work in the background. All of its signals come in the GUI thread.

    Attributes
    ----------
    title : str
        What it does, for people, such as ``Install Cellpose``.
    module : str
        The module that it is about; may be empty.
    lane : str
        `ENGINE`, `RUNS` or another: tasks of one lane wait for each other.
    state : str
        `WAITING`, `RUNNING`, `DONE`, `FAILED` or `CANCELLED`.
    stage, progress, items
        The last news of each kind; None where there was none in this stage.
    notices, log : list of str
        What the user must read, and the lines of the tools.
    """

    changed = Signal()
    noticed = Signal(str)
    told = Signal(object)  # what the work reports beside the engine's events
    succeeded = Signal(object)
    failed = Signal(object)  # GA3EnvError
    cancelled = Signal()
    ended = Signal()  # after one of the three above

    def __init__(self, title: str, module: str, lane: str, parent: QObject) -> None:
        super().__init__(parent)
        self.title = title
        self.module = module
        self.lane = lane
        self.state = WAITING
        self.stage: Stage | None = None
        self.progress: Progress | None = None
        self.items: Items | None = None
        self.notices: list[str] = []
        self.log: list[str] = []
        self.error: GA3EnvError | None = None
        self.result: T | None = None
        self._token = CancelToken()
        self._withdraw: Callable[[], bool] = lambda: False  # takes it from its lane's queue

    @property
    def is_over(self) -> bool:
        """Whether nothing more will come."""
        return self.state in (DONE, FAILED, CANCELLED)

    @property
    def is_cancelling(self) -> bool:
        """Whether it was asked to stop and still works."""
        return self._token.cancelled and not self.is_over

    def cancel(self) -> None:
        """Ask the work to stop: at once where it waits, else within a few seconds.

        `cancelled` tells when it has ended.
        """
        self._token.cancel()
        if not self._withdraw():
            self.changed.emit()

    def _take(self, event: object) -> None:
        match event:
            case Stage():
                self.stage, self.progress, self.items = event, None, None
                self.log.append(event.title)
            case Progress():
                self.progress = event
            case Items():
                self.items = event
            case LogLine(text):
                self.log.append(text)
                return  # nobody needs to be woken for a line
            case Notice(text):
                self.notices.append(text)
                self.noticed.emit(text)
            case _:
                self.told.emit(event)

    def _end(self, result: T | None, error: GA3EnvError | None) -> None:
        self.result, self.error = result, error
        if isinstance(error, Cancelled):
            self.state = CANCELLED
            self.cancelled.emit()
        elif error:
            self.state = FAILED
            self.failed.emit(error)
        else:
            self.state = DONE
            self.succeeded.emit(result)
        self.changed.emit()
        self.ended.emit()


class Background(QObject):
    """Runs questions and tasks; lives in the GUI thread, as all of its signals do."""

    tasks_changed = Signal()  # one was added, begun or ended
    _news = Signal()

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.tasks: list[Task[Any]] = []  # in the order in which they were asked for
        self._inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._woken = threading.Event()
        self._closed = False
        self._pool = ThreadPoolExecutor(_QUESTIONS, thread_name_prefix="question")
        self._lanes: dict[str, ThreadPoolExecutor] = {}
        self._numbers = itertools.count()
        self._latest: dict[str, int] = {}
        self._touched: dict[Task[Any], None] = {}
        self._news.connect(self._deliver, Qt.ConnectionType.QueuedConnection)

    # ---- questions ------------------------------------------------------------------------------

    def ask(
        self,
        question: Callable[[], T],
        answered: Callable[[T], object],
        failed: Callable[[GA3EnvError], object] | None = None,
        *,
        owner: QObject | None = None,
        only_latest: str = "",
    ) -> None:
        """Answer a question in the background.

        Parameters
        ----------
        question : callable
            Reads something; runs in another thread.
        answered, failed : callable
            Take the answer or the error in the GUI thread.
        owner : QObject, optional
            Where it is gone by then, nobody is told.
        only_latest : str
            A name: the answer is dropped where a newer question of that name was asked.
        """
        number = next(self._numbers)
        if only_latest:
            self._latest[only_latest] = number
        alive = _alive(owner)

        def run() -> None:
            if only_latest and self._latest.get(only_latest) != number:
                return  # a newer one is behind it
            answer, error = _outcome(question)
            self._post(partial(tell, answer, error))

        def tell(answer: T | None, error: GA3EnvError | None) -> None:
            if not alive() or (only_latest and self._latest.get(only_latest) != number):
                return
            if error is None:
                answered(answer)  # type: ignore[arg-type]
            elif failed:
                failed(error)

        if not self._closed:
            self._pool.submit(run)

    # ---- tasks ----------------------------------------------------------------------------------

    def start(self, title: str, work: Work[T], *, module: str = "", lane: str = ENGINE) -> Task[T]:
        """Begin long work, as soon as the lane's earlier tasks have ended."""
        task: Task[T] = Task(title, module, lane, self)
        self.tasks.append(task)
        if lane not in self._lanes:
            self._lanes[lane] = ThreadPoolExecutor(1, thread_name_prefix=lane)
        waiting = self._lanes[lane].submit(self._run, task, work)
        task._withdraw = partial(self._withdraw, task, waiting)
        self.tasks_changed.emit()
        return task

    def forget(self, task: Task[Any]) -> None:
        """Drop a task that is over from `tasks`."""
        if task.is_over and task in self.tasks:
            self.tasks.remove(task)
            self.tasks_changed.emit()
            task.deleteLater()

    def under_way(self) -> list[Task[Any]]:
        """Return the tasks that are not over."""
        return [task for task in self.tasks if not task.is_over]

    def _withdraw(self, task: Task[Any], waiting: Future[None]) -> bool:
        """End a task that has not begun."""
        if not waiting.cancel():
            return False
        self._end(task, None, Cancelled("Cancelled before it began."))
        return True

    def _run(self, task: Task[T], work: Work[T]) -> None:
        token = task._token
        self._post(partial(self._begin, task))

        def report(event: object) -> None:
            self._post(partial(self._pass_on, task, event))

        def checked() -> T:
            token.check()  # it may have been cancelled while it waited
            return work(report, token)

        self._post(partial(self._end, task, *_outcome(checked)))

    def _begin(self, task: Task[Any]) -> None:
        task.state = RUNNING
        task.changed.emit()
        self.tasks_changed.emit()

    def _pass_on(self, task: Task[Any], event: object) -> None:
        task._take(event)
        if not isinstance(event, LogLine):
            self._touched[task] = None

    def _end(self, task: Task[Any], result: Any, error: GA3EnvError | None) -> None:
        self._touched.pop(task, None)
        task._end(result, error)
        self.tasks_changed.emit()

    # ---- the way into the GUI thread ------------------------------------------------------------

    def _post(self, news: Callable[[], None]) -> None:
        self._inbox.put(news)
        if not self._woken.is_set():  # one waking is enough for all that is in the inbox
            self._woken.set()
            self._news.emit()

    def _deliver(self) -> None:
        """Take all news; a task that sent many is redrawn once."""
        self._woken.clear()
        while True:
            try:
                news = self._inbox.get_nowait()
            except queue.Empty:
                break
            news()
        touched, self._touched = self._touched, {}
        for task in touched:
            task.changed.emit()

    # ---- the end --------------------------------------------------------------------------------

    def shut_down(self) -> None:
        """Cancel all tasks and wait for their end; nothing is told to anybody after this."""
        self._closed = True
        self._news.disconnect(self._deliver)
        for task in self.under_way():
            task._token.cancel()
        executors = [self._pool, *self._lanes.values()]
        for executor in executors:
            executor.shutdown(wait=False, cancel_futures=True)
        ending = threading.Thread(target=_join, args=(executors,), daemon=True)
        ending.start()
        ending.join(_SHUT_DOWN_S)


def _join(executors: list[ThreadPoolExecutor]) -> None:
    for executor in executors:
        executor.shutdown(wait=True)


def _outcome(work: Callable[[], T]) -> tuple[T | None, GA3EnvError | None]:
    try:
        return work(), None
    except Exception as error:
        from envmanager import failures  # loads half of the engine: not before the first paint

        return None, failures.as_error(error)


def _alive(owner: QObject | None) -> Callable[[], bool]:
    """Return what tells, in the GUI thread, whether somebody is there to take an answer.

    A connection to `destroyed` would end in the thread that drops the question last. There it waits
    for the GIL with Qt's lock of connections held, and the GUI thread for that lock with the GIL.
    """
    if owner is None:
        return lambda: True
    reference = weakref.ref(owner)

    def alive() -> bool:
        there = reference()
        return there is not None and isValid(there)

    return alive
