"""Why a function cannot be run now, in one sentence, and which step mends it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.pages.modules import steps
from app.pages.modules.steps import Step
from app.pages.try_it.choice_card import Area
from app.pages.try_it.current import Current
from app.pages.try_it.runs import Run, is_labels
from envmanager.environments.inventory import ModuleStatus


@dataclass(frozen=True)
class Hindrance:
    """A sentence, and the step on the page of modules that mends it."""

    text: str
    step: Step | None = None


def find(
    status: ModuleStatus | None,
    spec: Mapping[str, Any],
    current: Current | None,
    area: Area | None,
    objects: Run | None,
    weights: tuple[str, bool],
) -> Hindrance | None:
    """Return what stands in the way, the most urgent first; None where it can run.

    Parameters
    ----------
    weights : tuple
        What hinders with the weights chosen, and whether a download mends it.
    """
    if status is None:
        return Hindrance("The modules are being read.")
    if found := of_module(status):
        return found
    if not spec:
        return Hindrance(f"{status.title} has no function.")
    if weights[0]:
        return Hindrance(weights[0], steps.GET_WEIGHTS if weights[1] else None)
    if current is None:
        return Hindrance("Open an image to run this on.")
    return _of_image(spec, current, area, objects)


def of_module(status: ModuleStatus) -> Hindrance | None:
    """Return why a module cannot be called, and what mends it."""
    title = status.title
    if status.state == "installing":
        return Hindrance(f"{title} is being installed.")
    if status.state == "removing":
        return Hindrance(f"{title} is being removed.")
    if status.state == "broken" and status.generation is not None:
        return Hindrance(f"{title} is damaged.", steps.REPAIR)
    if status.generation is None:
        return Hindrance(f"{title} is not installed.", steps.INSTALL)
    return None


def _of_image(
    spec: Mapping[str, Any], current: Current, area: Area | None, objects: Run | None
) -> Hindrance | None:
    needs = [one for one in spec["inputs"].values() if is_labels(one)]
    if needs and objects is None:
        return Hindrance("This measures objects. Run a function that finds them first.")
    if needs and objects:
        axes = "zyx" if objects.is_volume else "yx"
        if not all(axes in one["axes"] for one in needs):
            what = "one plane" if objects.is_volume else "a z-stack"
            return Hindrance(f"This takes objects of {what}. Find them there first.")
    if area is None:
        return Hindrance("This needs a z-stack, and the image has one slice.")
    return None
