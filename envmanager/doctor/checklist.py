"""The checklist: what could keep this computer from installing modules or running nodes.

Each check is a small function that gives one line. A check that fails is an error line itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

from envmanager.data import settings as settings_file
from envmanager.data.paths import DataFolder
from envmanager.data.settings import Settings
from envmanager.doctor import computer, shared
from envmanager.doctor import data as content
from envmanager.doctor.line import TOOL_LIMIT_S, Check, Examine, Patient
from envmanager.errors import Cancelled, GA3EnvError, SettingsError
from envmanager.events import CancelToken
from envmanager.machine import windows

_FIXES = {**content.FIXES, "shared_folder": shared.fix}

__all__ = ["Check", "checks", "fix", "usable_settings"]


def usable_settings(data: DataFolder) -> Settings:
    """Return the settings, or the defaults where the file is broken: the list tells of it."""
    try:
        return settings_file.load(data.settings)
    except SettingsError:
        return Settings()


def checks(
    data: DataFolder,
    settings: Settings,
    on_check: Callable[[Check], object] = lambda check: None,
    cancel: CancelToken | None = None,
) -> list[Check]:
    """Examine this computer, the data folder and every module.

    Parameters
    ----------
    on_check : callable, optional
        Gets each line as soon as it is known.

    Raises
    ------
    Cancelled
        `cancel` was set.
    """
    patient = Patient(data, settings, cancel or CancelToken())
    done = []
    for name, examine in _examinations(patient):
        patient.cancel.check()
        check = replace(_examined(examine, patient), id=name)
        done.append(check)
        on_check(check)
    return done


def fix(
    data: DataFolder,
    settings: Settings,
    found: list[Check],
    on_check: Callable[[Check], object] = lambda check: None,
    cancel: CancelToken | None = None,
) -> list[Check]:
    """Mend what is marked as fixable, then check again.

    A mend that fails is an error line ``fix:ID`` before the others.
    """
    patient = Patient(data, settings, cancel or CancelToken())
    failed = []
    for name in [check.id for check in found if check.fixable]:
        patient.cancel.check()
        check = replace(_examined(_FIXES[name], patient), id=f"fix:{name}")
        if check.status == "error":
            failed.append(check)
            on_check(check)
    return failed + checks(data, settings, on_check, cancel)


def _examined(examine: Examine, patient: Patient) -> Check:
    try:
        return examine(patient)
    except Cancelled:
        patient.cancel.check()
        return Check.error(
            f"No answer in {TOOL_LIMIT_S:.0f} s.", "Try again when less is going on."
        )
    except GA3EnvError as error:
        return Check.error(error.message, error.hint)
    except OSError as error:
        return Check.error(f"The system refused: {error}.", "Check free space and permissions.")
    except Exception as error:
        return Check.error(
            f"This check itself failed: {type(error).__name__}: {error}.",
            "This is a defect of the app; please report it.",
        )


def _examinations(patient: Patient) -> Iterator[tuple[str, Examine]]:
    """Give the checks in the order of the list; later ones depend on what is there by then."""
    yield from (("uv", computer.uv), ("data_folder", computer.data_folder))
    there = patient.data.root.is_dir()
    if there:
        yield from (("python", computer.python), ("settings", computer.settings))
        yield from (("disk_space", computer.disk_space), ("data_path", computer.data_path))
        yield from (("data_place", computer.data_place), ("hard_links", computer.hard_links))
    if shared.root():
        yield "shared_folder", shared.shared_folder
    if windows.IS_WINDOWS:
        yield from (("long_paths", computer.long_paths), ("vc_runtime", computer.vc_runtime))
    yield from (("gpu", computer.gpu), ("index", computer.index))
    yield from (("nis", computer.nis), ("vendor_environments", computer.vendor_environments))
    if there:
        yield "config", content.config
        published = patient.config()
        if published and patient.data.config.is_file():
            yield "client", content.client
        yield from (
            ("workers", content.workers),
            ("leftovers", content.leftovers),
            ("locks", content.other_commands),
        )
        for name in content.module_names(patient):
            yield f"module:{name}", partial(content.module, name)
        for name in content.modules_with_weights(patient):
            yield f"weights:{name}", partial(content.weights, name)
