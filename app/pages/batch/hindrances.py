"""Why a batch cannot be run now, and which step mends it."""

from __future__ import annotations

from app.pages.batch import wish
from app.pages.batch.column import Column
from app.pages.batch.wish import Found, Wish
from app.pages.modules import steps
from app.pages.try_it import hindrances
from app.pages.try_it.hindrances import Hindrance
from app.pages.try_it.runs import is_labels
from app.store import Snapshot
from envmanager.pipelines.document import Document


def find(
    wanted: Wish, column: Column, found: Found | None, snapshot: Snapshot | None
) -> tuple[Hindrance, str] | None:
    """Return what stands in the way, and the module that it concerns; None where it can run."""
    opened = wanted.opened
    if first := _of_pipeline(opened, snapshot) if opened else _of_function(column):
        return first
    if wanted.lack:
        return Hindrance(wanted.lack), ""
    if found is None or found.wish != wanted:
        return None  # it is being looked at; the run looks again
    if found.problem:
        return Hindrance(found.problem.split("\n")[0]), ""
    return None


def _of_function(column: Column) -> tuple[Hindrance, str] | None:
    chosen = column.chosen
    if chosen.status is None:
        return Hindrance("The modules are being read."), ""
    if found := hindrances.of_module(chosen.status):
        return found, chosen.module
    if not chosen.spec:
        return Hindrance(f"{chosen.status.title} has no function."), ""
    inputs = chosen.spec["inputs"].values()
    if any(map(is_labels, inputs)) or len(inputs) > 1:
        text = "This function takes what another step gives. Open a pipeline that has both."
        return Hindrance(text), ""
    problem, is_missing = column.parameters.form.weights_problem()
    if problem:
        return Hindrance(problem, steps.GET_WEIGHTS if is_missing else None), chosen.module
    return None


def _of_pipeline(document: Document, snapshot: Snapshot | None) -> tuple[Hindrance, str] | None:
    for name in wish.modules_of(document):
        status = snapshot.module(name) if snapshot else None
        if status and (found := hindrances.of_module(status)):
            return found, name
    return None
