"""What a step has done, in words, and the step that is right after it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from app import words
from app.pages.modules import steps
from app.pages.modules.steps import Step

if TYPE_CHECKING:
    from envmanager.environments.inventory import ModuleStatus


@dataclass(frozen=True)
class Outcome:
    """What is told; `following` is offered as a button."""

    text: str
    tone: str = "success"
    following: Step | None = None


def outcome(status: ModuleStatus, step: Step, result: Any) -> Outcome:
    """Say what a step has done; `status` is that of the module before it."""
    title = status.title
    match step.key:
        case "verify" if result:
            lines = [problem.message for problem in result[:5]]
            return Outcome("\n".join(lines), "warning", steps.REPAIR)
        case "verify":
            return Outcome(f"{title} is whole: every file, the imports and the tests.")
        case "repair" if not result.new:
            return Outcome(f"{title} is whole; nothing was changed.")
        case "repair":
            return Outcome(f"{title} is mended.")
        case "selftest":
            return Outcome(f"The self-test of {title} passed.")
        case "remove" if result.deferred:
            return Outcome(f"{title} is removed once nobody uses it.", "info", steps.KEEP)
        case "remove":
            return Outcome(f"{title} is removed; {words.size(result.freed_bytes)} are free again.")
        case "rollback":
            return Outcome(f"{title} {result.version} is in use again.")
        case "lock":
            count = len(result.changes)
            text = f"The lock of {title} is new: {count} package{'s' * (count != 1)} changed."
            return Outcome(text, "success", steps.UPDATE if status.generation else steps.INSTALL)
    missing = [found.title for found in result.weights_missing]
    if missing:
        text = f"{title} {result.done.version} is installed. It cannot compute before it has its "
        return Outcome(f"{text}weights: {', '.join(missing)}", "warning", steps.GET_WEIGHTS)
    return Outcome(f"{title} {result.done.version} is ready.", "success", steps.TRY)
