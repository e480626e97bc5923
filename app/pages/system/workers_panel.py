"""The workers that live on between calls: what they hold, who uses them, and their end."""

from __future__ import annotations

from functools import partial

from PySide6.QtCore import Qt, QTimer
from PySide6.QtWidgets import QHBoxLayout, QLabel, QVBoxLayout, QWidget

from app import words
from app.background import Task
from app.context import Context
from app.pages.system import work
from app.pages.system.panel import Panel
from app.theme import SPACE
from app.widgets import build
from envmanager.data.users import user_text
from envmanager.workers import Stopped, Worker

LANE = "workers"
_AGAIN_MS = 2000
_NOBODY = "No worker runs. The first call of a module starts one, and later calls find it ready."
_Key = tuple[str, int, int]


class WorkerRow(QWidget):
    """One worker; its button stops it, or kills it where it does not stop."""

    def __init__(self, panel: WorkersPanel) -> None:
        super().__init__()
        self._title = build.label(selectable=True)
        self._facts = build.label(style="muted", wrap=True, selectable=True)
        self._clients = build.label(style="muted", wrap=True, selectable=True)
        self.button = build.button("Stop", partial(panel.stop, self))
        self.worker: Worker | None = None
        text = QVBoxLayout()
        text.setSpacing(2)
        for widget in (self._title, self._facts, self._clients):
            text.addWidget(widget)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(SPACE)
        layout.addLayout(text, 1)
        layout.addWidget(self.button, 0, Qt.AlignmentFlag.AlignVCenter)

    def show_worker(self, worker: Worker, title: str) -> None:
        """Show a worker as it is now."""
        self.worker = worker
        _set(self._title, f"{title}   PID {worker.pid}")
        _set(self._facts, facts_text(worker))
        clients = ", ".join(map(user_text, worker.clients)) or "nobody"
        _set(self._clients, f"Used by {clients}")

    def show_state(self, *, stopping: bool, stuck: bool) -> None:
        """Show what its button does now."""
        text = "Stopping ..." if stopping else "Kill" if stuck else "Stop"
        self.button.setText(text)
        self.button.setEnabled(not stopping)
        tip = "End it at once; the call that it runs is lost" if stuck else "End it after its call"
        self.button.setToolTip(tip)
        module = self.worker.module if self.worker else ""
        self.button.setAccessibleName(f"{text} the worker of {module}")


class WorkersPanel(Panel):
    """All workers of this user; read again and again while the page is shown."""

    def __init__(self, context: Context) -> None:
        super().__init__(context, "Workers")
        self.rows: dict[_Key, WorkerRow] = {}
        self._none = build.label(_NOBODY, "muted", wrap=True)
        self.content.addWidget(self._none)
        self._stuck: set[int] = set()  # PIDs of those that did not stop
        self._stopping: dict[str, Task[Stopped]] = {}  # by module
        self._again = QTimer(self)
        self._again.setInterval(_AGAIN_MS)
        self._again.timeout.connect(self.refresh)

    def begin(self) -> None:
        """Read now, and from time to time."""
        self._again.start()
        self.refresh()

    def end(self) -> None:
        """Read no more: nobody looks."""
        self._again.stop()

    def refresh(self) -> None:
        """Read the workers of now."""
        self.context.background.ask(
            work.live_workers, self.show_workers, owner=self, only_latest="workers of the page"
        )

    def show_workers(self, found: list[Worker]) -> None:
        """Show what was read; rows that stay keep their focus and what is selected in them."""
        present = {_key(worker): worker for worker in found}
        for gone in self.rows.keys() - present.keys():
            row = self.rows.pop(gone)
            self.content.removeWidget(row)
            row.deleteLater()
        snapshot = self.context.store.snapshot
        for key, worker in present.items():
            if key not in self.rows:
                self.rows[key] = WorkerRow(self)
                self.content.addWidget(self.rows[key])
            status = snapshot.module(worker.module) if snapshot else None
            self.rows[key].show_worker(worker, status.title if status else worker.module)
        self._stuck &= {worker.pid for worker in found}
        self._none.setVisible(not found)
        self._show_states()

    def _show_states(self) -> None:
        for (module, _, pid), row in self.rows.items():
            row.show_state(stopping=module in self._stopping, stuck=pid in self._stuck)

    # ---- stopping -------------------------------------------------------------------------------

    def stop(self, row: WorkerRow) -> None:
        """End the workers of a module after their call; kill one that did not end by that."""
        worker = row.worker
        if worker is None or worker.module in self._stopping:
            return
        force = worker.pid in self._stuck
        title = f"{'Kill' if force else 'Stop'} the worker of {worker.module}"
        job = work.stop_worker(worker.module, force=force)
        task = self.context.background.start(title, job, lane=LANE)
        self._stopping[worker.module] = task
        task.succeeded.connect(self._stopped)
        task.failed.connect(self.context.shell.tell_error)
        task.ended.connect(self._free)
        self._show_states()

    def _stopped(self, done: Stopped) -> None:
        for worker in done.still_running:
            self._stuck.add(worker.pid)
            state = "is still computing" if worker.responding else "does not answer"
            self.context.shell.tell(
                f"The worker of {worker.module} (PID {worker.pid}) {state}. It ends after its call;"
                " Kill ends it at once.",
                tone="warning",
            )

    def _free(self) -> None:
        self._stopping = {name: task for name, task in self._stopping.items() if not task.is_over}
        self._show_states()
        self.refresh()
        self.context.store.refresh()


def facts_text(worker: Worker) -> str:
    """Say where a worker computes, what it holds, and how long it has had nothing to do."""
    device = "CPU" if worker.device == "cpu" else worker.device.replace("cuda:", "GPU ")
    memory = "" if worker.memory is None else f"{words.size(worker.memory)} of memory"
    if not worker.responding:
        state = "does not answer"
    elif worker.busy:
        state = "computing"
    else:
        state = f"idle for {words.duration(worker.idle_s)}"
    return "   ·   ".join(filter(None, (device, memory, state)))


def _key(worker: Worker) -> _Key:
    return worker.module, worker.generation, worker.pid


def _set(label: QLabel, text: str) -> None:
    """Change a label only where its text is another: what the user selected stays selected."""
    if label.text() != text:
        label.setText(text)
