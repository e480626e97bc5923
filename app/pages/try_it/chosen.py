"""Which function of which module is chosen, as pages that run modules have it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from PySide6.QtCore import QObject, Signal

from app.context import Context
from app.pages.try_it.parameters_card import ParametersCard
from app.store import Snapshot
from app.widgets.module_card import ModuleCard
from envmanager import trials
from envmanager.data.paths import DataFolder
from envmanager.environments.inventory import ModuleStatus
from envmanager.errors import GA3EnvError
from envmanager.presets import Preset


class Chosen(QObject):
    """Keeps the choice, its card and the form of its parameters in step with what is installed."""

    function_changed = Signal()  # another one is chosen, or its declaration has changed
    refreshed = Signal()  # the state of the modules was read anew

    def __init__(
        self, context: Context, card: ModuleCard, parameters: ParametersCard, parent: QObject
    ) -> None:
        super().__init__(parent)
        self.module, self.function = "", ""
        self._context, self._card, self._parameters = context, card, parameters
        self._functions: Mapping[str, Any] = {}
        self._seen: object = None  # what the functions were read of
        self._wanted: tuple[str, Mapping[str, Any] | None] | None = None  # before the first answer
        context.store.changed.connect(self.take_snapshot)
        card.module_chosen.connect(self.choose)
        card.function_chosen.connect(self._choose_function)

    @property
    def status(self) -> ModuleStatus | None:
        """The state of the module."""
        snapshot = self._context.store.snapshot
        return snapshot.module(self.module) if snapshot else None

    @property
    def spec(self) -> Mapping[str, Any]:
        """The declaration of the function; empty as long as it is not read."""
        found: Mapping[str, Any] = self._functions.get(self.function, {})
        return found

    def choose(
        self, module: str, function: str = "", parameters: Mapping[str, Any] | None = None
    ) -> None:
        """Choose a module; where nothing else is said, its first function at its defaults."""
        if module == self.module and not function and parameters is None:
            return
        self.module = module
        if self._context.store.snapshot:
            self._card.show_modules(self._context.store.snapshot, module)
        self._ask_for_functions(function, parameters)

    def take_snapshot(self, snapshot: Snapshot) -> None:
        """Show the modules as they are now."""
        if not self.module and snapshot.modules:
            usable = (status.name for status in snapshot.modules if status.state == "ready")
            self.choose(next(usable, snapshot.modules[0].name))
        self._card.show_modules(snapshot, self.module)
        if status := self.status:
            self._parameters.form.set_sets(status.weights)
            if self._seen != _version(status):
                self._ask_for_functions(*(self._wanted or (self.function, None)))
        self.refreshed.emit()

    def _ask_for_functions(
        self, function: str = "", parameters: Mapping[str, Any] | None = None
    ) -> None:
        status, module = self.status, self.module
        self._wanted = function, parameters
        if status is None:
            return  # asked again with the next snapshot
        self._seen = _version(status)
        self._context.background.ask(
            lambda: trials.functions(DataFolder(Path(status.root)), module),
            partial(self._take_functions, module, function, parameters),
            self._no_functions,
            owner=self,
            only_latest=f"functions {id(self)}",
        )

    def _take_functions(
        self,
        module: str,
        function: str,
        parameters: Mapping[str, Any] | None,
        functions: Mapping[str, Any],
    ) -> None:
        self._wanted = None
        same = self._parameters.module == module and functions == self._functions
        if same and function in ("", self.function) and parameters is None:
            self.refreshed.emit()
            return  # what the user has entered stays
        self._functions = functions
        chosen = function if function in functions else next(iter(functions), "")
        self._card.show_functions(functions, chosen)
        self._choose_function(chosen)
        if parameters:
            self._parameters.form.set_values(fitting(parameters, self.spec))

    def _no_functions(self, error: GA3EnvError) -> None:
        self._functions = {}
        self._card.show_functions({}, "")
        self._choose_function("")
        self._context.shell.tell_error(error)

    def _choose_function(self, function: str) -> None:
        self.function = function
        if status := self.status:
            self._parameters.show_function(status, function, self.spec)
        self._card.show_function(self.spec)
        self.function_changed.emit()


def fitting(parameters: Mapping[str, Any], spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of another page that a function takes."""
    values, _ = Preset("", "", "", dict(parameters)).fitting(spec.get("parameters", {}))
    return values


def _version(status: ModuleStatus) -> tuple[object, ...]:
    """Return what changes where the functions of a module may have changed."""
    version = status.version, status.installed_version, status.generation
    return status.name, status.root, *version
