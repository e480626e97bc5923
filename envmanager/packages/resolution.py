"""From a module's lock to the exact files for this machine: ``pylock.toml``, proven by hashes."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from envmanager.errors import BadInput, InstallFailed
from envmanager.machine import hardware
from envmanager.packages import backends, lockfile, torch_family, trust, wheel_sizes
from envmanager.packages.backends import AUTO, CPU, Choice
from envmanager.packages.lockfile import Wheel
from envmanager.uv.program import Uv


@dataclass(frozen=True)
class Resolved:
    """What an install would fetch.

    `choice` is the build of torch and why; None for a module without torch. `trusted` holds the
    sha256 of the files that no lock vouches for, by name: those of the torch family.
    """

    wheels: list[Wheel]
    choice: Choice | None = None
    trusted: dict[str, str] = field(default_factory=dict)


def resolve(
    folder: Path, uv: Uv, python: Path, *, backend: str = AUTO, fresh: bool = False
) -> Resolved:
    """Resolve the ``requirements.lock`` in a folder into the ``pylock.toml`` beside it.

    Parameters
    ----------
    backend : str
        The build of torch: ``auto``, ``cpu`` or one of `backends.builds`.
    fresh : bool
        First renew the lock: the newest versions that the ``pyproject.toml`` beside it allows.

    Raises
    ------
    ToolFailed
        uv cannot, most often for want of a network.
    InstallFailed
        The index offers a file that the lock does not know, or the GPU needs a newer driver.
    BadInput
        There is no such backend, or the module has no torch.
    """
    lock, pylock = folder / "requirements.lock", folder / "pylock.toml"
    if fresh:
        uv.lock(folder / "pyproject.toml", lock)
    choice = choose(lock, backend)
    if choice is None:
        uv.resolve(lock, python, pylock)
        wheels = lockfile.wheels(pylock)
        lockfile.check(wheels, [lock])
        return Resolved(wheel_sizes.fill_in(wheels, uv.settings))
    check_driver(choice, backend)
    return _with_torch(folder, uv, python, choice)


def adopt(folder: Path, uv: Uv, backend: str = AUTO) -> Resolved:
    """Take the ``pylock.toml`` in a folder as it is: it was resolved before, or elsewhere.

    It is proven as any other, by the lock beside it; nobody is asked.

    Raises
    ------
    InstallFailed
        It lists a file that the lock does not know, or that was another one before.
    BadInput
        There is no such backend, or the module has no torch.
    """
    lock, wheels = folder / "requirements.lock", lockfile.wheels(folder / "pylock.toml")
    choice = choose(lock, backend)
    if choice is not None:
        return _proven(folder, uv, choice, wheels)
    lockfile.check(wheels, [lock])
    return Resolved(wheels)


def choose(lock: Path, backend: str) -> Choice | None:
    """Choose the build of torch for this machine; None where the lock has no torch.

    Raises
    ------
    BadInput
        There is no such backend, or the module has no torch.
    """
    version = torch_family.pinned(lock).get("torch")
    if version is None:
        if backend not in (AUTO, CPU):
            raise BadInput(
                f"The module has no torch, so there is no backend {backend!r} for it.",
                "Leave --backend out.",
            )
        return None
    return backends.choose(hardware.gpus(), version, backend)


def offered(lock: Path) -> list[str]:
    """Return the builds of torch that can be asked for; none where the lock has no torch."""
    version = torch_family.pinned(lock).get("torch")
    return [CPU, *(build.name for build in backends.builds(version))] if version else []


def check_driver(choice: Choice | None, backend: str) -> None:
    """Stop before gigabytes are fetched that would run on the CPU; who names a backend gets it.

    Raises
    ------
    InstallFailed
        A newer driver would make the GPU usable.
    """
    if choice and backend == AUTO and choice.needs_driver and choice.device == CPU:
        raise InstallFailed(
            choice.problem or choice.sentence,
            f"Install an NVIDIA driver of at least {choice.needs_driver} and try again, or install "
            "for the CPU: --backend cpu.",
            code="driver_too_old",
        )


def _with_torch(folder: Path, uv: Uv, python: Path, choice: Choice) -> Resolved:
    """Resolve with the torch family from its own index.

    From the module's requirements, with the lock as constraints: resolved as requirements, the
    lock would bring every CUDA package that it names, also for the CPU.
    """
    lock, pylock = folder / "requirements.lock", folder / "pylock.toml"
    locks = [lock, *_extra_lock(folder, choice.backend)]
    source = torch_family.source(uv, python, choice.backend, torch_family.pinned(lock))
    with tempfile.TemporaryDirectory(dir=folder, prefix="resolve-") as place:
        project = Path(place) / "pyproject.toml"
        project.write_text(torch_family.project(folder / "pyproject.toml", source), "utf-8")
        uv.resolve(project, python, pylock, constraints=locks)
    proven = _proven(folder, uv, choice, lockfile.wheels(pylock))
    return replace(proven, wheels=wheel_sizes.fill_in(proven.wheels, uv.settings))


def _proven(folder: Path, uv: Uv, choice: Choice, wheels: list[Wheel]) -> Resolved:
    """Compare the torch family with what was trusted before, and all else with the locks."""
    locks = [folder / "requirements.lock", *_extra_lock(folder, choice.backend)]
    family = [wheel for wheel in wheels if wheel.package in torch_family.MEMBERS]
    _check_rest([wheel for wheel in wheels if wheel not in family], locks, choice)
    return Resolved(wheels, choice, trust.check(uv.data, family))


def _extra_lock(folder: Path, backend: str) -> list[Path]:
    """Return the lock of what a backend needs beside the module's own: NVIDIA's packages."""
    path = folder / f"requirements-{backend}.lock"
    return [path] if path.is_file() else []


def _check_rest(wheels: list[Wheel], locks: Sequence[Path], choice: Choice) -> None:
    known = {name for lock in locks for name, _ in lockfile.locked_hashes(lock)}
    unknown = sorted({wheel.package for wheel in wheels} - known)
    if unknown:
        raise InstallFailed(
            f"The {choice.backend} build of torch needs packages that no lock of the module has: "
            f"{', '.join(unknown)}.",
            f"Take another backend, or add requirements-{choice.backend}.lock to the module: see "
            "docs/modules.md.",
            code="not_locked",
        )
    lockfile.check(wheels, locks)
