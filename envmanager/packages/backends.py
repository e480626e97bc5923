"""The choice of torch's build ("backend") for this machine's GPUs and driver.

All versions, kernels and drivers come from ``torch_builds.toml``. The table is never the last word:
after an install a real kernel runs on the chosen device.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from packaging.version import InvalidVersion, Version

from envmanager.errors import BadInput
from envmanager.machine.hardware import Gpu, Hardware, System

AUTO, CPU = "auto", "cpu"
_TABLE = Path(__file__).with_name("torch_builds.toml")


@dataclass(frozen=True)
class Build:
    """One CUDA build of one torch version.

    `kernels` are the compute capabilities that it holds machine code for, `drivers` the lowest
    driver by system. An `experimental` build is only taken when asked for by name.
    """

    cuda: str
    kernels: tuple[tuple[int, int], ...]
    drivers: Mapping[System, str]
    experimental: bool

    @property
    def name(self) -> str:
        """The backend's name, as in PyTorch's index addresses: ``cu130``."""
        return "cu" + self.cuda.replace(".", "")

    def serves(self, gpu: Gpu) -> bool:
        """Whether it has kernels for a GPU.

        Machine code runs on the capability that it was made for and on higher minor versions of
        the same major one: code for 8.6 on an 8.9, but not on a 9.0.
        """
        major, minor = gpu.capability
        return any(major == made[0] and minor >= made[1] for made in self.kernels)

    def runs_with(self, hardware: Hardware) -> bool:
        """Whether the driver is new enough; an unknown one is not."""
        return _numbers(hardware.driver) >= _numbers(self.drivers[hardware.system])


@dataclass(frozen=True)
class Choice:
    """A backend and why it is the right one.

    Parameters
    ----------
    backend : str
        ``cpu`` or a CUDA build: what runs as things are now, or what was asked for by name.
    device : str
        ``cpu`` or ``cuda:N``, where N is the GPU's index.
    sentence : str
        The choice explained, for people.
    problem : str or None
        A GPU is there, or was asked for, and cannot be used (or a better one could be): to be
        said loudly, before anything is downloaded.
    needs_driver : str
        The lowest driver version that would mend the problem; empty where none would. A reason
        to stop before the download.
    gpu : Gpu or None
        The GPU of `device`; where there is a problem, the one that it is about.
    """

    backend: str
    device: str
    sentence: str
    problem: str | None = None
    needs_driver: str = ""
    gpu: Gpu | None = None

    @property
    def environment(self) -> dict[str, str]:
        """Variables with which CUDA counts the GPUs as `device` does: else the fastest is 0."""
        return {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"} if self.device != CPU else {}


def builds(torch_version: str) -> tuple[Build, ...]:
    """Return the CUDA builds of a torch version, the preferred one first, experimental ones too.

    Raises
    ------
    BadInput
        `torch_version` is no version.
    """
    return _Torch.of(torch_version).builds


def choose(hardware: Hardware, torch_version: str, wanted: str = AUTO) -> Choice:
    """Choose the build of torch for a machine; downloads and starts nothing.

    Parameters
    ----------
    torch_version : str
        As the lock pins it: ``2.13.0``.
    wanted : str
        ``auto``, ``cpu`` or the name of a build.

    Raises
    ------
    BadInput
        There is no such build, or `torch_version` is no version.
    """
    torch = _Torch.of(torch_version)
    if wanted == AUTO:
        choice = _auto(hardware, torch)
    elif wanted == CPU:
        unused = f"; {_list(hardware.gpus)} will not be used" if hardware.gpus else ""
        choice = Choice(CPU, CPU, f"{torch} gets its CPU build, as asked for{unused}.")
    else:
        choice = _asked(hardware, torch, torch.build(wanted))
    silent = f" {hardware.reason}" if hardware.gpus and hardware.reason else ""
    return replace(choice, sentence=choice.sentence + silent + torch.note)


@dataclass(frozen=True)
class _Torch:
    """A torch version with the builds that the table has for it, or for its nearest row."""

    version: tuple[int, ...]
    builds: tuple[Build, ...]
    note: str = ""

    def __str__(self) -> str:
        return f"torch {_dotted(self.version)}"

    @classmethod
    def of(cls, text: str) -> _Torch:
        try:
            version = Version(text).release[:2]
        except InvalidVersion:
            raise BadInput(
                f"{text!r} is no version of torch.", "It looks like this: 2.13.0."
            ) from None
        rows = _table()
        if version in rows:
            return cls(version, rows[version])
        used = max((known for known in rows if known < version), default=min(rows))
        note = f" (torch {_dotted(version)} is not in the table; taken from {_dotted(used)})"
        return cls(version, rows[used], note)

    def build(self, name: str) -> Build:
        """Return a build by name, or refuse with the names of those that there are."""
        for build in self.builds:
            if build.name == name:
                return build
        names = [b.name + (" (experimental)" if b.experimental else "") for b in self.builds]
        raise BadInput(
            f"{self} has no build {name!r}{self.note}.", f"Known: {', '.join([AUTO, CPU, *names])}."
        )


def _auto(hardware: Hardware, torch: _Torch) -> Choice:
    if not hardware.gpus:
        problem = f"{hardware.reason} torch would run on the CPU." if hardware.broken else None
        return Choice(CPU, CPU, f"{torch} gets its CPU build. {hardware.reason}", problem)
    ranked = _ranked(hardware.gpus)
    stable = [build for build in torch.builds if not build.experimental]
    options = [
        (build, served)
        for build in stable
        if build.runs_with(hardware) and (served := [gpu for gpu in ranked if build.serves(gpu)])
    ]
    if not options:
        return _none_runs(hardware, torch, ranked, stable)
    # The best GPU first, then as many as possible, then the table's order (max keeps the first).
    build, served = max(options, key=lambda option: (-ranked.index(option[1][0]), len(option[1])))
    sentence = f"{_described(served[0])}: {torch} gets its {build.name} build"
    sentence += _why_not_the_first(hardware, ranked, stable, build)
    sentence += _about_the_others(ranked, served)
    choice = Choice(build.name, f"cuda:{served[0].index}", sentence + ".", gpu=served[0])
    better = ranked[0] if served[0] is not ranked[0] else None
    if better and (needed := _easiest(hardware, better, stable)):
        problem = _driver_problem(hardware, torch, better, needed)
        driver = needed.drivers[hardware.system]
        return replace(choice, problem=problem, needs_driver=driver, gpu=better)
    return choice


def _asked(hardware: Hardware, torch: _Torch, build: Build) -> Choice:
    """Take a build by name, and say so where it cannot run."""
    ranked = _ranked(hardware.gpus)
    served = [gpu for gpu in ranked if build.serves(gpu)]
    label = f"{build.name} build" + (" (experimental)" if build.experimental else "")
    if not ranked:
        problem = f"The {label} of {torch} was asked for, but it needs a GPU. {hardware.reason}"
        return Choice(build.name, CPU, problem, problem)
    if not served:
        problem = f"{_described(ranked[0])}: the {label} of {torch} holds no kernels for it."
        return Choice(build.name, CPU, problem, problem, gpu=ranked[0])
    if not build.runs_with(hardware):
        problem = _driver_problem(hardware, torch, served[0], build)
        driver = build.drivers[hardware.system]
        return Choice(build.name, CPU, problem, problem, driver, served[0])
    sentence = f"{_described(served[0])}: {torch} gets its {label}, as asked for"
    sentence += _about_the_others(ranked, served)
    return Choice(build.name, f"cuda:{served[0].index}", sentence + ".", gpu=served[0])


def _none_runs(hardware: Hardware, torch: _Torch, ranked: list[Gpu], stable: list[Build]) -> Choice:
    """Fall back to the CPU: because of the driver (which can be mended) or of the GPU."""
    for gpu in ranked:
        if build := _easiest(hardware, gpu, stable):
            problem = _driver_problem(hardware, torch, gpu, build)
            sentence = f"{problem} As it is, {torch} gets its CPU build."
            driver = build.drivers[hardware.system]
            return Choice(CPU, CPU, sentence, problem, driver, gpu)
    problem = f"{_described(ranked[0])}: no build of {torch} holds kernels for it"
    if other := _nearest_version_for(ranked[0], torch):
        problem += f" (torch {_dotted(other)} has one)"
    problem += "; torch would run on the CPU."
    return Choice(CPU, CPU, problem, problem, gpu=ranked[0])


def _driver_problem(hardware: Hardware, torch: _Torch, gpu: Gpu, build: Build) -> str:
    return (
        f"{_described(gpu)}: {torch} needs its {build.name} build and a driver of at least "
        f"{build.drivers[hardware.system]}; yours is {hardware.driver or 'unknown'}: "
        "update it first."
    )


def _why_not_the_first(
    hardware: Hardware, ranked: list[Gpu], stable: list[Build], taken: Build
) -> str:
    """Explain why the build that the table prefers was not taken."""
    first = stable[0]
    if first == taken:
        return ""
    # The kernels before the driver: an update would not bring them.
    for gpu in ranked:
        if taken.serves(gpu) and not first.serves(gpu):
            return f", because {first.name} holds no kernels for the {_described(gpu)}"
    needed, driver = first.drivers[hardware.system], hardware.driver or "unknown"
    return f", because {first.name} needs a driver of at least {needed} and yours is {driver}"


def _about_the_others(ranked: list[Gpu], served: list[Gpu]) -> str:
    unused = [gpu for gpu in ranked if gpu not in served]
    text = f"; it also serves the {_list(served[1:])}" if served[1:] else ""
    return text + (f"; it holds no kernels for the {_list(unused)}" if unused else "")


def _easiest(hardware: Hardware, gpu: Gpu, stable: list[Build]) -> Build | None:
    """Return the build for a GPU that asks for the oldest driver."""
    fitting = [build for build in stable if build.serves(gpu)]
    return min(fitting, key=lambda b: _numbers(b.drivers[hardware.system]), default=None)


def _nearest_version_for(gpu: Gpu, torch: _Torch) -> tuple[int, ...] | None:
    """Return the newest older torch with a build for a GPU, else the oldest newer one."""
    having = [
        version
        for version, row in _table().items()
        if any(build.serves(gpu) and not build.experimental for build in row)
    ]
    older = [version for version in having if version < torch.version]
    return max(older) if older else min(having, default=None)


def _ranked(gpus: Iterable[Gpu]) -> list[Gpu]:
    """Sort the best first: a newer generation, then more memory."""
    return sorted(gpus, key=lambda gpu: (-gpu.capability[0], -gpu.memory_total, gpu.index))


def _described(gpu: Gpu) -> str:
    return f"{gpu.short_name}, compute capability {gpu.capability_text}"


def _list(gpus: Iterable[Gpu]) -> str:
    return " and ".join(gpu.short_name for gpu in gpus)


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version))


@cache
def _table() -> dict[tuple[int, ...], tuple[Build, ...]]:
    """Read the table: builds by torch version."""
    raw = tomllib.loads(_TABLE.read_text("utf-8"))
    drivers = raw["drivers"]
    return {
        _numbers(row["version"]): tuple(_build(entry, drivers) for entry in row["builds"])
        for row in raw["torch"]
    }


def _build(entry: dict[str, Any], drivers: dict[str, Any]) -> Build:
    kernels = tuple((major, minor) for major, minor in map(_numbers, entry["kernels"]))
    generation = entry["cuda"].partition(".")[0]
    return Build(entry["cuda"], kernels, drivers[generation], entry.get("experimental", False))
