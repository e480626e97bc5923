"""Begins the steps that hand on, keep and compare: each with a sheet of its own."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.pages.modules import sharing_work, steps
from app.pages.modules.detail_facts import VERSIONS
from app.pages.modules.methods import MethodsSheet
from app.pages.modules.shared_file import ExportSheet
from app.pages.modules.sheet import Sheet
from app.pages.modules.steps import Step
from app.pages.modules.versions import CompareSheet, PinSheet
from envmanager.environments.generations import Pin
from envmanager.environments.inventory import ModuleStatus
from envmanager.errors import GA3EnvError
from envmanager.sharing.packing import Exported

if TYPE_CHECKING:
    from app.pages.modules.page import ModulesPage


def begin(page: ModulesPage, status: ModuleStatus, step: Step, generation: int | None) -> None:
    """Open the sheet of a step, or do it at once.

    Parameters
    ----------
    generation : int, optional
        The version that it is about; by default the one in use.
    """
    number = status.generation or 0 if generation is None else generation
    match step.key:
        case "export":
            export = ExportSheet(page.context, status)
            export.confirmed.connect(partial(_export, page, status))
            page.open(export)
        case "methods":
            page.open(MethodsSheet(page.context, status))
        case "compare":
            compare = CompareSheet(page.context, status, number)
            _open_beside_versions(page, status.name, compare)
        case "pin":
            sheet = PinSheet(page.context, status, number)
            sheet.confirmed.connect(partial(_pin, page, status, number))
            _open_beside_versions(page, status.name, sheet)
        case "unpin":
            unpin = partial(sharing_work.unpin, status.name, Path(status.root), number)
            _ask(page, status.name, unpin, "no longer ")


def _open_beside_versions(page: ModulesPage, name: str, sheet: Sheet) -> None:
    page.open(sheet)
    # After the page's own: that closes the sheet, and this one opens what was there before.
    sheet.closed.connect(partial(_show_versions, page, name))


def _pin(page: ModulesPage, status: ModuleStatus, number: int, note: str) -> None:
    pin = partial(sharing_work.pin, status.name, Path(status.root), number, note)
    _ask(page, status.name, pin, "")


def _ask(page: ModulesPage, name: str, question: Callable[[], Pin], word: str) -> None:
    def done(pin: Pin) -> None:
        page.context.shell.tell(f"Build {pin.text} is {word}pinned.", tone="success")
        page.context.store.refresh()
        _show_versions(page, name)

    page.context.background.ask(question, done, page.context.shell.tell_error, owner=page)


def _show_versions(page: ModulesPage, name: str) -> None:
    """Go back to where the step was begun."""
    from app.pages.modules.details import Details

    page.choose(name)
    if isinstance(page.side, Details):
        page.side.show_tab(VERSIONS)


def _export(
    page: ModulesPage, status: ModuleStatus, path: Path, author: str, weights: list[str]
) -> None:
    shell = page.context.shell
    task = page.context.background.start(
        f"Export {status.title}",
        sharing_work.export(status.name, Path(status.root), path, author, weights),
        module=status.name,
    )

    def done(made: Exported) -> None:
        shell.tell(
            f"{status.title} is in {made.path}",
            tone="success",
            details=f"Checksum: {made.manifest.checksum}",
            action="Open folder",
            run=partial(page.open_folder, made.path.absolute().parent),
        )

    def failed(error: GA3EnvError) -> Any:
        again = partial(page.do, status.name, steps.EXPORT)
        return shell.tell_error(error, action="Try again", run=again)

    task.succeeded.connect(done)
    task.failed.connect(failed)
    page.close_side()
