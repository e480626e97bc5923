"""Does the steps of the page: asks in a sheet where that is due, runs the work, tells its end."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.background import Work
from app.pages.modules import offline, rights, sharing, sharing_work, steps, work
from app.pages.modules.details import LOG, Details
from app.pages.modules.outcomes import outcome
from app.pages.modules.own import AddSheet, NewSheet
from app.pages.modules.plans import InstallSheet, RemoveSheet, UpdateSheet
from app.pages.modules.shared_file import AddFileSheet
from app.pages.modules.steps import Step
from app.pages.modules.weights import WeightsSheet
from envmanager.environments.inventory import ModuleStatus
from envmanager.errors import GA3EnvError
from envmanager.modules.own import Added

if TYPE_CHECKING:
    from app.pages.modules.page import ModulesPage


class Doing:
    """One step with one module; what it is connected to keeps it as long as it is needed."""

    def __init__(self, page: ModulesPage, status: ModuleStatus) -> None:
        self._page, self._context = page, page.context
        self._status, self._name, self._root = status, status.name, Path(status.root)
        self._may = rights.of(self._context.store.snapshot, status)

    def begin(self, step: Step, to: int | None = None) -> None:
        """Ask, or begin at once.

        Parameters
        ----------
        to : int, optional
            The generation to roll back to; by default the one before.
        """
        page, context, status = self._page, self._context, self._status
        if self._may.refuses(step.key):
            self._refuse()
            return
        match step.key:
            case "install" | "install_alone":
                install = InstallSheet(context, status, alone=step is steps.INSTALL_ALONE)
                install.confirmed.connect(partial(self._install, step))
                page.open(install)
            case "update":
                update = UpdateSheet(context, status)
                update.confirmed.connect(partial(self._update, step))
                page.open(update)
            case "remove":
                remove = RemoveSheet(context, status)
                remove.confirmed.connect(partial(self._remove, step))
                page.open(remove)
            case "weights":
                page.open(WeightsSheet(context, status))
            case "try":
                context.shell.show_page("try", module=self._name)
            case "node":
                context.shell.show_page("nodes", module=self._name)
            case "rollback":
                self._start(step, work.rollback(self._name, self._root, to))
            case "export" | "methods" | "pin" | "unpin" | "compare":
                sharing.begin(page, status, step, to)
            case "offline":
                offline.begin(page, status)
            case _:
                self._begin_at_once(step)

    def _refuse(self) -> None:
        """Say why not, where another page asks for what this account may not do."""
        alone = steps.INSTALL_ALONE if self._may.can_have_own else None
        self._context.shell.tell(
            self._may.refusal,
            tone="warning",
            action=alone.title if alone else "",
            run=partial(self._page.do, self._name, alone) if alone else None,
        )
        self._page.choose(self._name)

    def _begin_at_once(self, step: Step) -> None:
        name, root = self._name, self._root
        match step.key:
            case "verify":
                self._start(step, work.verify(name, root))
            case "repair":
                self._start(step, work.repair(name, root))
            case "selftest":
                self._start(step, work.selftest(name, root))
            case "lock":
                self._start(step, work.lock_module(name, root))
            case "keep":
                self._keep()
            case "log":
                self._show_log()
            case "folder":
                self._show_folder(f"envs/{name}/{self._status.generation}")
            case "source":
                self._show_folder(f"modules/{name}")

    def _keep(self) -> None:
        store = self._context.store
        self._context.background.ask(
            partial(work.keep, self._name, self._root),
            lambda _: store.refresh(),
            self._context.shell.tell_error,
            owner=self._page,
        )

    def _show_log(self) -> None:
        self._page.choose(self._name)
        if isinstance(self._page.side, Details):
            self._page.side.show_tab(LOG)

    def _show_folder(self, inside: str) -> None:
        self._page.open_folder(self._root / inside)

    # ---- long work ------------------------------------------------------------------------------

    def _install(self, step: Step, root: Path, backend: str, weights: bool) -> None:
        self._start(step, work.install(self._name, root, backend=backend, weights=weights))

    def _update(self, step: Step) -> None:
        self._start(step, work.update(self._name, self._root))

    def _remove(self, step: Step, when_free: bool, weights: bool) -> None:
        # The sheet has shown the pinned versions, and the user has agreed.
        force = bool(self._status.pins)
        found = work.remove(
            self._name, self._root, when_free=when_free, weights=weights, force=force
        )
        self._start(step, found)

    def _start(self, step: Step, found: Work[Any]) -> None:
        """Begin long work, and show what it says while it runs."""
        background, shell = self._context.background, self._context.shell
        for old in [task for task in background.tasks if task.module == self._name]:
            background.forget(old)  # where it is over
        what = steps.INSTALL.title if step is steps.INSTALL_ALONE else step.title
        task = background.start(f"{what} {self._status.title}", found, module=self._name)
        task.succeeded.connect(partial(self._tell, step))
        task.failed.connect(partial(self._failed, step))
        task.noticed.connect(partial(shell.tell, tone="warning"))
        self._show_log()

    def _tell(self, step: Step, result: Any) -> None:
        self._context.store.refresh()
        found = outcome(self._status, step, result)
        following = found.following
        self._context.shell.tell(
            found.text,
            tone=found.tone,
            action=following.title if following else "",
            run=partial(self._page.do, self._name, following) if following else None,
        )

    def _failed(self, step: Step, error: GA3EnvError) -> None:
        self._context.store.refresh()
        self._context.shell.tell_error(
            error, action="Try again", run=partial(self._page.do, self._name, step)
        )


# ---- modules of the user's own ------------------------------------------------------------------


def offer_folder(page: ModulesPage, folder: Path) -> None:
    """Show what a folder holds, and add it where the user agrees."""
    sheet = AddSheet(page.context, folder)
    sheet.confirmed.connect(
        lambda replace: _make(
            page,
            f"Add the module in {folder.name}",
            work.add_module(folder, replace=replace),
            partial(page.offer, folder),
        )
    )
    page.open(sheet)


def offer_file(page: ModulesPage, path: Path) -> None:
    """Show what a module's file holds, and add it where the user agrees."""
    sheet = AddFileSheet(page.context, path)
    sheet.confirmed.connect(
        lambda checksum, replace: _make(
            page,
            f"Add the module in {path.name}",
            sharing_work.add_file(path, checksum, replace=replace),
            partial(page.offer, path),
        )
    )
    page.open(sheet)


def offer_new(page: ModulesPage) -> None:
    """Ask for the name of a new module, and make it."""
    sheet = NewSheet(page.context)
    sheet.confirmed.connect(
        lambda name, title: _make(
            page, f"Make the module {title or name}", work.new_module(name, title), page.make_new
        )
    )
    page.open(sheet)
    sheet.title.setFocus()


def _make(page: ModulesPage, title: str, found: Work[Added], again: Any) -> None:
    page.close_side()
    task = page.context.background.start(title, found)
    task.succeeded.connect(partial(_made, page))
    task.failed.connect(partial(page.context.shell.tell_error, action="Try again", run=again))


def _made(page: ModulesPage, added: Added) -> None:
    page.context.store.refresh()
    text = f"The module {added.name} {added.version} is yours now, in {added.folder}"
    page.context.shell.tell(
        text, tone="success", action="Install", run=partial(page.do, added.name, steps.INSTALL)
    )
