"""Puts the page together: choices at the left; script, how-to and check at the right."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PySide6.QtCore import QSettings, Qt, QTimer
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import (
    QFileDialog,
    QFrame,
    QHBoxLayout,
    QLayout,
    QScrollArea,
    QStackedWidget,
    QTabBar,
    QVBoxLayout,
    QWidget,
)

from app.background import ENGINE
from app.context import Context
from app.pages.modules import rights, steps
from app.pages.modules import work as module_work
from app.pages.nodes import work
from app.pages.nodes.check_panel import CheckPanel
from app.pages.nodes.choices import LooksCard, ModuleCard
from app.pages.nodes.guide import Guide
from app.pages.nodes.notice import NoticeBar
from app.pages.nodes.script_view import ScriptView
from app.pages.nodes.work import Wish
from app.pages.page import Page
from app.store import Snapshot
from app.theme import SPACE
from app.widgets import build
from app.widgets.form import Form
from envmanager.environments.inventory import ModuleStatus
from envmanager.errors import GA3EnvError

_COLUMN_PX = 352
_SUBTITLE = (
    "A node is a short script that you paste into NIS-Elements. It calls a module from there."
)
_FOLDER = "nodes/folder"
_TABS = ("Script", "How to paste it", "Connection")
SCRIPT, GUIDE, CHECK = range(len(_TABS))


class NodesPage(Page):
    """The page *GA3 nodes*."""

    def __init__(self, context: Context) -> None:
        super().__init__(context, "GA3 nodes", _SUBTITLE)
        self.choice, self.looks = ModuleCard(), LooksCard(context)
        self.form = Form(context)
        self.script, self.guide, self.check = (
            ScriptView(context),
            Guide(context),
            CheckPanel(context),
        )
        self.notice = NoticeBar(context)
        self.wish: Wish | None = None
        self._module = ""
        self._refused = ""  # why there is no script
        self._hints: dict[str, Any] = {}
        self._asked_for_nis = False
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.setInterval(0)
        self._soon.timeout.connect(self._make)
        self._lay_out()
        self._connect()
        if context.store.snapshot:
            self._show(context.store.snapshot)

    # ---- what it is made of ---------------------------------------------------------------------

    def _lay_out(self) -> None:
        content = QWidget()
        content.setObjectName("content")
        self._column = QVBoxLayout(content)
        self._column.setContentsMargins(0, 0, SPACE, 0)
        self._column.setSpacing(SPACE + 4)
        for card in (self.choice, self.looks, self._parameters()):
            self._column.addWidget(card)
        self._column.addStretch(1)
        self._scroll = QScrollArea()
        self._scroll.setWidget(content)
        self._scroll.setWidgetResizable(True)
        self._scroll.setFixedWidth(_COLUMN_PX)
        self._scroll.setFrameShape(QFrame.Shape.NoFrame)
        self._scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        parts = QHBoxLayout()
        parts.setSpacing(SPACE)
        parts.addWidget(self._scroll)
        parts.addLayout(self._right(), 1)
        self.body.addLayout(parts, 1)

    def _parameters(self) -> QFrame:
        card = build.frame("card", "Parameters")
        self.reset = build.button("Reset", self.form.reset, role="quiet")
        self.reset.setToolTip("Set all parameters to their defaults")
        head = QHBoxLayout()
        head.addWidget(build.label("Parameters", "heading"), 1)
        head.addWidget(self.reset)
        self.origin = build.label("As you set them in Try it.", "muted", wrap=True)
        self.origin.hide()
        layout = QVBoxLayout(card)
        layout.setContentsMargins(SPACE + 4, SPACE + 4, SPACE + 4, SPACE + 4)
        layout.setSpacing(SPACE)
        layout.addLayout(head)
        layout.addWidget(self.origin)
        layout.addWidget(self.form)
        return card

    def _right(self) -> QLayout:
        self.tabs = QTabBar()
        self.tabs.setDrawBase(False)
        self.tabs.setExpanding(False)
        self.tabs.setAccessibleName("What is shown of the node")
        for title in _TABS:
            self.tabs.addTab(title)
        self.copy = build.button("Copy script", self.copy_script, role="primary")
        self.copy.setToolTip("Put the whole text on the clipboard")
        self.context.set_icon(self.copy, "copy", "on_accent")
        self.save = build.button("Save as ...", self.save_script, tip="Write the text into a file")
        self.context.set_icon(self.save, "save")
        head = QHBoxLayout()
        head.setSpacing(SPACE)
        head.addWidget(self.tabs)
        head.addStretch(1)
        head.addWidget(self.save)
        head.addWidget(self.copy)
        self.stack = QStackedWidget()
        for panel in (self.script, self.guide, self.check):
            self.stack.addWidget(panel)
        card = build.frame("card", "The node")
        inside = QVBoxLayout(card)
        inside.setContentsMargins(SPACE + 4, SPACE + 4, SPACE + 4, SPACE + 4)
        inside.setSpacing(SPACE + 4)
        inside.addLayout(head)
        inside.addWidget(self.stack, 1)
        right = QVBoxLayout()
        right.setSpacing(SPACE + 4)
        right.addWidget(self.notice)
        right.addWidget(card, 1)
        return right

    def _connect(self) -> None:
        self.choice.module_chosen.connect(self._choose_module)
        self.choice.function_chosen.connect(self._choose_function)
        self.looks.changed.connect(self._soon.start)
        self.form.changed.connect(self._parameters_changed)
        self.form.wants_weights.connect(self._get_weights)
        self.tabs.currentChanged.connect(self.stack.setCurrentIndex)
        self.check.step_asked.connect(self._do)
        self.context.store.changed.connect(self._show)
        self.context.background.tasks_changed.connect(self._show_notice)

    # ---- what is chosen -------------------------------------------------------------------------

    def visit(self, **hints: Any) -> None:
        """Take over `module`, `function` and `parameters`, exactly as Try it has them."""
        if not self._asked_for_nis:
            self._asked_for_nis = True
            self.context.background.ask(work.installed_nis, self.looks.show_found, owner=self)
        if hints.get("module"):
            self._hints = hints
        if self.context.store.snapshot:
            self._take_hints()

    def _take_hints(self) -> None:
        hints, self._hints = self._hints, {}
        if not hints:
            return
        self._choose_module(str(hints["module"]), str(hints.get("function") or ""))
        self.tabs.setCurrentIndex(SCRIPT)
        declared = self._spec().get("parameters", {})
        given: Mapping[str, Any] = hints.get("parameters") or {}
        values = {name: value for name, value in given.items() if name in declared}
        if values:
            self.form.set_values(values)
            self.origin.show()

    def _show(self, snapshot: Snapshot) -> None:
        self.choice.show_modules(snapshot, self._module)
        status = self._status()
        if status is None or self._module not in snapshot.declarations:
            self._choose_module(str(self.choice.module.currentData() or ""))
        elif self.wish and snapshot.declarations[self._module] != self.wish.module:
            self._choose_module(self._module, self.wish.function)  # it was changed or updated
        else:
            self.form.set_sets(status.weights)
        self._take_hints()
        self._show_notice()

    def _choose_module(self, name: str, function: str = "") -> None:
        snapshot = self.context.store.snapshot
        if snapshot is None or name not in snapshot.declarations:
            return
        self._module = name
        self.choice.module.setCurrentIndex(self.choice.module.findData(name))
        self.choice.show_functions(snapshot.declarations[name].functions, function)
        self._choose_function(str(self.choice.function.currentData()))

    def _choose_function(self, _name: str) -> None:
        snapshot, status = self.context.store.snapshot, self._status()
        if snapshot is None or status is None:
            return
        spec = self._spec()
        self.origin.hide()
        self.choice.show_function(spec)
        self.looks.show_function(snapshot.declarations[self._module].title, spec)
        self.form.set_volume(True)
        self.form.set_function(spec.get("parameters", {}), status.weights)

    def _parameters_changed(self) -> None:
        self.reset.setEnabled(not self.form.is_default)
        self.origin.hide()
        self._soon.start()

    def _spec(self) -> Mapping[str, Any]:
        snapshot = self.context.store.snapshot
        declared = snapshot.declarations.get(self._module) if snapshot else None
        function = str(self.choice.function.currentData())
        found: Mapping[str, Any] = declared.functions.get(function, {}) if declared else {}
        return found

    def _status(self) -> ModuleStatus | None:
        snapshot = self.context.store.snapshot
        return snapshot.module(self._module) if snapshot and self._module else None

    # ---- the script -----------------------------------------------------------------------------

    def _make(self) -> None:
        """Make the script of what is chosen now."""
        snapshot = self.context.store.snapshot
        if snapshot is None or self._module not in snapshot.declarations:
            return
        looks = self.looks
        self.wish = Wish(
            module=snapshot.declarations[self._module],
            function=str(self.choice.function.currentData()),
            values=self.form.values(),
            nis=looks.version,
            name=looks.name.text(),
            color=looks.color.color,
            binary=str(looks.binary.currentData()),
            channel=str(looks.channel.currentData()),
        )
        wish = self.wish
        self.guide.show_steps(wish.nis, self._spec(), wish.binary)
        self.context.background.ask(
            lambda: work.script(wish), self._take_script, self._no_script,
            owner=self, only_latest="node script",
        )  # fmt: skip
        self._show_notice()

    def _take_script(self, text: str) -> None:
        self.script.show_script(text)
        self.check.set_wish(self.wish)
        self._refused = ""
        self._show_script_state()

    def _no_script(self, error: GA3EnvError) -> None:
        self.script.show_script("")
        self.check.set_wish(None)
        self._refused = str(error)
        self._show_script_state()

    def _show_script_state(self) -> None:
        for button in (self.copy, self.save):
            button.setEnabled(not self._refused)
        self._show_notice()

    def copy_script(self) -> None:
        """Put the script on the clipboard."""
        QGuiApplication.clipboard().setText(self.script.toPlainText())
        self.context.background.ask(
            work.publish, self._copied, self.context.shell.tell_error, owner=self
        )

    def _copied(self, _: None) -> None:
        self.context.shell.tell(
            "The script is on the clipboard. Paste it into the Python node in NIS-Elements.",
            tone="success",
            action="" if self.tabs.currentIndex() == GUIDE else "Show me how",
            run=lambda: self.tabs.setCurrentIndex(GUIDE),
        )

    def save_script(self) -> None:
        """Write the script into a file that the user names."""
        name = f"{self._module}_node_nis{self.looks.version}.py"
        folder = str(QSettings().value(_FOLDER, ""))
        path = self.choose_file(str(Path(folder) / name) if folder else name)
        if path is None:
            return
        QSettings().setValue(_FOLDER, str(path.parent))
        text = self.script.toPlainText()
        self.context.background.ask(
            lambda: work.save(path, text), self._saved, self.context.shell.tell_error, owner=self
        )

    def choose_file(self, suggested: str) -> Path | None:
        """Show the system's dialog; return the file, None where it was closed."""
        name, _ = QFileDialog.getSaveFileName(
            self, "Save the script", suggested, "Python scripts (*.py);;All files (*)"
        )
        return Path(name) if name else None

    def _saved(self, path: Path) -> None:
        self.context.shell.tell(f"The script is saved: {path}", tone="success")

    # ---- what stands in the way -----------------------------------------------------------------

    def _show_notice(self) -> None:
        """Say what the module lacks before the node can run, with the button that mends it."""
        status = self._status()
        if status is None:
            self.notice.tell("")
            return
        problem, downloadable = self.form.weights_problem()
        if self._refused:
            self.notice.tell(self._refused)
        elif status.busy or self._is_worked_on():
            self.notice.tell(f"{status.title} is being worked on. The node can run after that.")
        elif status.generation is None:
            text = f"{status.title} is not installed yet. The node can run once it is."
            self.notice.tell(text, "Install", lambda: self._do("install"))
        elif status.state == "broken":
            text = f"{status.title} is damaged. The node cannot run before it is repaired."
            self.notice.tell(text, "Repair", lambda: self._do("repair"))
        elif problem:
            mend = "weights" if downloadable else "parameters"
            title = "Download" if downloadable else "Show the parameters"
            self.notice.tell(problem, title, lambda: self._do(mend))
        else:
            self.notice.tell("")

    def _is_worked_on(self) -> bool:
        under_way = self.context.background.under_way()
        return any(task.lane == ENGINE and task.module == self._module for task in under_way)

    def _do(self, step: str) -> None:
        """Take the next step of a notice or of a broken link."""
        shell, name = self.context.shell, self._module
        match step:
            case "install":
                shell.show_page("modules", module=name, step=steps.INSTALL)
            case "repair":
                shell.show_page("modules", module=name, step=steps.REPAIR)
            case "weights":
                missing = self._missing_weights()
                self._get_weights(missing) if missing else shell.show_page(
                    "modules", module=name, step=steps.WEIGHTS
                )
            case "parameters":
                self._scroll.ensureWidgetVisible(self.form, 0, 0)
                self.form.setFocus()
            case "script":
                self._make()
                self.check.check()
            case "try" if self.wish:
                wish = self.wish
                shell.show_page(
                    "try", module=name, function=wish.function, parameters=dict(wish.values)
                )
            case "system":
                shell.show_page("system")

    def _missing_weights(self) -> str:
        declared = self._spec().get("parameters", {})
        values = self.form.values()
        status = self._status()
        present = {one.name for one in status.weights if one.present} if status else set()
        chosen = [values[n] for n, spec in declared.items() if spec["type"] == "weights"]
        known = {one.name for one in status.weights} if status else set()
        return next((name for name in chosen if name in known - present), "")

    def _get_weights(self, name: str) -> None:
        status = self._status()
        snapshot = self.context.store.snapshot
        if status is None or snapshot is None:
            return
        root = rights.weights_root(snapshot, status)
        task = self.context.background.start(
            f"Download {name} for {status.title}",
            module_work.get_weights(status.name, root, [name]),
            module=status.name,
        )
        task.failed.connect(self.context.shell.tell_error)
        task.succeeded.connect(self._have_weights)

    def _have_weights(self, _count: int) -> None:
        self.context.store.refresh()
