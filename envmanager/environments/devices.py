"""The device that a module computes on, proven by a real kernel in its environment."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from envmanager.environments import health
from envmanager.errors import InstallFailed
from envmanager.events import CancelToken
from envmanager.packages.backends import CPU, Choice


@dataclass(frozen=True)
class Device:
    """The device of one generation.

    Parameters
    ----------
    backend : str
        ``cpu`` or torch's CUDA build.
    name : str
        ``cpu`` or ``cuda:N``.
    why : str
        The choice explained, for people; empty for a module without torch.
    problem : str or None
        A GPU is there, or was asked for, and is not used: why.
    kernel : dict
        What the test computation said; empty for a module without torch.
    environment : dict
        Variables of the module's workers.
    """

    backend: str = CPU
    name: str = CPU
    why: str = ""
    problem: str | None = None
    kernel: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)


def prove(
    folder: Path, choice: Choice | None, env: dict[str, str], cancel: CancelToken | None = None
) -> Device:
    """Run a kernel on the chosen device; where the GPU cannot do it, on the CPU.

    Raises
    ------
    InstallFailed
        Not even the CPU can.
    """
    if choice is None:
        return Device()
    failure = None
    if choice.device != CPU:
        found, failure = health.kernel(folder, env | choice.environment, choice.device, cancel)
        if found:
            variables = choice.environment | {"GA3ENV_DEVICE": choice.device}
            return Device(
                choice.backend, choice.device, choice.sentence, choice.problem, found, variables
            )
        failure = f"{choice.device} does not compute, so the CPU is used: {failure}"
    found, reason = health.kernel(folder, env, CPU, cancel)
    if not found:
        raise InstallFailed(
            f"torch does not compute on this computer: {reason}",
            "Nothing was changed. Try another --python or --backend.",
            code="kernel_failed",
        )
    problem = failure or choice.problem
    return Device(choice.backend, CPU, choice.sentence, problem, found, {"GA3ENV_DEVICE": CPU})
